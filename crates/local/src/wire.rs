//! The layer between a socket and hyper. It observes how busy the connection is. For the gateway,
//! it finds requests that delimit their bodies twice, and adds bodies to hyper's own errors.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use httparse::Status;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The maximum number of header fields in a request. API Gateway limits only their bytes.
pub(crate) const MAX_FIELDS: usize = 1024;

/// Builds a response, head included, to replace one of hyper's that has no body.
pub(crate) type ProtocolError = Arc<dyn Fn(StatusCode) -> Vec<u8> + Send + Sync>;

/// The state that a connection shares with its server. Each request carries this as an extension.
pub(crate) struct Connection {
    /// The address of the peer.
    pub(crate) peer: SocketAddr,
    opened: Instant,
    /// When it last transferred bytes, in milliseconds since `opened`.
    active: AtomicU64,
    /// Whether a request is in progress.
    busy: AtomicBool,
    /// Whether the peer disconnected and left sent data unread.
    reset: AtomicBool,
    /// Whether the last request that was read delimits its body in two ways.
    ambiguous: AtomicBool,
    /// Notified when the connection must make room for others.
    pub(crate) close: Notify,
    /// A second handle to the socket, if the server queries its state.
    socket: Option<std::net::TcpStream>,
}

impl Connection {
    pub(crate) fn new(peer: SocketAddr, socket: Option<std::net::TcpStream>) -> Self {
        Self {
            peer,
            opened: Instant::now(),
            active: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            ambiguous: AtomicBool::new(false),
            close: Notify::new(),
            socket,
        }
    }

    /// Marks the connection as busy until the guard is dropped.
    pub(crate) fn mark_busy(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Sets whether a request waits for the rest of its body. While it does, the connection is not
    /// busy.
    pub(crate) fn wait_for_body(&self, waits: bool) {
        self.busy.store(!waits, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Returns how long ago the connection last transferred a byte.
    pub(crate) fn idle(&self) -> Duration {
        self.opened
            .elapsed()
            .saturating_sub(Duration::from_millis(self.active()))
    }

    /// Returns when the connection last transferred a byte.
    pub(crate) fn last_active(&self) -> Instant {
        self.opened + Duration::from_millis(self.active())
    }

    /// Returns whether the connection's last request has both `Content-Length` and
    /// `Transfer-Encoding`. hyper removes the former. Two readers could disagree about where such a
    /// body ends (<https://www.rfc-editor.org/rfc/rfc9112#section-6.3>).
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.ambiguous.load(Ordering::Relaxed)
    }

    /// Returns whether the peer has closed the connection, and so will read nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.socket
            .as_ref()
            .is_some_and(|socket| match socket.peek(&mut [0]) {
                Ok(read) => read == 0,
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            })
    }

    /// Returns whether the peer left sent data unread, and so reset the connection instead of
    /// closing it.
    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
            || self
                .socket
                .as_ref()
                .is_some_and(|socket| !matches!(socket.take_error(), Ok(None)))
    }

    fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(now, Ordering::Relaxed);
    }
}

/// Keeps its connection marked as busy until dropped.
pub(crate) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// The socket that hyper reads from and writes to.
pub(crate) struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// The position in the requests, and what replaces hyper's own errors, if the server checks its
    /// clients' HTTP.
    checks: Option<(Framing, ProtocolError)>,
    /// What is left of a response that is sent instead of hyper's own error.
    replacement: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        errors: Option<ProtocolError>,
    ) -> Self {
        let checks = errors.map(|errors| (Framing::Head(Vec::new()), errors));
        Self {
            stream,
            connection,
            checks,
            replacement: Vec::new(),
        }
    }

    /// Sends the replacement of hyper's own error.
    fn poll_replacement(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.replacement))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replacement.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }

    fn record_activity<T>(&self, result: &Poll<io::Result<T>>) {
        match result {
            Poll::Ready(Ok(_)) => self.connection.touch(),
            Poll::Ready(Err(_)) => self.connection.reset.store(true, Ordering::Relaxed),
            Poll::Pending => {}
        }
    }
}

/// Returns the status of an error response, if hyper built it itself. Our own responses always have
/// a body or a content type, and JSON contains no such line breaks.
fn own_error(bytes: &[u8]) -> Option<StatusCode> {
    let head = str::from_utf8(bytes.strip_prefix(b"HTTP/1.1 4")?).ok()?;
    let is_own = head.ends_with("\r\n\r\n")
        && head.contains("content-length: 0\r\n")
        && !head.contains("content-type: ");
    let status = is_own.then(|| format!("4{}", head.get(..2).unwrap_or_default()))?;
    status.parse().ok()
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some((framing, _)) = &mut self.checks {
            framing.read(buffer.filled().get(before..).unwrap_or_default());
            if matches!(framing, Framing::End { ambiguous: true }) {
                self.connection.ambiguous.store(true, Ordering::Relaxed);
            }
        }
        self.record_activity(&result);
        result
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(context))?;
        if let Some((_, errors)) = &self.checks
            && let Some(status) = own_error(bytes)
        {
            self.replacement = errors(status);
            // The rest follows when hyper flushes.
            let _ = self.poll_replacement(context)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.record_activity(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The reader's position in the requests of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Framing {
    /// Within a head, of which these bytes have been read.
    Head(Vec<u8>),
    /// Within a body, of which this many bytes are left.
    Body(u64),
    /// After the head of the connection's last request: it is invalid, or has `Transfer-Encoding`,
    /// after which the gateway closes the connection.
    End {
        /// Whether the head has `Content-Length`, too.
        ambiguous: bool,
    },
}

impl Framing {
    /// Processes the bytes that were read.
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self {
                Self::End { .. } => return,
                Self::Body(left) => {
                    let length = bytes
                        .len()
                        .min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= length as u64;
                    bytes = &bytes[length..];
                    if *left == 0 {
                        *self = Self::Head(Vec::new());
                    }
                }
                Self::Head(known) => {
                    let before = known.len();
                    known.extend_from_slice(bytes);
                    // Searches only where new bytes may have completed the head, which may arrive
                    // byte by byte.
                    let start = before.saturating_sub(3);
                    let ends = |mark: &[u8]| {
                        known[start..]
                            .windows(mark.len())
                            .any(|window| window == mark)
                    };
                    if !ends(b"\n\r\n") && !ends(b"\n\n") {
                        return;
                    }
                    match parse(known) {
                        Ok(Status::Complete((size, next))) => {
                            bytes = &bytes[size.saturating_sub(before)..];
                            *self = next;
                        }
                        // Only empty lines, which may precede a head.
                        Ok(Status::Partial) => return,
                        // hyper rejects the request, too.
                        Err(_) => *self = Self::End { ambiguous: false },
                    }
                }
            }
        }
    }
}

/// Returns the size of the head at the start of `bytes`, and what follows it.
fn parse(bytes: &[u8]) -> httparse::Result<(usize, Framing)> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Status::Complete(size) = request.parse(bytes)? else {
        return Ok(Status::Partial);
    };
    let field = |name: &str| {
        request
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    };
    let length = field("content-length");
    let next = if field("transfer-encoding").is_some() {
        Framing::End {
            ambiguous: length.is_some(),
        }
    } else {
        let length = length.and_then(|field| str::from_utf8(field.value).ok()?.trim().parse().ok());
        Framing::Body(length.unwrap_or(0))
    };
    Ok(Status::Complete((size, next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ambiguous_request_is_found_however_its_bytes_arrive() {
        let ambiguous =
            "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunked = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let length = ambiguous.len();
        let as_body = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{ambiguous}");
        let incomplete = "GET / HTTP/1.1\r\n";
        for (requests, expected) in [
            (as_body.clone(), Framing::Head(Vec::new())),
            (
                format!("{as_body}{incomplete}"),
                Framing::Head(incomplete.into()),
            ),
            (
                as_body.replace(ambiguous, "GET"),
                Framing::Body(length as u64 - 3),
            ),
            (
                format!("{as_body}{incomplete}\r\n{ambiguous}0"),
                Framing::End { ambiguous: true },
            ),
            (
                format!("\r\n\r\n{ambiguous}"),
                Framing::End { ambiguous: true },
            ),
            (
                format!("{chunked}{ambiguous}"),
                Framing::End { ambiguous: false },
            ),
            (
                format!("nonsense\r\n\r\n{ambiguous}"),
                Framing::End { ambiguous: false },
            ),
        ] {
            for size in [1, 7, requests.len()] {
                let mut framing = Framing::Head(Vec::new());
                requests
                    .as_bytes()
                    .chunks(size)
                    .for_each(|bytes| framing.read(bytes));
                assert_eq!(framing, expected, "{requests} in pieces of {size} bytes");
            }
        }
    }

    #[test]
    fn only_errors_that_hyper_built_are_recognised() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\
            date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        assert_eq!(
            own_error(own),
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        );
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
                content-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 431",
        ] {
            assert_eq!(own_error(other), None);
        }
    }
}
