//! The rules around a call to DynamoDB: how often and how long it is tried, what its errors mean,
//! and what becomes of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use tests::{Api, ScriptedResponse, ScriptedServer, one_item};

use ScriptedResponse::{Error, Json, Late, Silence, Stalled, Text};

/// Starts an API on a server that always responds in this way. Returns them with the number of the
/// server's responses.
async fn counting(response: ScriptedResponse) -> (ScriptedServer, Api, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let script = move |_: &str, _: &_| {
        counter.fetch_add(1, Relaxed);
        response.clone()
    };
    let (server, api) = Api::scripted(script).await;
    (server, api, count)
}

#[tokio::test]
async fn each_call_has_three_attempts_whatever_came_before() {
    let (dynamodb, api, attempts) = counting(Error(400, "ThrottlingException")).await;
    dynamodb.spare_waits();
    // The SDK's own quota of retries would end after 50 invocations.
    for invocation in 1..=60 {
        api.get("/users/1").await.fails("ServiceUnavailable");
        assert_eq!(attempts.load(Relaxed), 3 * invocation);
    }
}

#[tokio::test]
async fn an_attempt_without_a_response_ends_in_time() {
    // The attempt on the connection that was opened before waits 2 s for a response to begin. Each
    // other attempt takes 6 s, and the waits between them up to 1 s and 2 s. A call takes 20 s.
    let faults = [(Silence, 14.0..20.0), (Stalled, 18.0..20.8)];
    join_all(faults.map(async |(fault, expected)| {
        let (_dynamodb, api, attempts) = counting(fault.clone()).await;
        let start = Instant::now();
        api.get("/users/1").await.fails("ServiceUnavailable");
        let elapsed = start.elapsed().as_secs_f64();
        assert_eq!(attempts.load(Relaxed), 3, "{fault:?}");
        assert!(expected.contains(&elapsed), "{fault:?}: {elapsed}");
    }))
    .await;
}

#[tokio::test]
async fn a_slow_response_on_a_new_connection_is_awaited() {
    let item = one_item("GetItem", &json!({"id": {"S": "1"}})).to_string();
    let (_dynamodb, api, attempts) = counting(Late(Duration::from_secs(4), item.into())).await;
    api.get("/users/1").await.is(&json!({"id": "1"}));
    // The first attempt is on the connection that was opened before.
    assert_eq!(attempts.load(Relaxed), 2);
}

#[tokio::test]
async fn a_function_responds_a_second_before_its_deadline() {
    let dynamodb = ScriptedServer::always(Silence).await;
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(3)).await;
    join_all(["/users/1", "/users"].map(async |path| {
        let start = Instant::now();
        api.get(path).await.fails("ServiceUnavailable");
        let elapsed = start.elapsed().as_secs_f64();
        assert!((1.5..2.8).contains(&elapsed), "{path}: {elapsed}");
    }))
    .await;
    assert_eq!(api.processes_started(), 2);
}

#[tokio::test]
async fn only_an_error_of_the_server_costs_its_connection() {
    for (response, code, connections) in [
        (
            Error(400, "ConditionalCheckFailedException"),
            "UserNotFound",
            0,
        ),
        (Error(400, "AccessDeniedException"), "InternalError", 0),
        (Error(500, "InternalServerError"), "ServiceUnavailable", 3),
    ] {
        let (dynamodb, api, _) = counting(response).await;
        api.put("/users/1", "{}").await.fails(code);
        let before = dynamodb.connections();
        api.put("/users/1", "{}").await.fails(code);
        assert_eq!(dynamodb.connections() - before, connections, "{code}");
    }
}

#[tokio::test]
async fn each_error_of_dynamodb_has_a_meaning() {
    let too_large = json!({
        "__type": "com.amazon.coral.validate#ValidationException",
        "message": "Item size has exceeded the maximum allowed size",
    });
    let rows = [
        (Json(400, too_large), "InvalidUser"),
        (Text(429, ""), "ServiceUnavailable"),
        (Error(429, "SomethingNewException"), "ServiceUnavailable"),
        (Error(400, "LimitExceededException"), "ServiceUnavailable"),
        (
            Error(400, "TransactionConflictException"),
            "ServiceUnavailable",
        ),
        (
            Error(400, "ReplicatedWriteConflictException"),
            "ServiceUnavailable",
        ),
        (Error(400, "InternalServerError"), "ServiceUnavailable"),
        (Error(400, "SomethingNewException"), "InternalError"),
    ];
    join_all(rows.map(async |(response, code)| {
        let (dynamodb, api, _) = counting(response).await;
        dynamodb.spare_waits();
        let created = api.post("/users", r#"{"id": "1"}"#);
        let (created, replaced) = tokio::join!(created, api.put("/users/1", "{}"));
        created.fails(code);
        replaced.fails(code);
    }))
    .await;
}
