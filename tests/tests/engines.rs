//! Sends the same requests to the embedded engine and to the DynamoDB Local at `DYNAMO_ENDPOINT`,
//! and compares what they return and store. `make test-handlers` starts DynamoDB Local in Docker.
//!
//! The engines receive the requests that the store can send, valid or not. They differ in requests
//! that the store never sends, because the API rejects them first, such as an email address of 2,049
//! bytes. The capacity of lists and batches, which only the log shows, differs too.

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;
use lambda_http::Body;
use lambda_http::http::Request;
use local::Database;
use serde_json::{Value, json};
use tests::{Api, Client, Table, engine};

/// Stands for the name of an engine's table.
const TABLE: &str = "TABLE";

/// A request: what is special about it, DynamoDB's operation, and its members other than the table.
type Row = (&'static str, &'static str, Value);

fn with(base: &Value, members: &Value) -> Value {
    let mut extended = base.clone();
    for (name, value) in members.as_object().expect("an object") {
        extended[name] = value.clone();
    }
    extended
}

fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({"N": "1"}), |value, _| json!({"L": [value]}))
}

/// Returns requests that store values, and read back what is stored.
fn values() -> Vec<Row> {
    let numbers = "0 -0 0.0 1.0 1e2 1E+2 1e-2 0.10e-1 -7 +1 .5 5. 00012 0.1 12345678901234567890.5 \
                   99999999999999999999999999999999999999 0.0000000000000000000000000000000000001 \
                   1234567890123456789012345678901234567800000 1e125 1e-130 -1e125 0.1e126 \
                   9.9999999999999999999999999999999999999E+125 1e126 -1e126 1e-131 10e125 1e400 \
                   123456789012345678901234567890123456789 NaN abc 1e99999999999 Infinity 0x1 \
                   1_000 1,5 1e e1 - --1 1.2.3 1f";
    let numbers = numbers.split(' ').chain(["", " ", "1 ", " 1"]);
    let mut values: Vec<_> = numbers.map(|number| json!({"N": number})).collect();
    let texts = ["", "text", "\u{0}\u{1f}\"\\/", "ünï 😀", "\u{feff}", " "];
    values.extend(texts.map(|text| json!({"L": [{"S": text}]})));
    values.extend([29, 30, 31, 32].map(nested));
    values.extend([0, 256, 65_535].map(|n| json!({"M": {"n".repeat(n): {"S": ""}}})));
    let others = json!([
        {"BOOL": true}, {"NULL": true}, {"NULL": false}, {"L": []}, {"M": {}}, {"SS": ["b", "a"]},
        {"L": [{"M": {"a": {"NULL": true}, "b": {"L": [{"BOOL": false}]}}}]}, {"SS": ["a", "a"]},
        {"SS": []}, {"NS": ["1", "2.50", "1e3"]}, {"NS": ["1", "1.0"]}, {"BS": ["AA==", "/w=="]},
        {"B": "AP8="}, {"B": ""}, {"S": "a", "N": "1"},
    ]);
    values.extend(others.as_array().cloned().unwrap_or_default());
    let put = |value: Value| {
        let item = json!({"id": {"S": "1"}, "a": value});
        [
            ("a value", "PutItem", json!({"Item": item})),
            ("a value", "GetItem", json!({"Key": {"id": {"S": "1"}}})),
        ]
    };
    values.into_iter().flat_map(put).collect()
}

/// Returns requests for items that exist or not, with keys and conditions that are valid or not.
fn items() -> Vec<Row> {
    let put = |about: usize, members: Value| {
        let item = json!({
            "id": {"S": "1"}, "email": {"S": "a@b"}, "about": {"S": "x".repeat(about)},
        });
        let request = json!({
            "Item": item, "ExpressionAttributeNames": {"#id": "id"},
            "ReturnConsumedCapacity": "TOTAL", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        });
        with(&request, &members)
    };
    let (absent, exists) = ("attribute_not_exists(#id)", "attribute_exists(#id)");
    let if_ = |condition: &str| json!({"ConditionExpression": condition});
    let mut rows: Vec<Row> = [
        ("replace a missing user", put(1, if_(exists))),
        ("create a user", put(1, if_(absent))),
        ("create again", put(1, if_(absent))),
        ("replace it", put(1, if_(exists))),
        ("unknown name", put(1, if_("attribute_exists(#other)"))),
        ("broken condition", put(1, if_("nonsense("))),
        ("empty condition", put(1, if_(""))),
        ("1 kB to the byte", put(1024 - 21, if_(exists))),
        ("a byte more", put(1024 - 20, if_(exists))),
        ("400 kB to the byte", put(400 * 1024 - 18, if_(exists))),
        ("a byte more again", put(400 * 1024 - 17, if_(exists))),
    ]
    .map(|(rule, request)| (rule, "PutItem", request))
    .into();
    let keys = json!([
        {"id": {"S": "1"}}, {"id": {"S": "1"}}, {"id": {"S": ""}}, {"id": {"S": "x".repeat(2048)}},
        {"id": {"S": "x".repeat(2049)}}, {"id": {"N": "1"}}, {"email": {"S": "a@b"}}, {},
        {"id": {"S": "1"}, "email": {"S": "a@b"}},
    ]);
    for key in keys.as_array().expect("keys") {
        let request = json!({"Key": key, "ReturnConsumedCapacity": "TOTAL"});
        let get = with(&request, &json!({"ConsistentRead": true}));
        let delete = with(&request, &json!({"ReturnValues": "ALL_OLD"}));
        rows.push(("a key", "GetItem", get));
        rows.push(("a key", "DeleteItem", delete));
    }
    rows
}

/// Returns requests for lists, and the batches that empty the table.
fn lists() -> Vec<Row> {
    let mut rows = Vec::new();
    for i in 0..40 {
        let email = ["a@b", "A@b"][i % 2];
        let item = json!({"id": {"S": format!("ü{i}")}, "email": {"S": email}});
        rows.push(("a user to list", "PutItem", json!({"Item": item})));
    }
    let query = json!({
        "IndexName": "email-index", "KeyConditionExpression": "#email = :email",
        "ExpressionAttributeNames": {"#email": "email"},
        "ExpressionAttributeValues": {":email": {"S": "a@b"}},
    });
    let queries = json!([
        {}, {"Limit": 1000}, {"Limit": 0}, {"IndexName": "other-index"}, {"ConsistentRead": true},
        {"ExclusiveStartKey": {"id": {"S": "none"}}}, {"KeyConditionExpression": "nonsense"},
        {"ExclusiveStartKey": {"email": {"S": "a@b"}}},
        {"ExpressionAttributeValues": {":other": {"S": "a@b"}}},
    ]);
    for members in queries.as_array().expect("queries") {
        rows.push(("a query", "Query", with(&query, members)));
    }
    let scans = json!([
        {}, {"ProjectionExpression": "#id", "ExpressionAttributeNames": {"#id": "id"}},
        {"Limit": 1000}, {"Limit": 0}, {"Segment": 4, "TotalSegments": 4}, {"Segment": 0},
        {"ExclusiveStartKey": {"id": {"N": "1"}}}, {"ProjectionExpression": "#missing"},
    ]);
    let scan = json!({"ConsistentRead": true});
    for members in scans.as_array().expect("scans") {
        rows.push(("a scan", "Scan", with(&scan, members)));
    }
    let delete = |ids: std::ops::Range<i32>| -> Vec<Value> {
        ids.map(|i| json!({"DeleteRequest": {"Key": {"id": {"S": format!("ü{i}")}}}}))
            .collect()
    };
    for requests in [delete(0..0), delete(0..26), delete(0..25), delete(20..45)] {
        rows.push((
            "a batch",
            "BatchWriteItem",
            json!({"RequestItems": {TABLE: requests}}),
        ));
        rows.push(("what is left", "Scan", json!({})));
    }
    rows
}

/// Sends a request to an engine, and returns what both must agree on.
async fn send(api: &Api, client: &Client, operation: &str, request: &Value) -> String {
    let service = api.service();
    let key = service
        .dynamodb_credentials()
        .map_or("tests", |(key, _)| key);
    let scope = "20260101/us-east-1/dynamodb/aws4_request";
    let mut request = request.clone();
    if operation != "BatchWriteItem" {
        request["TableName"] = json!(TABLE);
    }
    let reports_capacity = request.get("ReturnConsumedCapacity").is_some();
    let request = Request::post(service.dynamodb_endpoint())
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("x-amz-date", "20260101T000000Z")
        // No engine checks the signature.
        .header(
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=host, Signature=0"),
        )
        .body(Body::from(
            request.to_string().replace(TABLE, service.table()),
        ));
    let response = client
        .send(request.expect("a request"))
        .await
        .expect("a response");
    let text = response.body().replace(service.table(), TABLE);
    let mut body: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    if let (false, Some(members)) = (reports_capacity, body.as_object_mut()) {
        // DynamoDB Local sends this unasked if it deletes a missing item.
        members.remove("ConsumedCapacity");
    }
    format!("{} {}", response.status().as_u16(), normal(body))
}

/// Returns a response without what the engines may do differently: the message of an error, except
/// whether an item is too large; the start of its type; the order of sets and lists; the notation
/// of numbers.
fn normal(body: Value) -> Value {
    let plain = |number: &str| -> Value {
        let number: BigDecimal = number.parse().expect("a number");
        number.normalized().to_scientific_notation().into()
    };
    let sorted = |values: Vec<Value>| {
        let mut values: Vec<_> = values.into_iter().map(normal).collect();
        values.sort_by_cached_key(Value::to_string);
        Value::Array(values)
    };
    let member = |(name, value): (String, Value)| {
        let value = match (name.as_str(), value) {
            ("__type", Value::String(full)) => json!(full.rsplit('#').next()),
            ("message" | "Message", text) => json!(text.to_string().contains("Item size")),
            ("N", Value::String(number)) => plain(&number),
            ("NS", Value::Array(numbers)) => sorted(
                numbers
                    .iter()
                    .filter_map(Value::as_str)
                    .map(plain)
                    .collect(),
            ),
            ("SS" | "BS" | "Items", Value::Array(elements)) => sorted(elements),
            (_, value) => normal(value),
        };
        (name.to_lowercase(), value)
    };
    match body {
        Value::Object(members) => {
            json!(members.into_iter().map(member).collect::<BTreeMap<_, _>>())
        }
        Value::Array(elements) => elements.into_iter().map(normal).collect(),
        other => other,
    }
}

#[tokio::test]
#[ignore = "needs DynamoDB Local: make test-handlers starts it in Docker"]
async fn both_engines_return_and_store_the_same() {
    std::env::var("DYNAMO_ENDPOINT").expect("DYNAMO_ENDPOINT is the URL of DynamoDB Local");
    let table = Table::new().await;
    let embedded = Api::local(Database::Memory).await;
    let other = Api::on(engine(), table.name()).await;
    let client = Client::default();
    let mut differences = Vec::new();
    for (rule, operation, request) in [values(), items(), lists()].concat() {
        let first = send(&embedded, &client, operation, &request).await;
        let second = send(&other, &client, operation, &request).await;
        if first != second {
            differences.push(format!(
                "{rule}: {operation} {request:.200}\n  {first:.300}\n  {second:.300}"
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
