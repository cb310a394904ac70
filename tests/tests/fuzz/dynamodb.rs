//! DynamoDB responses with changes at any byte, at any path of their JSON and in their headers.

use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tests::{Api, Event, ScriptedResponse, ScriptedServer, one_item, operations};
use tokio::runtime::Runtime;

use crate::changes::{ByteChange, Change, byte_change, change, change_byte, changed};
use crate::meter::Meter;
use crate::{assert_first_processes, cases, fuzz, invoke};

/// The number of services for each function. Most cases spend their time waiting for a retry.
const SERVICES: usize = 6;

/// How the responses to the calls of one invocation differ from genuine ones.
#[derive(Clone, Debug)]
struct Case {
    status: u16,
    changes: Vec<(Index, Change)>,
    byte_changes: Vec<(Index, ByteChange)>,
    /// Headers to send instead of the usual ones.
    headers: Option<Headers>,
    /// How many responses are still to be changed. All later ones are genuine.
    left: u32,
    /// Whether no response has been sent yet.
    is_first: bool,
}

#[derive(Clone, Debug)]
struct Headers {
    lines: [&'static str; 2],
    length: Length,
}

#[derive(Clone, Debug)]
enum Length {
    OffBy(i64),
    Text(&'static str),
    Chunked,
    Missing,
}

impl Case {
    /// Returns the next response.
    fn respond(&mut self, operation: &str, request: &Value) -> ScriptedResponse {
        let genuine = genuine(operation, request, self.is_first);
        self.is_first = false;
        if self.left == 0 {
            return ScriptedResponse::Json(200, genuine);
        }
        self.left -= 1;
        let mut body = changed(genuine, &self.changes).into_bytes();
        for (place, change) in &self.byte_changes {
            change_byte(&mut body, *place, change);
        }
        let Some(Headers { lines, length }) = &self.headers else {
            return ScriptedResponse::Bytes(self.status, body);
        };
        let length = match length {
            Length::OffBy(bytes) => {
                let length = i64::try_from(body.len()).unwrap_or_default() + bytes;
                format!("Content-Length: {length}\r\n")
            }
            Length::Text(text) => format!("Content-Length: {text}\r\n"),
            Length::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Length::Missing => String::new(),
        };
        let head = format!(
            "HTTP/1.1 {} Scripted\r\n{}{length}\r\n",
            self.status,
            lines.concat()
        );
        ScriptedResponse::Raw([head.into_bytes(), body].concat())
    }
}

/// Generates the headers of a response.
fn headers() -> impl Strategy<Value = Headers> {
    let types = [
        "Content-Type: application/x-amz-json-1.0\r\n",
        "Content-Type: text/html\r\n",
        "Content-Type: ä\r\n",
        "",
    ];
    let others = [
        "x-amz-crc32: 0\r\n",
        "x-amz-crc32: x\r\n",
        "Content-Encoding: gzip\r\n",
        ": \r\n",
        "",
    ];
    let length = prop_oneof![
        3 => Just(Length::OffBy(0)),
        2 => (-20..20_i64).prop_map(Length::OffBy),
        1 => select(&["", "-1", "1e1", "18446744073709551616", "0\r\nContent-Length: 1"][..])
            .prop_map(Length::Text),
        1 => Just(Length::Chunked),
        1 => Just(Length::Missing),
    ];
    (select(types.to_vec()), select(others.to_vec()), length).prop_map(|(kind, other, length)| {
        Headers {
            lines: [kind, other],
            length,
        }
    })
}

fn case() -> impl Strategy<Value = Case> {
    let status = prop_oneof![6 => Just(200_u16), 1 => Just(400), 1 => Just(500), 1 => 200_u16..600];
    // Each changed response that is not accepted as genuine costs a second or two.
    let left = prop_oneof![3 => Just(1), 1 => Just(u32::MAX)];
    let headers = option::weighted(0.2, headers());
    (
        status,
        vec(change(), 0..3),
        vec(byte_change(), 0..3),
        headers,
        left,
    )
        .prop_map(|(status, changes, byte_changes, headers, left)| Case {
            status,
            changes,
            byte_changes,
            headers,
            left,
            is_first: true,
        })
}

/// Returns the genuine response of a DynamoDB server with a user on each of two pages.
fn genuine(operation: &str, request: &Value, is_first: bool) -> Value {
    let item = json!({"id": {"S": "1"}, "email": {"S": "a@b"}, "n": {"N": "1.5"}, "l": {"L": [
        {"M": {"b": {"BOOL": true}, "x": {"NULL": true}, "s": {"SS": ["a"]}, "bin": {"B": "AAE="}}}
    ]}});
    let mut response = one_item(operation, &item);
    match operation {
        "Scan" | "Query" if request["ExclusiveStartKey"].is_null() => {
            response["LastEvaluatedKey"] = json!({"id": {"S": "1"}, "email": {"S": "a@b"}});
        }
        "BatchWriteItem" if is_first => {
            let delete = json!({"DeleteRequest": {"Key": {"id": {"S": "1"}}}});
            response["UnprocessedItems"] = json!({"user-profiles": [delete]});
        }
        "PutItem" => {
            let consumed = json!({"TableName": "user-profiles", "CapacityUnits": 1.0});
            response["ConsumedCapacity"] = consumed;
        }
        _ => {}
    }
    response
}

/// A service, its DynamoDB, and how that DynamoDB responds.
struct Fixture {
    case: Arc<Mutex<Option<Case>>>,
    dynamodb: ScriptedServer,
    api: Api,
}

impl Fixture {
    async fn start() -> Self {
        let case = Arc::new(Mutex::new(None::<Case>));
        let script = Arc::clone(&case);
        let dynamodb = ScriptedServer::start(move |operation, request| {
            match script.lock().expect("no script panics").as_mut() {
                Some(case) => case.respond(operation, request),
                None => ScriptedResponse::Json(200, genuine(operation, request, false)),
            }
        })
        .await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        Self {
            case,
            dynamodb,
            api,
        }
    }
}

#[test]
fn a_changed_dynamodb_response_leads_to_an_allowed_response() {
    let runtime = Runtime::new().expect("a runtime");
    let functions = operations()
        .iter()
        .cycle()
        .take(SERVICES * operations().len());
    let fixtures: Vec<_> = functions
        .map(|operation| (operation, runtime.block_on(Fixture::start())))
        .collect();
    let workers = fixtures.iter().map(|(operation, fixture)| {
        let endpoint = fixture.dynamodb.endpoint();
        (
            (*operation, fixture),
            Meter::start(&runtime, &fixture.api, [*operation], endpoint),
        )
    });
    let strategy = || (any::<bool>(), case());
    fuzz(
        "DynamoDB responses",
        cases(10),
        workers.collect(),
        strategy,
        |worker, case, meter| {
            let ((operation, fixture), (by_email, case)) = (*worker, case);
            *fixture.case.lock().expect("no script panics") = Some(case);
            let mut event = Event::new(&operation.method, &operation.path)
                .id("1")
                .body("{}");
            if operation.executable == "get-all" && by_email {
                event = event.query("email", "a@b");
            }
            invoke(
                &runtime,
                &fixture.api,
                &operation.function,
                &event.json().to_string(),
            )?;
            meter.finish_case()
        },
    );
    for (_, fixture) in &fixtures {
        assert_first_processes(&fixture.api, 1);
    }
}
