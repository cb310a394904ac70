//! API Gateway's own responses, as the template defines them in
//! `x-amazon-apigateway-gateway-responses`.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html>

use std::collections::BTreeMap;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::Error;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const HEADER_PREFIX: &str = "gatewayresponse.header.";
/// The body if the template defines none.
const DEFAULT_TEMPLATE: &str = r#"{"message":$context.error.messageString}"#;

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
            Self::InvalidApiKey => {
                ("INVALID_API_KEY", StatusCode::FORBIDDEN, "Forbidden", "ForbiddenException")
            }
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
}

/// The responses that the template defines, by response type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayResponses(BTreeMap<String, GatewayResponse>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GatewayResponse {
    #[serde(default)]
    response_templates: BTreeMap<String, String>,
    #[serde(default)]
    response_parameters: BTreeMap<String, String>,
}

impl GatewayResponse {
    fn headers(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.response_parameters.iter().map(|(name, value)| {
            let literal = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            (name.strip_prefix(HEADER_PREFIX).unwrap_or_default(), literal)
        })
    }
}

/// The parts of a response: status, headers and JSON.
pub(crate) type Rendered = (StatusCode, HeaderMap, String);

impl GatewayResponses {
    /// Reads the definitions.
    ///
    /// # Errors
    /// [`Error::Template`] if a definition uses something that this service does not support.
    pub(crate) fn new(definitions: Option<&Value>) -> Result<Self, Error> {
        let Some(definitions) = definitions else { return Ok(Self::default()) };
        let problem = |problem: String| {
            Error::Template(format!("x-amazon-apigateway-gateway-responses: {problem}"))
        };
        let responses: BTreeMap<String, GatewayResponse> =
            serde_json::from_value(definitions.clone())
                .map_err(|error| problem(error.to_string()))?;
        for (kind, response) in &responses {
            for (name, value) in response.headers() {
                let valid = HeaderName::try_from(name).is_ok()
                    && value.is_some_and(|value| HeaderValue::try_from(value).is_ok());
                if !valid {
                    return Err(problem(format!("{kind} has a header that is not a literal")));
                }
            }
            for template in response.response_templates.values() {
                if let Some(unknown) = render(template, "").split_once("$context") {
                    return Err(problem(format!("{kind} uses $context{}", unknown.1)));
                }
            }
        }
        Ok(Self(responses))
    }

    /// Returns the response to an error, from its own definition or the default of its class.
    pub(crate) fn render(&self, error: &GatewayError) -> Rendered {
        let (kind, status, message, name) = error.properties();
        let default = if status.is_server_error() { "DEFAULT_5XX" } else { "DEFAULT_4XX" };
        let response = self.0.get(kind).or_else(|| self.0.get(default));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
        for (name, value) in response.into_iter().flat_map(GatewayResponse::headers) {
            let value = value.and_then(|value| HeaderValue::try_from(value).ok());
            if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
                headers.insert(name, value);
            }
        }
        let template = response
            .and_then(|response| response.response_templates.get("application/json"))
            .map_or(DEFAULT_TEMPLATE, String::as_str);
        (status, headers, render(template, message))
    }
}

/// Inserts the error's message, as JSON, into a response template
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html#context-variable-reference>).
fn render(template: &str, message: &str) -> String {
    template.replace("$context.error.messageString", &Value::from(message).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn responses() -> GatewayResponses {
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
        GatewayResponses::new(Some(&definitions)).expect("the definitions are valid")
    }

    #[test]
    fn an_error_has_the_response_that_is_defined_for_it() {
        let (status, headers, body) = responses().render(&GatewayError::Throttled);
        assert_eq!((status.as_u16(), body.as_str()), (429, "slow down"));
        assert_eq!(headers["x-amzn-errortype"], "TooManyRequestsException");
        assert_eq!(headers.get("access-control-allow-origin"), None);
    }

    #[test]
    fn an_error_without_a_definition_has_the_default_of_its_class() {
        let error = GatewayError::Protocol(StatusCode::URI_TOO_LONG, "say \"less\"".to_owned());
        let (status, headers, body) = responses().render(&error);
        assert_eq!(status, StatusCode::URI_TOO_LONG);
        assert_eq!(body, r#"{"code": "InvalidRequest", "message": "say \"less\""}"#);
        assert_eq!(headers["access-control-allow-origin"], "https://a.example");
        let (status, headers, body) = responses().render(&GatewayError::BadGateway);
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(body, r#"{"message":"Internal server error"}"#);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers.get("access-control-allow-origin"), None);
    }

    #[test]
    fn an_unsupported_definition_is_an_error_of_the_template() {
        for definition in [
            json!({"responseTemplates": {"application/json": "$context.authorizer.claims"}}),
            json!({"responseParameters": {"gatewayresponse.header.X": "context.requestId"}}),
            json!({"responseParameters": {"gatewayresponse.path.X": "'x'"}}),
            json!({"responseTemplates": {"application/json": "$context.requestId"}}),
            json!({"statusCode": 420}),
        ] {
            GatewayResponses::new(Some(&json!({"DEFAULT_4XX": definition})))
                .expect_err("the definition is not supported");
        }
    }
}
