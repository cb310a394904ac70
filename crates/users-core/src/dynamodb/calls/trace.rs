//! Subsegments of X-Ray traces: one for each DynamoDB call in a sampled trace
//! (<https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html>).
//!
//! `xray-lite` cannot send a table name, and the OpenTelemetry crates for X-Ray add half a megabyte
//! to each function's zip.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Outcome, lock};

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
    /// Returns a tracer that sends to this address, for calls that use this table, if there is a
    /// socket for it.
    pub(crate) fn new(address: SocketAddr, region: Option<&str>, table: &str) -> Option<Arc<Self>> {
        let own = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(address).ok()?;
        socket.set_nonblocking(true).ok()?;
        Some(Arc::new(Self {
            socket,
            region: region.map(str::to_owned),
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
    sent: Mutex<Sent>,
}

/// What has been sent of a trace.
#[derive(Debug, Default)]
struct Sent {
    subsegments: u32,
    /// The calls without a subsegment of their own.
    rest: Option<Rest>,
}

/// The sums of calls without a subsegment.
#[derive(Debug)]
struct Rest {
    start: SystemTime,
    calls: u32,
    retries: u32,
    throttles: u32,
    units: f64,
    outcome: Outcome,
}

/// A DynamoDB call that has ended.
#[derive(Debug)]
pub(super) struct Subsegment<'a> {
    pub(super) operation: &'a str,
    pub(super) index: Option<&'a str>,
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    pub(super) retries: u32,
    /// How many attempts DynamoDB throttled.
    pub(super) throttles: u32,
    /// The capacity units that DynamoDB reported.
    pub(super) units: f64,
    /// The status of the last response, if there was one.
    pub(super) status: Option<u16>,
    /// DynamoDB's request id.
    pub(super) request_id: Option<&'a str>,
    pub(super) outcome: Outcome,
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
            sent: Mutex::default(),
        })
    }

    /// Sends the subsegment of a call. After [`MAX_SUBSEGMENTS`], only adds up the calls.
    pub(super) fn add(&self, call: &Subsegment<'_>) {
        let mut sent = lock(&self.sent);
        if sent.subsegments < MAX_SUBSEGMENTS {
            sent.subsegments += 1;
            return self.send(call, None);
        }
        let rest = sent.rest.get_or_insert(Rest {
            start: call.start,
            calls: 0,
            retries: 0,
            throttles: 0,
            units: 0.0,
            outcome: Outcome::Answered,
        });
        rest.start = rest.start.min(call.start);
        rest.calls += 1;
        rest.retries += call.retries;
        rest.throttles += call.throttles;
        rest.units += call.units;
        rest.outcome = rest.outcome.max(call.outcome);
    }

    /// Sends the subsegment that summarises the calls without one.
    pub(super) fn finish(&self) {
        let Some(rest) = lock(&self.sent).rest.take() else {
            return;
        };
        let summary = Subsegment {
            operation: "FurtherCalls",
            index: None,
            start: rest.start,
            end: SystemTime::now(),
            retries: rest.retries,
            throttles: rest.throttles,
            units: rest.units,
            status: None,
            request_id: None,
            outcome: rest.outcome,
        };
        self.send(&summary, Some(rest.calls));
    }

    /// Sends a subsegment, or drops it if it cannot be sent immediately.
    fn send(&self, call: &Subsegment<'_>, calls: Option<u32>) {
        let seconds = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64()
        };
        // X-Ray calls a 4xx an error and a 5xx a fault. Throttling is also an error.
        let is_client_error = call
            .status
            .is_some_and(|status| (400..500).contains(&status));
        let has_failed = call.outcome == Outcome::Failed;
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
                index_name: call.index,
                request_id: call.request_id,
                retries: call.retries,
                consumed_capacity: call.units,
            },
            http: Http {
                response: HttpResponse {
                    status: call.status,
                },
            },
            error: call.outcome == Outcome::Throttled || has_failed && is_client_error,
            throttle: call.throttles > 0,
            fault: has_failed && !is_client_error,
            metadata: calls.map(|calls| Metadata { calls }),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
struct Aws<'a> {
    operation: &'a str,
    region: Option<&'a str>,
    table_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index_name: Option<&'a str>,
    request_id: Option<&'a str>,
    retries: u32,
    consumed_capacity: f64,
}

/// What the summary of several calls says about them.
#[derive(Serialize)]
struct Metadata {
    calls: u32,
}

#[derive(Serialize)]
struct Http {
    response: HttpResponse,
}

#[derive(Serialize)]
struct HttpResponse {
    status: Option<u16>,
}
