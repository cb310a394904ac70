//! What the functions answer when DynamoDB fails, and that the same processes answer the next requests. The six
//! executables run behind the local service, with a scripted server in the place of DynamoDB.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use futures::future::join_all;
use local::{Database, Options, Template};
use serde_json::{Value, json};
use tests::{Answer, Api, Reply, Scripted, TEMPLATE, empty_table, executables};

/// The API on this server, with one process for each function, so that the one that met a fault is asked next.
async fn api(dynamodb: &Scripted, change: impl FnOnce(&mut Template)) -> Api {
    let mut template = Template::read(Path::new(TEMPLATE)).expect("the template");
    change(&mut template);
    let database = Database::Endpoint(dynamodb.endpoint().to_owned());
    Api::start(Options {
        database,
        instances: 1,
        ..Options::new(template, executables().to_owned())
    })
    .await
}

/// One request to each function, all at once.
async fn ask_each_function(api: &Api) -> [Reply; 6] {
    let replies = tokio::join!(
        api.get("/users"),
        api.post("/users", "{}"),
        api.delete("/users"),
        api.get("/users/1"),
        api.put("/users/1", "{}"),
        api.delete("/users/1"),
    );
    replies.into()
}

/// Asserts what each function answers while DynamoDB answers so, and that its process goes on.
async fn each_function_answers(fault: Answer, status: u16, code: &str) {
    let dynamodb = Scripted::start(move |_, _| fault.clone()).await;
    let api = api(&dynamodb, |_| {}).await;
    let start = Instant::now();
    for reply in ask_each_function(&api).await {
        reply.is_error(status, code);
        for secret in ["user-profiles", "arn:", "scripted", "Exception", "DynamoDB"] {
            assert!(!reply.text.contains(secret), "{}", reply.text);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(28), "{:?}", start.elapsed());

    dynamodb.now(empty_table);
    let [list, post, delete_all, get, put, delete] = ask_each_function(&api).await;
    list.is(200, &json!([]));
    assert_eq!(post.status, 200);
    delete_all.is(200, &Value::Null);
    get.is_error(400, "UserNotFound");
    put.is(200, &json!({"id": "1"}));
    delete.is_error(400, "UserNotFound");
    assert_eq!(dynamodb.processes(), 6);
}

#[tokio::test]
async fn throttling_is_unavailability() {
    let codes =
        ["ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded"];
    join_all(
        codes
            .map(|code| each_function_answers(Answer::Error(400, code), 503, "ServiceUnavailable")),
    )
    .await;
}

#[tokio::test]
async fn a_server_error_is_unavailability() {
    each_function_answers(Answer::Error(500, "InternalServerError"), 503, "ServiceUnavailable")
        .await;
    each_function_answers(Answer::Text(503, "<h1>down</h1>"), 503, "ServiceUnavailable").await;
}

#[tokio::test]
async fn rubbish_is_unavailability() {
    let rubbish = ["<html>", "", "[]", "{", "42", "\u{0}"];
    join_all(
        rubbish
            .map(|text| each_function_answers(Answer::Text(200, text), 503, "ServiceUnavailable")),
    )
    .await;
    each_function_answers(Answer::Text(400, "<html>"), 503, "ServiceUnavailable").await;
}

#[tokio::test]
async fn an_answer_that_never_comes_or_breaks_off_is_unavailability() {
    let faults = [Answer::Partial, Answer::Stalled, Answer::Silence, Answer::Reset];
    join_all(faults.map(|fault| each_function_answers(fault, 503, "ServiceUnavailable"))).await;
}

#[tokio::test]
async fn a_refusal_of_the_service_itself_is_an_internal_error() {
    let codes = [
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ValidationException",
        "UnrecognizedClientException",
    ];
    join_all(
        codes.map(|code| each_function_answers(Answer::Error(400, code), 500, "InternalError")),
    )
    .await;
}

#[tokio::test]
async fn a_dynamodb_that_cannot_be_reached_is_unavailability() {
    let dynamodb = Scripted::start(empty_table).await;
    let api = api(&dynamodb, |_| {}).await;
    ask_each_function(&api).await;
    drop(dynamodb);
    for _ in 0..2 {
        for reply in ask_each_function(&api).await {
            reply.is_error(503, "ServiceUnavailable");
        }
    }
}

#[tokio::test]
async fn a_passing_fault_goes_unnoticed() {
    let mut answers = 0;
    let dynamodb = Scripted::start(move |operation, request| {
        answers += 1;
        if answers % 2 == 1 { Answer::Reset } else { empty_table(operation, request) }
    })
    .await;
    let api = api(&dynamodb, |_| {}).await;
    api.get("/users").await.is(200, &json!([]));
    api.put("/users/1", "{}").await.is(200, &json!({"id": "1"}));
}

#[tokio::test]
async fn the_first_requests_find_the_connection_that_the_start_of_their_process_opened() {
    let dynamodb = Scripted::start(|operation, request| match operation {
        "Scan" => Answer::Json(200, json!({"Items": [{"id": {"S": "1"}}]})),
        _ => empty_table(operation, request),
    })
    .await;
    let api = api(&dynamodb, |_| {}).await;
    let before = dynamodb.connections();
    ask_each_function(&api).await;
    ask_each_function(&api).await;
    assert_eq!((dynamodb.processes(), dynamodb.connections() - before), (6, 6));
}

#[tokio::test]
async fn the_pages_of_a_list_come_on_one_connection() {
    let mut pages = 5;
    let dynamodb = Scripted::start(move |_, _| {
        pages -= 1;
        let user = json!({"id": {"S": pages.to_string()}, "text": {"S": "x".repeat(300_000)}});
        let next = if pages > 0 { json!({"id": {"S": pages.to_string()}}) } else { json!({}) };
        Answer::Json(200, json!({"Items": [user], "LastEvaluatedKey": next}))
    })
    .await;
    let api = api(&dynamodb, |_| {}).await;
    let before = dynamodb.connections();
    assert_eq!(api.get("/users").await.json().as_array().map(Vec::len), Some(5));
    assert_eq!(dynamodb.connections() - before, 1);
}

/// The answers of a DynamoDB whose table has as many users, with as many on a page. It tells of each scan which segment it is of.
fn paged_table(
    users: u64,
    page: usize,
    scans: Sender<Option<u64>>,
) -> impl FnMut(&str, &Value) -> Answer + Send {
    move |_, request| {
        let (segment, segments) =
            (request["Segment"].as_u64(), request["TotalSegments"].as_u64().unwrap_or(1));
        scans.send(segment).expect("the test goes on");
        let after = request["ExclusiveStartKey"]["id"]["S"]
            .as_str()
            .map(|id| id.parse::<u64>().expect("a number"));
        let ids =
            (0..users).filter(|id| Some(*id) > after && id % segments == segment.unwrap_or(0));
        let items: Vec<_> =
            ids.clone().take(page).map(|id| json!({"id": {"S": id.to_string()}})).collect();
        let last = if ids.count() > page { items[page - 1].clone() } else { json!({}) };
        Answer::Json(200, json!({"Items": items, "LastEvaluatedKey": last}))
    }
}

#[tokio::test]
async fn a_table_that_had_several_pages_is_read_in_segments_the_next_time() {
    let (sender, scans) = channel();
    let dynamodb = Scripted::start(paged_table(40, 8, sender.clone())).await;
    let api = api(&dynamodb, |_| {}).await;
    let list = async |expected: &[Option<u64>]| {
        let list = api.get("/users").await.json();
        let mut segments: Vec<_> = scans.try_iter().collect();
        segments.sort_unstable();
        assert_eq!(segments, expected);
        let users = list.as_array().expect("a list");
        let ids: BTreeSet<_> =
            users.iter().map(|user| user["id"].as_str().expect("an id")).collect();
        assert_eq!(ids.len(), users.len());
        users.len()
    };
    let two_pages_of_each_segment = [0, 0, 1, 1, 2, 2, 3, 3].map(Some);
    assert_eq!(list(&[None; 5]).await, 40);
    assert_eq!(list(&two_pages_of_each_segment).await, 40);
    assert_eq!(list(&two_pages_of_each_segment).await, 40);
    dynamodb.now(paged_table(7, 8, sender));
    assert_eq!(list(&[0, 1, 2, 3].map(Some)).await, 7);
    assert_eq!(list(&[None]).await, 7);
}

#[tokio::test]
async fn a_connection_that_is_lost_during_the_start_is_opened_again_then() {
    let (sender, operations) = channel();
    let dynamodb = Scripted::start(move |operation, request| {
        sender.send(operation.to_owned()).expect("the test goes on");
        empty_table(operation, request)
    })
    .await;
    dynamodb.close_after_health();
    let api = api(&dynamodb, |_| {}).await;
    let before = dynamodb.connections();
    api.delete("/users/1").await.is_error(400, "UserNotFound");
    assert_eq!(operations.try_iter().collect::<Vec<_>>(), ["GetItem", "DeleteItem"]);
    assert_eq!((dynamodb.processes(), dynamodb.connections() - before), (1, 2));
}

#[tokio::test]
async fn an_item_that_is_rubbish_is_unavailability() {
    let rubbish = json!({"id": {"S": "1"}, "n": {"N": "one"}});
    let items = json!({"Items": [rubbish], "Item": rubbish, "Attributes": rubbish});
    let dynamodb = Scripted::start(move |_, _| Answer::Json(200, items.clone())).await;
    let api = api(&dynamodb, |_| {}).await;
    for reply in [api.get("/users").await, api.get("/users/1").await, api.delete("/users/1").await]
    {
        reply.is_error(503, "ServiceUnavailable");
    }
}

/// The answers of a DynamoDB that stores a user and loses the connection before it says so.
fn stores_but_does_not_say_so(stored: Value) -> impl FnMut(&str, &Value) -> Answer + Send {
    let mut attempts = 0;
    move |_, _| {
        attempts += 1;
        let failed = json!({"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "Item": stored});
        if attempts == 1 { Answer::Reset } else { Answer::Json(400, failed) }
    }
}

#[tokio::test]
async fn a_user_stored_by_an_attempt_without_answer_counts_as_created() {
    let user = r#"{"id":"1","n":1e24}"#;
    let dynamodb = Scripted::start(stores_but_does_not_say_so(
        json!({"id": {"S": "1"}, "n": {"N": "1000000000000000000000000"}}),
    ))
    .await;
    api(&dynamodb, |_| {})
        .await
        .post("/users", user)
        .await
        .is(200, &serde_json::from_str(user).expect("JSON"));
}

#[tokio::test]
async fn a_user_stored_by_another_client_between_two_attempts_exists_already() {
    let dynamodb = Scripted::start(stores_but_does_not_say_so(json!({"id": {"S": "1"}}))).await;
    let api = api(&dynamodb, |_| {}).await;
    api.post("/users", r#"{"id": "1", "n": 0.5}"#).await.is_error(400, "UserAlreadyExists");
}

#[tokio::test]
async fn users_that_a_batch_leaves_unprocessed_are_deleted_by_another() {
    let mut left: Vec<Value> = (0..60).map(|i| json!(i.to_string())).collect();
    let mut all = left.clone();
    let (done, mut deleted) = tokio::sync::oneshot::channel();
    let mut done = Some(done);
    let dynamodb = Scripted::start(move |operation, request| {
        if operation == "Scan" {
            let ids = if matches!(request["Segment"].as_u64(), None | Some(0)) {
                std::mem::take(&mut all)
            } else {
                Vec::new()
            };
            let items: Vec<_> = ids.iter().map(|id| json!({"id": {"S": id}})).collect();
            return Answer::Json(200, json!({"Items": items}));
        }
        // Every batch has its first key deleted and its others left.
        let batch = request["RequestItems"]["user-profiles"].as_array().expect("a batch");
        left.retain(|id| *id != batch[0]["DeleteRequest"]["Key"]["id"]["S"]);
        if left.is_empty() {
            done.take().map(|done| done.send(()));
        }
        let unprocessed =
            if batch.len() > 1 { json!({"user-profiles": batch[1..]}) } else { json!({}) };
        Answer::Json(200, json!({"UnprocessedItems": unprocessed}))
    })
    .await;
    api(&dynamodb, |_| {}).await.delete("/users").await.is(200, &Value::Null);
    deleted.try_recv().expect("all users deleted");
}

#[tokio::test]
async fn deleting_all_users_stops_in_time_and_tells_how_far_it_came() {
    let dynamodb = Scripted::start(|operation, request| {
        if operation == "Scan" {
            let ids =
                if matches!(request["Segment"].as_u64(), None | Some(0)) { 0..30 } else { 0..0 };
            let items: Vec<_> = ids.map(|i| json!({"id": {"S": i.to_string()}})).collect();
            return Answer::Json(200, json!({"Items": items}));
        }
        // One user cannot be deleted.
        let stuck = json!({"DeleteRequest": {"Key": {"id": {"S": "7"}}}});
        let batch = request["RequestItems"]["user-profiles"].as_array().expect("a batch");
        let unprocessed =
            if batch.contains(&stuck) { json!({"user-profiles": [stuck]}) } else { json!({}) };
        Answer::Json(200, json!({"UnprocessedItems": unprocessed}))
    })
    .await;
    let api = api(&dynamodb, |template| {
        template.functions.get_mut("DeleteAllFunction").expect("the function").timeout =
            Duration::from_secs(5);
    })
    .await;
    let reply = api.delete("/users").await;
    reply.is_error(503, "DeleteIncomplete");
    assert!(reply.message().contains("29 users"), "{}", reply.message());
}

#[tokio::test]
async fn a_list_without_end_is_given_up_in_time() {
    let dynamodb = Scripted::start(|_, _| {
        Answer::Json(200, json!({"Items": [], "LastEvaluatedKey": {"id": {"S": "1"}}}))
    })
    .await;
    let api = api(&dynamodb, |template| {
        template.functions.get_mut("GetAllFunction").expect("the function").timeout =
            Duration::from_secs(3);
    })
    .await;
    api.get("/users").await.is_error(503, "ServiceUnavailable");
}

#[tokio::test]
async fn no_event_ends_a_process() {
    let dynamodb = Scripted::start(empty_table).await;
    let api = api(&dynamodb, |_| {}).await;
    let service = api.service().expect("a local service");
    let mut function = 0;
    for (id, method, resource) in [
        ("GetAllFunction", "GET", "/users"),
        ("PostFunction", "POST", "/users"),
        ("DeleteAllFunction", "DELETE", "/users"),
        ("GetFunction", "GET", "/users/{id}"),
        ("PutFunction", "PUT", "/users/{id}"),
        ("DeleteFunction", "DELETE", "/users/{id}"),
    ] {
        function += 1;
        let event = tests::Event::new(method, resource).id("1").body("{}");
        for refused in [
            "",
            "{}",
            "[]",
            "null",
            "42",
            "\"text\"",
            "{\"httpMethod\": 1}",
            "{\"requestContext\": {}}",
            "not JSON",
        ] {
            assert!(service.invoke(id, refused.to_owned()).await.is_err(), "{id}: {refused}");
        }
        for (name, value) in [
            ("Host", "ho st"),
            ("Host", "[::"),
            ("Host", "\u{e9}"),
            ("X-Forwarded-Proto", "://"),
            ("X-Forwarded-Proto", "h t"),
            ("X-Other", "\u{e9}"),
        ] {
            let mut hostile = event.json();
            hostile["headers"][name] = json!(value);
            hostile["multiValueHeaders"][name] = json!([value]);
            hostile["requestContext"]["domainName"] = json!(value);
            let answer = service.invoke(id, hostile.to_string()).await.expect("an answer");
            assert!(
                answer.contains("\"statusCode\":200") || answer.contains("UserNotFound"),
                "{id}: {answer}"
            );
        }
        let mut bad_base64 = event.json();
        bad_base64["isBase64Encoded"] = json!(true);
        bad_base64["body"] = json!("*");
        let answer = service.invoke(id, bad_base64.to_string()).await.expect("an answer");
        assert_eq!(
            answer.contains("InvalidRequest"),
            ["POST", "PUT"].contains(&method),
            "{id}: {answer}"
        );
        assert_eq!(dynamodb.processes(), function, "{id}");
    }
}
