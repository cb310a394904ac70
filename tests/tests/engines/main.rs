//! Sends the same requests to two engines, and compares each response. One is the local service's
//! embedded engine, and the other is the DynamoDB Local at `DYNAMO_ENDPOINT`. Without
//! `DYNAMO_ENDPOINT`, the other is the engine of the other suites.
//!
//! The engines directly receive the requests that the store can send, valid or not. They differ in
//! requests that the store never sends, because the API rejects them first. Those are sent only to
//! the API:
//!
//! - The embedded engine accepts an email address of 2,049 bytes, an attribute name of 65,536
//!   bytes, and an empty key in a query or as the key to continue after. DynamoDB Local rejects
//!   them, as AWS documents
//!   (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>).
//! - DynamoDB Local accepts other types in place of strings, and digits of other scripts. It
//!   returns 500 for a body that is not JSON. The embedded engine rejects all of these, as AWS
//!   does. It also rejects `0e999`, which the API sends as `0`.
//!
//! The capacity that lists and batches consume is not compared. For an empty list, the embedded
//! engine reports half a unit or one, and DynamoDB Local none. For a batch that deletes nothing,
//! DynamoDB Local reports twice as much as the embedded engine. Only the log shows the capacity.

mod compare;

use compare::{Engines, TABLE, normal};
use lambda_http::http::Method;
use serde_json::{Value, json};

/// Returns `base` with these members added.
fn with(base: &Value, members: &Value) -> Value {
    let mut extended = base.clone();
    for (name, value) in members.as_object().expect("an object") {
        extended[name] = value.clone();
    }
    extended
}

/// Returns an item with the id 1.
fn item(attributes: &Value) -> Value {
    with(&json!({"id": {"S": "1"}}), attributes)
}

/// Returns a number inside this many lists.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({"N": "1"}), |value, _| json!({"L": [value]}))
}

#[tokio::test]
async fn values_are_stored_alike() {
    let engines = Engines::start().await;
    for text in ["", "text", "\u{0}\u{1f}\"\\/", "ünï 😀", "\u{feff}", " "] {
        engines
            .put(&item(&json!({"a": {"S": text}, "b": {"L": [{"S": text}]}})))
            .await;
    }
    let valid = "0 -0 0.0 1.0 1e2 1E+2 1e-2 0.10e-1 -7 +1 .5 5. 00012 0.1 12345678901234567890.5 \
                 99999999999999999999999999999999999999 0.0000000000000000000000000000000000001 \
                 1234567890123456789012345678901234567800000 1e125 1e-130 -1e125 0.1e126 \
                 9.9999999999999999999999999999999999999E+125";
    let invalid = "123456789012345678901234567890123456789 1e126 -1e126 1e-131 10e125 1e400 NaN \
                   abc 1e99999999999 Infinity 0x1 1_000 1,5 1e e1 - --1 1.2.3 1f";
    for number in valid
        .split(' ')
        .chain(invalid.split(' '))
        .chain(["", " ", "1 ", " 1"])
    {
        engines.put(&item(&json!({"a": {"N": number}}))).await;
    }
    for value in [
        json!({"BOOL": true}),
        json!({"BOOL": false}),
        json!({"NULL": true}),
        json!({"NULL": false}),
        json!({"L": []}),
        json!({"M": {}}),
        json!({"M": {"": {"S": "a"}}}),
        json!({"L": [{"M": {"a": {"NULL": true}, "b": {"L": [{"BOOL": false}]}}}]}),
        json!({"SS": ["b", "a"]}),
        json!({"SS": ["a", "a"]}),
        json!({"SS": [""]}),
        json!({"SS": []}),
        json!({"NS": ["1", "2.50", "1e3"]}),
        json!({"NS": ["1", "1.0"]}),
        json!({"NS": ["x"]}),
        json!({"NS": []}),
        json!({"BS": ["AA==", "/w=="]}),
        json!({"BS": ["AA==", "AA=="]}),
        json!({"BS": []}),
        json!({"B": "AP8="}),
        json!({"B": ""}),
        json!({"S": "a", "N": "1"}),
    ] {
        engines
            .call(
                "DeleteItem",
                &json!({"TableName": TABLE, "Key": {"id": {"S": "1"}}}),
            )
            .await;
        engines.put(&item(&json!({"a": value}))).await;
    }
    engines.end().await;
}

#[tokio::test]
async fn limits_are_alike() {
    let engines = Engines::start().await;
    for levels in [30, 31, 32, 33] {
        engines.put(&item(&json!({"a": nested(levels)}))).await;
        engines
            .put(&item(&json!({"a": {"M": {"b": nested(levels - 1)}}})))
            .await;
    }
    for text in ["x", &"x".repeat(2048), &"ü".repeat(1024)] {
        engines
            .put(&json!({"id": {"S": text}, "email": {"S": text}}))
            .await;
    }
    for text in ["x".repeat(2049), "ü".repeat(1025)] {
        engines.put(&json!({"id": {"S": text}})).await;
    }
    for name in ["", &"n".repeat(256), &"n".repeat(65_535)] {
        engines.put(&item(&json!({name: {"S": ""}}))).await;
        engines
            .put(&item(&json!({"a": {"M": {name: {"S": ""}}}})))
            .await;
    }
    let numbers = "0 1 -1 10 -10 100 1000 0.1 -0.01 1.5 12.345 123.45 1e125 1e-130 123e-7 -5e50 \
                   12345678901234567890123456789012345678 -1234567890123456789012345678901234567";
    let numbers: Value = numbers
        .split(' ')
        .map(|number| json!({"N": number}))
        .collect();
    for rest in [
        json!({}),
        json!({"b": {"L": vec![json!({"M": {"c": {"L": []}, "d": {"NULL": true}}}); 100]}}),
        json!({"b": {"L": vec![json!({"L": numbers}); 20]}}),
        json!({"b": {"SS": ["a", "bc"]}, "c": {"NS": ["1", "22"]}, "d": {"BS": ["AP8="]}}),
        json!({"b": nested(30), "c": {"S": ""}, "d": {"BOOL": true}, "email": {"S": "a@b"}}),
    ] {
        let put = |length: usize| {
            let item = with(&item(&rest), &json!({"a": {"S": "x".repeat(length)}}));
            json!({"TableName": TABLE, "Item": item})
        };
        // Find the longest text with which the item is not too large.
        let (mut fits, mut exceeds) = (390_000_usize, 409_600);
        while exceeds - fits > 1 {
            let length = fits.midpoint(exceeds);
            match engines
                .embedded
                .call("PutItem", &put(length).to_string())
                .await
            {
                (200, _) => fits = length,
                (400, _) => exceeds = length,
                other => panic!("{other:?}"),
            }
        }
        engines.call("PutItem", &put(fits)).await;
        engines.call("PutItem", &put(exceeds)).await;
    }
    engines.end().await;
}

#[tokio::test]
async fn requests_for_an_item_are_alike() {
    let engines = Engines::start().await;
    let put = |item: &Value, condition: &str| {
        json!({
            "TableName": TABLE, "Item": item, "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#id": "id"}, "ReturnConsumedCapacity": "TOTAL",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        })
    };
    let ada = item(&json!({"email": {"S": "ada@example.com"}, "born": {"N": "1815"}}));
    for condition in ["attribute_exists(#id)", "attribute_not_exists(#id)"] {
        for item in [&ada, &ada, &with(&ada, &json!({"id": {"S": "2"}}))] {
            engines.call("PutItem", &put(item, condition)).await;
        }
    }
    let silent = json!({"ReturnValuesOnConditionCheckFailure": "NONE"});
    engines
        .call(
            "PutItem",
            &with(&put(&ada, "attribute_not_exists(#id)"), &silent),
        )
        .await;
    for condition in ["attribute_exists(#other)", "nonsense(", ""] {
        engines.call("PutItem", &put(&ada, condition)).await;
    }
    // The consumed capacity, with and without an entry in the index.
    for size in [1, 1000, 1024, 1025, 5000, 100_000] {
        for email in [json!({"email": {"S": "a@b"}}), json!({})] {
            let item = with(&item(&json!({"about": {"S": "x".repeat(size)}})), &email);
            engines
                .call("PutItem", &put(&item, "attribute_exists(#id)"))
                .await;
            let get = json!({
                "TableName": TABLE, "Key": {"id": {"S": "1"}}, "ConsistentRead": true,
                "ReturnConsumedCapacity": "TOTAL",
            });
            engines.call("GetItem", &get).await;
        }
    }
    for key in [
        json!({"id": {"S": "2"}}),
        json!({"id": {"S": "none"}}),
        json!({"id": {"S": ""}}),
        json!({"id": {"S": "x".repeat(2049)}}),
        json!({"id": {"N": "1"}}),
        json!({"id": {"NULL": true}}),
        json!({"id": {"S": "1"}, "email": {"S": "ada@example.com"}}),
        json!({"email": {"S": "ada@example.com"}}),
        json!({}),
    ] {
        let request = json!({"TableName": TABLE, "Key": key, "ReturnConsumedCapacity": "TOTAL"});
        engines
            .call("GetItem", &with(&request, &json!({"ConsistentRead": true})))
            .await;
        for _ in 0..2 {
            let delete = with(&request, &json!({"ReturnValues": "ALL_OLD"}));
            engines.call("DeleteItem", &delete).await;
        }
    }
    for value in [
        json!({"S": ""}),
        json!({"N": "1"}),
        json!({"NULL": true}),
        json!({"B": "AA=="}),
    ] {
        engines.put(&json!({"id": value})).await;
        engines.put(&item(&json!({"email": value}))).await;
    }
    let without_id = json!({"TableName": TABLE, "Item": {"email": {"S": "a@b"}}});
    engines.call("PutItem", &without_id).await;
    for (operation, request) in [
        ("GetItem", json!({"Key": {"id": {"S": "1"}}})),
        ("DeleteItem", json!({"Key": {"id": {"S": "1"}}})),
        ("PutItem", json!({"Item": {"id": {"S": "1"}}})),
        ("Scan", json!({})),
    ] {
        engines
            .call(operation, &with(&request, &json!({"TableName": "missing"})))
            .await;
    }
    engines.end().await;
}

#[tokio::test]
async fn lists_are_alike() {
    let engines = Engines::start().await;
    let scan = json!({"TableName": TABLE, "ConsistentRead": true});
    let query = json!({
        "TableName": TABLE, "IndexName": "email-index",
        "KeyConditionExpression": "#email = :email",
        "ExpressionAttributeNames": {"#email": "email"},
        "ExpressionAttributeValues": {":email": {"S": "a@b"}},
    });
    let ids = json!({"ProjectionExpression": "#id", "ExpressionAttributeNames": {"#id": "id"}});
    // The table is empty first, then has users with two addresses and with none, then over 1 MB.
    for (users, about) in [(0, 0), (20, 100), (30, 60_000)] {
        for i in 0..users {
            let email = [
                json!({"email": {"S": "a@b"}}),
                json!({"email": {"S": "A@b"}}),
                json!({}),
            ];
            let item = json!({"id": {"S": format!("ü{i}")}, "about": {"S": "x".repeat(about)}});
            let item = with(&item, &email[i % 3]);
            engines
                .call("PutItem", &json!({"TableName": TABLE, "Item": item}))
                .await;
        }
        for limit in [
            json!({}),
            json!({"Limit": 1}),
            json!({"Limit": 3}),
            json!({"Limit": 1000}),
        ] {
            // A page of 1 MB ends before its limit. At which item depends on the engine.
            if about > 1000 && limit["Limit"].is_number() {
                continue;
            }
            engines.pages("Query", &with(&query, &limit)).await;
            engines.pages("Scan", &with(&scan, &limit)).await;
            engines
                .pages("Scan", &with(&with(&scan, &ids), &limit))
                .await;
        }
        // The engines put an item in different segments, but each item is in exactly one.
        let mut segments = [Vec::new(), Vec::new()];
        for (engine, items) in [&engines.embedded, &engines.other]
            .into_iter()
            .zip(&mut segments)
        {
            for segment in 0..4 {
                let of = json!({"Segment": segment, "TotalSegments": 4});
                let mut pages = engine.pages("Scan", &with(&with(&scan, &ids), &of)).await;
                items.append(pages["Items"].as_array_mut().expect("items"));
            }
        }
        let [embedded, other] = segments.map(|items| normal(json!({"Items": items})));
        engines.compare("Scan of four segments", &embedded, &other);
    }
    for members in [
        json!({"Limit": 0}),
        json!({"Limit": -1}),
        json!({"ConsistentRead": true}),
        json!({"IndexName": "other-index"}),
        json!({"ExclusiveStartKey": {"id": {"S": "none"}, "email": {"S": "other"}}}),
        json!({"ExclusiveStartKey": {"id": {"S": "none"}}}),
        json!({"ExclusiveStartKey": {"email": {"S": "a@b"}}}),
        json!({"ExclusiveStartKey": {}}),
        json!({"ExpressionAttributeValues": {":email": {"S": "x".repeat(2049)}}}),
        json!({"ExpressionAttributeValues": {":email": {"N": "1"}}}),
        json!({"ExpressionAttributeValues": {":other": {"S": "a@b"}}}),
        json!({"KeyConditionExpression": "#email > :email"}),
        json!({"KeyConditionExpression": "nonsense"}),
    ] {
        engines.call("Query", &with(&query, &members)).await;
    }
    for members in [
        json!({"Limit": 0}),
        json!({"Limit": -1}),
        json!({"Segment": 4, "TotalSegments": 4}),
        json!({"Segment": -1, "TotalSegments": 4}),
        json!({"Segment": 0}),
        json!({"TotalSegments": 4}),
        json!({"Segment": 0, "TotalSegments": 0}),
        json!({"ExclusiveStartKey": {"email": {"S": "a@b"}}}),
        json!({"ExclusiveStartKey": {"id": {"N": "1"}}}),
        json!({"ExclusiveStartKey": {"id": {"S": "1"}, "email": {"S": "a@b"}}}),
        json!({"ProjectionExpression": "#missing"}),
        json!({"ProjectionExpression": ""}),
    ] {
        engines.call("Scan", &with(&scan, &members)).await;
    }
    engines.end().await;
}

#[tokio::test]
async fn batches_of_deletes_are_alike() {
    let engines = Engines::start().await;
    for i in 0..40 {
        let item = json!({"id": {"S": i.to_string()}, "email": {"S": "a@b"}});
        engines
            .call("PutItem", &json!({"TableName": TABLE, "Item": item}))
            .await;
    }
    let delete = |id: Value| json!({"DeleteRequest": {"Key": {"id": id}}});
    let ids = |range: std::ops::Range<i32>| -> Vec<Value> {
        range
            .map(|id| delete(json!({"S": id.to_string()})))
            .collect()
    };
    for requests in [
        ids(0..0),
        ids(0..26),
        [ids(0..1), ids(0..1)].concat(),
        vec![delete(json!({"S": ""}))],
        vec![delete(json!({"N": "1"}))],
        vec![delete(json!({"S": "x".repeat(2049)}))],
        vec![json!({"DeleteRequest": {"Key": {}}})],
        ids(0..25),
        ids(20..45),
        ids(0..25),
    ] {
        engines
            .call(
                "BatchWriteItem",
                &json!({"RequestItems": {TABLE: requests}}),
            )
            .await;
        engines.tables().await;
    }
    engines
        .call("BatchWriteItem", &json!({"RequestItems": {}}))
        .await;
    engines
        .call(
            "BatchWriteItem",
            &json!({"RequestItems": {"missing": ids(0..1)}}),
        )
        .await;
    engines.end().await;
}

#[tokio::test]
async fn the_api_is_alike() {
    let engines = Engines::start().await;
    let large = |bytes: usize| json!({"id": "large", "a": "a".repeat(bytes - 8)}).to_string();
    let attribute = |name: &str, value: &str| format!(r#"{{"id": "3", "{name}": {value}}}"#);
    let deep = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let long = |bytes| format!("{:?}", "x".repeat(bytes));
    for user in [
        r#"{"id": "1", "email": "ada@example.com", "name": "Ada"}"#,
        r#"{"id": "1", "name": "Eve"}"#,
        r#"{"id": "2", "email": "ADA@example.com"}"#,
        r#"{"id": "a b", "email": "ada@example.com"}"#,
        r#"{"id": "a/b"}"#,
        r#"{"id": "100%"}"#,
        r#"{"id": "ü😀", "n": [0.1, -0, 0e999, 1e20, 1E-130, 12345678901234567890.5, 1.0]}"#,
        r#"{"id": "empty", "a": ["", [], {}, null, false], "b": "\u0000"}"#,
        r#"{"id": ""}"#,
        r#"{"id": 1}"#,
        &attribute("", "1"),
        &attribute("n", "1e126"),
        &attribute("email", r#""""#),
        &attribute("email", &long(2049)),
        &attribute("deeper", &deep(32)),
        &attribute("deep", &deep(31)),
        &attribute(&"n".repeat(65_536), "1").replacen('3', "4", 1),
        &attribute("email", &long(2048)).replacen('3', "4", 1),
        &large(400 * 1024 + 1),
        &large(400 * 1024),
        &format!(r#"{{"id": {}}}"#, long(2049)),
        &format!(r#"{{"id": {}}}"#, long(2048)),
        "{",
        "[]",
        "",
    ] {
        engines.api(&Method::POST, "/users", user).await;
    }
    engines.tables().await;
    for path in [
        "/users",
        "/users?email=ada%40example.com",
        "/users?email=none",
        "/users?email=",
        &format!("/users?email={}", "x".repeat(2049)),
        "/users?limit=0",
        "/users?limit=1&cursor=",
        "/users?limit=1&cursor=x",
    ] {
        engines.api(&Method::GET, path, "").await;
    }
    for path in [
        "/users?limit=1",
        "/users?limit=4",
        "/users?email=ada%40example.com&limit=1",
    ] {
        engines.list(path).await;
    }
    for id in [
        "1",
        "a%20b",
        "a%2Fb",
        "100%25",
        "%C3%BC%F0%9F%98%80",
        "none",
        "%FF",
        "large",
    ] {
        let path = format!("/users/{id}");
        engines.api(&Method::GET, &path, "").await;
        for body in [
            r#"{"id": "9", "email": "new@example.com"}"#,
            r#"{"email": 1}"#,
            "{}",
            "[",
        ] {
            engines.api(&Method::PUT, &path, body).await;
        }
        engines.tables().await;
        engines.api(&Method::DELETE, &path, "").await;
        engines.api(&Method::DELETE, &path, "").await;
        engines.tables().await;
    }
    for path in ["/users/", "/users?all=1", "/users", "/users"] {
        engines.api(&Method::DELETE, path, "").await;
        engines.tables().await;
    }
    engines.end().await;
}
