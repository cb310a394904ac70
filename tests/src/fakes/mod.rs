//! Servers that stand in for others, and fail as real ones do.

mod daemon;
mod scripted_server;
mod tcp_proxy;
mod tls_proxy;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use daemon::{Daemon, TRACE, trace_header};
pub use scripted_server::{ScriptedResponse, ScriptedServer, deleted_ids, empty_table, one_item};
pub use tcp_proxy::{Death, TcpProxy};
pub use tls_proxy::TlsProxy;

/// A server on a free port of this machine. Dropping it closes its connections.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that handles each connection with this function, which gets the number of
    /// connections before.
    async fn start<F: Future + Send + 'static>(
        handle: impl Fn(TcpStream, usize) -> F + Send + 'static,
    ) -> Self
    where
        F::Output: Send,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(handle(stream, count.fetch_add(1, Relaxed)));
            }
        });
        Self {
            port,
            connections,
            task,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
