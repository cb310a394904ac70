//! What the suites share: a DynamoDB with a table for each test, events as API Gateway makes them, and what is answered.

mod api;
mod auth;
mod browser;
mod event;
mod executables;
mod memory;
mod reply;
mod scripted;
mod table;
mod tcp_proxy;

pub use api::Api;
pub use browser::Browser;
pub use event::Event;
pub use executables::executables;
pub use memory::peak_memory;
pub use reply::Reply;
pub use scripted::{Answer, Scripted, empty_table};
pub use table::{TEMPLATE, Table, engine};
pub use tcp_proxy::{Death, TcpProxy};
