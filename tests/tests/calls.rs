//! The rules around a call to DynamoDB: how often and how long it is tried, what its errors mean,
//! and what becomes of its connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use tests::{Api, ScriptedResponse, ScriptedServer};

/// Starts a server that always responds in this way. Returns it with the number of its responses.
async fn counting(response: ScriptedResponse) -> (ScriptedServer, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let server = ScriptedServer::start(move |_, _| {
        counter.fetch_add(1, Relaxed);
        response.clone()
    });
    (server.await, count)
}

#[tokio::test]
async fn each_call_has_three_attempts_whatever_came_before() {
    // The header spares the SDK's waits. Its own quota of retries would end after 50 invocations.
    let body = r#"{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"}"#;
    let response = format!(
        "HTTP/1.1 400 Bad Request\r\nx-amz-retry-after: 1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (dynamodb, attempts) = counting(ScriptedResponse::Raw(response.into())).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    for invocation in 1..=60 {
        let reply = api.get("/users/1").await;
        reply.assert_error(503, "ServiceUnavailable");
        assert_eq!(attempts.load(Relaxed), 3 * invocation);
    }
}

#[tokio::test]
async fn an_attempt_without_a_response_ends_in_time() {
    let (dynamodb, attempts) = counting(ScriptedResponse::Silence).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    let start = Instant::now();
    let reply = api.get("/users/1").await;
    reply.assert_error(503, "ServiceUnavailable");
    let elapsed = start.elapsed().as_secs_f64();
    // The attempt on the connection that was opened before takes 2 s, and each other 6 s. The two
    // waits between them take up to 1 s and 2 s.
    assert_eq!(attempts.load(Relaxed), 3);
    assert!((14.0..20.0).contains(&elapsed), "{elapsed}");
}

#[tokio::test]
async fn a_function_responds_a_second_before_its_deadline() {
    let (dynamodb, _) = counting(ScriptedResponse::Silence).await;
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(3)).await;
    for path in ["/users/1", "/users"] {
        let start = Instant::now();
        let reply = api.get(path).await;
        reply.assert_error(503, "ServiceUnavailable");
        let elapsed = start.elapsed().as_secs_f64();
        assert!((1.5..2.8).contains(&elapsed), "{path}: {elapsed}");
    }
    assert_eq!(api.processes_started(), 2);
}

#[tokio::test]
async fn a_connection_is_kept_after_an_error_of_the_request() {
    let condition = ScriptedResponse::Error(400, "ConditionalCheckFailedException");
    let (dynamodb, _) = counting(condition).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.put("/users/1", "{}").await;
    let before = dynamodb.connections();
    for _ in 0..3 {
        let reply = api.put("/users/1", "{}").await;
        reply.assert_error(400, "UserNotFound");
    }
    assert_eq!(dynamodb.connections(), before);
}

#[tokio::test]
async fn a_connection_is_dropped_after_an_error_of_the_server() {
    let (dynamodb, _) = counting(ScriptedResponse::Error(500, "InternalServerError")).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.get("/users/1").await;
    let before = dynamodb.connections();
    api.get("/users/1").await;
    assert_eq!(dynamodb.connections() - before, 3);
}

#[tokio::test]
async fn each_error_of_dynamodb_has_a_meaning() {
    let too_large = json!({
        "__type": "com.amazon.coral.validate#ValidationException",
        "message": "Item size has exceeded the maximum allowed size",
    });
    for (response, status, code) in [
        (ScriptedResponse::Json(400, too_large), 400, "InvalidUser"),
        (ScriptedResponse::Text(429, ""), 503, "ServiceUnavailable"),
        (
            ScriptedResponse::Error(400, "LimitExceededException"),
            503,
            "ServiceUnavailable",
        ),
        (
            ScriptedResponse::Error(400, "TransactionConflictException"),
            503,
            "ServiceUnavailable",
        ),
        (
            ScriptedResponse::Error(400, "SomethingNewException"),
            500,
            "InternalError",
        ),
    ] {
        let (dynamodb, _) = counting(response).await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        for reply in [
            api.post("/users", r#"{"id": "1"}"#).await,
            api.put("/users/1", "{}").await,
        ] {
            reply.assert_error(status, code);
        }
    }
}
