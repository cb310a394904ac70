//! The errors of API Gateway itself, and its responses to them.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::template::GatewayResponses;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Why API Gateway rejects a request, or cannot get a response to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GatewayError {
    /// No route matches the request.
    MissingAuthenticationToken,
    /// The API key is missing or wrong.
    InvalidApiKey,
    /// The stage's or the key's throttle rejects the request.
    Throttled,
    /// The body or its event is too large.
    RequestTooLarge,
    /// The body does not have the coding that it names, or API Gateway does not support that.
    UnsupportedMediaType,
    /// The function failed, or its response is malformed.
    BadGateway,
    /// The function did not respond within API Gateway's timeout.
    IntegrationTimeout,
    /// The request is invalid HTTP, or exceeds a limit. Contains the status, and a message that
    /// says what to do.
    Protocol(StatusCode, String),
}

impl GatewayError {
    /// Returns the response type, the status, the message, and the name for `x-amzn-ErrorType`
    /// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html>).
    fn properties(&self) -> (&'static str, StatusCode, &str, &'static str) {
        match self {
            Self::MissingAuthenticationToken => (
                "MISSING_AUTHENTICATION_TOKEN",
                StatusCode::FORBIDDEN,
                "Missing Authentication Token",
                "MissingAuthenticationTokenException",
            ),
            Self::InvalidApiKey => (
                "INVALID_API_KEY",
                StatusCode::FORBIDDEN,
                "Forbidden",
                "ForbiddenException",
            ),
            Self::Throttled => (
                "THROTTLED",
                StatusCode::TOO_MANY_REQUESTS,
                "Too Many Requests",
                "TooManyRequestsException",
            ),
            Self::RequestTooLarge => (
                "REQUEST_TOO_LARGE",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Too Long",
                "RequestTooLargeException",
            ),
            Self::UnsupportedMediaType => (
                "UNSUPPORTED_MEDIA_TYPE",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported Media Type",
                "BadRequestException",
            ),
            Self::BadGateway => (
                "DEFAULT_5XX",
                StatusCode::BAD_GATEWAY,
                "Internal server error",
                "InternalServerErrorException",
            ),
            Self::IntegrationTimeout => (
                "INTEGRATION_TIMEOUT",
                StatusCode::GATEWAY_TIMEOUT,
                "Endpoint request timed out",
                "InternalServerErrorException",
            ),
            Self::Protocol(status, message) => {
                ("DEFAULT_4XX", *status, message, "BadRequestException")
            }
        }
    }

    /// Returns the response that is defined for this error or for its class.
    pub(crate) fn response(&self, defined: &GatewayResponses) -> Response {
        let (kind, status, message, name) = self.properties();
        let class = if status.is_server_error() {
            "DEFAULT_5XX"
        } else {
            "DEFAULT_4XX"
        };
        let response = defined
            .get(kind)
            .or_else(|| defined.get(class))
            .cloned()
            .unwrap_or_default();
        let mut headers = response.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
        (status, headers, response.body(message)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use serde_json::json;

    use super::*;

    /// Returns the response to an error, and its body.
    async fn response(error: &GatewayError) -> (Response, String) {
        let definitions = json!({
            "DEFAULT_4XX": {
                "responseTemplates": {
                    "application/json":
                        r#"{"code": "InvalidRequest", "message": $context.error.messageString}"#
                },
                "responseParameters": {
                    "gatewayresponse.header.Access-Control-Allow-Origin": "'https://a.example'"
                },
            },
            "THROTTLED": {
                "responseTemplates": { "application/json": "slow down" },
            },
        });
        let defined = serde_json::from_value(definitions).expect("valid definitions");
        let (parts, body) = error.response(&defined).into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        let text = String::from_utf8(body.to_vec()).expect("text");
        (
            Response::from_parts(parts, ().into_response().into_body()),
            text,
        )
    }

    #[tokio::test]
    async fn an_error_has_the_response_that_is_defined_for_it() {
        let (response, body) = response(&GatewayError::Throttled).await;
        assert_eq!(
            (response.status().as_u16(), body.as_str()),
            (429, "slow down")
        );
        let headers = response.headers();
        assert_eq!(headers["x-amzn-errortype"], "TooManyRequestsException");
        assert_eq!(headers.get("access-control-allow-origin"), None);
    }

    #[tokio::test]
    async fn an_error_without_a_definition_has_the_default_of_its_class() {
        let error = GatewayError::Protocol(StatusCode::URI_TOO_LONG, "say \"less\"".to_owned());
        let (long, body) = response(&error).await;
        assert_eq!(long.status(), StatusCode::URI_TOO_LONG);
        assert_eq!(
            body,
            r#"{"code": "InvalidRequest", "message": "say \"less\""}"#
        );
        assert_eq!(
            long.headers()["access-control-allow-origin"],
            "https://a.example"
        );
        let (failed, body) = response(&GatewayError::BadGateway).await;
        assert_eq!(failed.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(body, r#"{"message":"Internal server error"}"#);
        assert_eq!(failed.headers()["content-type"], "application/json");
    }
}
