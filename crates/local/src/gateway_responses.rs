//! API Gateway's own responses, as the template's `x-amazon-apigateway-gateway-responses` define
//! them.
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
/// What is returned where the template defines nothing.
const DEFAULT_TEMPLATE: &str = r#"{"message":$context.error.messageString}"#;

/// Why API Gateway rejects a request, or has no response to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GatewayError {
    /// No route takes the request.
    MissingAuthenticationToken,
    /// The API's key is needed, and missing or another.
    InvalidApiKey,
    /// There are more requests than the stage takes.
    Throttled,
    /// The body, or the event it makes, is too large.
    RequestTooLarge,
    /// The function failed, or its response is malformed.
    BadGateway,
    /// The function did not respond in the time that API Gateway waits.
    IntegrationTimeout,
    /// The request is not valid HTTP, or larger than a limit: the status, and what to do.
    Protocol(StatusCode, String),
}

impl GatewayError {
    /// Its response type, status, message and the name in `x-amzn-ErrorType`
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

/// Every response that the template defines, by response type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayResponses(BTreeMap<String, GatewayResponse>);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GatewayResponse {
    #[serde(default)]
    status_code: Option<StatusText>,
    #[serde(default)]
    response_templates: BTreeMap<String, String>,
    #[serde(default)]
    response_parameters: BTreeMap<String, String>,
}

/// A status, which YAML may have as a number or as a string.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum StatusText {
    Number(u16),
    Text(String),
}

impl GatewayResponse {
    fn status(&self) -> Option<StatusCode> {
        match self.status_code.as_ref()? {
            StatusText::Number(number) => StatusCode::from_u16(*number).ok(),
            StatusText::Text(text) => text.parse().ok(),
        }
    }

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
    /// [`Error::Template`] when a definition uses something that is not known here.
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
                    return Err(problem(format!("{kind} has a header that is no literal")));
                }
            }
            for template in response.response_templates.values() {
                if let Some(unknown) = render(template, kind, "", "").split_once("$context") {
                    return Err(problem(format!("{kind} uses $context{}", unknown.1)));
                }
            }
        }
        Ok(Self(responses))
    }

    /// The response to an error, by its own definition, else by the default's for its class.
    pub(crate) fn render(&self, error: &GatewayError, request_id: &str) -> Rendered {
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
        let status = response.and_then(GatewayResponse::status).unwrap_or(status);
        (status, headers, render(template, kind, message, request_id))
    }
}

/// Fills in the variables of an error that a response template may use
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html#context-variable-reference>).
fn render(template: &str, kind: &str, message: &str, request_id: &str) -> String {
    // The longer name first: it begins with the shorter.
    template
        .replace("$context.error.messageString", &Value::from(message).to_string())
        .replace("$context.error.message", message)
        .replace("$context.error.responseType", kind)
        .replace("$context.requestId", request_id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn responses() -> GatewayResponses {
        let definitions = json!({
            "DEFAULT_4XX": {
                "responseTemplates": {
                    "application/json": "{\"code\": \"InvalidRequest\", \"message\": $context.error.messageString}"
                },
                "responseParameters": {
                    "gatewayresponse.header.Access-Control-Allow-Origin": "'https://a.example'"
                },
            },
            "THROTTLED": {
                "statusCode": "420",
                "responseTemplates": {
                    "application/json": "$context.error.responseType $context.error.message $context.requestId"
                },
            },
        });
        GatewayResponses::new(Some(&definitions)).expect("the definitions are valid")
    }

    #[test]
    fn an_error_has_the_response_that_is_defined_for_it() {
        let (status, headers, body) = responses().render(&GatewayError::Throttled, "id-1");
        assert_eq!((status.as_u16(), body.as_str()), (420, "THROTTLED Too Many Requests id-1"));
        assert_eq!(headers["x-amzn-errortype"], "TooManyRequestsException");
        assert_eq!(headers.get("access-control-allow-origin"), None);
    }

    #[test]
    fn an_error_without_a_definition_has_the_default_of_its_class() {
        let error = GatewayError::Protocol(StatusCode::URI_TOO_LONG, "say \"less\"".to_owned());
        let (status, headers, body) = responses().render(&error, "");
        assert_eq!(status, StatusCode::URI_TOO_LONG);
        assert_eq!(body, r#"{"code": "InvalidRequest", "message": "say \"less\""}"#);
        assert_eq!(headers["access-control-allow-origin"], "https://a.example");
        let (status, headers, body) = responses().render(&GatewayError::BadGateway, "");
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(body, r#"{"message":"Internal server error"}"#);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers.get("access-control-allow-origin"), None);
    }

    #[test]
    fn what_cannot_be_rendered_here_is_an_error_of_the_template() {
        for definition in [
            json!({"responseTemplates": {"application/json": "$context.authorizer.claims"}}),
            json!({"responseParameters": {"gatewayresponse.header.X": "context.requestId"}}),
            json!({"responseParameters": {"gatewayresponse.path.X": "'x'"}}),
            json!({"somethingElse": 1}),
        ] {
            GatewayResponses::new(Some(&json!({"DEFAULT_4XX": definition})))
                .expect_err("the definition is not known");
        }
    }
}
