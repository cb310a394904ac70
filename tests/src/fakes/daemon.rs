//! A stand-in for the X-Ray daemon, and a trace header.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::Value;

/// The id of the trace in [`trace_header`].
pub const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";

/// Returns the header of a trace, which is sampled or not.
pub fn trace_header(sampled: bool) -> String {
    format!(
        "Root={TRACE};Parent=53995c3f42cd8ad8;Sampled={}",
        u8::from(sampled)
    )
}

/// A daemon on a free port. It keeps the documents that are sent to it.
#[derive(Debug)]
pub struct Daemon {
    socket: UdpSocket,
    /// The value of `AWS_XRAY_DAEMON_ADDRESS`.
    pub address: String,
}

impl Daemon {
    /// Starts a daemon.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("an address").to_string();
        Self { socket, address }
    }

    /// Receives the next document.
    pub fn receive(&self) -> Value {
        self.document(Duration::from_secs(10)).expect("a datagram")
    }

    /// Receives the documents that have been sent so far.
    pub fn received(&self) -> Vec<Value> {
        std::iter::from_fn(|| self.document(Duration::from_millis(1))).collect()
    }

    fn document(&self, patience: Duration) -> Option<Value> {
        self.socket
            .set_read_timeout(Some(patience))
            .expect("a timeout");
        let mut datagram = vec![0; 65_536];
        let bytes = self.socket.recv(&mut datagram).ok()?;
        let text = str::from_utf8(&datagram[..bytes]).expect("UTF-8");
        let document = text
            .strip_prefix("{\"format\": \"json\", \"version\": 1}\n")
            .expect(text);
        Some(serde_json::from_str(document).expect("JSON"))
    }
}
