//! The whole User Profile API on one machine, for development and tests. It stands in for API
//! Gateway, Lambda and DynamoDB.
//!
//! The gateway turns a request into a REST proxy event, and passes the event to a pool of
//! processes. The processes run the deployed executables, which are invoked through Lambda's
//! Runtime API and use an embedded DynamoDB. Routes, functions, the table and API Gateway's own
//! responses come from the SAM template.

mod aws;
mod dynamodb;
mod error;
mod gateway;
mod http;
mod lambda;
mod template;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

pub use dynamodb::{Database, create_table};
pub use error::Error;
pub use gateway::{RequestLog, Served, Timeouts};
pub use lambda::{Invocation, InvokeError, Logs, RuntimeApi};
pub use template::{
    AttributeDefinition, Function, GatewayResponses, Index, Key, Mock, Projection, Route, Table,
    Template, Throttle, parse_parameters,
};

use dynamodb::DynamoDb;
use gateway::Gateway;
use http::STOP_TIMEOUT;
use lambda::{PoolOptions, Processes};

/// Options of a service.
pub struct Options {
    /// The template that describes the service.
    pub template: Template,
    /// The directory of the functions' executables.
    pub functions: PathBuf,
    /// Where the users are kept.
    pub database: Database,
    /// The port of the embedded DynamoDB, which then has the access key `local`. By default a free
    /// one, with a new key.
    pub dynamodb_port: Option<u16>,
    /// The address to listen on. Port 0 means any free port.
    pub address: SocketAddr,
    /// The maximum number of processes of each function. Further requests wait.
    pub instances: u16,
    /// How long a process may take to ask for its first invocation.
    pub initialisation_timeout: Duration,
    /// Whether the functions' logs tell when a process starts, with its id.
    pub log_processes: bool,
    /// How long the gateway waits.
    pub timeouts: Timeouts,
    /// Where the functions' logs go.
    pub logs: Logs,
    /// Where served requests are reported.
    pub requests: RequestLog,
}

impl Options {
    /// Returns options for tests: data in memory, a free loopback port, at most 10 processes for
    /// each function, no logs.
    #[must_use]
    pub fn new(template: Template, functions: PathBuf) -> Self {
        Self {
            template,
            functions,
            database: Database::Memory,
            dynamodb_port: None,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            instances: 10,
            initialisation_timeout: INITIALISATION_TIMEOUT,
            log_processes: false,
            timeouts: Timeouts::default(),
            logs: Arc::new(|_, _| {}),
            requests: Arc::new(|_| {}),
        }
    }
}

/// How long a process may take to ask for its first invocation
/// (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib>).
const INITIALISATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A running service. Dropping it stops it too, but does not wait until it has stopped.
pub struct Service {
    url: String,
    table: String,
    created_table: bool,
    api_key: Option<String>,
    dynamodb: DynamoDb,
    functions: Arc<Processes>,
    server: JoinHandle<()>,
    /// Every task holds a receiver, and ends when this is dropped.
    stop: watch::Sender<()>,
}

impl Service {
    /// Starts a service and creates its table. When this returns, the service accepts requests.
    /// Function processes start with the first requests.
    ///
    /// # Errors
    /// Any variant of [`Error`].
    pub async fn start(options: Options) -> Result<Self, Error> {
        let Options {
            template,
            functions,
            database,
            dynamodb_port,
            address,
            instances,
            initialisation_timeout,
            log_processes,
            timeouts,
            logs,
            requests,
        } = options;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Error::listen(error, "PORT", address.port()))?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let mut reachable = address;
        if address.ip().is_unspecified() {
            reachable.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        let url = format!("http://{reachable}/{}", template.stage);

        let (stop, stopped) = watch::channel(());
        let dynamodb = DynamoDb::start(&database, dynamodb_port, &logs, stopped.clone())?;
        let functions = Arc::new(Processes::new(
            &template.functions,
            &functions,
            &PoolOptions {
                instances,
                initialisation_timeout,
                log_processes,
                logs,
            },
            &dynamodb.environment,
            &stopped,
        )?);
        let created_table = dynamodb.create_table(&template.table).await?;
        let table = template.table.name.clone();
        let needs_key = template.routes.iter().any(|route| route.needs_key);
        let api_key = needs_key.then(|| Uuid::new_v4().simple().to_string());
        let gateway = Gateway::new(
            template,
            Arc::clone(&functions),
            address,
            api_key.clone(),
            timeouts,
            requests,
        );
        let server = tokio::spawn(gateway.serve(listener, stopped));
        Ok(Self {
            url,
            table,
            created_table,
            api_key,
            dynamodb,
            functions,
            server,
            stop,
        })
    }

    /// Returns the API's URL with the stage, such as `http://127.0.0.1:3000/test`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the URL of the page for trying the API in a browser.
    #[must_use]
    pub fn docs_url(&self) -> String {
        let origin = self
            .url
            .rsplit_once('/')
            .map_or(self.url.as_str(), |(origin, _)| origin);
        format!("{origin}{}", gateway::DOCS_PATH)
    }

    /// Returns the URL of the DynamoDB that holds the table.
    #[must_use]
    pub fn dynamodb_endpoint(&self) -> &str {
        &self.dynamodb.endpoint
    }

    /// Returns the access key id and the secret access key for the embedded DynamoDB, if there is
    /// one.
    #[must_use]
    pub fn dynamodb_credentials(&self) -> Option<(&str, &str)> {
        self.dynamodb.credentials()
    }

    /// Returns the key that requests must carry, if the template requires one.
    #[must_use]
    pub fn api_key(&self) -> Option<&str> {
        self.api_key.as_deref()
    }

    /// Returns the name of the table.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Returns whether the table did not exist before.
    #[must_use]
    pub fn created_table(&self) -> bool {
        self.created_table
    }

    /// Invokes the function with this logical id directly, as Lambda's `Invoke` does, with any JSON
    /// as the event. Returns the function's response, which is JSON.
    ///
    /// # Errors
    /// Any variant of [`InvokeError`].
    ///
    /// # Panics
    /// If there is no such function.
    pub async fn invoke(&self, function: &str, event: String) -> Result<String, InvokeError> {
        let invocation = Invocation {
            event: event.into(),
            request_id: Uuid::new_v4().to_string(),
            trace_id: gateway::new_trace_id(),
        };
        let response = self.functions.invoke(function, invocation).await?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }

    /// Returns how many function processes have been started so far.
    #[must_use]
    pub fn processes_started(&self) -> usize {
        self.functions.started()
    }

    /// Stops the service: kills every function process, even a busy one, and closes the database.
    /// Returns when everything has stopped.
    pub async fn stop(self) {
        let Self {
            dynamodb,
            functions,
            mut server,
            stop,
            ..
        } = self;
        drop(stop);
        functions.stop().await;
        if timeout(STOP_TIMEOUT, &mut server).await.is_err() {
            server.abort();
        }
        dynamodb.stop().await;
    }
}
