//! The layer between a socket and hyper. It observes each request's head before hyper parses it,
//! and how busy the connection is. It adds bodies to the errors that hyper itself returns.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The maximum number of header fields in a request. API Gateway limits only their bytes.
pub(crate) const MAX_FIELDS: usize = 1024;

/// Builds a response, head included, to replace one of hyper's that has no body.
pub(crate) type ProtocolError = Arc<dyn Fn(StatusCode) -> Vec<u8> + Send + Sync>;

/// What the head of a request shows before it is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The size of the request line and header fields, in bytes.
    pub(crate) size: usize,
    /// Whether both `Content-Length` and `Transfer-Encoding` delimit the body. Two readers could
    /// disagree about where it ends (<https://www.rfc-editor.org/rfc/rfc9112#section-6.3>).
    pub(crate) ambiguous: bool,
    /// Whether the body's length is unknown in advance.
    pub(crate) chunked: bool,
}

/// The state that a connection shares with its server.
pub(crate) struct Connection {
    opened: Instant,
    /// When it last transferred bytes, in milliseconds since `opened`.
    active: AtomicU64,
    /// Whether a request is in progress.
    busy: AtomicBool,
    /// Whether the peer disconnected and left sent data unread.
    reset: AtomicBool,
    /// The heads of the requests that were read but not yet served.
    heads: Mutex<VecDeque<Head>>,
    /// Notified when the connection must make room for others.
    pub(crate) close: Notify,
    /// A second handle to the socket, to query its state.
    socket: Option<std::net::TcpStream>,
}

impl Connection {
    pub(crate) fn new(socket: Option<std::net::TcpStream>) -> Self {
        Self {
            opened: Instant::now(),
            active: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            heads: Mutex::default(),
            close: Notify::new(),
            socket,
        }
    }

    /// Marks the connection as busy until the guard is dropped.
    pub(crate) fn work(self: &Arc<Self>) -> Busy {
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
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.active()))
    }

    /// Returns when the connection last transferred a byte.
    pub(crate) fn last_active(&self) -> Instant {
        self.opened + Duration::from_millis(self.active())
    }

    /// Removes and returns what is known about the next request's head.
    pub(crate) fn next_head(&self) -> Head {
        self.heads().pop_front().unwrap_or_default()
    }

    /// Returns whether the peer has closed the connection, and so will read nothing more.
    pub(crate) fn is_closed(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| match socket.peek(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        })
    }

    /// Returns whether the peer left sent data unread, and so reset the connection instead of
    /// closing it.
    pub(crate) fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Relaxed)
            || self.socket.as_ref().is_some_and(|socket| !matches!(socket.take_error(), Ok(None)))
    }

    fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active.store(now, Ordering::Relaxed);
    }

    fn heads(&self) -> MutexGuard<'_, VecDeque<Head>> {
        self.heads.lock().expect("nothing panics while it holds this lock")
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
    framing: Framing,
    errors: Option<ProtocolError>,
    /// The response to send instead of hyper's own error.
    replacement: Vec<u8>,
    sent: usize,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        errors: Option<ProtocolError>,
    ) -> Self {
        let framing = Framing::Head(Vec::new());
        Self { stream, connection, framing, errors, replacement: Vec::new(), sent: 0 }
    }

    /// Sends the replacement of hyper's own error.
    fn poll_replacement(&mut self, context: &mut Context) -> Poll<io::Result<()>> {
        while let Some(rest) = self.replacement.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        Poll::Ready(Ok(()))
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &result {
            Poll::Ready(Ok(_)) => self.connection.touch(),
            Poll::Ready(Err(_)) => self.connection.reset.store(true, Ordering::Relaxed),
            Poll::Pending => {}
        }
        result
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
        let this = &mut *self;
        let read = buffer.filled().get(before..).unwrap_or_default();
        this.framing.read(read, &mut this.connection.heads());
        self.note(result)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(context))?;
        if let Some(errors) = &self.errors
            && let Some(status) = own_error(bytes)
        {
            self.replacement = errors(status);
            self.sent = 0;
            // The rest follows when hyper flushes.
            let _ = self.poll_replacement(context)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(result)
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
#[derive(Debug)]
enum Framing {
    /// Within a head, of which these bytes have been read.
    Head(Vec<u8>),
    /// Within a body, of which this many bytes are left.
    Body(u64),
    /// After a head without a length. hyper closes the connection after that request.
    Untracked,
}

impl Framing {
    /// Processes the bytes that were read, and adds each complete head to `heads`.
    fn read(&mut self, mut bytes: &[u8], heads: &mut VecDeque<Head>) {
        while !bytes.is_empty() {
            match self {
                Self::Untracked => return,
                Self::Body(left) => {
                    let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
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
                        known[start..].windows(mark.len()).any(|window| window == mark)
                    };
                    if !ends(b"\n\r\n") && !ends(b"\n\n") {
                        return;
                    }
                    let Some((head, length)) = parse(known) else {
                        *self = Self::Untracked;
                        return;
                    };
                    heads.push_back(head);
                    bytes = &bytes[head.size.saturating_sub(before)..];
                    *self = match length {
                        _ if head.chunked => Self::Untracked,
                        0 => Self::Head(Vec::new()),
                        length => Self::Body(length),
                    };
                }
            }
        }
    }
}

/// Returns the head at the start of `bytes` and the length of its body, unless the head is invalid.
/// hyper then rejects it too.
fn parse(bytes: &[u8]) -> Option<(Head, u64)> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(size) = request.parse(bytes).ok()? else { return None };
    let has =
        |name: &str| request.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
    let length = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"))
        .and_then(|field| str::from_utf8(field.value).ok()?.trim().parse().ok());
    let chunked = has("transfer-encoding");
    let ambiguous = chunked && has("content-length");
    Some((Head { size, ambiguous, chunked }, length.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(chunks: &[&[u8]]) -> Vec<Head> {
        let (mut framing, mut heads) = (Framing::Head(Vec::new()), VecDeque::new());
        for chunk in chunks {
            framing.read(chunk, &mut heads);
        }
        heads.into()
    }

    #[test]
    fn each_head_is_found_however_its_bytes_arrive() {
        let requests = b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nGET /GET / HTTP/1.1\r\n\r\n\
            POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let expected = [
            Head { size: 38, ambiguous: false, chunked: false },
            Head { size: 18, ambiguous: false, chunked: false },
            Head { size: 66, ambiguous: true, chunked: true },
        ];
        assert_eq!(heads(&[requests]), expected);
        let bytes: Vec<&[u8]> = requests.chunks(1).collect();
        assert_eq!(heads(&bytes), expected);
        let sevens: Vec<&[u8]> = requests.chunks(7).collect();
        assert_eq!(heads(&sevens), expected);
    }

    #[test]
    fn bytes_that_are_not_a_complete_head_are_not_found() {
        assert_eq!(heads(&[b"nonsense\r\n\r\n"]), []);
        assert_eq!(heads(&[b"GET / HTTP/1.1\r\n"]), []);
    }

    #[test]
    fn only_errors_that_hyper_built_are_recognised() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\
            date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        assert_eq!(own_error(own), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
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
