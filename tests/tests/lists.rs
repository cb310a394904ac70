//! How much of the table a list reads, and how large a page may be.

use lambda_http::http::Method;
use serde_json::{Value, json};
use tests::{Api, ScriptedResponse, ScriptedServer, Table, assert_small, engine};

/// The maximum size of a page of DynamoDB, in bytes.
const PAGE: usize = 1024 * 1024;

/// The maximum size of a response that Lambda's Runtime API accepts, in bytes.
const RESPONSE: usize = 6_291_556;

/// Responds to a scan of this many users of the same size. They have an id, and these members.
fn scan(users: usize, members: &str, size: usize, request: &Value) -> ScriptedResponse {
    let number = |value: &Value| value.as_str().map(str::parse::<usize>);
    let start = match number(&request["ExclusiveStartKey"]["id"]["S"]) {
        Some(id) => id.expect("an id") + 1,
        None => 0,
    };
    let limit = request["Limit"].as_u64().map(usize::try_from);
    let limit = limit.map_or(users, |limit| limit.expect("a number"));
    let end = users.min(start + limit.min(PAGE / size));
    let item = |i| format!(r#"{{"id":{{"S":"{i:06}"}}{members}}}"#);
    let items: Vec<_> = (start..end).map(item).collect();
    let next = if end < users {
        format!(r#","LastEvaluatedKey":{{"id":{{"S":"{:06}"}}}}"#, end - 1)
    } else {
        String::new()
    };
    let units = ((end - start) * size).div_ceil(4096);
    let body = format!(
        r#"{{"Items":[{}],"ConsumedCapacity":{{"CapacityUnits":{units}}}{next}}}"#,
        items.join(",")
    );
    ScriptedResponse::Bytes(200, body.into_bytes())
}

#[tokio::test]
async fn a_list_reads_each_user_about_once_however_small() {
    let members = r#","age":{"N":"4"},"vip":{"S":"t"},"lang":{"S":"en"}"#;
    for (users, members, size) in [(60_000, members, 23), (100_000, "", 8)] {
        let script = move |_: &str, request: &Value| scan(users, members, size, request);
        let dynamodb = ScriptedServer::start(script).await;
        let variables = [
            ("DYNAMO_ENDPOINT", dynamodb.endpoint()),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        let api = Api::with_variables(&variables).await;
        assert_eq!(api.get("/users").await.users().len(), users);
        assert_small("get-all", dynamodb.endpoint(), "small users");

        let lines = api.into_request_lines().await;
        let calls = lines[0]["dynamodb_calls"].as_u64().expect("a number");
        let units = lines[0]["read_units"].as_f64().expect("a number");
        let pages = (users * size).div_ceil(PAGE) as u64;
        assert!(calls <= 2 * pages + 4, "{calls} calls for {pages} pages");
        let least = f64::from(u32::try_from(users * size / 4096).expect("a few"));
        assert!(
            (least..1.9 * least + 8.0).contains(&units),
            "{units} of {least}"
        );
    }
}

#[tokio::test]
async fn a_page_fills_a_response_but_never_exceeds_it() {
    let table = Table::new().await;
    let mut options = Api::options(engine(), table.name());
    let origins = "https://a.example,https://b.example".to_owned();
    for function in options.template.functions.values_mut() {
        let name = users_core::ORIGIN_VARIABLE.to_owned();
        function.variables.insert(name, origins.clone());
    }
    let api = Api::start(options).await;
    let id = |i: usize| format!("{i:04}{}", "\"".repeat(2044));
    let user = |i| json!({"id": id(i), "text": "\"".repeat(1024)});
    let users: Vec<_> = (0..700).map(user).collect();
    table.put_all(&users).await;

    let pages = api.pages("/users?limit=1000").await;
    let one = json!(user(0).to_string()).to_string().len();
    let bytes = pages[0].bytes_on_lambda();
    assert!(bytes <= RESPONSE, "{bytes}");
    // The cursor can be longer than this page's, and the headers can take a kilobyte.
    assert!(bytes > RESPONSE - one - 1024, "{bytes}");
    // If this page had as many users, it would exceed the limit by one byte.
    let mut longer = pages[0].users();
    let count = longer.len();
    let text = "\"".repeat(1024) + &"x".repeat(RESPONSE - bytes + 1);
    longer[0]["text"] = json!(text);
    table.put(&longer[0]).await;
    let page = api.get("/users?limit=1000").await;
    assert!(page.bytes_on_lambda() <= RESPONSE, "{page}");
    assert_eq!(page.users().len(), count - 1);

    let count: usize = pages.iter().map(|page| page.users().len()).sum();
    assert_eq!(count, users.len());
    api.send(Method::GET, "/users", "")
        .await
        .fails("ResponseTooLarge");
}
