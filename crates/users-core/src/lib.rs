//! The code that the functions of the User Profile API share, in four wings. Each uses only those
//! below it:
//!
//! - `process`: what happens once per process, and around each invocation.
//! - [`api`](handlers): from an event to a request, from a request to a response.
//! - `dynamodb`: the users' table, and how its server is called.
//! - `user`: a user, its rules and its mapping to JSON, without I/O.

mod api;
mod dynamodb;
mod error;
mod process;
mod user;

pub use api::{Part, Route, handlers, request};
pub use dynamodb::{ConfigurationError, EMAIL_INDEX, Store, TrustError};
pub use error::{Chain, Error};
pub use process::{ENDPOINT_VARIABLE, ORIGIN_VARIABLE, TABLE_VARIABLE, client, run};
pub use user::{EMAIL, ID, Key, User};
