//! What is right: a model of the contract, a checker of concurrent histories, and exact JSON.

pub mod history;
pub mod json;
pub mod model;
