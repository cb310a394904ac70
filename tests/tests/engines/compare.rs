//! Sends requests to two engines, and compares what they return.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bigdecimal::BigDecimal;
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lambda_http::Body;
use lambda_http::http::{Method, Request};
use local::Database;
use serde_json::{Value, json};
use tests::{Api, Reply, Table, engine};

/// The placeholder for the name of an engine's table in requests and responses.
pub(crate) const TABLE: &str = "TABLE";

/// An engine, and the API on it.
pub(crate) struct Engine {
    api: Api,
    client: Client<HttpConnector, Body>,
    endpoint: String,
    key: String,
    table: String,
}

impl Engine {
    fn new(api: Api) -> Self {
        let service = api.service();
        let key = service
            .dynamodb_credentials()
            .map_or("tests", |(key, _)| key);
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            endpoint: service.dynamodb_endpoint().to_owned(),
            key: key.to_owned(),
            table: service.table().to_owned(),
            api,
        }
    }

    /// Sends DynamoDB a request, and returns the status and the body of its response.
    pub(crate) async fn call(&self, operation: &str, request: &str) -> (u16, Value) {
        let scope = "20260101/us-east-1/dynamodb/aws4_request";
        let request = Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("x-amz-date", "20260101T000000Z")
            // No engine checks the signature.
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host, Signature=0",
                    self.key
                ),
            )
            .body(Body::from(request.replace(TABLE, &self.table)))
            .expect("a request");
        let response = self.client.request(request).await.expect("a response");
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("the whole response")
            .to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let text = text.replace(&self.table, TABLE);
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    /// Follows the pages of a `Query` or `Scan`. Returns all items and, if the request has a limit,
    /// the size of each page. Without a limit, a page has about 1 MB, and whether it ends before or
    /// after the item that exceeds this depends on the engine.
    pub(crate) async fn pages(&self, operation: &str, request: &Value) -> Value {
        let mut request = request.clone();
        let (mut sizes, mut all) = (Vec::new(), Vec::new());
        loop {
            let (status, mut page) = self.call(operation, &request.to_string()).await;
            assert_eq!(status, 200, "{operation} {request}: {page}");
            let Value::Array(items) = page["Items"].take() else {
                panic!("no items in {page}")
            };
            assert_eq!(page["Count"], items.len());
            sizes.push(items.len());
            all.extend(items);
            match page.get("LastEvaluatedKey") {
                Some(key) => request["ExclusiveStartKey"] = key.clone(),
                None if request.get("Limit").is_none() => return json!({"Items": all}),
                None => return json!({"sizes": sizes, "Items": all}),
            }
        }
    }
}

/// Two engines, and how their responses differ.
pub(crate) struct Engines {
    pub(crate) embedded: Engine,
    pub(crate) other: Engine,
    /// Deletes the other engine's table when dropped.
    _table: Table,
    compared: Mutex<usize>,
    differences: Mutex<Vec<String>>,
}

impl Engines {
    pub(crate) async fn start() -> Self {
        let table = Table::new().await;
        Self {
            embedded: Engine::new(Api::local(Database::Memory).await),
            other: Engine::new(Api::on(engine(), table.name()).await),
            _table: table,
            compared: Mutex::default(),
            differences: Mutex::default(),
        }
    }

    /// Records the difference between two responses to a request, if there is one.
    pub(crate) fn compare(&self, request: &str, embedded: &impl ToString, other: &impl ToString) {
        *self.compared.lock().expect("the lock is not poisoned") += 1;
        let (embedded, other) = (embedded.to_string(), other.to_string());
        if embedded != other {
            // The start of the request, and what surrounds the first difference.
            let same = embedded
                .bytes()
                .zip(other.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let part = |text: &str, from: usize| {
                let bytes = text.as_bytes().iter().skip(from).take(300).copied();
                String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned()
            };
            let from = same.saturating_sub(100);
            self.differences
                .lock()
                .expect("the lock is not poisoned")
                .push(format!(
                    "{}\n  embedded: {}\n  other:    {}",
                    part(request, 0),
                    part(&embedded, from),
                    part(&other, from)
                ));
        }
    }

    /// Sends a DynamoDB request to both engines.
    pub(crate) async fn call(&self, operation: &str, request: &Value) {
        let text = request.to_string();
        let mut responses = Vec::new();
        for engine in [&self.embedded, &self.other] {
            let (status, mut body) = engine.call(operation, &text).await;
            // DynamoDB Local sends this unasked if it deletes a missing item.
            if request.get("ReturnConsumedCapacity").is_none() {
                body.as_object_mut()
                    .expect("an object")
                    .remove("ConsumedCapacity");
            }
            responses.push(format!("{status} {}", normal(body)));
        }
        self.compare(&format!("{operation} {text}"), &responses[0], &responses[1]);
    }

    /// Follows the pages of a `Query` or `Scan` on both engines.
    pub(crate) async fn pages(&self, operation: &str, request: &Value) {
        let embedded = self.embedded.pages(operation, request).await;
        let other = self.other.pages(operation, request).await;
        self.compare(
            &format!("{operation} {request}"),
            &normal(embedded),
            &normal(other),
        );
    }

    /// Puts an item in both tables, and compares what they then contain.
    pub(crate) async fn put(&self, item: &Value) {
        self.call("PutItem", &json!({"TableName": TABLE, "Item": item}))
            .await;
        let key = json!({"id": item["id"]});
        self.call("GetItem", &json!({"TableName": TABLE, "Key": key}))
            .await;
    }

    /// Sends a request to the API on both engines.
    pub(crate) async fn api(&self, method: &Method, path: &str, body: &str) {
        let embedded = self.embedded.api.send(method.clone(), path, body).await;
        let other = self.other.api.send(method.clone(), path, body).await;
        self.compare(
            &format!("{method} {path} {body}"),
            &shown(&embedded),
            &shown(&other),
        );
    }

    /// Compares what the tables contain.
    pub(crate) async fn tables(&self) {
        self.pages("Scan", &json!({"TableName": TABLE})).await;
    }

    /// Follows the `next` links of a list on both engines.
    pub(crate) async fn list(&self, path: &str) {
        let mut lists = Vec::new();
        for Engine { api, .. } in [&self.embedded, &self.other] {
            let (mut sizes, mut all) = (Vec::new(), Vec::new());
            for page in api.pages(path).await {
                let Value::Array(users) = page.json() else {
                    panic!("{}", page.text)
                };
                sizes.push(users.len());
                all.extend(users);
            }
            lists.push(normal(json!({"sizes": sizes, "Items": all})));
        }
        self.compare(path, &lists[0], &lists[1]);
    }

    /// Asserts that there was no difference.
    pub(crate) async fn end(self) {
        self.embedded.api.stop().await;
        self.other.api.stop().await;
        let differences = self
            .differences
            .into_inner()
            .expect("the lock is not poisoned");
        let compared = self
            .compared
            .into_inner()
            .expect("the lock is not poisoned");
        println!("{compared} responses compared");
        assert!(
            differences.is_empty(),
            "{} of {compared} responses differ:\n{}",
            differences.len(),
            differences.join("\n")
        );
    }
}

/// Returns the parts of a DynamoDB response on which both engines must agree. They may differ in:
///
/// - messages, which are for people: the store recognises only the one for an item that is too
///   large;
/// - the part of an error's type before the `#`, which differs from error to error on AWS too;
/// - the order of a set's elements and of a list's items, which AWS does not define;
/// - the notation of numbers, such as 1E-130.
pub(crate) fn normal(body: Value) -> Value {
    match body {
        Value::Object(mut members) => {
            if let Some(Value::String(full)) = members.remove("__type") {
                let name = full.rsplit('#').next().unwrap_or_default().to_owned();
                let message = members
                    .remove("message")
                    .or_else(|| members.remove("Message"));
                let text = message.as_ref().and_then(Value::as_str).unwrap_or_default();
                let is_too_large = text.contains("Item size") && text.contains("exceeded");
                members.insert("error".to_owned(), json!([name, is_too_large]));
            }
            let members = members.into_iter().map(|(name, value)| {
                let mut value = match (name.as_str(), value) {
                    ("N", Value::String(number)) => plain(&number),
                    ("NS", Value::Array(numbers)) => numbers
                        .iter()
                        .filter_map(Value::as_str)
                        .map(plain)
                        .collect(),
                    (_, value) => normal(value),
                };
                if let ("SS" | "NS" | "BS" | "Items", Value::Array(elements)) =
                    (name.as_str(), &mut value)
                {
                    elements.sort_by_cached_key(Value::to_string);
                }
                (name, value)
            });
            members.collect::<BTreeMap<_, _>>().into_iter().collect()
        }
        Value::Array(elements) => elements.into_iter().map(normal).collect(),
        other => other,
    }
}

fn plain(number: &str) -> Value {
    let number: BigDecimal = number.parse().expect("a number");
    Value::String(number.normalized().to_scientific_notation())
}

/// Returns a response of the API as text, without the order of a list and the cursor.
fn shown(reply: &Reply) -> String {
    let body = match reply.json() {
        users @ Value::Array(_) => normal(json!({"Items": users})).to_string(),
        _ => reply.text.clone(),
    };
    let retry = reply.header("retry-after");
    format!(
        "{} {body} retry: {retry:?} next: {}",
        reply.status,
        reply.next_url().is_some()
    )
}
