//! REST proxy events as API Gateway builds them for Lambda.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::{Body, Context, Request, RequestExt, Response};
use serde_json::{Value, json};
use users_core::Store;
use users_core::handlers::ROUTES;

use crate::{Reply, Table};

/// A request to the API, as the event that API Gateway builds from it.
///
/// <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html#api-gateway-simple-proxy-for-lambda-input-format>
#[derive(Clone, Debug)]
pub struct Event<'a> {
    method: &'a str,
    resource: &'a str,
    id: Option<String>,
    query: BTreeMap<String, Vec<String>>,
    body: Option<String>,
    base64: bool,
}

impl<'a> Event<'a> {
    /// Describes a request with this method for a resource of the API, such as `/users/{id}`.
    pub fn new(method: &'a str, resource: &'a str) -> Self {
        Self {
            method,
            resource,
            id: None,
            query: BTreeMap::new(),
            body: None,
            base64: false,
        }
    }

    /// Sets the `{id}` of the path, percent-encoded as in the URL.
    pub fn id(mut self, encoded: &str) -> Self {
        self.id = Some(encoded.to_owned());
        self
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query
            .entry(name.to_owned())
            .or_default()
            .push(value.to_owned());
        self
    }

    /// Sets the body.
    pub fn body(mut self, text: &str) -> Self {
        self.body = Some(text.to_owned());
        self
    }

    /// Sets the body, which is in base64.
    pub fn base64_body(self, base64: &str) -> Self {
        Self {
            base64: true,
            ..self.body(base64)
        }
    }

    /// Returns the event as JSON.
    pub fn json(&self) -> Value {
        let path = self
            .resource
            .replace("{id}", self.id.as_deref().unwrap_or_default());
        let last: BTreeMap<_, _> = self
            .query
            .iter()
            .map(|(name, values)| (name, values.last()))
            .collect();
        json!({
            "resource": self.resource,
            "path": path,
            "httpMethod": self.method,
            "headers": {"Host": "example.com", "X-Forwarded-Proto": "https"},
            "multiValueHeaders": {"Host": ["example.com"], "X-Forwarded-Proto": ["https"]},
            "queryStringParameters": if self.query.is_empty() { Value::Null } else { json!(last) },
            "multiValueQueryStringParameters":
                if self.query.is_empty() { Value::Null } else { json!(self.query) },
            "pathParameters": self.id.as_ref().map(|id| json!({"id": id})),
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "api",
                "httpMethod": self.method,
                "identity": {"sourceIp": "127.0.0.1"},
                "path": format!("/test{path}"),
                "protocol": "HTTP/1.1",
                "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
                "requestTimeEpoch": 1_428_582_896_000_i64,
                "resourcePath": self.resource,
                "stage": "test"
            },
            "body": self.body,
            "isBase64Encoded": self.base64
        })
    }
}

impl Event<'static> {
    /// Returns the request that a handler gets for the event. Its deadline is 28 seconds from now.
    pub fn request(&self) -> Request {
        let mut context = Context::default();
        let deadline = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a time after 1970")
            + Duration::from_secs(28);
        context.deadline =
            u64::try_from(deadline.as_millis()).expect("a time before the year 584556019");
        let route = ROUTES
            .into_iter()
            .find(|route| (route.method, route.resource) == (self.method, self.resource))
            .expect("a route of the API");
        let request = users_core::request(&self.json().to_string(), route).expect("an event");
        request.with_lambda_context(context)
    }

    /// Returns the reply of this handler to the request, on this table.
    pub async fn handle<F: Future<Output = Result<Response<Body>, users_core::Error>>>(
        &self,
        table: &Table,
        handler: impl FnOnce(Store, Request) -> F,
    ) -> Reply {
        let outcome = handler(table.store(), self.request()).await;
        Reply::of(&self.to_string(), outcome)
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.id.as_deref().unwrap_or_default();
        let path = self.resource.replace("{id}", id);
        let body = self.body.as_deref().unwrap_or_default();
        write!(f, "{} {path} {:?} {body}", self.method, self.query)
    }
}
