//! Subsegments of X-Ray traces: one for each DynamoDB call in a sampled trace
//! (<https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html>).
//!
//! `xray-lite` cannot send a table name, and the OpenTelemetry crates for X-Ray add half a megabyte
//! to each function's zip.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::environment::{DAEMON_VARIABLE, variable};

/// The header that precedes the document in each datagram
/// (<https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon>).
const HEADER: &str = "{\"format\": \"json\", \"version\": 1}\n";

/// How many calls of one invocation get a subsegment each. One more subsegment summarises the rest.
const MAX_SUBSEGMENTS: u32 = 100;

/// The sender of the subsegments of a process.
#[derive(Debug)]
pub(crate) struct Tracer {
    socket: UdpSocket,
    region: Option<String>,
    table: String,
}

impl Tracer {
    /// Returns a tracer for calls that use this table, if the environment has a valid address to
    /// send subsegments to.
    pub(crate) fn from_env(table: &str) -> Option<Arc<Self>> {
        let address: SocketAddr = variable(DAEMON_VARIABLE)?.trim().parse().ok()?;
        let own = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(address).ok()?;
        socket.set_nonblocking(true).ok()?;
        let region = variable("AWS_REGION");
        Some(Arc::new(Self {
            socket,
            region,
            table: table.to_owned(),
        }))
    }
}

/// Returns the trace id in an invocation's trace header.
pub(crate) fn trace_id(header: &str) -> Option<&str> {
    part(header, "Root=")
}

fn part<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header
        .split(';')
        .find_map(|part| part.trim().strip_prefix(name))
}

/// The trace of an invocation.
#[derive(Debug)]
pub(crate) struct Trace {
    tracer: Arc<Tracer>,
    id: String,
    /// The id of the function's segment, which Lambda sends.
    parent: String,
    calls: AtomicU32,
    /// Whether a call failed that has no subsegment.
    failed: AtomicBool,
    start: SystemTime,
}

/// A DynamoDB call that has ended.
#[derive(Debug)]
pub(crate) struct Subsegment<'a> {
    pub(crate) operation: &'a str,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) retries: u32,
    /// The status of the last response, if there was one.
    pub(crate) status: Option<u16>,
    /// DynamoDB's request id.
    pub(crate) request_id: Option<&'a str>,
    pub(crate) failed: bool,
    pub(crate) throttled: bool,
}

impl Trace {
    /// Returns the trace that an invocation's trace header names, if it is sampled. An example of a
    /// header is `Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`.
    pub(crate) fn new(tracer: &Arc<Tracer>, header: &str) -> Option<Self> {
        if part(header, "Sampled=") != Some("1") {
            return None;
        }
        Some(Self {
            tracer: Arc::clone(tracer),
            id: trace_id(header)?.to_owned(),
            parent: part(header, "Parent=")?.to_owned(),
            calls: AtomicU32::new(0),
            failed: AtomicBool::new(false),
            start: SystemTime::now(),
        })
    }

    /// Sends the subsegment of a call. After [`MAX_SUBSEGMENTS`], only counts the call.
    pub(crate) fn add(&self, call: &Subsegment<'_>) {
        if self.calls.fetch_add(1, Relaxed) < MAX_SUBSEGMENTS {
            self.send(call);
        } else if call.failed {
            self.failed.store(true, Relaxed);
        }
    }

    /// Sends the subsegment that summarises the calls without one.
    pub(crate) fn finish(&self) {
        let count = self.calls.load(Relaxed).saturating_sub(MAX_SUBSEGMENTS);
        if count > 0 {
            self.send(&Subsegment {
                operation: &format!("{count} more calls"),
                start: self.start,
                end: SystemTime::now(),
                retries: 0,
                status: None,
                request_id: None,
                failed: self.failed.load(Relaxed),
                throttled: false,
            });
        }
    }

    /// Sends a subsegment, or drops it if it cannot be sent immediately.
    fn send(&self, call: &Subsegment<'_>) {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64()
        };
        // X-Ray calls a 4xx an error and a 5xx a fault. Throttling is also an error.
        let is_client_error = call
            .status
            .is_some_and(|status| (400..500).contains(&status));
        let document = Document {
            name: "DynamoDB",
            id: format!("{:016x}", fastrand::u64(1..)),
            trace_id: &self.id,
            parent_id: &self.parent,
            kind: "subsegment",
            namespace: "aws",
            start_time: seconds(call.start),
            end_time: seconds(call.end),
            aws: Aws {
                operation: call.operation,
                region: self.tracer.region.as_deref(),
                table_name: &self.tracer.table,
                request_id: call.request_id,
                retries: call.retries,
            },
            http: Http {
                response: HttpResponse {
                    status: call.status,
                },
            },
            error: call.failed && is_client_error,
            throttle: call.throttled,
            fault: call.failed && !is_client_error,
        };
        let mut datagram = HEADER.as_bytes().to_vec();
        if serde_json::to_writer(&mut datagram, &document).is_ok() {
            let _ = self.tracer.socket.send(&datagram);
        }
    }
}

/// The document of a subsegment.
#[derive(Serialize)]
struct Document<'a> {
    name: &'a str,
    id: String,
    trace_id: &'a str,
    parent_id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    namespace: &'a str,
    start_time: f64,
    end_time: f64,
    aws: Aws<'a>,
    http: Http,
    error: bool,
    throttle: bool,
    fault: bool,
}

#[derive(Serialize)]
struct Aws<'a> {
    operation: &'a str,
    region: Option<&'a str>,
    table_name: &'a str,
    request_id: Option<&'a str>,
    retries: u32,
}

#[derive(Serialize)]
struct Http {
    response: HttpResponse,
}

#[derive(Serialize)]
struct HttpResponse {
    status: Option<u16>,
}
