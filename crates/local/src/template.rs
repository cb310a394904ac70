//! Reads what the local service needs out of an AWS SAM template: the stage, the routes, the functions behind them and
//! the table's schema. Everything else in the template is passed over.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use serde_saphyr::Tagged;

use crate::Error;

/// The account that stands in for the caller's own, as in AWS's documentation.
pub(crate) const ACCOUNT_ID: &str = "123456789012";
/// The region where none is chosen.
pub(crate) const REGION: &str = "us-east-1";

/// What the template says about the service, with every parameter at its default.
#[derive(Clone, Debug)]
pub struct Template {
    /// The first segment of every path.
    pub stage: String,
    /// The methods that a function answers.
    pub routes: Vec<Route>,
    /// The functions that the routes name, by logical id.
    pub functions: BTreeMap<String, Function>,
    /// The one table.
    pub table: Table,
}

/// One method of the API, integrated with a function by Lambda proxy integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// In capital letters.
    pub method: String,
    /// The resource's path without the stage, such as `/users/{id}`.
    pub path: String,
    /// The logical id of the function.
    pub function: String,
}

/// An `AWS::Serverless::Function`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The name it has on Lambda.
    pub name: String,
    /// The file name of its executable: `Metadata.BuildProperties.Binary`, as for `sam build`.
    pub executable: String,
    /// How long one invocation may take.
    pub timeout: Duration,
    /// In megabytes.
    pub memory_size: u32,
    /// Environment variables. Those whose values exist on AWS only, such as another resource's ARN, are left out.
    pub variables: BTreeMap<String, String>,
}

/// The `AWS::DynamoDB::Table`.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The name it has in DynamoDB.
    pub name: String,
    /// The types of the key attributes, those of the indexes included.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// The primary key.
    pub key_schema: Vec<KeySchemaElement>,
    /// Each index with its key and projection.
    pub global_secondary_indexes: Vec<GlobalSecondaryIndex>,
}

impl Template {
    /// Reads the template in the file `path`.
    ///
    /// # Errors
    /// [`Error::Template`] when the file cannot be read, or as for [`Template::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path)
            .map_err(|error| Error::Template(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text)
    }

    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Template`] when it is not YAML, or lacks something that the local service needs; the message names it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let Node(root) =
            serde_saphyr::from_str(text).map_err(|error| Error::Template(error.to_string()))?;
        let document = Document(root);
        let api = document.resource_of_type("AWS::Serverless::Api")?;
        let routes = routes(api.get("/Properties/DefinitionBody/paths")?);
        let functions = routes
            .iter()
            .map(|route| {
                Ok((route.function.clone(), function(&document.resource(&route.function)?)?))
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            stage: api.text("/Properties/StageName")?,
            routes,
            functions,
            table: table(&document.resource_of_type("AWS::DynamoDB::Table")?)?,
        })
    }
}

/// The methods under `paths` that invoke a function. Keys that are no HTTP method, such as `parameters` or `Fn::If`,
/// and methods without a function behind them, such as the `options` that answer for CORS, are passed over.
fn routes(paths: &Value) -> Vec<Route> {
    const METHODS: [&str; 6] = ["delete", "get", "head", "patch", "post", "put"];
    let mut routes = Vec::new();
    for (path, methods) in entries(Some(paths)) {
        for (method, operation) in
            entries(Some(methods)).filter(|(method, _)| METHODS.contains(&method.as_str()))
        {
            if let Some(function) = integrated_function(operation) {
                routes.push(Route {
                    method: method.to_uppercase(),
                    path: path.clone(),
                    function: function.to_owned(),
                });
            }
        }
    }
    routes
}

/// The logical id in an operation's `uri: !Sub ...:path/2015-03-31/functions/${GetFunction.Arn}/invocations`.
fn integrated_function(operation: &Value) -> Option<&str> {
    let integration = operation.get("x-amazon-apigateway-integration")?;
    let kind = integration.get("type")?.as_str()?;
    let uri = integration.pointer("/uri/Fn::Sub")?.as_str()?;
    let (_, reference) = uri.split_once("/functions/${")?;
    let (logical_id, _) = reference.split_once(['.', '}'])?;
    kind.eq_ignore_ascii_case("aws_proxy").then_some(logical_id)
}

/// A function, with SAM's defaults
/// (<https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-resource-function.html>).
fn function(resource: &Resource) -> Result<Function, Error> {
    let globals = resource.document.0.pointer("/Globals/Function");
    let own = resource.node.get("Properties");
    let number = |property: &str, default: u32| {
        let Some(value) =
            [own, globals].into_iter().flatten().find_map(|properties| properties.get(property))
        else {
            return Ok(default);
        };
        let number = resource.document.text(value).and_then(|text| text.parse().ok());
        number.ok_or_else(|| resource.problem(&format!("/Properties/{property}"), "is no number"))
    };
    // A function's own variables replace the global ones of the same name.
    let variables = [globals, own]
        .into_iter()
        .flatten()
        .flat_map(|properties| entries(properties.pointer("/Environment/Variables")))
        .filter_map(|(name, value)| Some((name.clone(), resource.document.text(value)?)))
        .collect();
    Ok(Function {
        name: resource.text("/Properties/FunctionName")?,
        executable: resource.text("/Metadata/BuildProperties/Binary")?,
        timeout: Duration::from_secs(number("Timeout", 3)?.into()),
        memory_size: number("MemorySize", 128)?,
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
        .attribute_type(ScalarAttributeType::from(node.text("/AttributeType")?.as_str()))
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

/// A node of the document, with where it is, for messages.
struct Resource<'a> {
    document: &'a Document,
    place: String,
    node: &'a Value,
}

impl<'a> Resource<'a> {
    fn get(&self, pointer: &str) -> Result<&'a Value, Error> {
        self.node.pointer(pointer).ok_or_else(|| self.problem(pointer, "is missing"))
    }

    fn text(&self, pointer: &str) -> Result<String, Error> {
        let value = self.get(pointer)?;
        self.document.text(value).ok_or_else(|| {
            self.problem(
                pointer,
                "cannot be told: it is no text, and no Ref, Fn::Sub or Fn::If of parameters with defaults",
            )
        })
    }

    fn list<T>(
        &self,
        pointer: &str,
        item: impl Fn(&Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let list =
            self.get(pointer)?.as_array().ok_or_else(|| self.problem(pointer, "is no list"))?;
        let items = list.iter().enumerate().map(|(position, node)| {
            let place = format!("{}{pointer}/{position}", self.place);
            item(&Self { document: self.document, place, node })
        });
        items.collect()
    }

    fn problem(&self, pointer: &str, problem: impl Display) -> Error {
        Error::Template(format!("{}{pointer} {problem}", self.place))
    }
}

/// The template, whose intrinsic functions are evaluated where a value is read.
struct Document(Value);

impl Document {
    fn resource(&self, logical_id: &str) -> Result<Resource<'_>, Error> {
        let place = format!("/Resources/{logical_id}");
        let node =
            self.0.pointer(&place).ok_or_else(|| Error::Template(format!("{place} is missing")))?;
        Ok(Resource { document: self, place, node })
    }

    fn resource_of_type(&self, kind: &str) -> Result<Resource<'_>, Error> {
        let (logical_id, _) = entries(self.0.get("Resources"))
            .find(|(_, node)| node.get("Type").is_some_and(|value| value == kind))
            .ok_or_else(|| Error::Template(format!("no resource is an {kind}")))?;
        self.resource(logical_id)
    }

    /// The text that `value` stands for, if that can be told without AWS.
    fn text(&self, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
            Value::Object(object) => match single(object)? {
                ("Ref", name) => self.reference(name.as_str()?),
                ("Fn::Sub", argument) => self.substitute(argument),
                ("Fn::If", argument) => {
                    let [condition, yes, no] = argument.as_array()?.as_slice() else { return None };
                    self.text(if self.condition(condition.as_str()?)? { yes } else { no })
                }
                _ => None,
            },
            Value::Null | Value::Array(_) => None,
        }
    }

    /// What `Ref` gives: a parameter's default, or the name of a table or function.
    fn reference(&self, name: &str) -> Option<String> {
        match name {
            "AWS::AccountId" => Some(ACCOUNT_ID.to_owned()),
            "AWS::Partition" => Some("aws".to_owned()),
            "AWS::Region" => Some(REGION.to_owned()),
            "AWS::StackName" => Some("local".to_owned()),
            _ => {
                let parameter = self.0.pointer(&format!("/Parameters/{name}/Default"));
                let resource = self.0.pointer(&format!("/Resources/{name}/Properties"));
                let value = parameter
                    .or_else(|| resource?.get("TableName"))
                    .or_else(|| resource?.get("FunctionName"))?;
                self.text(value)
            }
        }
    }

    /// What `Fn::Sub` gives for a text, or for a list of a text and the values of names in it.
    fn substitute(&self, argument: &Value) -> Option<String> {
        let (text, values) = match argument {
            Value::Array(items) => (items.first()?.as_str()?, items.get(1)),
            text => (text.as_str()?, None),
        };
        let mut pieces = text.split("${");
        let mut result = pieces.next()?.to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}')?;
            let value = match (name.strip_prefix('!'), values.and_then(|values| values.get(name))) {
                (Some(literal), _) => ["${", literal, "}"].concat(),
                (None, Some(value)) => self.text(value)?,
                (None, None) => self.reference(name)?,
            };
            result += &value;
            result += rest;
        }
        Some(result)
    }

    /// Whether the named condition holds.
    fn condition(&self, name: &str) -> Option<bool> {
        self.holds(self.0.get("Conditions")?.get(name)?)
    }

    fn holds(&self, condition: &Value) -> Option<bool> {
        let (function, argument) = single(condition.as_object()?)?;
        if function == "Condition" {
            return self.condition(argument.as_str()?);
        }
        let arguments = argument.as_array()?;
        let mut parts = arguments.iter().map(|part| self.holds(part));
        match function {
            "Fn::Equals" => Some(self.text(arguments.first()?)? == self.text(arguments.get(1)?)?),
            "Fn::Not" => Some(!parts.next()??),
            "Fn::And" => parts.try_fold(true, |all, part| Some(all && part?)),
            "Fn::Or" => parts.try_fold(false, |any, part| Some(any || part?)),
            _ => None,
        }
    }
}

fn entries(object: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten()
}

/// The name and argument of an intrinsic function, which is an object with one entry.
fn single(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (name, argument) = entries.next()?;
    entries.next().is_none().then_some((name.as_str(), argument))
}

/// YAML as JSON, with CloudFormation's tags in their long form: `!Sub x` as `{"Fn::Sub": "x"}`.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        Ok(Self(match tag.as_deref().and_then(|tag| tag.strip_prefix('!')) {
            None => value,
            Some(name @ ("Ref" | "Condition")) => json!({ name: value }),
            Some(name) => json!({ format!("Fn::{name}"): value }),
        }))
    }
}

/// A node without its own tag.
struct Untagged(Value);

impl<'de> Deserialize<'de> for Untagged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Self)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a YAML node")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Node(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Node(value))) = entries.next_entry()? {
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that uses whatever the local service has to understand or pass over.
    const TEMPLATE: &str = r#"
Transform: AWS::Serverless-2016-10-31
Parameters:
  StageName: { Type: String, Default: test }
  Suffix: { Type: String, Default: "-x" }
  Seconds: { Type: Number, Default: 7 }
  AlarmEmail: { Type: String }
Conditions:
  HasSuffix: !Not [!Equals [!Ref Suffix, ""]]
  Production: !And [!Condition HasSuffix, !Equals [!Ref StageName, production]]
Globals:
  Function:
    Timeout: !Ref Seconds
    Environment:
      Variables: { USERS_TABLE: !Ref UsersTable, LEVEL: INFO }
Resources:
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Condition: Production
    Properties: { Threshold: 1.5, AlarmActions: [!Ref AlarmEmail, !GetAtt Topic.Arn], Dimensions: ~ }
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
          /users/{id}:
            parameters: [{ name: id, in: path }]
            Fn::If: [Production, {}, {}]
            get:
              responses: { 200: { description: OK } }
              x-amazon-apigateway-integration:
                type: aws_proxy
                uri: !Sub arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Get.Arn}/invocations
            put:
              x-amazon-apigateway-integration:
                type: AWS_PROXY
                uri: { Fn::Sub: "arn:aws:apigateway:eu-west-1:lambda:path/2015-03-31/functions/${Put.Arn}/invocations" }
            delete: !If [Production, {}, {}]
            options:
              x-amazon-apigateway-integration: { type: mock }
            patch:
              x-amazon-apigateway-integration: { type: http_proxy, uri: !Sub "https://${Get.Arn}" }
  Get:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: get } }
    Properties:
      FunctionName: !Sub ["${Prefix}-get${Suffix}${!Literal}", { Prefix: !Sub "${AWS::StackName}" }]
      MemorySize: !If [Production, 512, 256]
      Environment:
        Variables: { LEVEL: DEBUG, TOPIC: !GetAtt Topic.Arn, EMAIL: !Ref AlarmEmail, NONE: !Ref AWS::NoValue }
  Put:
    Type: AWS::Serverless::Function
    Metadata: { BuildProperties: { Binary: put } }
    Properties: { FunctionName: put, Timeout: 5 }
  Unrouted:
    Type: AWS::Serverless::Function
Outputs:
  Url: { Value: !Join ["", [https://, !Ref Api]] }
"#;

    #[test]
    fn a_template_gives_the_stage_and_the_methods_that_functions_answer() {
        let template = Template::parse(TEMPLATE).expect("the template is complete");
        let route = |method: &str, function: &str| Route {
            method: method.to_owned(),
            path: "/users/{id}".to_owned(),
            function: function.to_owned(),
        };
        assert_eq!(template.stage, "test");
        assert_eq!(template.routes, [route("GET", "Get"), route("PUT", "Put")]);
    }

    #[test]
    fn a_template_gives_the_routed_functions_with_globals_and_defaults_of_parameters() {
        let template = Template::parse(TEMPLATE).expect("the template is complete");
        let variables = |level: &str| {
            [("LEVEL", level), ("USERS_TABLE", "users-x")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        };
        let get = Function {
            name: "local-get-x${Literal}".to_owned(),
            executable: "get".to_owned(),
            timeout: Duration::from_secs(7),
            memory_size: 256,
            variables: variables("DEBUG"),
        };
        let put = Function {
            name: "put".to_owned(),
            executable: "put".to_owned(),
            timeout: Duration::from_secs(5),
            memory_size: 128,
            variables: variables("INFO"),
        };
        assert_eq!(template.functions, [("Get".to_owned(), get), ("Put".to_owned(), put)].into());
    }

    #[test]
    fn a_template_gives_the_schema_of_the_table() {
        let table = Template::parse(TEMPLATE).expect("the template is complete").table;
        assert_eq!(table.name, "users-x");
        let attributes = table
            .attribute_definitions
            .iter()
            .map(|attribute| (attribute.attribute_name(), attribute.attribute_type().as_str()));
        assert_eq!(attributes.collect::<Vec<_>>(), [("id", "S"), ("email", "S")]);
        let keys = |keys: &[KeySchemaElement]| {
            keys.iter()
                .map(|key| format!("{} {}", key.attribute_name(), key.key_type().as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&table.key_schema), ["id HASH"]);
        let [index] = table.global_secondary_indexes.as_slice() else { panic!("{table:?}") };
        assert_eq!(index.index_name(), "email-index");
        assert_eq!(keys(index.key_schema()), ["email HASH"]);
        let projection = index.projection().and_then(Projection::projection_type);
        assert_eq!(projection, Some(&ProjectionType::All));
    }

    #[test]
    fn an_error_names_what_is_missing() {
        for (removed, message) in [
            ("Type: AWS::DynamoDB::Table", "no resource is an AWS::DynamoDB::Table"),
            ("StageName: !Ref StageName", "/Resources/Api/Properties/StageName is missing"),
            (", Default: 7", "/Resources/Get/Properties/Timeout is no number"),
            (
                "AttributeName: email, AttributeType: S",
                "AttributeDefinitions/1/AttributeName is missing",
            ),
            (
                "Metadata: { BuildProperties: { Binary: put } }",
                "/Resources/Put/Metadata/BuildProperties/Binary is missing",
            ),
        ] {
            let error =
                Template::parse(&TEMPLATE.replace(removed, "")).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
        let error = Template::read(Path::new("missing.yaml"))
            .expect_err("there is no such file")
            .to_string();
        assert!(error.contains("missing.yaml"), "{error}");
    }
}
