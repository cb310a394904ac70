//! Serves HTTP/1.1 on a listener, with limits on the number of connections and on their time.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use memchr::memmem;
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::io::InspectReader;

/// The maximum number of connections. Each uses a file descriptor. Further ones wait.
const MAX_CONNECTIONS: usize = 1000;

/// The maximum number of header fields in a request. API Gateway limits only their bytes.
const MAX_FIELDS: usize = 1024;

/// How many of a connection's last bytes are kept, which is more than hyper reads at once.
const MAX_RECENT: usize = 512 * 1024;

/// The address of a client. Each request carries it as an extension.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What a server accepts of its clients.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How long a connection may wait for its next request, whose head may take as long.
    pub(crate) idle: Duration,
    /// Whether a client that has closed its side still gets its response. Otherwise, its request is
    /// cancelled.
    pub(crate) half_close: bool,
}

/// Serves requests with `router` until `stop`'s sender is dropped and the requests in progress have
/// been served.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // Forgets the connections that have closed.
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
            _ = stop.changed() => break,
        };
        let (place, Ok((stream, peer))) = accepted else {
            // The client is already gone, or the process has run out of file descriptors.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            // An error ends only this connection.
            let _ = converse(stream, Peer(peer), router, limits, stop).await;
            drop(place);
        });
    }
    // Accepts no more connections.
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves the requests of one connection.
async fn converse(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> hyper::Result<()> {
    let _: io::Result<()> = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let recent = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&recent);
    let reader = InspectReader::new(reader, move |bytes| {
        let mut kept = kept
            .lock()
            .expect("nothing panics while it holds this lock");
        kept.extend_from_slice(bytes);
        let excess = kept.len().saturating_sub(MAX_RECENT);
        kept.drain(..excess);
    });
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let has_fragment = {
            let mut recent = recent
                .lock()
                .expect("nothing panics while it holds this lock");
            has_fragment(&request, &mut recent)
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move {
            if has_fragment {
                return Ok(StatusCode::BAD_REQUEST.into_response());
            }
            router.call(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle)
        .max_headers(MAX_FIELDS)
        .half_close(limits.half_close)
        .serve_connection(TokioIo::new(io::join(reader, writer)), service);
    tokio::pin!(connection);
    tokio::select! {
        result = &mut connection => return result,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

/// Returns whether a request's target has a fragment, which HTTP forbids, and which hyper cuts off:
/// `DELETE /users/1#2` would delete the user `1`. Looks for the request line in the `recent` bytes
/// of its connection, and forgets them up to there.
fn has_fragment<B>(request: &Request<B>, recent: &mut Vec<u8>) -> bool {
    let line = format!("{} {}", request.method(), request.uri());
    let found = memmem::find_iter(recent, &line).find_map(|start| {
        let end = start + line.len();
        let length = memmem::find(&recent[end..], b" HTTP/1.")?;
        let rest = &recent[end..end + length];
        let is_target = rest.is_empty() || rest.starts_with(b"#") && !rest.contains(&b' ');
        is_target.then_some((end, !rest.is_empty()))
    });
    let Some((end, has_fragment)) = found else {
        return false;
    };
    recent.drain(..end);
    has_fragment
}
