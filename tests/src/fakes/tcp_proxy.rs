//! A TCP proxy in front of an engine, which loses connections and responses as networks do.
//!
//! It does not know where a response ends. It counts what it reads from the engine at once, up to
//! 64 kB, which is a whole response unless that is large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Server;

/// How late a request is that a proxy delays. A function gives up an attempt after two seconds on a
/// reused connection, or else after six.
const DELAY: Duration = Duration::from_secs(7);

/// How connections behave once they are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The next packet causes a reset.
    Reset,
    /// Packets vanish, and nothing ever comes back.
    Silence,
}

/// A proxy on a free port. Dropping it stops it.
pub struct TcpProxy {
    url: String,
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    upstream: String,
    /// How many of the next reads are lost.
    reads_to_lose: AtomicUsize,
    /// One in this many reads of responses to first attempts is lost; 0 means none.
    lose_every: AtomicUsize,
    reads: AtomicUsize,
    lost: AtomicUsize,
    /// One in this many first attempts is delayed; 0 means none.
    delay_every: AtomicUsize,
    requests: AtomicUsize,
    delayed: AtomicUsize,
    /// How many connections have died, the oldest first, and how.
    dead: watch::Sender<(usize, Death)>,
}

impl TcpProxy {
    /// Starts a proxy to the server at this URL.
    pub async fn start(upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            reads_to_lose: AtomicUsize::new(0),
            lose_every: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            delay_every: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            delayed: AtomicUsize::new(0),
            dead: watch::Sender::new((0, Death::Reset)),
        });
        let forwarded = Arc::clone(&shared);
        let server = Server::start(move |client, number| {
            let shared = Arc::clone(&forwarded);
            async move { forward(client, number, &shared).await }
        })
        .await;
        Self {
            url: server.url(),
            shared,
            server,
        }
    }

    /// Returns the URL of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how many connections were opened.
    pub fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Kills every connection that is open. Later ones are not affected.
    pub fn kill_connections(&self, death: Death) {
        self.shared.dead.send_replace((self.connections(), death));
    }

    /// Loses this many of the next reads: the server processes the request, but the client sees a
    /// reset.
    pub fn lose_responses(&self, count: usize) {
        self.shared.reads_to_lose.store(count, Relaxed);
    }

    /// From now on, loses one in this many reads in the same way, but none of a response to a retry:
    /// no operation loses two responses.
    pub fn lose_every(&self, count: usize) {
        self.shared.lose_every.store(count, Relaxed);
    }

    /// From now on, delivers one in this many first attempts late, when the client has given up.
    pub fn delay_every(&self, count: usize) {
        self.shared.delay_every.store(count, Relaxed);
    }

    /// Returns how many requests were delayed.
    pub fn delayed(&self) -> usize {
        self.shared.delayed.load(Relaxed)
    }

    /// Returns how many reads were lost.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Relaxed)
    }
}

impl Shared {
    fn delays_request(&self) -> bool {
        let number = self.requests.fetch_add(1, Relaxed) + 1;
        let every = self.delay_every.load(Relaxed);
        let delays = every > 0 && number.is_multiple_of(every);
        self.delayed.fetch_add(usize::from(delays), Relaxed);
        delays
    }

    fn loses_read(&self, is_first_attempt: bool) -> bool {
        let number = self.reads.fetch_add(usize::from(is_first_attempt), Relaxed) + 1;
        let every = self.lose_every.load(Relaxed);
        let lose = |left: usize| left.checked_sub(1);
        let loses = every > 0 && is_first_attempt && number.is_multiple_of(every)
            || self
                .reads_to_lose
                .fetch_update(Relaxed, Relaxed, lose)
                .is_ok();
        self.lost.fetch_add(usize::from(loses), Relaxed);
        loses
    }
}

async fn forward(mut client: TcpStream, number: usize, shared: &Shared) -> Option<()> {
    let mut server = TcpStream::connect(&shared.upstream).await.ok()?;
    let mut dead = shared.dead.subscribe();
    let (mut request, mut response) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_first_attempt = false;
    loop {
        tokio::select! {
            biased;
            death = async {
                dead.wait_for(|(count, _)| number < *count).await.map(|dead| dead.1)
            } => {
                let death = death.ok()?;
                drop(server);
                // As if the peer had restarted, a reset comes only when the client sends something.
                while client.read(&mut request).await.ok()? > 0 && death == Death::Silence {}
                client.set_zero_linger().ok()?;
                return None;
            }
            read = client.read(&mut request) => {
                let bytes = read.ok().filter(|bytes| *bytes > 0)?;
                // The SDK numbers attempts in a header: `amz-sdk-request: attempt=1; max=3`.
                if request.starts_with(b"POST ") {
                    is_first_attempt = request[..bytes].windows(10).any(|text| text == b"attempt=1;");
                    if is_first_attempt && shared.delays_request() {
                        sleep(DELAY).await;
                    }
                }
                server.write_all(&request[..bytes]).await.ok()?;
            }
            read = server.read(&mut response) => {
                let bytes = read.ok().filter(|bytes| *bytes > 0)?;
                if shared.loses_read(is_first_attempt) {
                    client.set_zero_linger().ok()?;
                    return None;
                }
                client.write_all(&response[..bytes]).await.ok()?;
            }
        }
    }
}
