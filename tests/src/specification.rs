//! Compares requests and their replies with `openapi.yaml`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::{Draft, Validator};
use lambda_http::Body;
use lambda_http::http::Request;
use serde_json::{Value, json};

use crate::{Operation, Reply, repository};

/// From how many bytes on a body is not compared with its schema.
const LARGE: usize = 100_000;

/// Returns `openapi.yaml`.
pub fn specification() -> &'static Value {
    static SPECIFICATION: LazyLock<Value> = LazyLock::new(|| repository::yaml("openapi.yaml"));
    &SPECIFICATION
}

/// Returns a value of the specification, or the value that it refers to.
pub fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => specification()
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("openapi.yaml lacks {reference}")),
        None => value,
    }
}

/// Returns why a value does not match a schema of the specification, if it does not.
pub fn mismatch(schema: &Value, value: &Value) -> Option<String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> =
        LazyLock::new(Mutex::default);
    let validator = VALIDATORS
        .lock()
        .expect("no panic holds the lock")
        .entry(schema.to_string())
        .or_insert_with(|| Arc::new(validator(schema)))
        .clone();
    validator
        .validate(value)
        .err()
        .map(|error| error.to_string())
}

fn validator(schema: &Value) -> Validator {
    let mut root = json!({"allOf": [schema], "components": specification()["components"]});
    allow_null(&mut root);
    jsonschema::options()
        .with_draft(Draft::Draft4)
        .build(&root)
        .unwrap_or_else(|error| panic!("openapi.yaml: {error}"))
}

/// Replaces `nullable`, which JSON Schema does not have.
fn allow_null(schema: &mut Value) {
    if schema["nullable"] == true {
        schema["type"] = json!([schema["type"], "null"]);
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(allow_null),
        Value::Array(elements) => elements.iter_mut().for_each(allow_null),
        _ => {}
    }
}

/// Asserts that the specification has the reply, and that it allows the request if that succeeded.
/// The path is below the stage. Does nothing if the specification lacks the path and method.
#[track_caller]
pub(crate) fn assert_documented(path: &str, request: &Request<Body>, reply: &Reply) {
    let method = request.method().as_str();
    let Some(Operation { path, .. }) = Operation::of(method, path) else {
        return;
    };
    let operation = &specification()["paths"][path][method.to_lowercase()];
    if operation.is_null() {
        return;
    }
    if reply.status == 200 {
        assert_request(operation, request, reply);
    }
    let status = reply.status.to_string();
    let range = format!("{}XX", &status[..1]);
    let response = [status, range]
        .iter()
        .map(|status| resolved(&operation["responses"][status]))
        .find(|response| response.is_object())
        .unwrap_or_else(|| panic!("openapi.yaml lacks the status of {reply}"));
    let schema = &response["content"]["application/json"]["schema"];
    // A list of many users takes seconds, and is like one of a few.
    if reply.text.len() < LARGE
        && let Some(mismatch) = mismatch(schema, &reply.json())
    {
        panic!("{reply}: {mismatch}");
    }
    for name in ["Link", "Retry-After", "x-amzn-RequestId"] {
        let header = resolved(&response["headers"][name]);
        match reply.header(name) {
            Some(value) => {
                assert!(header.is_object(), "openapi.yaml lacks {name} of {reply}");
                assert_text(&header["schema"], value, &format!("{name} of {reply}"));
            }
            None => assert_ne!(header["required"], true, "{name} is missing: {reply}"),
        }
    }
}

#[track_caller]
fn assert_request(operation: &Value, request: &Request<Body>, reply: &Reply) {
    let body = resolved(&operation["requestBody"]);
    if let (Body::Text(text), true) = (request.body(), body.is_object())
        && text.len() < LARGE
    {
        let user = serde_json::from_str(text).unwrap_or_default();
        let schema = &body["content"]["application/json"]["schema"];
        if let Some(mismatch) = mismatch(schema, &user) {
            panic!("openapi.yaml forbids the body of {reply}: {mismatch}");
        }
    }
    let query = request.uri().query().unwrap_or_default();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let value = form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| parameter["name"] == **name)
            .last();
        if let Some((name, value)) = value {
            assert_text(&parameter["schema"], &value, &format!("{name} of {reply}"));
        }
    }
}

/// Asserts that a text matches the schema of a parameter or header.
#[track_caller]
fn assert_text(schema: &Value, text: &str, what: &str) {
    if let Some(mismatch) = mismatch(schema, &parameter_value(schema, text)) {
        panic!("openapi.yaml forbids {what}: {mismatch}");
    }
}

/// Returns the value that a text has under the schema of a parameter or header.
pub fn parameter_value(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer") => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        _ => json!(text),
    }
}
