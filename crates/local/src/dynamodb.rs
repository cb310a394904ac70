//! The DynamoDB that the functions use: an embedded one, or the endpoint given.

use std::env;
use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{BillingMode, TableStatus};
use tokio::runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};
use users_core::Chain;

use crate::template::{REGION, Table};
use crate::{Error, STOP_TIMEOUT};

/// How long a DynamoDB may take to answer one request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a new table may take until it can be used. On AWS it is some ten seconds.
const TABLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Where the users are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In memory, until the service stops.
    Memory,
    /// In this file, which is created when missing. One service at a time can use it.
    File(PathBuf),
    /// In the DynamoDB at this URL, with the credentials and region of the environment, if it has any.
    Endpoint(String),
}

/// A DynamoDB that answers.
pub(crate) struct DynamoDb {
    pub(crate) endpoint: String,
    /// What the functions need to use it, as environment variables.
    pub(crate) environment: Vec<(&'static str, String)>,
    server: Option<JoinHandle<()>>,
}

impl DynamoDb {
    /// Opens the database. An embedded one runs until `stop`'s sender is dropped.
    pub(crate) fn start(database: &Database, stop: watch::Receiver<()>) -> Result<Self, Error> {
        let (opened, lock) = match database {
            Database::Endpoint(endpoint) => {
                return Ok(Self {
                    endpoint: endpoint.clone(),
                    environment: given_environment(endpoint),
                    server: None,
                });
            }
            Database::Memory => (open(Path::new(":memory:"))?, None),
            Database::File(path) => {
                let lock = lock(path)?;
                (open(path)?, Some(lock))
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::Listen)?;
        listener.set_nonblocking(true).map_err(Error::Listen)?;
        let endpoint = format!("http://{}", listener.local_addr().map_err(Error::Listen)?);
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Listen)?;
        // On a thread of its own: a database at work blocks its thread, and the gateway has to go on.
        let server = spawn_blocking(move || {
            runtime.block_on(serve(listener, opened, stop));
            drop(lock);
        });
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("DYNAMO_ENDPOINT", endpoint.clone()),
        ];
        Ok(Self { endpoint, environment, server: Some(server) })
    }

    /// Waits until an embedded database is closed. `stop`'s sender has to be dropped before.
    pub(crate) async fn stop(self) {
        if let Some(server) = self.server {
            let _ = server.await;
        }
    }
}

/// Serves the database until `stop`'s sender is dropped, and a moment longer to clients that keep a request open.
async fn serve(listener: TcpListener, database: dynoxide::Database, mut stop: watch::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let mut stopped = stop.clone();
    let stopped = async move {
        let _ = stopped.changed().await;
    };
    tokio::select! {
        _ = dynoxide::server::serve_with_shutdown(listener, database, stopped) => {}
        () = async {
            let _ = stop.changed().await;
            sleep(STOP_TIMEOUT).await;
        } => {}
    }
}

fn open(path: &Path) -> Result<dynoxide::Database, Error> {
    let failed = |problem| Error::Data { path: path.to_owned(), problem };
    // SQLite itself would take another file for an encrypted database (https://www.sqlite.org/fileformat.html#magic_header_string).
    if fs::read(path)
        .is_ok_and(|bytes| !bytes.is_empty() && !bytes.starts_with(b"SQLite format 3\0"))
    {
        return Err(failed("it is not a database".to_owned()));
    }
    dynoxide::Database::new(&path.to_string_lossy()).map_err(|error| failed(error.to_string()))
}

/// Creates the directory of the file `path`, and locks the file against other services until the lock is dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let lock = || {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(TryLockError::Error)?;
        }
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let file = File::create(name).map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(file)
    };
    lock().map_err(|error: TryLockError| match error {
        TryLockError::WouldBlock => Error::DataInUse { path: path.to_owned() },
        TryLockError::Error(error) => {
            Error::Data { path: path.to_owned(), problem: error.to_string() }
        }
    })
}

/// What the functions need to use the DynamoDB at `endpoint` as the caller would.
fn given_environment(endpoint: &str) -> Vec<(&'static str, String)> {
    let caller = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
        .into_iter()
        .filter_map(|name| Some((name, env::var(name).ok()?)));
    let region = env::var("AWS_REGION")
        .ok()
        .filter(|region| !region.is_empty())
        .unwrap_or_else(|| REGION.to_owned());
    [
        ("AWS_REGION", region.clone()),
        ("AWS_DEFAULT_REGION", region),
        ("DYNAMO_ENDPOINT", endpoint.to_owned()),
    ]
    .into_iter()
    .chain(caller)
    .collect()
}

/// Makes sure that the DynamoDB at `endpoint` has a table with the schema of `table` under the name `name`, and waits
/// until it can be used. A table that exists is left as it is. A new one is billed per request.
///
/// Credentials and region are those of the environment; without any, placeholders are used, which DynamoDB Local and its
/// like accept.
///
/// # Errors
/// [`Error::DynamoDb`] when the endpoint does not answer within 3 seconds, refuses, or needs more than a minute for the
/// table.
pub async fn create_table(endpoint: &str, table: &Table, name: &str) -> Result<(), Error> {
    let failed = |problem: String| Error::DynamoDb { endpoint: endpoint.to_owned(), problem };
    let client = users_core::client(Some(endpoint)).map_err(|error| failed(error.to_string()))?;
    let active = async {
        loop {
            let answer = timeout(ANSWER_TIMEOUT, client.describe_table().table_name(name).send())
                .await
                .map_err(|_| failed("it does not answer".to_owned()))?;
            match answer {
                Ok(output)
                    if output.table().and_then(|table| table.table_status())
                        == Some(&TableStatus::Active) =>
                {
                    return Ok(());
                }
                Ok(_) => sleep(Duration::from_millis(100)).await,
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(DescribeTableError::is_resource_not_found_exception) =>
                {
                    create(&client, table, name).await.map_err(failed)?;
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
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(table.attribute_definitions.clone()))
        .set_key_schema(Some(table.key_schema.clone()))
        .set_global_secondary_indexes(
            Some(table.global_secondary_indexes.clone()).filter(|indexes| !indexes.is_empty()),
        );
    match request.send().await {
        Ok(_) => Ok(()),
        // Another one made it in the meantime.
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
