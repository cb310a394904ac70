//! The users' DynamoDB table: what is sent to it, and how its server is called.

mod calls;
mod client;
mod connections;
mod delete_all;
mod error;
mod http;
mod memory;
mod pages;
mod store;
mod tls;

pub(crate) use calls::{Calls, Totals, Trace, Tracer, trace_id};
pub use client::ConfigurationError;
pub(crate) use client::Settings;
pub use store::{EMAIL_INDEX, Store};
pub use tls::TrustError;
