//! Reads an AWS SAM template: the stage and its throttle, the routes, their functions, API
//! Gateway's own responses, and the table's schema. Ignores everything else.

mod evaluate;
mod gateway_responses;
mod parameters;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::error::Error;
use evaluate::{Document, Resource};
use gateway_responses::literal_headers;
use yaml::{entries, text};

pub use gateway_responses::GatewayResponses;
pub use parameters::parse as parse_parameters;

/// What the template says about the service, for given values of its parameters.
#[derive(Clone, Debug)]
pub struct Template {
    /// The first segment of every path.
    pub stage: String,
    /// The methods that functions serve.
    pub routes: Vec<Route>,
    /// The methods that API Gateway serves itself, such as the preflight requests of CORS.
    pub mocks: Vec<Mock>,
    /// The stage's throttle, which applies to each method.
    pub throttle: Option<Throttle>,
    /// The throttle of the API key, if it has a usage plan.
    pub key_throttle: Option<Throttle>,
    /// What API Gateway returns if it rejects a request or fails.
    pub gateway_responses: GatewayResponses,
    /// The functions that the routes name, by logical id.
    pub functions: BTreeMap<String, Function>,
    /// The table.
    pub table: Table,
}

/// A method of the API with a Lambda proxy integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method, in capital letters.
    pub method: String,
    /// The resource's path without the stage, such as `/users/{id}`.
    pub path: String,
    /// The logical id of the function.
    pub function: String,
    /// Whether requests need the API key.
    pub needs_key: bool,
}

/// A method of the API with a mock integration, which always returns the same response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mock {
    /// The method, in capital letters.
    pub method: String,
    /// The resource's path without the stage.
    pub path: String,
    /// The status of the response.
    pub status: StatusCode,
    /// The headers of the response.
    pub headers: HeaderMap,
}

/// An `AWS::Serverless::Function`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name of the function on Lambda.
    pub name: String,
    /// The file name of its executable: `Metadata.BuildProperties.Binary`, as for `sam build`.
    pub executable: String,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// The memory of one process, in megabytes.
    pub memory_size: u32,
    /// The lowest level that it logs, if the template sets one.
    pub log_level: Option<String>,
    /// The environment variables, without those whose values exist only on AWS, such as ARNs.
    pub variables: BTreeMap<String, String>,
}

/// A limit on requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Requests per second on average.
    pub rate: f64,
    /// Requests that are accepted at once.
    pub burst: f64,
}

impl Throttle {
    /// Returns a throttle, unless the numbers are invalid.
    pub(crate) fn new(rate: f64, burst: f64) -> Option<Self> {
        (rate > 0.0 && burst >= 1.0).then_some(Self { rate, burst })
    }
}

/// The `AWS::DynamoDB::Table`.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The name of the table in DynamoDB.
    pub name: String,
    /// The types of the key attributes, including those of the indexes.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The primary key.
    pub key_schema: Vec<KeySchemaElement>,
    /// The indexes, with their keys and projections.
    pub global_secondary_indexes: Vec<GlobalSecondaryIndex>,
}

impl Template {
    /// Reads the template in the file `path`, with these values of its parameters.
    ///
    /// # Errors
    /// [`Error::Template`] if the file cannot be read, and the errors of [`Template::parse`].
    pub fn read(path: &Path, parameters: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::Template(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text, parameters)
    }

    /// Reads a template with these values of its parameters.
    ///
    /// # Errors
    /// [`Error::Template`] if the text is not YAML, or lacks something that the local service
    /// needs, which the message names. [`Error::Parameter`] if CloudFormation would reject a value,
    /// or if only AWS can apply it.
    pub fn parse(text: &str, parameters: &BTreeMap<String, String>) -> Result<Self, Error> {
        let document = Document::parse(text, parameters)?;
        let api = document.resource_of_type("AWS::Serverless::Api")?;
        let definition = api.get("/Properties/DefinitionBody")?;
        let (routes, mocks) = methods(definition)?;
        let functions = routes
            .iter()
            .map(|route| {
                let resource = document.resource(&route.function)?;
                Ok((route.function.clone(), function(&document, &resource)?))
            })
            .collect::<Result<_, Error>>()?;
        let usage_plan = document.resource_of_type("AWS::ApiGateway::UsagePlan").ok();
        Ok(Self {
            stage: api.text("/Properties/StageName")?,
            throttle: stage_throttle(api.node.pointer("/Properties/MethodSettings")),
            key_throttle: usage_plan.and_then(|plan| {
                let throttle = plan.node.pointer("/Properties/Throttle")?;
                Throttle::new(
                    number(throttle, "RateLimit")?,
                    number(throttle, "BurstLimit")?,
                )
            }),
            gateway_responses: GatewayResponses::new(
                definition.get("x-amazon-apigateway-gateway-responses"),
            )?,
            routes,
            mocks,
            functions,
            table: table(&document.resource_of_type("AWS::DynamoDB::Table")?)?,
        })
    }
}

/// Returns the throttle that applies to every method of a stage.
fn stage_throttle(settings: Option<&Value>) -> Option<Throttle> {
    let all = settings?.as_array()?.iter().find(|setting| {
        setting
            .get("HttpMethod")
            .is_some_and(|method| method == "*")
            && setting.get("ResourcePath").is_some_and(|path| path == "/*")
    })?;
    Throttle::new(
        number(all, "ThrottlingRateLimit")?,
        number(all, "ThrottlingBurstLimit")?,
    )
}

fn number(node: &Value, name: &str) -> Option<f64> {
    text(node.get(name)?)?.parse().ok()
}

/// Returns the methods under `paths` that invoke a function, and those with a mock integration.
fn methods(definition: &Value) -> Result<(Vec<Route>, Vec<Mock>), Error> {
    const METHODS: [&str; 7] = ["delete", "get", "head", "options", "patch", "post", "put"];
    let (mut routes, mut mocks) = (Vec::new(), Vec::new());
    for (path, methods) in entries(definition.get("paths")) {
        for (method, operation) in
            entries(Some(methods)).filter(|(method, _)| METHODS.contains(&method.as_str()))
        {
            let method = method.to_uppercase();
            if let Some(function) = integrated_function(operation) {
                routes.push(Route {
                    needs_key: needs_key(definition, operation)?,
                    method,
                    path: path.clone(),
                    function: function.to_owned(),
                });
            } else if let Some((status, parameters)) = mock_response(operation) {
                let headers = literal_headers(entries(parameters), "method.response.header.")
                    .map_err(|problem| Error::Template(format!("{method} {path}: {problem}")))?;
                mocks.push(Mock {
                    method,
                    path: path.clone(),
                    status,
                    headers,
                });
            }
        }
    }
    Ok((routes, mocks))
}

/// Returns whether an operation's `security` requires an API key.
///
/// # Errors
/// [`Error::Parameter`] if it requires a signature, which only AWS can check.
fn needs_key(definition: &Value, operation: &Value) -> Result<bool, Error> {
    let schemes = definition.pointer("/components/securitySchemes");
    let mut needs_key = false;
    for requirement in operation
        .get("security")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        for (name, _) in entries(Some(requirement)) {
            let scheme = schemes.and_then(|schemes| schemes.get(name));
            let has = |key: &str, value: &str| {
                scheme
                    .and_then(|scheme| scheme.get(key))
                    .is_some_and(|found| found == value)
            };
            if has("x-amazon-apigateway-authtype", "awsSigv4") {
                return Err(Error::Parameter(
                    "AuthType=AWS_IAM is not available here, because only AWS can check its \
                     principals' signatures: use AuthType=API_KEY or NONE, or deploy the API"
                        .to_owned(),
                ));
            }
            if !(has("type", "apiKey") && has("in", "header")) {
                return Err(Error::Template(format!(
                    "the security scheme {name} is not supported"
                )));
            }
            needs_key = true;
        }
    }
    Ok(needs_key)
}

/// Returns the status and the parameters of an operation's mock integration.
fn mock_response(operation: &Value) -> Option<(StatusCode, Option<&Value>)> {
    let integration = operation.get("x-amazon-apigateway-integration")?;
    integration
        .get("type")?
        .as_str()
        .filter(|kind| kind.eq_ignore_ascii_case("mock"))?;
    let response = integration.pointer("/responses/default")?;
    let status = text(response.get("statusCode")?)?.parse().ok()?;
    Some((status, response.get("responseParameters")))
}

/// Returns the logical id of the function in an operation's `uri`, such as
/// `!Sub ...:path/2015-03-31/functions/${GetFunction.Arn}/invocations`.
fn integrated_function(operation: &Value) -> Option<&str> {
    let integration = operation.get("x-amazon-apigateway-integration")?;
    let kind = integration.get("type")?.as_str()?;
    let uri = integration.pointer("/uri/Fn::Sub")?.as_str()?;
    let (_, reference) = uri.split_once("/functions/${")?;
    let (logical_id, _) = reference.split_once(['.', '}'])?;
    kind.eq_ignore_ascii_case("aws_proxy").then_some(logical_id)
}

/// Reads a function, with SAM's defaults
/// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>).
fn function(document: &Document, resource: &Resource) -> Result<Function, Error> {
    let globals = document.get("/Globals/Function");
    let own = resource.node.get("Properties");
    let number = |property: &str, default: u32| {
        let Some(value) = [own, globals]
            .into_iter()
            .flatten()
            .find_map(|properties| properties.get(property))
        else {
            return Ok(default);
        };
        let number = text(value).and_then(|text| text.parse().ok());
        number
            .ok_or_else(|| resource.problem(&format!("/Properties/{property}"), "is not a number"))
    };
    // A function's own variables override the global ones.
    let variables = [globals, own]
        .into_iter()
        .flatten()
        .flat_map(|properties| entries(properties.pointer("/Environment/Variables")))
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect();
    let log_level = [own, globals]
        .into_iter()
        .flatten()
        .find_map(|properties| properties.pointer("/LoggingConfig/ApplicationLogLevel"));
    Ok(Function {
        name: resource.text("/Properties/FunctionName")?,
        executable: resource.text("/Metadata/BuildProperties/Binary")?,
        timeout: Duration::from_secs(number("Timeout", 3)?.into()),
        memory_size: number("MemorySize", 128)?,
        log_level: log_level.and_then(text),
        variables,
    })
}

fn table(resource: &Resource) -> Result<Table, Error> {
    const INDEXES: &str = "/Properties/GlobalSecondaryIndexes";
    let indexes = match resource.get(INDEXES) {
        Ok(_) => resource.list(INDEXES, index)?,
        Err(_) => Vec::new(),
    };
    Ok(Table {
        name: resource.text("/Properties/TableName")?,
        attribute_definitions: resource
            .list("/Properties/AttributeDefinitions", attribute_definition)?,
        key_schema: resource.list("/Properties/KeySchema", key)?,
        global_secondary_indexes: indexes,
    })
}

fn attribute_definition(node: &Resource) -> Result<AttributeDefinition, Error> {
    let definition = AttributeDefinition::builder()
        .attribute_name(node.text("/AttributeName")?)
        .attribute_type(ScalarAttributeType::from(
            node.text("/AttributeType")?.as_str(),
        ))
        .build();
    definition.map_err(|error| node.problem("", error))
}

fn key(node: &Resource) -> Result<KeySchemaElement, Error> {
    let key = KeySchemaElement::builder()
        .attribute_name(node.text("/AttributeName")?)
        .key_type(KeyType::from(node.text("/KeyType")?.as_str()))
        .build();
    key.map_err(|error| node.problem("", error))
}

fn index(node: &Resource) -> Result<GlobalSecondaryIndex, Error> {
    let projection = ProjectionType::from(node.text("/Projection/ProjectionType")?.as_str());
    let index = GlobalSecondaryIndex::builder()
        .index_name(node.text("/IndexName")?)
        .set_key_schema(Some(node.list("/KeySchema", key)?))
        .projection(Projection::builder().projection_type(projection).build())
        .build();
    index.map_err(|error| node.problem("", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template with everything that the local service reads or ignores.
    const TEMPLATE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Parameters:
  StageName: { Type: String, Default: test }
  Suffix: { Type: String, Default: "-x" }
  Seconds: { Type: Number, Default: 7 }
  AlarmEmail: { Type: String }
Conditions:
  Production: !Not [!Equals [!Ref StageName, test]]
  Unknown: !Or [Condition: Production, !Equals [!Ref Suffix, ""]]
Globals:
  Function:
    Timeout: !Ref Seconds
    Environment:
      Variables: { USERS_TABLE: !Sub "users${Suffix}", LEVEL: INFO }
Resources:
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Condition: Unknown
    Properties:
      Threshold: !If [Unknown, 1.5, 2]
      AlarmActions: [!Ref AlarmEmail, !GetAtt Topic.Arn]
      AlarmName: !Sub ["${Version}", { Version: !GetAtt Get.Version.Version }]
      Dimensions: ~
  UsersTable:
    Type: AWS::DynamoDB::Table
    DeletionPolicy: Retain
    Properties:
      TableName: !Sub users${Suffix}
      AttributeDefinitions:
        - { AttributeName: id, AttributeType: S }
        - { AttributeName: email, AttributeType: S }
      KeySchema: [{ AttributeName: id, KeyType: HASH }]
      GlobalSecondaryIndexes:
        - IndexName: email-index
          KeySchema: [{ AttributeName: email, KeyType: HASH }]
          Projection: { ProjectionType: ALL }
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: !Ref StageName
      DefinitionBody:
        paths:
          Fn::If: [Production, { /secret: {} }, !Ref AWS::NoValue]
          /users: { options: { x-amazon-apigateway-integration: { type: mock } } }
          /users/{id}:
            parameters: [{ name: id, in: path }]
            Fn::If: [Production, {}, {}]
            get:
              responses: { 200: { description: OK } }
              x-amazon-apigateway-integration:
                type: aws_proxy
                uri: !Sub arn:${AWS::Partition}:lambda:path/functions/${Get.Arn}:live/invocations
            put:
              x-amazon-apigateway-integration:
                type: AWS_PROXY
                uri: { Fn::Sub: "arn:aws:lambda:path/functions/${Put.Arn}/invocations" }
            delete: !If [Production, {}, {}]
            options:
              x-amazon-apigateway-integration:
                type: mock
                responses:
                  default:
                    statusCode: "204"
                    responseParameters: { method.response.header.X: "'x'" }
            patch:
              x-amazon-apigateway-integration: { type: http_proxy, uri: !Sub "https://${Get.Arn}" }
  Get:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: get } }
    Properties:
      FunctionName: !Sub "local-get${Suffix}"
      MemorySize: !If [Production, 512, 256]
      Environment:
        Variables:
          LEVEL: DEBUG
          TOPIC: !GetAtt Topic.Arn
          EMAIL: !Ref AlarmEmail
          NONE: !Ref AWS::NoValue
  Put:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: put } }
    Properties: { FunctionName: put, Timeout: 5 }
  Unrouted:
    Type: AWS::Serverless::Function
Outputs:
  Url: { Value: !Join ["", [https://, !Ref Api]] }
"#;

    fn parse(text: &str) -> Result<Template, Error> {
        Template::parse(text, &BTreeMap::new())
    }

    #[test]
    fn a_template_gives_the_stage_and_its_methods() {
        let template = parse(TEMPLATE).expect("the template is complete");
        let route = |method: &str, function: &str| Route {
            method: method.to_owned(),
            path: "/users/{id}".to_owned(),
            function: function.to_owned(),
            needs_key: false,
        };
        assert_eq!(template.stage, "test");
        assert_eq!(template.routes, [route("GET", "Get"), route("PUT", "Put")]);
        let [mock] = template.mocks.as_slice() else {
            panic!("{:?}", template.mocks)
        };
        assert_eq!(
            (mock.method.as_str(), mock.path.as_str()),
            ("OPTIONS", "/users/{id}")
        );
        assert_eq!(
            (mock.status, mock.headers.len()),
            (StatusCode::NO_CONTENT, 1)
        );
        assert_eq!(mock.headers["x"], "x");
    }

    #[test]
    fn a_template_gives_the_routed_functions_with_globals_and_the_parameters_defaults() {
        let template = parse(TEMPLATE).expect("the template is complete");
        let variables = |level: &str| {
            [("LEVEL", level), ("USERS_TABLE", "users-x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        let get = Function {
            name: "local-get-x".to_owned(),
            executable: "get".to_owned(),
            timeout: Duration::from_secs(7),
            memory_size: 256,
            log_level: None,
            variables: variables("DEBUG"),
        };
        let put = Function {
            name: "put".to_owned(),
            executable: "put".to_owned(),
            timeout: Duration::from_secs(5),
            memory_size: 128,
            log_level: None,
            variables: variables("INFO"),
        };
        assert_eq!(
            template.functions,
            [("Get".to_owned(), get), ("Put".to_owned(), put)].into()
        );
    }

    #[test]
    fn a_template_gives_the_schema_of_the_table() {
        let table = parse(TEMPLATE).expect("the template is complete").table;
        assert_eq!(table.name, "users-x");
        let attributes = table.attribute_definitions.iter().map(|attribute| {
            (
                attribute.attribute_name(),
                attribute.attribute_type().as_str(),
            )
        });
        assert_eq!(
            attributes.collect::<Vec<_>>(),
            [("id", "S"), ("email", "S")]
        );
        let keys = |keys: &[KeySchemaElement]| {
            keys.iter()
                .map(|key| format!("{} {}", key.attribute_name(), key.key_type().as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&table.key_schema), ["id HASH"]);
        let [index] = table.global_secondary_indexes.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!(index.index_name(), "email-index");
        assert_eq!(keys(index.key_schema()), ["email HASH"]);
        let projection = index.projection().and_then(Projection::projection_type);
        assert_eq!(projection, Some(&ProjectionType::All));
    }

    #[test]
    fn conditions_anchors_and_given_parameters_are_evaluated() {
        let method = "post: &method
              security: !If [Production, [{ key: [] }], []]
              x-amazon-apigateway-integration:
                type: aws_proxy
                uri: !Sub path/functions/${Get.Arn}/invocations
            head: *method
            patch:";
        let schemes = "components: { securitySchemes: { key: { type: apiKey, in: header } } }
        paths:";
        let text = TEMPLATE
            .replace("patch:", method)
            .replace("paths:", schemes);
        let keys = |stage: &str| {
            let given = [("StageName".to_owned(), stage.to_owned())].into();
            let template = Template::parse(&text, &given).expect("the template is complete");
            let routes = template.routes.into_iter();
            routes
                .map(|route| (route.method, route.needs_key))
                .collect::<BTreeMap<_, _>>()
        };
        for stage in ["test", "production"] {
            let keys = keys(stage);
            for method in ["POST", "HEAD"] {
                assert_eq!(
                    keys.get(method),
                    Some(&(stage == "production")),
                    "{stage} {method}"
                );
            }
        }
    }

    #[test]
    fn an_error_names_what_is_missing() {
        for (removed, message) in [
            (
                "Type: AWS::DynamoDB::Table",
                "no resource is an AWS::DynamoDB::Table",
            ),
            (
                "StageName: !Ref StageName",
                "/Resources/Api/Properties/StageName is missing",
            ),
            (
                ", Default: 7",
                "/Resources/Get/Properties/Timeout is not a number",
            ),
            (
                "'",
                "OPTIONS /users/{id}: method.response.header.X is not a header with a literal",
            ),
            (
                "AttributeName: email, AttributeType: S",
                "AttributeDefinitions/1/AttributeName is missing",
            ),
            (
                "Metadata: { BuildProperties: { Binary: put } }",
                "/Resources/Put/Metadata/BuildProperties/Binary is missing",
            ),
        ] {
            let error = parse(&TEMPLATE.replace(removed, ""))
                .expect_err(message)
                .to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = Template::read(Path::new("missing.yaml"), &BTreeMap::new())
            .expect_err("there is no such file")
            .to_string();
        assert!(error.contains("missing.yaml"), "{error}");
    }
}
