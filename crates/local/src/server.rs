//! Serves HTTP/1.1 on a listener, with limits on the number of connections and on their idle time.

use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::wire::{Connection, MAX_FIELDS, ProtocolError, Wire};

/// How often the server looks for idle connections.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Limits of a server.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The maximum number of connections. A further one replaces the one that has been idle
    /// longest, or waits while all are busy.
    pub(crate) connections: usize,
    /// How long a connection may stay idle, with no request in progress and no byte transferred.
    /// The head of a request may take as long to arrive.
    pub(crate) idle: Duration,
    /// Whether the server asks whether connections were closed or reset, for which each needs a
    /// second file descriptor.
    pub(crate) queries_sockets: bool,
}

/// Serves requests with `router` until `stop`'s sender is dropped and the requests in progress have
/// been served. `errors` builds the responses to invalid HTTP.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    errors: Option<ProtocolError>,
    mut stop: watch::Receiver<()>,
) {
    let connections = Arc::new(Connections {
        limit: limits.connections,
        ..Connections::default()
    });
    let mut tasks = JoinSet::new();
    loop {
        // Forgets the connections that have closed.
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // The client is already gone, or the process has run out of file descriptors.
            Err(error) => {
                if !is_clients_fault(&error) {
                    connections.evict();
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let socket = limits
            .queries_sockets
            .then(|| stream.as_fd().try_clone_to_owned());
        let socket = socket.and_then(Result::ok).map(Into::into);
        let connection = Arc::new(Connection::new(peer, socket));
        let open = tokio::select! {
            open = connections.admit(&connection) => open,
            _ = stop.changed() => break,
        };
        let wire = Wire::new(stream, Arc::clone(&connection), errors.clone());
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            run(wire, router, connection, limits.idle, stop).await;
            drop(open);
        });
    }
    // Accepts no more connections.
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Serves one connection until it is closed, idle for too long, or evicted.
async fn run(
    wire: Wire,
    router: Router,
    connection: Arc<Connection>,
    idle: Duration,
    mut stop: watch::Receiver<()>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let busy = connection.mark_busy();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Arc::clone(&connection));
        let response = router.call(request);
        async move {
            let response = response.await;
            drop(busy);
            response
        }
    });
    let mut http = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_headers(MAX_FIELDS)
            .serve_connection(TokioIo::new(wire), service)
    );
    let mut watch = interval(WATCH_INTERVAL);
    let mut stopping = false;
    loop {
        tokio::select! {
            _ = http.as_mut() => return,
            () = connection.close.notified() => return,
            _ = stop.changed(), if !stopping => {
                stopping = true;
                http.as_mut().graceful_shutdown();
            }
            _ = watch.tick() => {
                if !connection.is_busy() && connection.idle() >= idle {
                    return;
                }
            }
        }
    }
}

/// The open connections of a server.
#[derive(Default)]
struct Connections {
    limit: usize,
    open: Mutex<Vec<Arc<Connection>>>,
    closed: Notify,
}

impl Connections {
    fn open(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.open
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Waits until there is room for `connection`, which it takes until the result is dropped.
    /// Evicts an idle one if necessary.
    async fn admit(self: &Arc<Self>, connection: &Arc<Connection>) -> Open {
        loop {
            let closed = self.closed.notified();
            if self.open().len() < self.limit || self.evict() {
                self.open().push(Arc::clone(connection));
                return Open {
                    connections: Arc::clone(self),
                    connection: Arc::clone(connection),
                };
            }
            tokio::select! {
                () = closed => {}
                // A connection that was busy may be idle now.
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Closes the connection that has been idle longest, and returns whether there was one.
    fn evict(&self) -> bool {
        let mut open = self.open();
        let longest = open
            .iter()
            .enumerate()
            .filter(|(_, connection)| !connection.is_busy())
            .min_by_key(|(_, connection)| connection.last_active())
            .map(|(position, _)| position);
        let Some(position) = longest else {
            return false;
        };
        open.swap_remove(position).close.notify_one();
        true
    }
}

/// Makes room for another connection when dropped, however this one ends.
struct Open {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections
            .open()
            .retain(|other| !Arc::ptr_eq(other, &self.connection));
        self.connections.closed.notify_one();
    }
}

/// Returns the bytes of a response, to be sent without hyper.
pub(crate) fn raw(status: StatusCode, headers: &HeaderMap, body: &str) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        response.extend_from_slice(format!("{name}: ").as_bytes());
        response.extend_from_slice(value.as_bytes());
        response.extend_from_slice(b"\r\n");
    }
    let rest = format!(
        "content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    response.extend_from_slice(rest.as_bytes());
    response
}
