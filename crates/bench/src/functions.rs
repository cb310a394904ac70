//! The functions that are measured, and what they are invoked with.

use std::env;
use std::io;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::dynamodb::DynamoDb;
use crate::process::Program;

/// The six functions, with the method and the resource of the requests they answer.
pub const FUNCTIONS: [(&str, &str, &str); 6] = [
    ("get-all", "GET", "/users"),
    ("post", "POST", "/users"),
    ("delete-all", "DELETE", "/users"),
    ("get", "GET", "/users/{id}"),
    ("put", "PUT", "/users/{id}"),
    ("delete", "DELETE", "/users/{id}"),
];

/// Where Cargo puts an executable that it builds for release: beside the benchmark's own.
///
/// # Errors
///
/// If it is not there.
pub fn executable(name: &str) -> io::Result<PathBuf> {
    let benchmark = env::current_exe()?;
    let directory = benchmark.ancestors().nth(2).unwrap_or(&benchmark);
    let path = directory.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(io::Error::other(format!("{} is not built: use make, which builds it", path.display())))
    }
}

/// How a function is started with this DynamoDB.
///
/// # Errors
///
/// If it is not built.
pub fn program(name: &str, dynamodb: &DynamoDb) -> io::Result<Program> {
    Ok(Program {
        executable: executable(name)?,
        arguments: Vec::new(),
        quiet: false,
        environment: dynamodb.environment(),
    })
}

/// The id of a user.
#[must_use]
pub fn id(number: usize) -> String {
    format!("5f2c8a1e-7b3d-4c9f-8e6a-{number:012}")
}

/// A user of some 300 bytes, as an item.
#[must_use]
pub fn item(number: usize) -> Value {
    json!({
        "id": {"S": id(number)},
        "email": {"S": format!("ada.lovelace.{number:06}@example.com")},
        "name": {"S": "Ada Lovelace"},
        "age": {"N": "36"},
        "active": {"BOOL": true},
        "tags": {"L": [{"S": "mathematics"}, {"S": "poetry"}]},
        "address": {"M": {"street": {"S": "12 St James's Square"}, "city": {"S": "London"}, "zip": {"S": "SW1Y 4JH"}}},
    })
}

/// The event that API Gateway makes of a request.
#[must_use]
pub fn event(method: &str, resource: &str) -> Value {
    let id = id(1);
    let path = resource.replace("{id}", &id);
    let headers = [
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("Host", "0123456789.execute-api.us-east-1.amazonaws.com"),
        ("User-Agent", "curl/8.5.0"),
        ("X-Amzn-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ];
    let body = json!({
        "email": "ada.lovelace.000001@example.com",
        "name": "Ada Lovelace",
        "age": 36,
        "active": true,
        "tags": ["mathematics", "poetry"],
        "address": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH"},
    });
    json!({
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect::<Map<_, _>>(),
        "multiValueHeaders":
            headers.map(|(name, value)| (name.to_owned(), json!([value]))).into_iter().collect::<Map<_, _>>(),
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": resource.contains("{id}").then(|| json!({"id": id})),
        "stageVariables": null,
        "requestContext": {
            "resourceId": "a1b2c3",
            "resourcePath": resource,
            "httpMethod": method,
            "extendedRequestId": "Kq3xEHqkoAMFmcA=",
            "requestTime": "04/Mar/2020:19:15:17 +0000",
            "path": format!("/test{path}"),
            "accountId": "123456789012",
            "protocol": "HTTP/1.1",
            "stage": "test",
            "domainPrefix": "0123456789",
            "requestTimeEpoch": 1_583_349_317_135_u64,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8.5.0"},
            "domainName": "0123456789.execute-api.us-east-1.amazonaws.com",
            "apiId": "0123456789",
        },
        "body": matches!(method, "POST" | "PUT").then(|| body.to_string()),
        "isBase64Encoded": false,
    })
}
