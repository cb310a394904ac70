//! Reads an AWS SAM template: the stage and its throttles, the routes, their functions, API
//! Gateway's own responses, and the table's schema. Ignores everything else.

mod evaluate;
mod gateway_responses;
mod parameters;
mod properties;
mod yaml;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::error::Error;
use evaluate::Document;
use gateway_responses::literal_headers;
use properties::{Api, FunctionResource, Operation, Resource, SecurityScheme, UsagePlan};
use yaml::{number, text};

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
    /// The stage's throttle, which applies to each method without one of its own.
    pub throttle: Option<Throttle>,
    /// The throttle of the API key, if it has a usage plan.
    pub key_throttle: Option<Throttle>,
    /// The smallest response that is compressed, in bytes. Without this, none is.
    pub minimum_compression_size: Option<u64>,
    /// What API Gateway returns if it rejects a request or fails.
    pub gateway_responses: GatewayResponses,
    /// The functions that the routes name, by logical id.
    pub functions: BTreeMap<String, Function>,
    /// The table.
    pub table: Table,
}

/// A method of the API with a Lambda proxy integration.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The method, in capital letters.
    pub method: String,
    /// The resource's path without the stage, such as `/users/{id}`.
    pub path: String,
    /// The logical id of the function.
    pub function: String,
    /// Whether requests need the API key.
    pub needs_key: bool,
    /// The method's own throttle.
    pub throttle: Option<Throttle>,
}

/// A method of the API with a mock integration, which returns the same response to every request,
/// but for the origin that it allows.
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
    /// The origins that the response allows, where `*` means any.
    pub origins: Vec<HeaderValue>,
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
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Throttle {
    /// Requests per second on average.
    #[serde(
        rename = "RateLimit",
        alias = "ThrottlingRateLimit",
        deserialize_with = "number"
    )]
    pub rate: f64,
    /// Requests that are accepted at once.
    #[serde(
        rename = "BurstLimit",
        alias = "ThrottlingBurstLimit",
        deserialize_with = "number"
    )]
    pub burst: f64,
}

/// The `AWS::DynamoDB::Table`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Table {
    /// The name of the table in DynamoDB.
    #[serde(rename = "TableName")]
    pub name: String,
    /// The types of the key attributes, including those of the indexes.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The primary key.
    pub key_schema: Vec<Key>,
    /// The indexes, with their keys and projections.
    #[serde(default)]
    pub global_secondary_indexes: Vec<Index>,
}

/// The type of an attribute.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    /// The attribute.
    pub attribute_name: String,
    /// Its type, such as `S`.
    pub attribute_type: String,
}

/// A part of a key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Key {
    /// The attribute.
    pub attribute_name: String,
    /// `HASH` or `RANGE`.
    pub key_type: String,
}

/// A global secondary index.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Index {
    /// The name of the index.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<Key>,
    /// What it contains.
    pub projection: Projection,
}

/// What an index contains of each item.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection_type: String,
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
        let api: Api = properties_of(&document, "AWS::Serverless::Api")?;
        let (routes, mocks) = methods(&api)?;
        let functions = routes
            .iter()
            .map(|route| {
                Ok((
                    route.function.clone(),
                    function(&document, &route.function)?,
                ))
            })
            .collect::<Result<_, Error>>()?;
        let usage_plan = match document.find("AWS::ApiGateway::UsagePlan") {
            Some(id) => Some(document.resource::<Resource<UsagePlan>>(&id)?),
            None => None,
        };
        Ok(Self {
            throttle: api.throttle("*", "*"),
            key_throttle: usage_plan.and_then(|plan| plan.properties.throttle),
            minimum_compression_size: api.minimum_compression_size,
            stage: api.stage_name,
            gateway_responses: api.definition_body.gateway_responses,
            routes,
            mocks,
            functions,
            table: properties_of(&document, "AWS::DynamoDB::Table")?,
        })
    }
}

/// Returns the properties of the first resource of a type.
fn properties_of<T: for<'de> Deserialize<'de>>(
    document: &Document,
    kind: &str,
) -> Result<T, Error> {
    let id = document
        .find(kind)
        .ok_or_else(|| Error::Template(format!("no resource is an {kind}")))?;
    let resource: Resource<T> = document.resource(&id)?;
    Ok(resource.properties)
}

/// Returns the methods that invoke a function, and those with a mock integration.
fn methods(api: &Api) -> Result<(Vec<Route>, Vec<Mock>), Error> {
    let (mut routes, mut mocks) = (Vec::new(), Vec::new());
    for (path, methods) in &api.definition_body.paths {
        for (method, operation) in methods.operations() {
            let method = method.to_owned();
            let path = path.clone();
            if let Some(function) = operation.function() {
                routes.push(Route {
                    needs_key: needs_key(
                        operation,
                        &api.definition_body.components.security_schemes,
                    )?,
                    throttle: api.throttle(&method, &path),
                    function: function.to_owned(),
                    method,
                    path,
                });
            } else if let Some(response) = operation.mock_response() {
                let place = |problem| Error::Template(format!("{method} {path}: {problem}"));
                let parameters = &response.response_parameters;
                let headers =
                    literal_headers(parameters, "method.response.header.").map_err(place)?;
                let origins = response.allowed_origins().map_err(place)?;
                mocks.push(Mock {
                    status: response.status_code,
                    headers,
                    origins,
                    method,
                    path,
                });
            }
        }
    }
    Ok((routes, mocks))
}

/// Returns whether an operation's `security` requires an API key.
///
/// # Errors
/// [`Error::Parameter`] if it requires a signature or a token, which only AWS can check.
fn needs_key(
    operation: &Operation,
    schemes: &BTreeMap<String, SecurityScheme>,
) -> Result<bool, Error> {
    let only_aws_checks = |auth_type: &str, sent: &str| {
        Error::Parameter(format!(
            "AuthType={auth_type} is not available here, because only AWS can check its {sent}: \
             use AuthType=API_KEY or NONE, or deploy the API"
        ))
    };
    let names = operation.security.iter().flat_map(BTreeMap::keys);
    let mut needs_key = false;
    for name in names {
        let scheme = schemes.get(name);
        match scheme.and_then(|scheme| scheme.auth_type.as_deref()) {
            Some("awsSigv4") => return Err(only_aws_checks("AWS_IAM", "signatures")),
            Some("cognito_user_pools") => return Err(only_aws_checks("COGNITO", "tokens")),
            _ => {}
        }
        if !scheme.is_some_and(|scheme| scheme.kind == "apiKey" && scheme.place == "header") {
            return Err(Error::Template(format!(
                "the security scheme {name} is not supported"
            )));
        }
        needs_key = true;
    }
    Ok(needs_key)
}

/// Reads a function, with the template's global properties.
fn function(document: &Document, logical_id: &str) -> Result<Function, Error> {
    let FunctionResource {
        metadata,
        properties,
    } = document.function(logical_id)?;
    let variables = properties.environment.variables;
    let variables = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name, text(&value)?)));
    Ok(Function {
        name: properties.function_name,
        executable: metadata.build_properties.binary,
        timeout: Duration::from_secs(properties.timeout),
        memory_size: properties.memory_size,
        log_level: properties
            .logging_config
            .application_log_level
            .as_ref()
            .and_then(text),
        variables: variables.collect(),
    })
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
          /users: { options: { x-amazon-apigateway-integration: { type: mock } } }
          /users/{id}:
            parameters: [{ name: id, in: path }]
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
                    responseTemplates:
                      application/json: |
                        #set($allowed = ",http://a.example,app://b,")
                        #if($allowed.contains("..."))
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
            throttle: None,
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
        assert_eq!(mock.origins, ["http://a.example", "app://b"]);
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
        let [id, email] = table.attribute_definitions.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!(
            (id.attribute_name.as_str(), id.attribute_type.as_str()),
            ("id", "S")
        );
        assert_eq!(email.attribute_name, "email");
        let key = |name: &str| Key {
            attribute_name: name.to_owned(),
            key_type: "HASH".to_owned(),
        };
        assert_eq!(table.key_schema, [key("id")]);
        let [index] = table.global_secondary_indexes.as_slice() else {
            panic!("{table:?}")
        };
        assert_eq!(index.index_name, "email-index");
        assert_eq!(index.key_schema, [key("email")]);
        assert_eq!(index.projection.projection_type, "ALL");
    }

    #[test]
    fn a_method_may_have_a_throttle_of_its_own() {
        let settings = "MethodSettings:
        - { HttpMethod: '*', ResourcePath: '/*', ThrottlingRateLimit: 5, ThrottlingBurstLimit: 9 }
        - HttpMethod: GET
          ResourcePath: /~1users~1{id}
          ThrottlingRateLimit: !Ref Seconds
          ThrottlingBurstLimit: 8
      DefinitionBody:";
        let template = parse(&TEMPLATE.replace("DefinitionBody:", settings)).expect("complete");
        let throttle = |rate, burst| Some(Throttle { rate, burst });
        assert_eq!(template.throttle, throttle(5.0, 9.0));
        let throttles = template.routes.iter().map(|route| route.throttle);
        assert_eq!(throttles.collect::<Vec<_>>(), [throttle(7.0, 8.0), None]);
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
                "/Resources/Api Properties: missing field `StageName`",
            ),
            (
                ", Default: 7",
                "/Resources/Get Properties.Timeout: not a number",
            ),
            (
                "'",
                "OPTIONS /users/{id}: method.response.header.X is not a header with a literal",
            ),
            (
                "#set($allowed",
                "OPTIONS /users/{id}: the response's mapping template has no list of origins",
            ),
            (
                "AttributeName: email, AttributeType: S",
                "AttributeDefinitions[1]: missing field `AttributeName`",
            ),
            (
                "Metadata: { BuildProperties: { Binary: put } }",
                "/Resources/Put: missing field `Metadata`",
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
