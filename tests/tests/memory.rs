//! How much memory the largest users and responses take. A function has at least 128 MB.

use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, Table, assert_small, engine, one_item};

/// Returns bodies of up to 6 MB that expand in memory, or exceed a limit by far.
fn large_bodies() -> Vec<(&'static str, String)> {
    let repeated = |text: &str, bytes: usize| text.repeat(bytes / text.len());
    let members: Vec<_> = (0..480_000).map(|i| format!("\"{i:x}\":1")).collect();
    vec![
        (
            "numbers",
            format!("{{\"v\":[{}1]}}", repeated("1,", 5_800_000)),
        ),
        (
            "objects",
            format!("{{\"v\":[{}1]}}", repeated("{\"a\":1},", 4_600_000)),
        ),
        ("members", format!("{{{}}}", members.join(","))),
        (
            "nested",
            format!(
                "{{\"v\":{}{}1{}}}",
                "[".repeat(30),
                repeated("1,", 5_200_000),
                "]".repeat(30)
            ),
        ),
        (
            "escapes",
            format!("{{\"v\":\"{}\"}}", repeated("\\n", 3_800_000)),
        ),
        ("digits", format!("{{\"v\":{}}}", "1".repeat(5_000_000))),
        (
            "levels",
            format!("{{\"v\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000)),
        ),
        ("long name", format!("{{\"{}\":1}}", "x".repeat(5_000_000))),
        (
            "names",
            format!(
                "{}1{}",
                format!("{{\"{}\":", "x".repeat(60_000)).repeat(40),
                "}".repeat(40)
            ),
        ),
    ]
}

#[tokio::test]
async fn a_body_that_would_expand_too_much_is_rejected_first() {
    let table = Table::new().await;
    let api = Api::on(engine(), table.name()).await;
    for (case, body) in large_bodies() {
        api.post("/users", &body).await.fails("InvalidUser");
        assert_small("post", table.name(), case);
    }
    api.put("/users/1", &large_bodies()[0].1)
        .await
        .fails("InvalidUser");
    assert_small("put", table.name(), "numbers");
}

/// Each user has some 400 KB, and expands as far as possible in memory or in JSON.
#[tokio::test]
async fn every_user_that_can_be_stored_can_be_read() {
    for (element, count) in [(r#"{"a":{}}"#, 45_504), ("1e125", 136_500)] {
        let mut stored = Value::Null;
        let script = move |operation: &str, request: &Value| {
            if operation == "PutItem" {
                stored = request["Item"].clone();
            }
            ScriptedResponse::Json(200, one_item(operation, &stored))
        };
        let (dynamodb, api) = Api::scripted(script).await;
        let values = vec![element; count].join(",");
        let body = format!(r#"{{"id":"1","v":[{values}]}}"#);
        for (executable, reply) in [
            ("post", api.post("/users", &body).await),
            ("put", api.put("/users/1", &body).await),
            ("get", api.get("/users/1").await),
            ("get-all", api.get("/users").await),
            ("delete", api.delete("/users/1").await),
        ] {
            reply.assert_ok();
            assert_small(executable, dynamodb.endpoint(), element);
        }
    }
}

/// Responds as a DynamoDB server with three users of 400,000 empty strings. Each string takes 1 byte in
/// the item, 9 in JSON, and 64 in memory.
fn users_of_empty_strings(operation: &str, request: &Value) -> ScriptedResponse {
    let item = |id: u64| {
        let elements = r#"{"S":""},"#.repeat(400_000);
        format!(r#"{{"id":{{"S":"{id}"}},"v":{{"L":[{elements}{{"S":""}}]}}}}"#)
    };
    let body = match operation {
        "GetItem" => format!(r#"{{"Item":{}}}"#, item(1)),
        "DeleteItem" => format!(r#"{{"Attributes":{}}}"#, item(1)),
        "Scan" => {
            let after = request["ExclusiveStartKey"]["id"]["S"].as_str();
            let first = after.map_or(1, |id| id.parse::<u64>().expect("a number") + 1);
            let last = 3.min(first + request["Limit"].as_u64().unwrap_or(1000) - 1);
            let items: Vec<_> = (first..=last).map(item).collect();
            let key = json!({"id": {"S": last.to_string()}});
            let next = format!(",\"LastEvaluatedKey\":{key}");
            let next = if last < 3 { &*next } else { "" };
            format!("{{\"Items\":[{}]{next}}}", items.join(","))
        }
        _ => one_item(operation, &Value::Null).to_string(),
    };
    ScriptedResponse::Bytes(200, body.into_bytes())
}

#[tokio::test]
async fn the_users_that_expand_most_are_stored_and_read() {
    let (dynamodb, api) = Api::scripted(users_of_empty_strings).await;
    // The spaces fill the event.
    let strings = "\"\",".repeat(400_000);
    let user = format!("{{\"v\":[{strings}\"\"]{}}}", " ".repeat(3_000_000));
    for (executable, reply) in [
        ("post", api.post("/users", &user).await),
        ("put", api.put("/users/1", &user).await),
        ("get", api.get("/users/1").await),
        ("delete", api.delete("/users/1").await),
    ] {
        reply.assert_ok();
        assert_small(executable, dynamodb.endpoint(), "a user of empty strings");
    }
    // In the SDK's form, the three do not fit in memory together.
    assert_eq!(api.get("/users").await.users().len(), 3);
    assert_small(
        "get-all",
        dynamodb.endpoint(),
        "three users of empty strings",
    );
}

#[tokio::test]
async fn a_response_above_dynamodbs_limit_is_refused() {
    let item = json!({"id": {"S": "1"}, "v": {"S": "x".repeat(25_000_000)}});
    let script =
        move |operation: &str, _: &Value| ScriptedResponse::Json(200, one_item(operation, &item));
    let (dynamodb, api) = Api::scripted(script).await;
    for (executable, reply) in [
        ("get-all", api.get("/users?limit=1").await),
        ("get", api.get("/users/1").await),
        ("delete", api.delete("/users/1").await),
        ("delete-all", api.delete("/users").await),
    ] {
        reply.fails("ServiceUnavailable");
        assert_small(executable, dynamodb.endpoint(), "25 MB");
    }
}

#[tokio::test]
async fn a_response_that_would_expand_too_much_is_refused() {
    let list = |kind: &str, element: &str, count| {
        format!("{{\"{kind}\":[{}]}}", vec![element; count].join(","))
    };
    let member = |i| format!("\"{i:x}\":{{\"S\":\"\"}}");
    let members: Vec<_> = (0..400_000).map(member).collect();
    for value in [
        list("SS", "\"\"", 4_600_000),
        list("NS", "\"1\"", 3_500_000),
        list("L", "{\"S\":\"\"}", 1_500_000),
        format!("{{\"M\":{{{}}}}}", members.join(",")),
    ] {
        let body = format!("{{\"Item\":{{\"id\":{{\"S\":\"1\"}},\"v\":{value}}}}}").into_bytes();
        let (dynamodb, api) = Api::always(ScriptedResponse::Bytes(200, body)).await;
        api.get("/users/1").await.fails("ServiceUnavailable");
        assert_small("get", dynamodb.endpoint(), &value[..10]);
    }
}
