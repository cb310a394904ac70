//! Why a service could not start.

use std::io;
use std::path::PathBuf;

/// Why a service could not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter of the template is unknown or malformed.
    #[error("{0}")]
    Parameter(String),
    /// A parameter of the template has a value that it cannot have.
    #[error("{name} cannot be '{value}': {problem}")]
    ParameterValue {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The template cannot be read, or lacks what the service needs.
    #[error("cannot use the template: {0}")]
    Template(String),
    /// A function's executable is missing.
    #[error(
        "the function {} is not built: run `make run`, or `cargo build --workspace --bins` first",
        executable.display()
    )]
    NotBuilt {
        /// Where it should be.
        executable: PathBuf,
    },
    /// Another program listens on the port.
    #[error("port {port} is in use: choose another with {variable}={}", port.wrapping_add(1))]
    PortInUse {
        /// The variable that sets the port.
        variable: &'static str,
        /// The port.
        port: u16,
    },
    /// The service cannot listen on the address for another reason.
    #[error("cannot listen on this address: {0}; choose another with HOST= or PORT=")]
    Listen(io::Error),
    /// Another local service uses the data file.
    #[error(
        "{} is in use by another local service: stop that one, or choose another file with \
         DATA=FILE",
        path.display()
    )]
    DataInUse {
        /// The data file.
        path: PathBuf,
    },
    /// The data file cannot be used.
    #[error(
        "cannot keep users in {}: {problem}; choose another file with DATA=FILE, or use MEMORY=1",
        path.display()
    )]
    Data {
        /// The data file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The DynamoDB at an endpoint cannot be used.
    #[error(
        "cannot use the DynamoDB at {endpoint}: {problem}; start it, or correct or unset \
         DYNAMO_ENDPOINT"
    )]
    DynamoDb {
        /// Its URL.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// Returns why no server can listen on a port that this variable sets.
    pub(crate) fn listen(error: io::Error, variable: &'static str, port: u16) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { variable, port },
            _ => Self::Listen(error),
        }
    }
}
