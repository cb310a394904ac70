//! From an event to a request, and from a request to a response.

mod cors;
mod event;
pub mod handlers;
mod list;
mod members;
mod refusal;
mod response;
mod route;

pub(crate) use cors::AllowedOrigins;
pub(crate) use event::Event;
pub use event::request;
pub(crate) use response::to_api_gateway;
pub use route::{Part, Route};
