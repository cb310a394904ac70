//! API Gateway's own responses, as the template defines them in
//! `x-amazon-apigateway-gateway-responses`.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html>

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The variable for the error's message, in quotes.
const MESSAGE: &str = "$context.error.messageString";
/// The body if the template defines none.
const DEFAULT_TEMPLATE: &str = r#"{"message":$context.error.messageString}"#;

/// The responses that the template defines, by response type.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct GatewayResponses(BTreeMap<String, GatewayResponse>);

/// One response.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "Definition")]
pub(crate) struct GatewayResponse {
    pub(crate) headers: HeaderMap,
    /// The template of the body, which is JSON.
    body: String,
}

impl GatewayResponse {
    /// Returns the body for an error with this message.
    pub(crate) fn body(&self, message: &str) -> String {
        render(&self.body, message)
    }
}

impl Default for GatewayResponse {
    /// Returns API Gateway's own response.
    fn default() -> Self {
        Self {
            headers: HeaderMap::new(),
            body: DEFAULT_TEMPLATE.to_owned(),
        }
    }
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

impl TryFrom<Definition> for GatewayResponse {
    /// What the definition uses and this service does not support.
    type Error = String;

    fn try_from(mut definition: Definition) -> Result<Self, String> {
        let templates = &mut definition.response_templates;
        if templates
            .values()
            .any(|body| render(body, "").contains("$context"))
        {
            return Err(format!(
                "{MESSAGE} is the only variable that is supported here"
            ));
        }
        let body = templates.remove("application/json");
        let headers = &definition.response_parameters;
        Ok(Self {
            headers: literal_headers(headers, "gatewayresponse.header.")?,
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
pub(super) fn literal_headers(
    parameters: &Map<String, Value>,
    prefix: &str,
) -> Result<HeaderMap, String> {
    let header = |name: &str, value: &Value| {
        let value = value.as_str()?.strip_prefix('\'')?.strip_suffix('\'')?;
        let name = HeaderName::try_from(name.strip_prefix(prefix)?).ok()?;
        Some((name, HeaderValue::try_from(value).ok()?))
    };
    let headers = parameters.iter().map(|(name, value)| {
        header(name, value).ok_or_else(|| format!("{name} is not a header with a literal value"))
    });
    headers.collect()
}

impl GatewayResponses {
    /// Returns the response of this type, if it is defined.
    pub(crate) fn get(&self, kind: &str) -> Option<&GatewayResponse> {
        self.0.get(kind)
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
            serde_json::from_value::<GatewayResponses>(json!({"DEFAULT_4XX": definition}))
                .expect_err("the definition is not supported");
        }
    }
}
