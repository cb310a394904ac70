//! What the functions return if DynamoDB fails, and which of its responses they trust. The
//! executables run behind the local service, with a scripted server as DynamoDB.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures::stream::{StreamExt, iter};
use lambda_http::http::Method;
use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, ScriptedServer, empty_table, one_item, operations};

use ScriptedResponse::{Error, Json, Partial, Raw, Reset, Silence, Stalled, Text};

/// How many services of a table of faults run at once. Most of the time, they wait.
const AT_ONCE: usize = 6;

const THROTTLED: &str = "ThrottlingException";

/// Asserts that each function returns this error while DynamoDB has this fault, and that the same
/// processes then serve the next requests.
async fn assert_each_function_returns(fault: ScriptedResponse, code: &str) {
    let takes_all_time = match fault {
        Error(400, _) => code == "ServiceUnavailable",
        Stalled | Silence => true,
        _ => false,
    };
    let dynamodb = ScriptedServer::always(fault).await;
    dynamodb.spare_waits();
    // A function responds a second before its timeout.
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(6)).await;
    for (operation, reply) in api.request_each("1").await {
        // A deletion that is throttled goes on while time is left.
        let is_patient = takes_all_time && operation.executable == "delete-all";
        reply.fails(if is_patient { "DeleteIncomplete" } else { code });
        for secret in ["user-profiles", "arn:", "scripted", "Exception", "DynamoDB"] {
            assert!(!reply.text.contains(secret), "{reply}");
        }
    }

    dynamodb.set_script(empty_table);
    for (operation, reply) in api.request_each("1").await {
        match operation.executable.as_str() {
            "get-all" => reply.is(&json!([])),
            "delete-all" => reply.is(&Value::Null),
            "post" | "put" => reply.is(&json!({"id": "1"})),
            _ => reply.fails("UserNotFound"),
        }
    }
    assert_eq!(api.processes_started(), operations().len());
}

#[tokio::test]
async fn each_fault_leads_to_its_error_and_ends_no_process() {
    let unavailable = [
        Error(400, THROTTLED),
        Error(400, "ProvisionedThroughputExceededException"),
        Error(400, "RequestLimitExceeded"),
        Error(500, "InternalServerError"),
        Text(503, "<h1>down</h1>"),
        Text(400, "<html>"),
        Text(200, "<html>"),
        Text(200, ""),
        Text(200, "[]"),
        Text(200, "{"),
        Json(
            200,
            json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}),
        ),
        Json(200, json!({"message": "Service Unavailable"})),
        Json(200, json!({"ConsumedCapacity": "none"})),
        Json(
            200,
            json!({"Output": {"__type": "InternalServerError"}, "Version": "1.0"}),
        ),
        Partial,
        Stalled,
        Silence,
        Reset,
    ];
    let internal = [
        Error(400, "AccessDeniedException"),
        Error(400, "ResourceNotFoundException"),
        Error(400, "ValidationException"),
        Error(400, "UnrecognizedClientException"),
    ];
    let unavailable = unavailable.map(|fault| (fault, "ServiceUnavailable"));
    let faults = unavailable
        .into_iter()
        .chain(internal.map(|fault| (fault, "InternalError")));
    iter(faults)
        .for_each_concurrent(AT_ONCE, |(fault, code)| {
            assert_each_function_returns(fault, code)
        })
        .await;
}

#[tokio::test]
async fn an_unreachable_dynamodb_leads_to_service_unavailable() {
    let (dynamodb, api) = Api::scripted(empty_table).await;
    api.request_each("1").await;
    drop(dynamodb);
    for _ in 0..2 {
        for (_, reply) in api.request_each("1").await {
            reply.fails("ServiceUnavailable");
        }
    }
}

/// Asserts what a request returns if DynamoDB sends these responses, of which the last one repeats:
/// this body, or an error with this code.
async fn assert_outcome(
    (method, path, body): (Method, &str, &str),
    responses: Vec<ScriptedResponse>,
    expected: Result<Value, &str>,
) {
    let mut next = responses.into_iter().peekable();
    let mut last = Silence;
    let script = move |_: &str, _: &Value| {
        last = next.next().unwrap_or_else(|| last.clone());
        last.clone()
    };
    let (dynamodb, api) = Api::scripted(script).await;
    dynamodb.spare_waits();
    let reply = api.send(method, path, body).await;
    match expected {
        Ok(body) => reply.is(&body),
        Err(code) => reply.fails(code),
    }
}

#[tokio::test]
async fn what_a_retry_finds_is_not_mistaken_for_the_truth() {
    let exists = |item: Value| {
        let code = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException";
        Json(400, json!({"__type": code, "Item": item}))
    };
    let one = || json!({"id": {"S": "1"}});
    let found = || Json(200, json!({"Item": one()}));
    let get = (Method::GET, "/users/1", "");
    let put = (Method::PUT, "/users/1", "{}");
    let post = (Method::POST, "/users", r#"{"id": "1"}"#);
    let delete = (Method::DELETE, "/users/1", "");
    let unavailable = || Err("ServiceUnavailable");
    let taken = || Err("UserAlreadyExists");
    let user = || Ok(json!({"id": "1"}));
    // Another user's, or the same with one bit changed.
    let damaged = r#"{"Item":{"id":{"S":"1"},"n":{"N":"8"}}}"#;
    let damaged = || with_checksum(damaged, crc32(&damaged.replace('8', "9")));
    let number = json!({"id": {"S": "1"}, "n": {"N": "1000000000000000000000000"}});
    let number = || exists(number.clone());
    let post_number = (Method::POST, "/users", r#"{"id": "1", "n": 1e24}"#);
    let stored: Value = serde_json::from_str(r#"{"id": "1", "n": 1e24}"#).expect("JSON");
    let conflict = |code| vec![Error(400, code), Error(400, code), Json(200, json!({}))];
    let throughput = "ProvisionedThroughputExceededException";
    let failed_condition = "ConditionalCheckFailedException";
    let rows = [
        (get.clone(), vec![Reset, found()], user()),
        (
            get.clone(),
            vec![Text(200, "{\"Item\":{\"id\":"), found()],
            user(),
        ),
        (get.clone(), vec![Text(200, "null"), found()], user()),
        (get.clone(), vec![Text(200, ""), found()], user()),
        (
            get.clone(),
            vec![Text(200, "{\"message\":\"down\"}"), found()],
            user(),
        ),
        (get, vec![damaged(), damaged(), found()], user()),
        (put.clone(), vec![Reset, Json(200, json!({}))], user()),
        (
            put.clone(),
            conflict("TransactionConflictException"),
            user(),
        ),
        (
            put.clone(),
            conflict("ReplicatedWriteConflictException"),
            user(),
        ),
        (put.clone(), conflict("InternalServerError"), user()),
        (put.clone(), vec![Reset, exists(one())], unavailable()),
        (put, vec![Error(500, failed_condition)], unavailable()),
        (post_number.clone(), vec![Reset, number()], Ok(stored)),
        (post_number.clone(), vec![Reset, exists(one())], taken()),
        (post_number, vec![number()], taken()),
        (
            post.clone(),
            vec![Error(400, THROTTLED), exists(one())],
            taken(),
        ),
        (
            post.clone(),
            vec![Error(400, throughput), exists(one())],
            taken(),
        ),
        (post, vec![Error(500, failed_condition)], unavailable()),
        (
            delete.clone(),
            vec![Error(400, "RequestTimeoutException"), Json(200, json!({}))],
            unavailable(),
        ),
        (
            delete.clone(),
            vec![Error(400, THROTTLED), Json(200, json!({}))],
            Err("UserNotFound"),
        ),
        (
            delete.clone(),
            vec![Error(500, THROTTLED), Json(200, json!({}))],
            unavailable(),
        ),
        (delete, vec![Reset, Json(200, json!({}))], unavailable()),
    ];
    iter(rows)
        .for_each_concurrent(AT_ONCE, |(request, responses, expected)| {
            assert_outcome(request, responses, expected)
        })
        .await;
}

/// Asserts that requests fail if DynamoDB always sends this JSON.
async fn assert_refused(body: Value, requests: &[(Method, &str)]) {
    let (dynamodb, api) = Api::always(Json(200, body)).await;
    dynamodb.spare_waits();
    for (method, path) in requests {
        api.send(method.clone(), path, "")
            .await
            .fails("ServiceUnavailable");
    }
}

#[tokio::test]
async fn an_item_or_a_list_that_was_not_requested_is_refused() {
    let lists = [
        (Method::GET, "/users"),
        (Method::GET, "/users?email=a@b"),
        (Method::GET, "/users?limit=1"),
        (Method::DELETE, "/users"),
    ];
    let all = [
        &lists[..],
        &[(Method::GET, "/users/1"), (Method::DELETE, "/users/1")],
    ]
    .concat();
    let items = [
        json!({}),
        json!({"id": {"S": "2"}, "n": {"N": "one"}}),
        json!({"id": {"S": "1"}, "n": {"N": "one"}}),
        json!({"id": {"N": "1"}}),
        json!({"a": {"S": "1"}}),
    ];
    let items = items.map(|item| json!({"Items": [item], "Item": item, "Attributes": item}));
    let bodies = [json!({}), json!({"Items": [], "Count": 5})];
    let rows = items.into_iter().map(|body| (body, &all[..]));
    iter(rows.chain(bodies.map(|body| (body, &lists[..]))))
        .for_each_concurrent(AT_ONCE, |(body, requests)| assert_refused(body, requests))
        .await;
    // A genuine item, but of another user.
    let other = json!({"id": {"S": "2"}, "email": {"S": "A@b"}});
    let other = json!({"Items": [other], "Item": other, "Attributes": other});
    let requests = [all[1].clone(), all[4].clone(), all[5].clone()];
    assert_refused(other, &requests).await;
}

#[tokio::test]
async fn unprocessed_deletes_that_nobody_requested_are_refused() {
    let stranger = json!({"DeleteRequest": {"Key": {"id": {"S": "other"}}}});
    let put = json!({"PutRequest": {"Item": {"id": {"S": "1"}}}});
    let own = json!({"DeleteRequest": {"Key": {"id": {"S": "1"}}}});
    for body in [
        json!({}),
        json!({"UnprocessedItems": {"another-table": [own]}}),
        json!({"UnprocessedItems": {"user-profiles": [stranger]}}),
        json!({"UnprocessedItems": {"user-profiles": [put]}}),
    ] {
        let script = move |operation: &str, _: &Value| match operation {
            "Scan" => Json(200, one_item("Scan", &json!({"id": {"S": "1"}}))),
            _ => Json(200, body.clone()),
        };
        let (dynamodb, api) = Api::scripted(script).await;
        dynamodb.spare_waits();
        api.delete("/users").await.fails("ServiceUnavailable");
    }
}

#[tokio::test]
async fn an_endless_list_ends_with_the_invocation() {
    // Each page continues after another key, and none contains users.
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    let dynamodb = ScriptedServer::start(move |_, _| {
        let id = counter.fetch_add(1, Relaxed).to_string();
        Json(
            200,
            json!({"Items": [], "LastEvaluatedKey": {"id": {"S": id}}}),
        )
    })
    .await;
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(4)).await;
    api.get("/users").await.fails("ServiceUnavailable");
    api.delete("/users").await.fails("DeleteIncomplete");
    assert!(requests.load(Relaxed) < 100, "{requests:?}");
}

#[tokio::test]
async fn a_page_that_continues_where_it_began_is_refused() {
    let same = json!({"Items": [{"id": {"S": "1"}}], "LastEvaluatedKey": {"id": {"S": "1"}}});
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    let script = move |operation: &str, _: &Value| {
        counter.fetch_add(1, Relaxed);
        match operation {
            "Scan" => Json(200, same.clone()),
            _ => Json(200, json!({"UnprocessedItems": {}})),
        }
    };
    let (_dynamodb, api) = Api::scripted(script).await;
    api.get("/users").await.fails("ServiceUnavailable");
    api.delete("/users").await.fails("DeleteIncomplete");
    assert!(requests.load(Relaxed) < 150, "{requests:?}");
}

#[tokio::test]
async fn a_member_that_dynamodb_adds_is_ignored() {
    for has_checksum in [false, true] {
        let script = move |operation: &str, _: &Value| {
            let mut response = one_item(operation, &json!({"id": {"S": "1"}}));
            response["NewMember"] = json!({"A": [1]});
            let body = response.to_string();
            if has_checksum {
                with_checksum(&body, crc32(&body))
            } else {
                Json(200, response)
            }
        };
        let (_dynamodb, api) = Api::scripted(script).await;
        for (_, reply) in api.request_each("1").await {
            reply.assert_ok();
        }
    }
}

/// Returns the response with this body and checksum; then the connection is closed.
fn with_checksum(body: &str, checksum: u32) -> ScriptedResponse {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n\
         x-amz-crc32: {checksum}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    Raw([head.as_bytes(), body.as_bytes()].concat())
}

/// Returns the CRC-32 of a text (ISO/IEC 8802-3, as in zip files), bit by bit.
fn crc32(text: &str) -> u32 {
    let divide = |crc: u32| (crc >> 1) ^ (if crc & 1 == 1 { 0xEDB8_8320 } else { 0 });
    let crc = text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| divide(crc))
    });
    !crc
}
