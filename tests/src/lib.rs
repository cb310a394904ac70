//! The code that the suites share: a DynamoDB with a table for each test, events as API Gateway
//! builds them, servers that fail on demand, responses, and a model of the contract.

mod api;
mod auth;
mod browser;
mod daemon;
mod event;
mod executables;
pub mod history;
pub mod json;
mod logged_api;
pub mod model;
mod operation;
mod process;
mod reply;
pub mod repository;
mod scripted;
mod table;
mod tcp_proxy;
mod tls_proxy;

pub use api::{Api, percent_encoded};
pub use browser::Browser;
pub use daemon::{Daemon, TRACE, trace_header};
pub use event::Event;
pub use executables::executables;
pub use logged_api::LoggedApi;
pub use operation::{Operation, operations};
pub use process::Process;
pub use reply::Reply;
pub use repository::{template, template_with_variables};
pub use scripted::{ScriptedResponse, ScriptedServer, empty_table, one_item};
pub use table::{Table, engine};
pub use tcp_proxy::{Death, TcpProxy};
pub use tls_proxy::TlsProxy;

/// The file of generated cases that failed, which Proptest tries first next time. It belongs in the
/// repository. By default, Proptest reads it from a different directory than it writes it to.
pub const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions.txt");
