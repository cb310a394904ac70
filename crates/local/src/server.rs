//! Serves HTTP/1.1 on a listener, with limits on the number of connections and on their idle time.

use std::io;
use std::net::SocketAddr;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::wire::{Connection, MAX_FIELDS, ProtocolError, Wire};

/// How long the head of a request may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the server looks for idle connections.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Limits of a server.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The maximum number of connections. A further one replaces the one that has been idle
    /// longest, or waits while all are busy.
    pub(crate) connections: usize,
    /// How long a connection may stay idle, with no request in progress and no byte transferred.
    pub(crate) idle: Duration,
}

/// Who sent a request, and on which connection. Each request carries this as an extension.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) connection: Arc<Connection>,
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
    let room = Arc::new(Room { limit: limits.connections, ..Room::default() });
    let mut connections = JoinSet::new();
    loop {
        // Forgets the connections that have closed.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            // The client is already gone, or the process has run out of file descriptors.
            Err(error) => {
                if !is_clients_fault(&error) {
                    room.evict();
                    sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
        };
        let Some((stream, socket)) = prepare(stream) else { continue };
        let connection = Arc::new(Connection::new(socket));
        tokio::select! {
            () = room.admit(&connection) => {}
            _ = stop.changed() => break,
        }
        let peer = Peer { address, connection: Arc::clone(&connection) };
        let wire = Wire::new(stream, connection, errors.clone());
        let (router, room, stop) = (router.clone(), Arc::clone(&room), stop.clone());
        connections.spawn(async move {
            let leaving = Leaving { room, connection: Arc::clone(&peer.connection) };
            run(wire, router, peer, limits.idle, stop).await;
            drop(leaving);
        });
    }
    // Accepts no more connections.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Returns the stream, and a second handle to its socket.
fn prepare(stream: TcpStream) -> Option<(TcpStream, Option<std::net::TcpStream>)> {
    let _ = stream.set_nodelay(true);
    let stream = stream.into_std().ok()?;
    let socket = stream.try_clone().ok();
    Some((TcpStream::from_std(stream).ok()?, socket))
}

/// Serves one connection until it is closed, idle for too long, or evicted.
async fn run(
    wire: Wire,
    router: Router,
    peer: Peer,
    idle: Duration,
    mut stop: watch::Receiver<()>,
) {
    let connection = Arc::clone(&peer.connection);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = peer.connection.work();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
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
            .header_read_timeout(HEAD_TIMEOUT.max(idle))
            .max_headers(MAX_FIELDS)
            .serve_connection(TokioIo::new(wire), service)
    );
    let mut watch = interval(WATCH_INTERVAL.min(idle));
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

/// The connections of a server.
#[derive(Default)]
struct Room {
    limit: usize,
    connections: Mutex<Vec<Arc<Connection>>>,
    freed: Notify,
}

impl Room {
    fn connections(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().expect("nothing panics while it holds this lock")
    }

    /// Waits until there is room for `connection`. Evicts an idle one if necessary.
    async fn admit(&self, connection: &Arc<Connection>) {
        loop {
            let freed = self.freed.notified();
            if self.connections().len() < self.limit || self.evict() {
                self.connections().push(Arc::clone(connection));
                return;
            }
            tokio::select! {
                () = freed => {}
                // A connection that was busy may be idle now.
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Closes the connection that has been idle longest, and returns whether there was one.
    fn evict(&self) -> bool {
        let mut connections = self.connections();
        let longest = connections
            .iter()
            .enumerate()
            .filter(|(_, connection)| !connection.is_busy())
            .min_by_key(|(_, connection)| connection.last_active())
            .map(|(position, _)| position);
        let Some(position) = longest else { return false };
        connections.swap_remove(position).close.notify_one();
        true
    }

    fn leave(&self, connection: &Arc<Connection>) {
        self.connections().retain(|other| !Arc::ptr_eq(other, connection));
        self.freed.notify_one();
    }
}

/// Makes room when dropped, however its connection ends.
struct Leaving {
    room: Arc<Room>,
    connection: Arc<Connection>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.room.leave(&self.connection);
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
    let rest = format!("content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    response.extend_from_slice(rest.as_bytes());
    response
}
