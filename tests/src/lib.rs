//! The code that the suites share: a DynamoDB server with a table for each test, events as API
//! Gateway builds them, servers that fail on demand, responses, and a model of the contract.
#![allow(
    clippy::return_self_not_must_use,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a helper of a test panics where an assertion would fail"
)]

mod api;
mod auth;
mod browser;
mod cases;
mod client;
mod event;
mod executables;
mod fakes;
mod operation;
pub mod oracle;
mod process;
mod reply;
pub mod repository;
pub mod specification;
mod table;

pub use api::Api;
pub use browser::Browser;
pub use cases::cases;
pub use client::{Client, percent_encoded, without_uuids};
pub use event::Event;
pub use executables::executables;
pub use fakes::{
    Daemon, Death, ScriptedResponse, ScriptedServer, TRACE, TcpProxy, TlsProxy, deleted_ids,
    empty_table, one_item, trace_header,
};
pub use operation::{Operation, operations};
pub use process::{Process, assert_small};
pub use reply::Reply;
pub use repository::{template, template_with_variables};
pub use table::{Table, engine};
