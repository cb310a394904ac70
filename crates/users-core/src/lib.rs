//! What the six functions of the User Profile API share: users, their table, the handlers, and what happens once per
//! process.

mod client;
mod error;
mod function;
pub mod handlers;
mod https;
mod list;
mod number;
mod response;
mod store;
mod user;

pub use client::{ConfigurationError, ENDPOINT_VARIABLE, client, endpoint_from_env};
pub use error::{Chain, Error};
pub use function::{ORIGIN_VARIABLE, TABLE_VARIABLE, run};
pub use store::{EMAIL_INDEX, Pages, Store};
pub use user::{EMAIL, ID, MAX_KEY_BYTES, User};
