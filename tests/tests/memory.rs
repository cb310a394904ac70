//! How much memory the largest events and responses take. A function has at least 128 MB.

use serde_json::{Value, json};
use tests::{Api, Process, ScriptedResponse, ScriptedServer, Table, TcpProxy, engine, one_item};

/// The maximum memory that a function may take, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Asserts that a function has stayed within the limit.
fn assert_small(executable: &str, endpoint: &str, case: &str) {
    let process = Process::find(executable, endpoint).expect("a process that runs");
    let peak = process.peak_memory().expect("a process that runs");
    assert!(peak <= LIMIT, "{case}: {executable} took {peak} bytes");
}

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
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_body_that_would_expand_too_much_is_rejected_first() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = Api::on(proxy.url(), table.name()).await;
    for (case, body) in large_bodies() {
        api.post("/users", &body)
            .await
            .assert_error(400, "InvalidUser");
        assert_small("post", proxy.url(), case);
        api.put("/users/1", &body)
            .await
            .assert_error(400, "InvalidUser");
        assert_small("put", proxy.url(), case);
    }
}

/// Responds as a DynamoDB with three users of 400,000 empty strings. Each string takes 1 byte in
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
            let next = if last < 3 {
                format!(",\"LastEvaluatedKey\":{key}")
            } else {
                String::new()
            };
            format!("{{\"Items\":[{}]{next}}}", items.join(","))
        }
        _ => one_item(operation, &Value::Null).to_string(),
    };
    ScriptedResponse::Bytes(200, body.into_bytes())
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn the_users_that_expand_most_are_stored_and_read() {
    let dynamodb = ScriptedServer::start(users_of_empty_strings).await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    // The spaces fill the event.
    let user = format!(
        "{{\"v\":[{}\"\"]{}}}",
        "\"\",".repeat(400_000),
        " ".repeat(3_000_000)
    );
    for (executable, reply) in [
        ("post", api.post("/users", &user).await),
        ("put", api.put("/users/1", &user).await),
        ("get", api.get("/users/1").await),
        ("delete", api.delete("/users/1").await),
    ] {
        assert_eq!(reply.status, 200, "{executable}: {}", reply.text);
        assert_small(executable, dynamodb.endpoint(), "a user of empty strings");
    }
    // In the SDK's form, the three do not fit in memory together.
    for path in ["/users", "/users?limit=3"] {
        assert_eq!(api.get(path).await.json().as_array().map(Vec::len), Some(3));
        assert_small(
            "get-all",
            dynamodb.endpoint(),
            "three users of empty strings",
        );
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_response_above_dynamodbs_limit_is_refused() {
    let dynamodb = ScriptedServer::start(|operation, _| {
        let item = json!({"id": {"S": "1"}, "v": {"S": "x".repeat(25_000_000)}});
        ScriptedResponse::Json(200, one_item(operation, &item))
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    for (executable, reply) in [
        ("get-all", api.get("/users?limit=1").await),
        ("get", api.get("/users/1").await),
        ("delete", api.delete("/users/1").await),
        ("delete-all", api.delete("/users").await),
    ] {
        reply.assert_error(503, "ServiceUnavailable");
        assert_small(executable, dynamodb.endpoint(), "25 MB");
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_response_that_would_expand_too_much_is_refused() {
    let members: Vec<_> = (0..400_000)
        .map(|i| format!("\"{i:x}\":{{\"S\":\"\"}}"))
        .collect();
    for value in [
        format!("{{\"SS\":[{}\"\"]}}", "\"\",".repeat(4_600_000)),
        format!("{{\"NS\":[{}\"1\"]}}", "\"1\",".repeat(3_500_000)),
        format!(
            "{{\"L\":[{}{{\"S\":\"\"}}]}}",
            "{\"S\":\"\"},".repeat(1_500_000)
        ),
        format!("{{\"M\":{{{}}}}}", members.join(",")),
    ] {
        let body = format!("{{\"Item\":{{\"id\":{{\"S\":\"1\"}},\"v\":{value}}}}}").into_bytes();
        let dynamodb =
            ScriptedServer::start(move |_, _| ScriptedResponse::Bytes(200, body.clone())).await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        api.get("/users/1")
            .await
            .assert_error(503, "ServiceUnavailable");
        assert_small("get", dynamodb.endpoint(), &value[..10]);
    }
}
