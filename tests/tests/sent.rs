//! What each operation sends to DynamoDB. No engine here shows whether a read is consistent, how
//! large a page may be or which index is used, so the requests themselves are asserted.

use std::sync::{Arc, Mutex};

use lambda_http::http::Method;
use serde_json::{Value, json};
use tests::{
    Api, Operation, ScriptedResponse, ScriptedServer, one_item, operations, without_uuids,
};

/// What a client requests: the method, the path and the body.
type Request = (Method, &'static str, &'static str);

/// What DynamoDB receives: the operation, and its members without those that [`with_capacity`] adds.
type Sent = (&'static str, Value);

/// Adds the members that every request has.
fn with_capacity((operation, mut members): Sent) -> (String, Value) {
    members["ReturnConsumedCapacity"] = json!("TOTAL");
    if operation != "BatchWriteItem" {
        members["TableName"] = json!("user-profiles");
    }
    (operation.to_owned(), members)
}

/// Returns the requests of clients, each with what it sends to a table that has one user.
fn table() -> Vec<(Request, Vec<Sent>)> {
    let key = json!({"id": {"S": "1"}});
    let item = json!({"id": {"S": "1"}, "n": {"N": "1"}});
    let put = |condition: &str| {
        json!({
            "Item": item,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#id": "id"},
        })
    };
    let mut create = put("attribute_not_exists(#id)");
    create["ReturnValuesOnConditionCheckFailure"] = json!("ALL_OLD");
    let query = json!({
        "IndexName": "email-index",
        "KeyConditionExpression": "#email = :email",
        "ExpressionAttributeNames": {"#email": "email"},
        "ExpressionAttributeValues": {":email": {"S": "a@b"}},
    });
    let with = |base: &Value, name: &str, value: Value| {
        let mut request = base.clone();
        request[name] = value;
        request
    };
    let scan = json!({"ConsistentRead": true});
    let ids = json!({
        "ConsistentRead": true,
        "ProjectionExpression": "#id",
        "ExpressionAttributeNames": {"#id": "id"},
    });
    let batch = json!({"RequestItems": {"user-profiles": [{"DeleteRequest": {"Key": key}}]}});
    let after_query = with(
        &query,
        "ExclusiveStartKey",
        json!({"id": {"S": "0"}, "email": {"S": "a@b"}}),
    );
    let mut random = create.clone();
    random["Item"]["id"]["S"] = json!("UUID");
    vec![
        (
            (Method::GET, "/users/1", ""),
            vec![("GetItem", json!({"Key": key, "ConsistentRead": true}))],
        ),
        (
            (Method::POST, "/users", r#"{"id": "1", "n": 1}"#),
            vec![("PutItem", create)],
        ),
        (
            (Method::POST, "/users", r#"{"n": 1}"#),
            vec![("PutItem", random)],
        ),
        (
            (Method::PUT, "/users/1", r#"{"n": 1}"#),
            vec![("PutItem", put("attribute_exists(#id)"))],
        ),
        (
            (Method::DELETE, "/users/1", ""),
            vec![("DeleteItem", json!({"Key": key, "ReturnValues": "ALL_OLD"}))],
        ),
        ((Method::GET, "/users", ""), vec![("Scan", scan.clone())]),
        (
            (Method::GET, "/users?email=", ""),
            vec![("Scan", scan.clone())],
        ),
        (
            (Method::GET, "/users?limit=1", ""),
            vec![("Scan", with(&scan, "Limit", json!(2)))],
        ),
        (
            // The id 0 in base64.
            (Method::GET, "/users?cursor=MA", ""),
            vec![(
                "Scan",
                with(&scan, "ExclusiveStartKey", json!({"id": {"S": "0"}})),
            )],
        ),
        (
            (Method::GET, "/users?email=a@b", ""),
            vec![("Query", query.clone())],
        ),
        (
            (Method::GET, "/users?email=a@b&limit=1", ""),
            vec![("Query", with(&query, "Limit", json!(2)))],
        ),
        (
            (Method::GET, "/users?email=a@b&cursor=MA", ""),
            vec![("Query", after_query)],
        ),
        (
            (Method::DELETE, "/users", ""),
            vec![("Scan", ids), ("BatchWriteItem", batch)],
        ),
    ]
}

/// Starts an API on a table with one user. Returns it with what it will send.
async fn recorded() -> (ScriptedServer, Api, Arc<Mutex<Vec<(String, Value)>>>) {
    let sent = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&sent);
    let dynamodb = ScriptedServer::start(move |operation, request| {
        let mut sent = log.lock().expect("a log");
        let request = without_uuids(&request.to_string());
        let request = serde_json::from_str(&request).expect("JSON");
        sent.push((operation.to_owned(), request));
        let user = json!({"id": {"S": "1"}, "email": {"S": "a@b"}});
        ScriptedResponse::Json(200, one_item(operation, &user))
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    (dynamodb, api, sent)
}

#[tokio::test]
async fn each_operation_sends_exactly_these_requests() {
    let (_dynamodb, api, sent) = recorded().await;
    let table = table();
    for own in operations() {
        let is_tested = table.iter().any(|((method, path, _), _)| {
            Operation::of(method.as_str(), path)
                .is_some_and(|tested| tested.function == own.function)
        });
        let (method, path) = (&own.method, &own.path);
        assert!(
            is_tested,
            "tests/tests/sent.rs has no row for {method} {path}"
        );
    }
    for ((method, path, body), expected) in table {
        api.send(method.clone(), path, body).await.assert_ok();
        let mut sent: Vec<_> = sent.lock().expect("a log").drain(..).collect();
        for (_, request) in &mut sent {
            // Only a client's limit of one fixes the size of a page. Other limits adapt.
            let limit = &request["Limit"];
            if !path.contains("limit=1") && (limit.is_null() || limit.as_u64() >= Some(1)) {
                request.as_object_mut().expect("an object").remove("Limit");
            }
        }
        let expected: Vec<_> = expected.into_iter().map(with_capacity).collect();
        assert_eq!(sent, expected, "{method} {path}");
    }
}
