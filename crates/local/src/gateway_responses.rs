//! API Gateway's own responses, as the template defines them in
//! `x-amazon-apigateway-gateway-responses`.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html>

use std::collections::BTreeMap;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Error;

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
/// The variable for the error's message, in quotes.
const MESSAGE: &str = "$context.error.messageString";
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

#[derive(Clone, Debug, PartialEq, Eq)]
struct GatewayResponse {
    headers: HeaderMap,
    /// The template of the body, which is JSON.
    body: String,
}

/// A response as the template defines it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Definition {
    #[serde(default)]
    response_templates: BTreeMap<String, String>,
    #[serde(default)]
    response_parameters: Map<String, Value>,
}

impl Definition {
    /// Returns the response.
    ///
    /// # Errors
    /// What the definition uses and this service does not support.
    fn into_response(mut self) -> Result<GatewayResponse, String> {
        if self
            .response_templates
            .values()
            .any(|body| render(body, "").contains("$context"))
        {
            return Err(format!(
                "{MESSAGE} is the only variable that is supported here"
            ));
        }
        let body = self.response_templates.remove("application/json");
        Ok(GatewayResponse {
            headers: literal_headers(&self.response_parameters, "gatewayresponse.header.")?,
            body: body.unwrap_or_else(|| DEFAULT_TEMPLATE.to_owned()),
        })
    }
}

/// Returns the headers that a mapping of parameters sets, whose names begin with `prefix`. Their
/// values are literals in single quotes
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/rest-api-parameter-mapping.html>).
///
/// # Errors
/// The parameter that is anything else, which this service does not support.
pub(crate) fn literal_headers<'a>(
    parameters: impl IntoIterator<Item = (&'a String, &'a Value)>,
    prefix: &str,
) -> Result<HeaderMap, String> {
    let header = |name: &str, value: &Value| {
        let value = value.as_str()?.strip_prefix('\'')?.strip_suffix('\'')?;
        let name = HeaderName::try_from(name.strip_prefix(prefix)?).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    let headers = parameters.into_iter().map(|(name, value)| {
        header(name, value).ok_or_else(|| format!("{name} is not a header with a literal value"))
    });
    headers.collect()
}

/// The parts of a response: status, headers and JSON.
pub(crate) type Rendered = (StatusCode, HeaderMap, String);

impl GatewayResponses {
    /// Reads the definitions.
    ///
    /// # Errors
    /// [`Error::Template`] if a definition uses something that this service does not support.
    pub(crate) fn new(definitions: Option<&Value>) -> Result<Self, Error> {
        let Some(definitions) = definitions else {
            return Ok(Self::default());
        };
        let problem = |problem: String| {
            Error::Template(format!("x-amazon-apigateway-gateway-responses: {problem}"))
        };
        let definitions: BTreeMap<String, Definition> = serde_json::from_value(definitions.clone())
            .map_err(|error| problem(error.to_string()))?;
        let responses = definitions.into_iter().map(|(kind, definition)| {
            let response = definition.into_response();
            let response = response.map_err(|error| problem(format!("{kind}: {error}")))?;
            Ok((kind, response))
        });
        responses.collect::<Result<_, Error>>().map(Self)
    }

    /// Returns the response to an error, from its own definition or the default of its class.
    pub(crate) fn render(&self, error: &GatewayError) -> Rendered {
        let (kind, status, message, name) = error.properties();
        let default = if status.is_server_error() {
            "DEFAULT_5XX"
        } else {
            "DEFAULT_4XX"
        };
        let response = self.0.get(kind).or_else(|| self.0.get(default));
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(name));
        let body = match response {
            Some(response) => {
                headers.extend(response.headers.clone());
                &response.body
            }
            None => DEFAULT_TEMPLATE,
        };
        (status, headers, render(body, message))
    }
}

/// Inserts the error's message, as JSON, into a response template
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html#context-variable-reference>).
fn render(template: &str, message: &str) -> String {
    template.replace(MESSAGE, &Value::from(message).to_string())
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
        assert_eq!(
            body,
            r#"{"code": "InvalidRequest", "message": "say \"less\""}"#
        );
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
            json!({"responseParameters": {"gatewayresponse.header.X Y": "'x'"}}),
            json!({"responseParameters": {"gatewayresponse.header.X": "'\n'"}}),
            json!({"responseParameters": {"gatewayresponse.path.X": "'x'"}}),
            json!({"responseParameters": {"gatewayresponse.header.X": {"Ref": "X"}}}),
            json!({"responseTemplates": {"application/json": "$context.requestId"}}),
            json!({"statusCode": 420}),
        ] {
            GatewayResponses::new(Some(&json!({"DEFAULT_4XX": definition})))
                .expect_err("the definition is not supported");
        }
    }
}
