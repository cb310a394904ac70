//! The code that the suites share: a DynamoDB with a table for each test, events as API Gateway
//! builds them, servers that fail on demand, and responses.

mod api;
mod auth;
mod browser;
mod daemon;
mod event;
mod executables;
mod functions;
pub mod history;
mod memory;
mod process;
mod reply;
mod scripted;
mod table;
mod tcp_proxy;
mod tls_proxy;

pub use api::Api;
pub use browser::Browser;
pub use daemon::{Daemon, TRACE, trace_header};
pub use event::{Event, FUNCTIONS};
pub use executables::executables;
pub use functions::Functions;
pub use memory::peak_memory;
pub use process::Process;
pub use reply::Reply;
pub use scripted::{ScriptedResponse, ScriptedServer, empty_table, one_item};
pub use table::{TEMPLATE, Table, engine};
pub use tcp_proxy::{Death, TcpProxy};
pub use tls_proxy::TlsProxy;
