//! HTTP/1.1 for all servers of this process: limits on connections, and what no browser may send.

pub(crate) mod guard;
mod server;

use std::time::Duration;

pub(crate) use server::{Limits, Peer, serve};

/// How long busy connections may delay stopping the service.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(1);
