//! Turns the responses of functions into HTTP responses.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

/// What a function with a Lambda proxy integration may return. Other fields make a response
/// malformed.
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
    /// Has no effect: an API without binary media types passes on base64 as text.
    #[serde(default, rename = "isBase64Encoded")]
    _is_base64_encoded: bool,
}

/// Converts a function's response into an HTTP response, unless it is malformed.
pub(crate) fn http_response(response: &[u8]) -> Option<Response> {
    let response: ProxyResponse = serde_json::from_slice(response).ok()?;
    let mut headers = HeaderMap::new();
    let multi_value = response.multi_value_headers.unwrap_or_default().into_iter();
    let single_value = response
        .headers
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| (name, vec![value]));
    for (name, values) in multi_value.chain(single_value) {
        let name = HeaderName::try_from(name).ok()?;
        for value in values {
            let value = HeaderValue::try_from(value).ok()?;
            if !headers
                .get_all(&name)
                .iter()
                .any(|present| present == value)
            {
                // A response may have more headers than fit.
                headers.try_append(&name, value).ok()?;
            }
        }
    }
    // The server decides how the body is sent.
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("application/json"));
    let status = StatusCode::from_u16(response.status_code).ok()?;
    Some(
        (
            status,
            headers,
            Body::from(response.body.unwrap_or_default()),
        )
            .into_response(),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

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
        assert_eq!(
            response
                .headers()
                .get_all("x-tag")
                .iter()
                .collect::<Vec<_>>(),
            ["one", "two"]
        );
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(response.headers().get(CONTENT_LENGTH), None);
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("the body is complete");
        assert_eq!(body, "bm8=");
    }

    #[test]
    fn a_response_in_another_format_is_malformed() {
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
        let headers: BTreeMap<_, _> = (0..40_000).map(|n| (format!("x-{n}"), "")).collect();
        let response = json!({"statusCode": 200, "headers": headers}).to_string();
        assert!(http_response(response.as_bytes()).is_none());
    }
}
