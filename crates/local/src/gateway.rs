//! API Gateway REST: routes, proxy events, responses, limits and its own errors.
//!
//! Events have the format of Lambda proxy integrations
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::handler::Handler;
use axum::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::functions::{Functions, InvokeError};
use crate::runtime_api::Invocation;
use crate::template::{ACCOUNT_ID, Route};

/// The largest body, in bytes, and how long a function may take in all
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
const MAX_BODY: usize = 10 * 1024 * 1024;
const INTEGRATION_TIMEOUT: Duration = Duration::from_secs(29);
/// The largest event, in bytes, that Lambda takes
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
const MAX_EVENT: usize = 6 * 1024 * 1024;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// One stage of a REST API.
pub(crate) struct Gateway {
    stage: String,
    routes: Vec<Route>,
    functions: Arc<Functions>,
    port: u16,
}

/// What API Gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    MissingAuthenticationToken,
    RequestTooLong,
    InternalServerError,
    EndpointTimedOut,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, error_type, body) = match self {
            Self::MissingAuthenticationToken => (
                StatusCode::FORBIDDEN,
                "MissingAuthenticationTokenException",
                r#"{"message":"Missing Authentication Token"}"#,
            ),
            Self::RequestTooLong => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                r#"{"message":"Request Too Long"}"#,
            ),
            Self::InternalServerError => (
                StatusCode::BAD_GATEWAY,
                "InternalServerErrorException",
                r#"{"message": "Internal server error"}"#,
            ),
            Self::EndpointTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "InternalServerErrorException",
                r#"{"message": "Endpoint request timed out"}"#,
            ),
        };
        let headers = [
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (ERROR_TYPE, HeaderValue::from_static(error_type)),
        ];
        (status, headers, body).into_response()
    }
}

/// A request's path, and the route it takes.
#[derive(Debug, PartialEq, Eq)]
struct Matched<'a> {
    route: &'a Route,
    /// Without the stage, as sent.
    path: &'a str,
    /// As sent, percent-encoded.
    parameters: BTreeMap<&'a str, &'a str>,
}

impl Gateway {
    pub(crate) fn new(
        stage: String,
        routes: Vec<Route>,
        functions: Arc<Functions>,
        port: u16,
    ) -> Self {
        Self { stage, routes, functions, port }
    }

    /// Answers requests until `stop`'s sender is dropped and the last of them is answered.
    pub(crate) async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<()>) {
        let service =
            answer.with_state(Arc::new(self)).into_make_service_with_connect_info::<SocketAddr>();
        let stopped = async move {
            let _ = stop.changed().await;
        };
        axum::serve(listener, service).with_graceful_shutdown(stopped).await.unwrap_or_default();
    }

    async fn invoke(
        &self,
        request: Request,
        client: IpAddr,
        request_id: &str,
    ) -> Result<Response, Refusal> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let matched = route(&self.stage, &self.routes, &parts.method, &path)
            .ok_or(Refusal::MissingAuthenticationToken)?;
        let body = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::RequestTooLong)?;
        let trace_id = self.add_headers(&mut parts.headers, client);
        let event =
            event(&self.stage, &matched, &parts, &body, client, request_id, SystemTime::now())
                .to_string();
        if event.len() > MAX_EVENT {
            return Err(Refusal::RequestTooLong);
        }

        let function = &matched.route.function;
        let invocation = Invocation { event: event.into(), trace_id };
        let response =
            timeout(INTEGRATION_TIMEOUT, self.functions.invoke(function, invocation)).await;
        let response = response.unwrap_or(Err(InvokeError::TimedOut)).map_err(|error| {
            self.functions.log(function, &error.to_string());
            match error {
                InvokeError::TimedOut => Refusal::EndpointTimedOut,
                _ => Refusal::InternalServerError,
            }
        })?;
        http_response(&response).ok_or_else(|| {
            self.functions
                .log(function, "the function's response is not that of a Lambda proxy integration");
            Refusal::InternalServerError
        })
    }

    /// Adds the headers that API Gateway adds to a request, and gives the trace id.
    fn add_headers(&self, headers: &mut HeaderMap, client: IpAddr) -> String {
        let forwarded_for = headers
            .get(&FORWARDED_FOR)
            .map_or_else(|| client.to_string(), |before| format!("{}, {client}", text(before)));
        let trace_id = headers.get(&TRACE_ID).map_or_else(new_trace_id, text);
        let added = [
            (FORWARDED_FOR, forwarded_for),
            (FORWARDED_PORT, self.port.to_string()),
            (FORWARDED_PROTO, "http".to_owned()),
            (TRACE_ID, trace_id.clone()),
        ];
        for (name, value) in added {
            // All are printable, but for what the client sent itself and then stays as it is.
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        trace_id
    }
}

async fn answer(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let request_id = Uuid::new_v4().to_string();
    let mut response = gateway.invoke(request, client.ip(), &request_id).await.into_response();
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    response
}

/// The route that a request takes. Paths are compared as they are sent, percent-encoded, but for slashes at their end,
/// which API Gateway ignores.
fn route<'a>(
    stage: &str,
    routes: &'a [Route],
    method: &Method,
    path: &'a str,
) -> Option<Matched<'a>> {
    let path = path.strip_prefix('/')?.strip_prefix(stage)?;
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    routes.iter().filter(|route| route.method == method.as_str()).find_map(|route| {
        let expected: Vec<&str> = route.path.trim_end_matches('/').split('/').collect();
        let mut parameters = BTreeMap::new();
        let matches = expected.len() == segments.len()
            && expected.iter().zip(&segments).all(|(expected, segment)| {
                match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) => {
                        !segment.is_empty() && parameters.insert(name, *segment).is_none()
                    }
                    None => expected == segment,
                }
            });
        matches.then_some(Matched { route, path, parameters })
    })
}

/// The proxy event, payload format 1.0.
fn event(
    stage: &str,
    matched: &Matched,
    parts: &Parts,
    body: &[u8],
    client: IpAddr,
    request_id: &str,
    now: SystemTime,
) -> Value {
    let mut headers = BTreeMap::new();
    let mut multi_value_headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &parts.headers {
        // API Gateway keeps these to itself.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            headers.insert(name.as_str(), text(value));
            multi_value_headers.entry(name.as_str()).or_default().push(text(value));
        }
    }
    let mut query = BTreeMap::new();
    let mut multi_value_query = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        query.insert(name.to_string(), value.to_string());
        multi_value_query.entry(name).or_default().push(value);
    }
    let domain_name = headers.get(HOST.as_str()).map(String::as_str).unwrap_or_default();
    let now = DateTime::from(now);
    json!({
        "resource": matched.route.path,
        "path": matched.path,
        "httpMethod": matched.route.method,
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "queryStringParameters": Some(query).filter(|query| !query.is_empty()),
        "multiValueQueryStringParameters": Some(multi_value_query).filter(|query| !query.is_empty()),
        "pathParameters": Some(&matched.parameters).filter(|parameters| !parameters.is_empty()),
        "stageVariables": null,
        "requestContext": {
            "resourceId": "local",
            "resourcePath": matched.route.path,
            "httpMethod": matched.route.method,
            "extendedRequestId": request_id,
            "requestTime": common_log_time(now),
            "path": parts.uri.path(),
            "accountId": ACCOUNT_ID,
            "protocol": format!("{:?}", parts.version),
            "stage": stage,
            "domainPrefix": domain_name.split(['.', ':']).next(),
            "requestTimeEpoch": now.to_millis().unwrap_or_default(),
            "requestId": request_id,
            "identity": {
                "cognitoIdentityPoolId": null,
                "accountId": null,
                "cognitoIdentityId": null,
                "caller": null,
                "sourceIp": client,
                "principalOrgId": null,
                "accessKey": null,
                "cognitoAuthenticationType": null,
                "cognitoAuthenticationProvider": null,
                "userArn": null,
                "userAgent": headers.get(USER_AGENT.as_str()),
                "user": null,
            },
            "domainName": domain_name,
            "apiId": "local",
        },
        "body": Some(body).filter(|body| !body.is_empty()).map(String::from_utf8_lossy),
        "isBase64Encoded": false,
    })
}

/// A time as in `04/Mar/2020:19:15:17 +0000`.
fn common_log_time(time: DateTime) -> String {
    // An HTTP date has the same parts: `Wed, 04 Mar 2020 19:15:17 GMT`.
    let date = time.fmt(DateTimeFormat::HttpDate).unwrap_or_default();
    match date.split(' ').collect::<Vec<_>>()[..] {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => date,
    }
}

/// What a function of a Lambda proxy integration may answer. Other fields make a response malformed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProxyResponse {
    status_code: u16,
    #[serde(default)]
    headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    #[serde(default)]
    body: Option<String>,
    /// Without effect: an API without binary media types passes base64 on as text.
    #[serde(default, rename = "isBase64Encoded")]
    _is_base64_encoded: bool,
}

/// The HTTP response that a function's response stands for, unless it is malformed.
fn http_response(response: &[u8]) -> Option<Response> {
    let response: ProxyResponse = serde_json::from_slice(response).ok()?;
    let mut headers = HeaderMap::new();
    let multi_value = response.multi_value_headers.unwrap_or_default().into_iter();
    let single_value =
        response.headers.unwrap_or_default().into_iter().map(|(name, value)| (name, vec![value]));
    for (name, values) in multi_value.chain(single_value) {
        let name = HeaderName::try_from(name).ok()?;
        for value in values {
            let value = HeaderValue::try_from(value).ok()?;
            if !headers.get_all(&name).iter().any(|present| present == value) {
                headers.append(&name, value);
            }
        }
    }
    // How the body is sent is for the server to say.
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    let status = StatusCode::from_u16(response.status_code).ok()?;
    Some((status, headers, Body::from(response.body.unwrap_or_default())).into_response())
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// As X-Ray makes them: a version, the time in seconds and 96 random bits, in hexadecimal.
pub(crate) fn new_trace_id() -> String {
    let seconds = DateTime::from(SystemTime::now()).secs();
    let random = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{}", &random[..24])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn routes() -> Vec<Route> {
        [("GET", "/users"), ("POST", "/users"), ("GET", "/users/{id}")]
            .map(|(method, path)| Route {
                method: method.to_owned(),
                path: path.to_owned(),
                function: format!("{method} {path}"),
            })
            .into()
    }

    #[test]
    fn a_path_is_matched_as_it_is_sent() {
        for (method, path, expected) in [
            (Method::GET, "/test/users", Some(("GET /users", None))),
            (Method::GET, "/test/users/", Some(("GET /users", None))),
            (Method::POST, "/test/users", Some(("POST /users", None))),
            (Method::GET, "/test/users/1", Some(("GET /users/{id}", Some("1")))),
            (
                Method::GET,
                "/test/users/a%2Fb+%C3%BC",
                Some(("GET /users/{id}", Some("a%2Fb+%C3%BC"))),
            ),
            (Method::GET, "/test/users/..", Some(("GET /users/{id}", Some("..")))),
            (Method::GET, "/test/users/a/b", None),
            (Method::GET, "/test//users", None),
            (Method::GET, "/test/%75sers", None),
            (Method::GET, "/testing/users", None),
            (Method::GET, "/other/users", None),
            (Method::GET, "/users", None),
            (Method::GET, "/test", None),
            (Method::GET, "/", None),
            (Method::GET, "*", None),
            (Method::PUT, "/test/users", None),
            (Method::HEAD, "/test/users", None),
        ] {
            let routes = routes();
            let matched = route("test", &routes, &method, path);
            let found = matched.as_ref().map(|matched| {
                (matched.route.function.as_str(), matched.parameters.get("id").copied())
            });
            assert_eq!(found, expected, "{method} {path}");
        }
    }

    /// The event for a request to `GET /users/{id}` or `GET /users`.
    fn event_of(request: axum::http::request::Builder, body: &[u8]) -> Value {
        let (parts, ()) = request.body(()).expect("the request is valid").into_parts();
        let routes = routes();
        let matched =
            route("test", &routes, &parts.method, parts.uri.path()).expect("there is such a route");
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_583_349_317_135);
        event("test", &matched, &parts, body, Ipv4Addr::LOCALHOST.into(), "request-id", now)
    }

    #[test]
    fn an_event_has_the_members_of_api_gateways() {
        let request = Request::get("/test/users/a%2Fb?email=a%40b+c&tag=1&tag=2&flag")
            .header("host", "localhost:3000")
            .header("user-agent", "curl/8")
            .header("x-tag", "one")
            .header("x-tag", "two")
            .header("connection", "keep-alive")
            .header("content-length", "4");
        let expected = json!({
            "resource": "/users/{id}",
            "path": "/users/a%2Fb",
            "httpMethod": "GET",
            "headers": { "host": "localhost:3000", "user-agent": "curl/8", "x-tag": "two" },
            "multiValueHeaders": { "host": ["localhost:3000"], "user-agent": ["curl/8"], "x-tag": ["one", "two"] },
            "queryStringParameters": { "email": "a@b c", "flag": "", "tag": "2" },
            "multiValueQueryStringParameters": { "email": ["a@b c"], "flag": [""], "tag": ["1", "2"] },
            "pathParameters": { "id": "a%2Fb" },
            "stageVariables": null,
            "requestContext": {
                "resourceId": "local",
                "resourcePath": "/users/{id}",
                "httpMethod": "GET",
                "extendedRequestId": "request-id",
                "requestTime": "04/Mar/2020:19:15:17 +0000",
                "path": "/test/users/a%2Fb",
                "accountId": "123456789012",
                "protocol": "HTTP/1.1",
                "stage": "test",
                "domainPrefix": "localhost",
                "requestTimeEpoch": 1_583_349_317_135_u64,
                "requestId": "request-id",
                "identity": {
                    "cognitoIdentityPoolId": null,
                    "accountId": null,
                    "cognitoIdentityId": null,
                    "caller": null,
                    "sourceIp": "127.0.0.1",
                    "principalOrgId": null,
                    "accessKey": null,
                    "cognitoAuthenticationType": null,
                    "cognitoAuthenticationProvider": null,
                    "userArn": null,
                    "userAgent": "curl/8",
                    "user": null,
                },
                "domainName": "localhost:3000",
                "apiId": "local",
            },
            "body": "\u{fffd}{}",
            "isBase64Encoded": false,
        });
        assert_eq!(event_of(request, b"\xff{}"), expected);
    }

    #[test]
    fn what_a_request_does_not_have_is_null_in_its_event() {
        let event = event_of(Request::get("/test/users"), b"");
        for member in
            ["queryStringParameters", "multiValueQueryStringParameters", "pathParameters", "body"]
        {
            assert_eq!(event.get(member), Some(&Value::Null), "{member}");
        }
    }

    #[tokio::test]
    async fn a_functions_response_becomes_an_http_response() {
        let response = json!({
            "statusCode": 404,
            "headers": { "x-tag": "one", "content-length": "999" },
            "multiValueHeaders": { "X-Tag": ["one", "two"] },
            "body": "bm8=",
            "isBase64Encoded": true,
        });
        let response =
            http_response(response.to_string().as_bytes()).expect("the response is well-formed");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers().get_all("x-tag").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers().get(CONTENT_LENGTH), None);
        let body = to_bytes(response.into_body(), MAX_BODY).await.expect("the body is complete");
        assert_eq!(body, "bm8=");
    }

    #[test]
    fn a_response_that_is_not_that_of_a_proxy_integration_is_malformed() {
        for response in [
            "",
            "null",
            "[]",
            r#"{"body": "no status"}"#,
            r#"{"statusCode": 99}"#,
            r#"{"statusCode": 200, "body": {}}"#,
            r#"{"statusCode": 200, "headers": {"bad name": ""}}"#,
            r#"{"statusCode": 200, "headers": {"x-tag": "line\nbreak"}}"#,
            r#"{"statusCode": 200, "cookies": []}"#,
        ] {
            assert!(http_response(response.as_bytes()).is_none(), "{response}");
        }
    }
}
