//! Which of DynamoDB's responses are trusted: by their checksum, and by what the operation needs.

use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, ScriptedServer, one_item};

/// Returns the response with this body and checksum; then the connection is closed.
fn with_checksum(body: &str, checksum: &str) -> ScriptedResponse {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\n\
         x-amz-crc32: {checksum}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    ScriptedResponse::Raw([head.as_bytes(), body.as_bytes()].concat())
}

/// Returns the response of a DynamoDB with one user, and a member of which nobody knows.
fn with_new_member(operation: &str) -> Value {
    let mut response = one_item(operation, &json!({"id": {"S": "1"}}));
    response["NewMember"] = json!({"A": [1]});
    response
}

async fn api(
    script: impl FnMut(&str, &Value) -> ScriptedResponse + Send + 'static,
) -> (ScriptedServer, Api) {
    let dynamodb = ScriptedServer::start(script).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    (dynamodb, api)
}

#[tokio::test]
async fn a_member_that_dynamodb_adds_is_ignored() {
    let (_dynamodb, api) =
        api(|operation, _| ScriptedResponse::Json(200, with_new_member(operation))).await;
    for (operation, reply) in api.request_each("1").await {
        assert_eq!(
            reply.status, 200,
            "{}: {}",
            operation.executable, reply.text
        );
    }
}

#[tokio::test]
async fn a_response_with_its_checksum_is_trusted() {
    let (_dynamodb, api) = api(|operation, _| {
        let body = with_new_member(operation).to_string();
        with_checksum(&body, &crc32(&body).to_string())
    })
    .await;
    for (operation, reply) in api.request_each("1").await {
        assert_eq!(
            reply.status, 200,
            "{}: {}",
            operation.executable, reply.text
        );
    }
}

#[tokio::test]
async fn a_response_with_another_checksum_is_requested_again() {
    let mut attempts = 0;
    let (_dynamodb, api) = api(move |_, _| {
        attempts += 1;
        if attempts % 3 == 0 {
            ScriptedResponse::Json(200, json!({"Item": {"id": {"S": "1"}}}))
        } else {
            // Another user's, or the same with one bit changed.
            let body = r#"{"Item":{"id":{"S":"1"},"n":{"N":"8"}}}"#;
            with_checksum(body, &crc32(&body.replace('8', "9")).to_string())
        }
    })
    .await;
    api.get("/users/1")
        .await
        .assert_is(200, &json!({"id": "1"}));
}

#[tokio::test]
async fn a_success_that_is_an_error_is_refused() {
    for body in [
        json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}),
        json!({"message": "Service Unavailable"}),
        json!({"Output": {"__type": "UnknownOperationException"}, "Version": "1.0"}),
    ] {
        let (_dynamodb, api) = api(move |_, _| ScriptedResponse::Json(200, body.clone())).await;
        for (_, reply) in api.request_each("1").await {
            reply.assert_error(503, "ServiceUnavailable");
        }
    }
}

#[tokio::test]
async fn a_conflict_or_a_server_error_is_retried() {
    for (status, code) in [
        (400, "TransactionConflictException"),
        (400, "ReplicatedWriteConflictException"),
        (400, "InternalServerError"),
    ] {
        let mut failures = 2;
        let (_dynamodb, api) = api(move |operation, _| {
            if failures > 0 {
                failures -= 1;
                return ScriptedResponse::Error(status, code);
            }
            ScriptedResponse::Json(200, one_item(operation, &json!({"id": {"S": "1"}})))
        })
        .await;
        let reply = api.put("/users/1", "{}").await;
        assert_eq!(reply.status, 200, "{code}: {}", reply.text);
    }
}

/// Returns the CRC-32 of a text (ISO/IEC 8802-3, as in zip files), bit by bit.
fn crc32(text: &str) -> u32 {
    let divide = |crc: u32| (crc >> 1) ^ (if crc & 1 == 1 { 0xEDB8_8320 } else { 0 });
    let crc = text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| divide(crc))
    });
    !crc
}
