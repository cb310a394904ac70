//! Evaluates a template's YAML: replaces CloudFormation's intrinsic functions with their values,
//! where these are known without AWS.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde_json::{Map, Value};

use super::parameters;
use super::yaml::{self, entries, text};
use crate::error::Error;

/// An evaluated template. A value that is unknown here stays an intrinsic function.
pub(super) struct Document {
    source: Source,
    evaluated: Value,
}

impl Document {
    /// Parses and evaluates a template with the `given` values of its parameters, and the defaults
    /// of the others.
    pub(super) fn parse(text: &str, given: &BTreeMap<String, String>) -> Result<Self, Error> {
        let root = yaml::parse(text)?;
        let parameters = parameters::values(root.get("Parameters"), given)?;
        let source = Source { root, parameters };
        let evaluated = source.evaluate(&source.root).unwrap_or_default();
        Ok(Self { source, evaluated })
    }

    pub(super) fn get(&self, pointer: &str) -> Option<&Value> {
        self.evaluated.pointer(pointer)
    }

    pub(super) fn resource(&self, logical_id: &str) -> Result<Resource<'_>, Error> {
        let place = format!("/Resources/{logical_id}");
        let node = self
            .get(&place)
            .ok_or_else(|| Error::Template(format!("{place} is missing")))?;
        Ok(Resource { place, node })
    }

    /// Returns the first resource of a type whose condition, if any, holds.
    pub(super) fn resource_of_type(&self, kind: &str) -> Result<Resource<'_>, Error> {
        let exists = |node: &Value| {
            let condition = node.get("Condition").and_then(Value::as_str);
            condition.is_none_or(|name| self.source.condition(name) == Some(true))
        };
        let (logical_id, _) = entries(self.get("/Resources"))
            .find(|(_, node)| node.get("Type").is_some_and(|value| value == kind) && exists(node))
            .ok_or_else(|| Error::Template(format!("no resource is an {kind}")))?;
        self.resource(logical_id)
    }
}

/// A node of the document, with its place for messages.
pub(super) struct Resource<'a> {
    place: String,
    pub(super) node: &'a Value,
}

impl<'a> Resource<'a> {
    pub(super) fn get(&self, pointer: &str) -> Result<&'a Value, Error> {
        self.node
            .pointer(pointer)
            .ok_or_else(|| self.problem(pointer, "is missing"))
    }

    pub(super) fn text(&self, pointer: &str) -> Result<String, Error> {
        text(self.get(pointer)?)
            .ok_or_else(|| self.problem(pointer, "must be text that depends only on parameters"))
    }

    pub(super) fn list<T>(
        &self,
        pointer: &str,
        item: impl Fn(&Self) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let list = self
            .get(pointer)?
            .as_array()
            .ok_or_else(|| self.problem(pointer, "is not a list"))?;
        let items = list.iter().enumerate().map(|(position, node)| {
            item(&Self {
                place: format!("{}{pointer}/{position}", self.place),
                node,
            })
        });
        items.collect()
    }

    pub(super) fn problem(&self, pointer: &str, problem: impl Display) -> Error {
        Error::Template(format!("{}{pointer} {problem}", self.place))
    }
}

/// The template as written, and the values of its parameters.
struct Source {
    root: Value,
    parameters: BTreeMap<String, String>,
}

impl Source {
    /// Returns the value of a node, or `None` for `AWS::NoValue`.
    fn evaluate(&self, node: &Value) -> Option<Value> {
        match node {
            Value::Object(object) => {
                if let Some((function, argument)) = single(object) {
                    match (function, argument) {
                        ("Ref", Value::String(name)) if name == "AWS::NoValue" => return None,
                        ("Ref" | "Fn::Sub", _) => {
                            return Some(self.text(node).map_or_else(|| node.clone(), Value::from));
                        }
                        ("Fn::If", Value::Array(arguments)) => {
                            if let [Value::String(name), yes, no] = arguments.as_slice()
                                && let Some(holds) = self.condition(name)
                            {
                                return self.evaluate(if holds { yes } else { no });
                            }
                        }
                        _ => {}
                    }
                }
                let entries = object.iter();
                let entries =
                    entries.filter_map(|(name, node)| Some((name.clone(), self.evaluate(node)?)));
                Some(Value::Object(entries.collect()))
            }
            Value::Array(items) => Some(
                items
                    .iter()
                    .filter_map(|item| self.evaluate(item))
                    .collect(),
            ),
            scalar => Some(scalar.clone()),
        }
    }

    /// Returns the text of a node, if it depends only on parameters.
    fn text(&self, node: &Value) -> Option<String> {
        let Value::Object(object) = node else {
            return text(node);
        };
        match single(object)? {
            ("Ref", Value::String(name)) => self.parameters.get(name).cloned(),
            ("Fn::Sub", Value::String(text)) => self.substitute(text),
            _ => None,
        }
    }

    /// Replaces each `${Name}` in the argument of `Fn::Sub` with the parameter's value.
    fn substitute(&self, text: &str) -> Option<String> {
        let mut pieces = text.split("${");
        let mut result = pieces.next()?.to_owned();
        for piece in pieces {
            let (name, rest) = piece.split_once('}')?;
            result += self.parameters.get(name)?;
            result += rest;
        }
        Some(result)
    }

    /// Returns whether the condition with this name holds, if that is known: only `Fn::Equals` and
    /// `Fn::Not` are evaluated.
    fn condition(&self, name: &str) -> Option<bool> {
        self.holds(self.root.get("Conditions")?.get(name)?)
    }

    fn holds(&self, condition: &Value) -> Option<bool> {
        let (function, arguments) = single(condition.as_object()?)?;
        match (function, arguments.as_array()?.as_slice()) {
            ("Fn::Equals", [left, right]) => Some(self.text(left)? == self.text(right)?),
            ("Fn::Not", [condition]) => Some(!self.holds(condition)?),
            _ => None,
        }
    }
}

/// Returns the entry of an object that has only one, as an intrinsic function does.
fn single(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (name, argument) = entries.next()?;
    entries
        .next()
        .is_none()
        .then_some((name.as_str(), argument))
}
