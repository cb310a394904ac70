//! Evaluates a template's YAML: replaces CloudFormation's intrinsic functions with their values,
//! where these are known without AWS.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
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

    /// Returns the logical id of the first resource of a type whose condition, if any, holds.
    pub(super) fn find(&self, kind: &str) -> Option<String> {
        let exists = |node: &Value| {
            let condition = node.get("Condition").and_then(Value::as_str);
            condition.is_none_or(|name| self.source.condition(name) == Some(true))
        };
        let (logical_id, _) = entries(self.evaluated.get("Resources")).find(|(_, node)| {
            node.get("Type").is_some_and(|value| value == kind) && exists(node)
        })?;
        Some(logical_id.clone())
    }

    /// Reads a resource.
    pub(super) fn resource<T: DeserializeOwned>(&self, logical_id: &str) -> Result<T, Error> {
        read(logical_id, self.node(logical_id)?.clone())
    }

    /// Reads a function. Its own properties override the global ones.
    pub(super) fn function<T: DeserializeOwned>(&self, logical_id: &str) -> Result<T, Error> {
        let mut node = self.node(logical_id)?.clone();
        let globals = self.evaluated.pointer("/Globals/Function").cloned();
        if let (Some(mut properties), Some(own)) = (globals, node.get_mut("Properties")) {
            merge(&mut properties, own.take());
            *own = properties;
        }
        read(logical_id, node)
    }

    fn node(&self, logical_id: &str) -> Result<&Value, Error> {
        let place = format!("/Resources/{logical_id}");
        let node = self.evaluated.pointer(&place);
        node.ok_or_else(|| Error::Template(format!("{place} is missing")))
    }
}

/// Reads what the node of a resource says.
///
/// # Errors
/// The place and what is wrong there.
fn read<T: DeserializeOwned>(logical_id: &str, node: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(node).map_err(|error| {
        let problem = match error.path().to_string().as_str() {
            "." => format!(": {}", error.inner()),
            path => format!(" {path}: {}", error.inner()),
        };
        Error::Template(format!("/Resources/{logical_id}{problem}"))
    })
}

/// Adds the members of `overrides`, which replace those of `base` that are not objects.
fn merge(base: &mut Value, overrides: Value) {
    match (base, overrides) {
        (Value::Object(base), Value::Object(overrides)) => {
            for (name, value) in overrides {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, overrides) => *base = overrides,
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
