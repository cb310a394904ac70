//! Any JSON that goes in comes out equal.

use std::collections::BTreeMap;

use bigdecimal::BigDecimal;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::value::RawValue;
use users_core::{Key, User};

/// JSON with exact numbers.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    Number(BigDecimal),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn parse(text: &str) -> Self {
        let parse = |raw: Box<RawValue>| Self::parse(raw.get());
        match text.as_bytes()[0] {
            b'n' => Self::Null,
            b't' => Self::Bool(true),
            b'f' => Self::Bool(false),
            b'"' => Self::String(serde_json::from_str(text).expect("a string")),
            b'[' => Self::Array(
                serde_json::from_str::<Vec<_>>(text)
                    .expect("an array")
                    .into_iter()
                    .map(parse)
                    .collect(),
            ),
            b'{' => {
                let members = serde_json::from_str::<BTreeMap<_, _>>(text).expect("an object");
                Self::Object(members.into_iter().map(|(name, raw)| (name, parse(raw))).collect())
            }
            _ => Self::Number(text.parse().expect("a number")),
        }
    }
}

/// Returns the text of a number that DynamoDB keeps, in one of the ways it can be written.
fn number() -> impl Strategy<Value = String> {
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

/// Returns the text of any JSON value that a user can have.
fn value() -> impl Strategy<Value = String> {
    let quoted = |text: String| serde_json::to_string(&text).expect("text is JSON");
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        number(),
        any::<String>().prop_map(quoted),
    ];
    leaf.prop_recursive(8, 64, 8, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(|elements| format!("[{}]", elements.join(", "))),
            btree_map("\\PC{1,8}", inner, 0..8).prop_map(move |members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| format!("{}:\t{value}", quoted(name)))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

#[test]
fn members_with_the_private_names_of_json_libraries_are_kept_unchanged() {
    let json = concat!(
        r#"{"a":{"$serde_json::private::Number":"1.5"},"#,
        r#""b":{"$serde_json::private::RawValue":"[1]"},"id":"1"}"#
    );
    let user = User::from_json(json).expect("a user");
    assert_eq!(serde_json::to_string(&user).expect("a user is JSON"), json);
}

/// Objects with a few members, which are often malformed.
const NEARLY_A_USER: &str = concat!(
    r#"\{("(id|email|a)?":"#,
    r#"([\[{"]{0,40}|-?[0-9.eE+-]{1,50}|"\\u[dD][89a-f][0-9]{2}"),?){0,3}\}?"#
);

proptest! {
    #[test]
    fn a_user_comes_back_equal(value in value(), id in "\\PC{1,40}") {
        let json = format!("{{\"value\": {value}}}");
        let user = User::from_json_with_id(&json, Key::new(&id).expect("a key")).expect("a user");
        let back = serde_json::to_string(&user).expect("a user is JSON");
        let members = [("id", Json::String(id)), ("value", Json::parse(&value))];
        let expected = members.map(|(name, value)| (name.to_owned(), value)).into();
        prop_assert_eq!(Json::parse(&back), Json::Object(expected));
    }

    #[test]
    fn what_comes_back_is_in_its_final_form(value in value()) {
        let json = |text: &str| {
            let user = User::from_json(text).expect("a user");
            serde_json::to_string(&user).expect("a user is JSON")
        };
        let once = json(&format!("{{\"id\": \"1\", \"value\": {value}}}"));
        let twice = json(&once);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn any_text_is_a_user_or_rejected(text in any::<String>()) {
        let _ = User::from_json(&text);
    }

    #[test]
    fn text_that_is_nearly_a_user_is_a_user_or_rejected(text in NEARLY_A_USER) {
        let _ = User::from_json(&text);
    }
}
