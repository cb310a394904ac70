//! The events that API Gateway builds from requests, for Lambda proxy integrations
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>).

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::routing::Matched;
use crate::aws::ACCOUNT_ID;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// Adds the headers that API Gateway adds to a request, and returns the trace id.
pub(crate) fn add_headers(headers: &mut HeaderMap, client: IpAddr, port: u16) -> String {
    let forwarded_for = headers.get(&FORWARDED_FOR).map_or_else(
        || client.to_string(),
        |before| format!("{}, {client}", text(before)),
    );
    let trace_id = headers.get(&TRACE_ID).map_or_else(new_trace_id, text);
    let added = [
        (FORWARDED_FOR, forwarded_for),
        (FORWARDED_PORT, port.to_string()),
        (FORWARDED_PROTO, "http".to_owned()),
        (TRACE_ID, trace_id.clone()),
    ];
    for (name, value) in added {
        // Fails only if the client sent unprintable characters. The header then stays unchanged.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    trace_id
}

/// Returns the proxy event for a request, in payload format 1.0.
///
/// The body is text. An API without binary media types supports only UTF-8
/// (<https://docs.aws.amazon.com/apigateway/latest/api/API_RestApi.html>), and replaces other bytes
/// with U+FFFD, as LocalStack found on AWS
/// (<https://github.com/localstack/localstack/pull/12215>).
pub(crate) fn event(
    stage: &str,
    matched: &Matched,
    parts: &Parts,
    body: &[u8],
    client: IpAddr,
    request_id: &str,
    now: Timestamp,
) -> Value {
    let mut headers = BTreeMap::new();
    let mut multi_value_headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in &parts.headers {
        // API Gateway does not pass these on.
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            headers.insert(name.as_str(), text(value));
            multi_value_headers
                .entry(name.as_str())
                .or_default()
                .push(text(value));
        }
    }
    let mut query = BTreeMap::new();
    let mut multi_value_query = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        query.insert(name.to_string(), value.to_string());
        multi_value_query.entry(name).or_default().push(value);
    }
    let domain_name = headers
        .get(HOST.as_str())
        .map(String::as_str)
        .unwrap_or_default();
    json!({
        "resource": matched.resource,
        "path": matched.path,
        "httpMethod": parts.method.as_str(),
        "headers": headers,
        "multiValueHeaders": multi_value_headers,
        "queryStringParameters": Some(query).filter(|query| !query.is_empty()),
        "multiValueQueryStringParameters":
            Some(multi_value_query).filter(|query| !query.is_empty()),
        "pathParameters": Some(&matched.parameters).filter(|parameters| !parameters.is_empty()),
        "stageVariables": null,
        "requestContext": {
            "resourceId": "local",
            "resourcePath": matched.resource,
            "httpMethod": parts.method.as_str(),
            "extendedRequestId": Uuid::new_v4().simple().to_string(),
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S %z").to_string(),
            "path": parts.uri.path(),
            "accountId": ACCOUNT_ID,
            "protocol": format!("{:?}", parts.version),
            "stage": stage,
            "domainPrefix": domain_name.split(['.', ':']).next(),
            "requestTimeEpoch": now.as_millisecond(),
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

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Returns a new trace id in X-Ray's format: a version, the time in seconds and 96 random bits, in
/// hexadecimal.
pub(crate) fn new_trace_id() -> String {
    let seconds = Timestamp::now().as_second();
    let random = Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{}", &random[..24])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::http::Request;

    use super::*;
    use crate::gateway::routing::find;

    /// Returns the event for a request to `GET /users/{id}` or `GET /users`.
    fn event_of(request: axum::http::request::Builder, body: &[u8]) -> Value {
        let (parts, ()) = request.body(()).expect("the request is valid").into_parts();
        let methods = [("GET", "/users"), ("GET", "/users/{id}")].into_iter();
        let matched = find("test", methods, &parts.method, parts.uri.path()).expect("a method");
        let now = Timestamp::from_millisecond(1_583_349_317_135).expect("a time");
        event(
            "test",
            &matched,
            &parts,
            body,
            Ipv4Addr::LOCALHOST.into(),
            "request-id",
            now,
        )
    }

    #[test]
    fn an_event_has_the_members_of_api_gateway() {
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
            "multiValueHeaders": {
                "host": ["localhost:3000"],
                "user-agent": ["curl/8"],
                "x-tag": ["one", "two"],
            },
            "queryStringParameters": { "email": "a@b c", "flag": "", "tag": "2" },
            "multiValueQueryStringParameters": {
                "email": ["a@b c"],
                "flag": [""],
                "tag": ["1", "2"],
            },
            "pathParameters": { "id": "a%2Fb" },
            "stageVariables": null,
            "requestContext": {
                "resourceId": "local",
                "resourcePath": "/users/{id}",
                "httpMethod": "GET",
                "extendedRequestId": null,
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
        let mut event = event_of(request, b"\xff{}");
        let extended = event["requestContext"]["extendedRequestId"].take();
        assert!(extended.is_string() && extended != "request-id");
        assert_eq!(event, expected);
    }

    #[test]
    fn parts_that_a_request_lacks_are_null_in_its_event() {
        let event = event_of(Request::get("/test/users"), b"");
        for member in [
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "pathParameters",
            "body",
        ] {
            assert_eq!(event.get(member), Some(&Value::Null), "{member}");
        }
    }
}
