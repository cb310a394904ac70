//! Reads a template's YAML as JSON.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use serde_saphyr::Tagged;

use crate::error::Error;

/// Parses a template. CloudFormation's tags become their long form: `!Sub x` becomes
/// `{"Fn::Sub": "x"}`.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let Node(root) =
        serde_saphyr::from_str(text).map_err(|error| Error::Template(error.to_string()))?;
    Ok(root)
}

/// Returns the text of a scalar.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Reads a number, or text that is a number, as a parameter's value is.
pub(super) fn number<'de, D: Deserializer<'de>, N: FromStr>(
    deserializer: D,
) -> Result<N, D::Error> {
    let number = text(&Value::deserialize(deserializer)?).and_then(|text| text.parse().ok());
    number.ok_or_else(|| de::Error::custom("not a number"))
}

pub(super) fn entries(object: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    object.and_then(Value::as_object).into_iter().flatten()
}

/// YAML as JSON, with CloudFormation's tags in their long form: `!Sub x` as `{"Fn::Sub": "x"}`.
struct Node(Value);

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Tagged(Untagged(value), tag) = Tagged::deserialize(deserializer)?;
        Ok(Self(
            match tag.as_deref().and_then(|tag| tag.strip_prefix('!')) {
                None => value,
                Some(name @ ("Ref" | "Condition")) => json!({ name: value }),
                Some(name) => json!({ format!("Fn::{name}"): value }),
            },
        ))
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
