//! The DynamoDB that the functions use: an embedded one, or one at an endpoint.

mod data_file;
mod embedded;

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableStatus,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use users_core::{Chain, ENDPOINT_VARIABLE};

use crate::aws::REGION;
use crate::error::Error;
use crate::lambda::Logs;
use crate::template::{self, Table};
use data_file::DataFile;
use embedded::Embedded;

/// The secret of the embedded DynamoDB's access key, which is not checked: see [`Embedded`].
pub(crate) const SECRET_ACCESS_KEY: &str = "local";

/// How long a DynamoDB server may take to respond to one request.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new table may take to become active. On AWS it takes about ten seconds.
const TABLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Where the users are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In memory, until the service stops.
    Memory,
    /// In this file, which is created if it is missing. Only one service at a time can use it.
    File(PathBuf),
    /// In the DynamoDB at this URL, with the environment's credentials and region, if it has any.
    Endpoint(String),
}

/// The DynamoDB in use.
pub(crate) struct DynamoDb {
    pub(crate) endpoint: String,
    /// The environment variables that make the functions use it.
    pub(crate) environment: Vec<(&'static str, String)>,
    embedded: Option<Embedded>,
}

impl DynamoDb {
    /// Opens the database. An embedded one runs until `stop`'s sender is dropped, on this port or a
    /// free one, and writes its faults to the log.
    pub(crate) fn start(
        database: &Database,
        port: Option<u16>,
        logs: &Logs,
        stop: watch::Receiver<()>,
    ) -> Result<Self, Error> {
        let file = match database {
            Database::Endpoint(endpoint) => {
                return Ok(Self {
                    endpoint: endpoint.clone(),
                    environment: given_environment(endpoint),
                    embedded: None,
                });
            }
            Database::Memory => None,
            Database::File(path) => Some(DataFile::open(path)?),
        };
        let embedded = Embedded::start(file, port, Arc::clone(logs), stop)?;
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", embedded.access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            (ENDPOINT_VARIABLE, embedded.endpoint.clone()),
        ];
        let endpoint = embedded.endpoint.clone();
        Ok(Self {
            endpoint,
            environment,
            embedded: Some(embedded),
        })
    }

    /// Creates the table unless it exists, as [`create_table`] does.
    pub(crate) async fn create_table(&self, table: &Table) -> Result<bool, Error> {
        let client = client(&self.endpoint)?;
        let client = match &self.embedded {
            Some(embedded) => {
                let credentials = Credentials::builder()
                    .access_key_id(&embedded.access_key_id)
                    .secret_access_key(SECRET_ACCESS_KEY)
                    .provider_name("embedded")
                    .build();
                let config = client.config().to_builder();
                let region = Region::from_static(REGION);
                Client::from_conf(
                    config
                        .credentials_provider(credentials)
                        .region(region)
                        .build(),
                )
            }
            None => client,
        };
        create_with(&client, &self.endpoint, table, &table.name).await
    }

    /// Returns the access key id and the secret access key, if the DynamoDB is embedded.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        let embedded = self.embedded.as_ref()?;
        Some((&embedded.access_key_id, SECRET_ACCESS_KEY))
    }

    /// Waits until an embedded database is closed. Drop `stop`'s sender first.
    pub(crate) async fn stop(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

/// Returns the variables that make functions use the DynamoDB at `endpoint` as the caller would.
fn given_environment(endpoint: &str) -> Vec<(&'static str, String)> {
    let caller = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ]
    .into_iter()
    .filter_map(|name| Some((name, env::var(name).ok()?)));
    let region = env::var("AWS_REGION")
        .ok()
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| REGION.to_owned());
    [
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        (ENDPOINT_VARIABLE, endpoint.to_owned()),
    ]
    .into_iter()
    .chain(caller)
    .collect()
}

/// Creates a table named `name` with the schema of `table` in the DynamoDB at `endpoint`, and waits
/// until it is active. An existing table stays unchanged. A new one is billed per request. Returns
/// whether the table is new.
///
/// Credentials and region come from the environment. If they are missing, placeholders are used,
/// which DynamoDB Local accepts.
///
/// # Errors
/// [`Error::DynamoDb`] if the endpoint does not respond within 3 seconds, rejects the request, or
/// needs more than a minute to create the table.
pub async fn create_table(endpoint: &str, table: &Table, name: &str) -> Result<bool, Error> {
    create_with(&client(endpoint)?, endpoint, table, name).await
}

fn client(endpoint: &str) -> Result<Client, Error> {
    users_core::client(Some(endpoint)).map_err(|error| Error::DynamoDb {
        endpoint: endpoint.to_owned(),
        problem: error.to_string(),
    })
}

async fn create_with(
    client: &Client,
    endpoint: &str,
    table: &Table,
    name: &str,
) -> Result<bool, Error> {
    let failed = |problem: String| Error::DynamoDb {
        endpoint: endpoint.to_owned(),
        problem,
    };
    let active = async {
        let mut created = false;
        loop {
            let response = timeout(
                RESPONSE_TIMEOUT,
                client.describe_table().table_name(name).send(),
            )
            .await
            .map_err(|_| failed("it does not respond".to_owned()))?;
            match response {
                Ok(output)
                    if output.table().and_then(|table| table.table_status())
                        == Some(&TableStatus::Active) =>
                {
                    return Ok(created);
                }
                Ok(_) => sleep(Duration::from_millis(100)).await,
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(DescribeTableError::is_resource_not_found_exception) =>
                {
                    create(client, table, name).await.map_err(failed)?;
                    created = true;
                }
                Err(error) => return Err(failed(Chain(&error).to_string())),
            }
        }
    };
    timeout(TABLE_TIMEOUT, active)
        .await
        .unwrap_or_else(|_| Err(failed(format!("its table {name} does not become active"))))
}

async fn create(client: &Client, table: &Table, name: &str) -> Result<(), String> {
    let request = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest);
    let request = with_schema(request, table).map_err(|error| error.to_string())?;
    match request.send().await {
        Ok(_) => Ok(()),
        // Another client created it meanwhile.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(CreateTableError::is_resource_in_use_exception) =>
        {
            Ok(())
        }
        Err(error) => Err(Chain(&error).to_string()),
    }
}

fn with_schema(
    request: CreateTableFluentBuilder,
    table: &Table,
) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut request = request.set_key_schema(Some(key_schema(&table.key_schema)?));
    for attribute in &table.attribute_definitions {
        let kind = ScalarAttributeType::from(attribute.attribute_type.as_str());
        let definition = AttributeDefinition::builder()
            .attribute_name(&attribute.attribute_name)
            .attribute_type(kind)
            .build()?;
        request = request.attribute_definitions(definition);
    }
    for index in &table.global_secondary_indexes {
        let projection = ProjectionType::from(index.projection.projection_type.as_str());
        let index = GlobalSecondaryIndex::builder()
            .index_name(&index.index_name)
            .set_key_schema(Some(key_schema(&index.key_schema)?))
            .projection(Projection::builder().projection_type(projection).build())
            .build()?;
        request = request.global_secondary_indexes(index);
    }
    Ok(request)
}

fn key_schema(keys: &[template::Key]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let elements = keys.iter().map(|key| {
        KeySchemaElement::builder()
            .attribute_name(&key.attribute_name)
            .key_type(KeyType::from(key.key_type.as_str()))
            .build()
    });
    elements.collect()
}
