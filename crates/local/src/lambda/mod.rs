//! Lambda: runs the functions' executables, and speaks the Runtime API to them.

mod processes;
mod runtime_api;

use std::sync::Arc;

pub use processes::InvokeError;
pub(crate) use processes::{PoolOptions, Processes};
pub use runtime_api::{Invocation, RuntimeApi};

/// Receives each line that a function prints, or that the service logs about it. The arguments are
/// the name of the function's executable, and the line.
pub type Logs = Arc<dyn Fn(&str, &str) + Send + Sync>;
