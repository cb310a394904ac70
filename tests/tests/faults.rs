//! What the functions return if DynamoDB fails. The same processes must then serve the next
//! requests. The executables run behind the local service, with a scripted server as DynamoDB.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, ScriptedServer, deleted_ids, empty_table, operations};

/// Asserts that each function returns this error while DynamoDB has this fault, and then recovers.
async fn assert_each_function_returns(fault: ScriptedResponse, status: u16, code: &str) {
    let is_throttling = matches!(fault, ScriptedResponse::Error(400, _)) && status == 503;
    let timeout = Duration::from_secs(if is_throttling { 8 } else { 28 });
    let dynamodb = ScriptedServer::always(fault).await;
    let api = Api::with_timeout(dynamodb.endpoint(), timeout).await;
    let start = Instant::now();
    for (operation, reply) in api.request_each("1").await {
        // A deletion goes on while time is left.
        let is_patient = is_throttling && operation.executable == "delete-all";
        reply.assert_error(status, if is_patient { "DeleteIncomplete" } else { code });
        for secret in ["user-profiles", "arn:", "scripted", "Exception", "DynamoDB"] {
            assert!(!reply.text.contains(secret), "{}", reply.text);
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(28),
        "{:?}",
        start.elapsed()
    );

    dynamodb.set_script(empty_table);
    for (operation, reply) in api.request_each("1").await {
        match operation.executable.as_str() {
            "get-all" => reply.assert_is(200, &json!([])),
            "delete-all" => reply.assert_is(200, &Value::Null),
            "post" | "put" => reply.assert_is(200, &json!({"id": "1"})),
            _ => reply.assert_error(400, "UserNotFound"),
        }
    }
    assert_eq!(api.processes_started(), operations().len());
}

#[tokio::test]
async fn throttling_leads_to_service_unavailable() {
    let codes = [
        "ThrottlingException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    ];
    join_all(codes.map(|code| {
        assert_each_function_returns(
            ScriptedResponse::Error(400, code),
            503,
            "ServiceUnavailable",
        )
    }))
    .await;
}

#[tokio::test]
async fn a_server_error_leads_to_service_unavailable() {
    assert_each_function_returns(
        ScriptedResponse::Error(500, "InternalServerError"),
        503,
        "ServiceUnavailable",
    )
    .await;
    assert_each_function_returns(
        ScriptedResponse::Text(503, "<h1>down</h1>"),
        503,
        "ServiceUnavailable",
    )
    .await;
}

#[tokio::test]
async fn garbage_leads_to_service_unavailable() {
    let garbage = ["<html>", "", "[]", "{", "42", "\u{0}"];
    join_all(garbage.map(|text| {
        assert_each_function_returns(ScriptedResponse::Text(200, text), 503, "ServiceUnavailable")
    }))
    .await;
    assert_each_function_returns(
        ScriptedResponse::Text(400, "<html>"),
        503,
        "ServiceUnavailable",
    )
    .await;
}

#[tokio::test]
async fn a_success_that_dynamodb_cannot_have_sent_is_refused() {
    let garbage = [
        json!({"__type": "com.amazonaws.dynamodb.v20120810#InternalServerError"}),
        json!({"message": "Service Unavailable"}),
        json!({"status": "ok"}),
        json!({"ConsumedCapacity": "none"}),
        json!({"Output": {"__type": "InternalServerError"}, "Version": "1.0"}),
    ];
    let each = garbage.map(|body| {
        assert_each_function_returns(ScriptedResponse::Json(200, body), 503, "ServiceUnavailable")
    });
    join_all(each).await;
}

#[tokio::test]
async fn an_item_that_was_not_requested_leads_to_service_unavailable() {
    let items = [
        json!({}),
        json!({"id": {"S": "2"}}),
        json!({"id": {"N": "1"}}),
        json!({"a": {"S": "1"}}),
    ];
    for item in items {
        let body = json!({"Items": [{}], "Item": item, "Attributes": item});
        let dynamodb = ScriptedServer::always(ScriptedResponse::Json(200, body)).await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        let replies = tokio::join!(
            api.get("/users"),
            api.get("/users?email=a@b"),
            api.get("/users/1"),
            api.delete("/users/1"),
            api.delete("/users"),
        );
        for reply in [replies.0, replies.1, replies.2, replies.3, replies.4] {
            reply.assert_error(503, "ServiceUnavailable");
        }
    }
}

#[tokio::test]
async fn a_list_without_items_or_with_another_count_is_refused() {
    for list in [json!({}), json!({"Items": [], "Count": 5})] {
        let dynamodb = ScriptedServer::always(ScriptedResponse::Json(200, list)).await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        for path in ["/users", "/users?email=a@b", "/users?limit=1"] {
            api.get(path).await.assert_error(503, "ServiceUnavailable");
        }
        api.delete("/users")
            .await
            .assert_error(503, "ServiceUnavailable");
    }
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
        let dynamodb = ScriptedServer::start(move |operation, _| match operation {
            "Scan" => ScriptedResponse::Json(200, json!({"Items": [{"id": {"S": "1"}}]})),
            _ => ScriptedResponse::Json(200, body.clone()),
        })
        .await;
        Api::on(dynamodb.endpoint(), "user-profiles")
            .await
            .delete("/users")
            .await
            .assert_error(503, "ServiceUnavailable");
    }
}

#[tokio::test]
async fn a_missing_or_incomplete_response_is_unavailable() {
    let faults = [
        ScriptedResponse::Partial,
        ScriptedResponse::Stalled,
        ScriptedResponse::Silence,
        ScriptedResponse::Reset,
    ];
    join_all(faults.map(|fault| assert_each_function_returns(fault, 503, "ServiceUnavailable")))
        .await;
}

#[tokio::test]
async fn an_error_that_the_service_itself_caused_is_an_internal_error() {
    let codes = [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ValidationException",
        "UnrecognizedClientException",
    ];
    join_all(codes.map(|code| {
        assert_each_function_returns(ScriptedResponse::Error(400, code), 500, "InternalError")
    }))
    .await;
}

#[tokio::test]
async fn an_unreachable_dynamodb_leads_to_service_unavailable() {
    let dynamodb = ScriptedServer::start(empty_table).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.request_each("1").await;
    drop(dynamodb);
    for _ in 0..2 {
        for (_, reply) in api.request_each("1").await {
            reply.assert_error(503, "ServiceUnavailable");
        }
    }
}

#[tokio::test]
async fn clients_do_not_notice_a_transient_fault() {
    let mut responses = 0;
    let dynamodb = ScriptedServer::start(move |operation, request| {
        responses += 1;
        if responses % 2 == 1 {
            ScriptedResponse::Reset
        } else {
            empty_table(operation, request)
        }
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.get("/users").await.assert_is(200, &json!([]));
    api.put("/users/1", "{}")
        .await
        .assert_is(200, &json!({"id": "1"}));
}

#[tokio::test]
async fn the_pages_of_a_list_are_read_on_one_connection() {
    let mut pages = 5;
    let dynamodb = ScriptedServer::start(move |_, _| {
        pages -= 1;
        let user = json!({"id": {"S": pages.to_string()}, "text": {"S": "x".repeat(300_000)}});
        let next = if pages > 0 {
            json!({"id": {"S": pages.to_string()}})
        } else {
            json!({})
        };
        ScriptedResponse::Json(200, json!({"Items": [user], "LastEvaluatedKey": next}))
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    let before = dynamodb.connections();
    assert_eq!(
        api.get("/users").await.json().as_array().map(Vec::len),
        Some(5)
    );
    assert_eq!(dynamodb.connections() - before, 1);
}

#[tokio::test]
async fn an_item_that_is_garbage_leads_to_service_unavailable() {
    let garbage = json!({"id": {"S": "1"}, "n": {"N": "one"}});
    let items = json!({"Items": [garbage], "Item": garbage, "Attributes": garbage});
    let dynamodb = ScriptedServer::always(ScriptedResponse::Json(200, items)).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    for reply in [
        api.get("/users").await,
        api.get("/users/1").await,
        api.delete("/users/1").await,
    ] {
        reply.assert_error(503, "ServiceUnavailable");
    }
}

/// Returns the script of a DynamoDB that stores a user and resets the connection before it
/// responds.
fn stores_without_response(stored: Value) -> impl FnMut(&str, &Value) -> ScriptedResponse + Send {
    let mut attempts = 0;
    move |_, _| {
        attempts += 1;
        let failed = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "Item": stored,
        });
        if attempts == 1 {
            ScriptedResponse::Reset
        } else {
            ScriptedResponse::Json(400, failed)
        }
    }
}

#[tokio::test]
async fn a_user_stored_by_an_unanswered_attempt_counts_as_created() {
    let user = r#"{"id":"1","n":1e24}"#;
    let dynamodb = ScriptedServer::start(stores_without_response(
        json!({"id": {"S": "1"}, "n": {"N": "1000000000000000000000000"}}),
    ))
    .await;
    Api::on(dynamodb.endpoint(), "user-profiles")
        .await
        .post("/users", user)
        .await
        .assert_is(200, &serde_json::from_str(user).expect("JSON"));
}

#[tokio::test]
async fn a_user_that_existed_before_the_attempts_is_not_claimed() {
    let ada = json!({"id": {"S": "1"}});
    let not_applied = [
        ScriptedResponse::Error(400, "ThrottlingException"),
        ScriptedResponse::Error(400, "ProvisionedThroughputExceededException"),
    ];
    for fault in not_applied {
        let mut first = Some(fault);
        let failed = json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
            "Item": ada,
        });
        let dynamodb = ScriptedServer::start(move |_, _| {
            first
                .take()
                .unwrap_or_else(|| ScriptedResponse::Json(400, failed.clone()))
        })
        .await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        api.post("/users", r#"{"id": "1"}"#)
            .await
            .assert_error(400, "UserAlreadyExists");
    }
}

#[tokio::test]
async fn clients_do_not_notice_transient_garbage() {
    for garbage in [
        "{\"Item\":{\"id\":",
        "null",
        "[]",
        "",
        "{\"message\":\"down\"}",
    ] {
        let mut first = Some(ScriptedResponse::Text(200, garbage));
        let dynamodb = ScriptedServer::start(move |_, _| {
            let item = json!({"Item": {"id": {"S": "1"}}});
            first
                .take()
                .unwrap_or_else(|| ScriptedResponse::Json(200, item.clone()))
        })
        .await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        api.get("/users/1")
            .await
            .assert_is(200, &json!({"id": "1"}));
    }
}

#[tokio::test]
async fn a_timeout_that_dynamodb_reports_leaves_the_outcome_unknown() {
    let mut first = Some(ScriptedResponse::Error(400, "RequestTimeoutException"));
    let dynamodb = ScriptedServer::start(move |_, _| {
        first
            .take()
            .unwrap_or_else(|| ScriptedResponse::Json(200, json!({})))
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.delete("/users/1")
        .await
        .assert_error(503, "ServiceUnavailable");
    api.delete("/users/1")
        .await
        .assert_error(400, "UserNotFound");
}

#[tokio::test]
async fn a_failed_condition_in_a_server_error_does_not_count() {
    let dynamodb = ScriptedServer::start(|_, _| {
        ScriptedResponse::Error(500, "ConditionalCheckFailedException")
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.post("/users", r#"{"id": "1"}"#)
        .await
        .assert_error(503, "ServiceUnavailable");
    api.put("/users/1", "{}")
        .await
        .assert_error(503, "ServiceUnavailable");
}

#[tokio::test]
async fn a_user_stored_by_another_client_meanwhile_exists_already() {
    let dynamodb = ScriptedServer::start(stores_without_response(json!({"id": {"S": "1"}}))).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.post("/users", r#"{"id": "1", "n": 0.5}"#)
        .await
        .assert_error(400, "UserAlreadyExists");
}

#[tokio::test]
async fn users_that_a_batch_leaves_unprocessed_are_deleted_later() {
    // Three users are unprocessed twice, so few of the waits follow one another.
    let mut left: BTreeSet<String> = (0..60).map(|i| i.to_string()).collect();
    let mut refusals = 6;
    let is_empty = Arc::new(AtomicBool::new(false));
    let deleted = Arc::clone(&is_empty);
    let dynamodb = ScriptedServer::start(move |operation, request| {
        if operation == "Scan" {
            let is_first = matches!(request["Segment"].as_u64(), None | Some(0));
            let ids = left.iter().filter(|_| is_first);
            let items: Vec<_> = ids.map(|id| json!({"id": {"S": id}})).collect();
            return ScriptedResponse::Json(200, json!({"Items": items}));
        }
        let mut unprocessed = Vec::new();
        for id in deleted_ids(request) {
            if refusals > 0 && ["7", "8", "9"].contains(&id) {
                refusals -= 1;
                unprocessed.push(json!({"DeleteRequest": {"Key": {"id": {"S": id}}}}));
            } else {
                left.remove(id);
            }
        }
        deleted.store(left.is_empty(), Relaxed);
        let tables = if unprocessed.is_empty() {
            json!({})
        } else {
            json!({"user-profiles": unprocessed})
        };
        ScriptedResponse::Json(200, json!({"UnprocessedItems": tables}))
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.delete("/users").await.assert_is(200, &Value::Null);
    assert!(is_empty.load(Relaxed));
}

#[tokio::test]
async fn deleting_all_stops_in_time_and_says_how_many_it_deleted() {
    let dynamodb = ScriptedServer::start(|operation, request| {
        if operation == "Scan" {
            let ids = if matches!(request["Segment"].as_u64(), None | Some(0)) {
                0..30
            } else {
                0..0
            };
            let items: Vec<_> = ids.map(|i| json!({"id": {"S": i.to_string()}})).collect();
            return ScriptedResponse::Json(200, json!({"Items": items}));
        }
        // One user cannot be deleted.
        let stuck = json!({"DeleteRequest": {"Key": {"id": {"S": "7"}}}});
        let unprocessed = if deleted_ids(request).contains(&"7") {
            json!({"user-profiles": [stuck]})
        } else {
            json!({})
        };
        ScriptedResponse::Json(200, json!({"UnprocessedItems": unprocessed}))
    })
    .await;
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(5)).await;
    let reply = api.delete("/users").await;
    reply.assert_error(503, "DeleteIncomplete");
    assert!(reply.message().contains("29 users"), "{}", reply.message());
}

#[tokio::test]
async fn an_endless_list_ends_with_the_invocation() {
    // Each page continues after another key, and none contains users.
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    let dynamodb = ScriptedServer::start(move |_, _| {
        let id = counter.fetch_add(1, Relaxed).to_string();
        ScriptedResponse::Json(
            200,
            json!({"Items": [], "LastEvaluatedKey": {"id": {"S": id}}}),
        )
    })
    .await;
    let api = Api::with_timeout(dynamodb.endpoint(), Duration::from_secs(4)).await;
    api.get("/users")
        .await
        .assert_error(503, "ServiceUnavailable");
    api.delete("/users")
        .await
        .assert_error(503, "DeleteIncomplete");
    assert!(requests.load(Relaxed) < 100, "{requests:?}");
}

#[tokio::test]
async fn a_page_that_continues_where_it_began_is_refused() {
    let same = json!({"Items": [{"id": {"S": "1"}}], "LastEvaluatedKey": {"id": {"S": "1"}}});
    let dynamodb = ScriptedServer::start(move |operation, _| match operation {
        "Scan" => ScriptedResponse::Json(200, same.clone()),
        _ => ScriptedResponse::Json(200, json!({"UnprocessedItems": {}})),
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    api.get("/users")
        .await
        .assert_error(503, "ServiceUnavailable");
    api.delete("/users")
        .await
        .assert_error(503, "DeleteIncomplete");
}
