//! The properties of a template's resources that the local service uses.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::yaml::number;
use super::{GatewayResponses, Throttle};

/// A resource whose type has the properties `T`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Resource<T> {
    pub(super) properties: T,
}

/// The properties of an `AWS::Serverless::Api`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Api {
    pub(super) stage_name: String,
    pub(super) minimum_compression_size: Option<u64>,
    #[serde(default)]
    method_settings: Vec<MethodSettings>,
    pub(super) definition_body: Definition,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MethodSettings {
    http_method: String,
    /// The path, in which `~1` stands for a slash, after another slash.
    resource_path: String,
    #[serde(flatten)]
    throttle: Option<Throttle>,
}

impl Api {
    /// Returns the throttle of a method, where `*` stands for all methods or paths.
    pub(super) fn throttle(&self, method: &str, path: &str) -> Option<Throttle> {
        let path = format!("/{}", path.replace('/', "~1"));
        let settings = self.method_settings.iter();
        let mut found = settings.filter(|it| it.http_method == method && it.resource_path == path);
        found.next()?.throttle
    }
}

/// The definition of an API in `OpenAPI`.
#[derive(Deserialize)]
pub(super) struct Definition {
    #[serde(default)]
    pub(super) paths: BTreeMap<String, PathItem>,
    #[serde(default)]
    pub(super) components: Components,
    #[serde(default, rename = "x-amazon-apigateway-gateway-responses")]
    pub(super) gateway_responses: GatewayResponses,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Components {
    pub(super) security_schemes: BTreeMap<String, SecurityScheme>,
}

#[derive(Deserialize)]
pub(super) struct SecurityScheme {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Where the key is.
    #[serde(rename = "in")]
    pub(super) place: String,
    #[serde(rename = "x-amazon-apigateway-authtype")]
    pub(super) auth_type: Option<String>,
}

/// The operations of a path.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PathItem {
    delete: Option<Operation>,
    get: Option<Operation>,
    head: Option<Operation>,
    options: Option<Operation>,
    patch: Option<Operation>,
    post: Option<Operation>,
    put: Option<Operation>,
}

impl PathItem {
    /// Returns each operation with its method, in capital letters.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&'static str, &Operation)> {
        [
            ("DELETE", &self.delete),
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("OPTIONS", &self.options),
            ("PATCH", &self.patch),
            ("POST", &self.post),
            ("PUT", &self.put),
        ]
        .into_iter()
        .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
    }
}

#[derive(Deserialize)]
pub(super) struct Operation {
    #[serde(default)]
    pub(super) security: Vec<BTreeMap<String, Value>>,
    #[serde(rename = "x-amazon-apigateway-integration")]
    integration: Option<Integration>,
}

#[derive(Deserialize)]
struct Integration {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    uri: Value,
    #[serde(default)]
    responses: BTreeMap<String, MockResponse>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MockResponse {
    #[serde(deserialize_with = "number")]
    pub(super) status_code: StatusCode,
    #[serde(default)]
    pub(super) response_parameters: Map<String, Value>,
    /// The mapping template of each content type.
    #[serde(default)]
    response_templates: BTreeMap<String, String>,
}

impl MockResponse {
    /// Returns the list that the mapping template compares with the request's `Origin`, or nothing
    /// if there is no template. The rest of the template is written in Velocity, and known to allow
    /// the origin if the list has it.
    ///
    /// # Errors
    /// What is wrong if the template does not begin with such a list.
    pub(super) fn allowed_origins(&self) -> Result<Vec<HeaderValue>, String> {
        let Some(template) = self.response_templates.get("application/json") else {
            return Ok(Vec::new());
        };
        let origins = || -> Option<Vec<HeaderValue>> {
            let (list, _) = template
                .strip_prefix("#set($allowed = \",")?
                .split_once(",\")")?;
            list.split(',').map(|origin| origin.parse().ok()).collect()
        };
        origins().ok_or_else(|| "the response's mapping template has no list of origins".to_owned())
    }
}

impl Operation {
    /// Returns the integration, if it has this type.
    fn integration(&self, kind: &str) -> Option<&Integration> {
        let integration = self.integration.as_ref()?;
        integration
            .kind
            .eq_ignore_ascii_case(kind)
            .then_some(integration)
    }

    /// Returns the logical id of the function in a proxy integration's `uri`, such as
    /// `!Sub ...:path/2015-03-31/functions/${GetFunction.Arn}/invocations`.
    pub(super) fn function(&self) -> Option<&str> {
        let uri = self
            .integration("aws_proxy")?
            .uri
            .get("Fn::Sub")?
            .as_str()?;
        let (_, reference) = uri.split_once("/functions/${")?;
        let (logical_id, _) = reference.split_once(['.', '}'])?;
        Some(logical_id)
    }

    /// Returns the response of a mock integration.
    pub(super) fn mock_response(&self) -> Option<&MockResponse> {
        self.integration("mock")?.responses.get("default")
    }
}

/// The properties of an `AWS::ApiGateway::UsagePlan`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UsagePlan {
    pub(super) throttle: Option<Throttle>,
}

/// An `AWS::Serverless::Function`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionResource {
    pub(super) metadata: Metadata,
    pub(super) properties: FunctionProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metadata {
    pub(super) build_properties: BuildProperties,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BuildProperties {
    pub(super) binary: String,
}

/// The properties of a function, with SAM's defaults
/// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FunctionProperties {
    pub(super) function_name: String,
    /// In seconds.
    #[serde(default = "default_timeout", deserialize_with = "number")]
    pub(super) timeout: u64,
    /// In megabytes.
    #[serde(default = "default_memory_size", deserialize_with = "number")]
    pub(super) memory_size: u32,
    #[serde(default)]
    pub(super) environment: Environment,
    #[serde(default)]
    pub(super) logging_config: LoggingConfig,
}

fn default_timeout() -> u64 {
    3
}

fn default_memory_size() -> u32 {
    128
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Environment {
    pub(super) variables: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct LoggingConfig {
    pub(super) application_log_level: Option<Value>,
}
