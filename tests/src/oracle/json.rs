//! JSON with exact numbers, and strategies that generate JSON.

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

/// JSON with exact numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, never converted to a float.
    Number(BigDecimal),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object. If several members have the same name, the last one counts.
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Parses JSON. Returns `None` if the text is invalid.
    pub fn parse(text: &str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        let text = raw.get();
        Some(match text.as_bytes()[0] {
            b'n' => Self::Null,
            b't' => Self::Bool(true),
            b'f' => Self::Bool(false),
            b'"' => Self::String(serde_json::from_str(text).ok()?),
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let elements = elements.into_iter().map(|raw| Self::parse(raw.get()));
                Self::Array(elements.collect::<Option<_>>()?)
            }
            b'{' => {
                let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
                let members = members.into_iter();
                let members = members.map(|(name, raw)| Some((name, Self::parse(raw.get())?)));
                Self::Object(members.collect::<Option<_>>()?)
            }
            _ => Self::Number(text.parse().ok()?),
        })
    }
}

/// Returns a string as JSON.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Generates the text of numbers that DynamoDB stores exactly, in various notations.
pub fn number() -> impl Strategy<Value = String> {
    let digits = "[1-9][0-9]{0,37}";
    prop_oneof![
        Just("0".to_owned()),
        "-?(0|[1-9][0-9]{0,18})\\.[0-9]{1,18}",
        (any::<bool>(), digits, -130..=88_i32, "[eE]").prop_map(
            |(negative, digits, exponent, e)| {
                format!("{}{digits}{e}{exponent}", if negative { "-" } else { "" })
            }
        ),
    ]
}

/// Generates the text of any JSON value that a user can have.
pub fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        number(),
        any::<String>().prop_map(|text| quoted(&text)),
    ];
    leaf.prop_recursive(8, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(|elements| format!("[{}]", elements.join(", "))),
            btree_map("\\PC{1,8}", inner, 0..8).prop_map(move |members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| format!("{}:\t{value}", quoted(&name)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}
