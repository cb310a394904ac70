//! The code that the functions of the User Profile API share: users, their table, the handlers, and
//! the startup of a process.

mod attempts;
mod calls;
mod client;
mod environment;
mod error;
mod fault;
pub mod handlers;
mod http;
mod key;
mod list;
mod log;
mod number;
mod parse;
mod proxy;
mod response;
mod runtime;
mod serve;
mod store;
mod trace;
mod user;

pub use client::{ConfigurationError, client};
pub use environment::{ENDPOINT_VARIABLE, ORIGIN_VARIABLE, TABLE_VARIABLE, endpoint_from_env};
pub use error::{Chain, Error};
pub use http::TrustError;
pub use key::{EMAIL, ID, Key};
pub use proxy::{Route, request};
pub use runtime::run;
pub use store::{EMAIL_INDEX, Store};
pub use user::User;
