//! Ids, email addresses and bodies, most of which the contract accepts.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tests::oracle::json::{Json, quoted, value};
use tests::oracle::model::{self, PathId};

/// Bodies that are not JSON objects.
const NON_OBJECTS: [&str; 17] = [
    "",
    " ",
    "null",
    "[]",
    "[{}]",
    "1",
    "{",
    "{}}",
    r#""{}""#,
    r#"{"a"}"#,
    "{'a': 1}",
    r#"{"a": 01}"#,
    r#"{"a": NaN}"#,
    r#"{"a": "\x"}"#,
    r#"{"a": "\ud800"}"#,
    "{\"a\": \"\n\"}",
    r#"{"a": 1,}"#,
];

/// Generates ids that often repeat, and others that are hard to pass on.
pub(crate) fn id() -> impl Strategy<Value = String> {
    let odd = [
        "a b",
        "a/b",
        "100%",
        "%41",
        "ü",
        "a+b",
        "..",
        "🦀",
        "\u{0}\r\n",
        "\"\\",
        "?#&=",
    ];
    prop_oneof![
        8 => select(&["1", "2", "3", "4", "5"][..]).prop_map(str::to_owned),
        2 => select(odd.to_vec()).prop_map(str::to_owned),
        1 => (2046..2050_usize).prop_map(|length| "x".repeat(length)),
    ]
}

pub(crate) fn path_id() -> impl Strategy<Value = PathId> {
    let malformed = ["%", "%4", "%zz", "%ff", "%C3%28", "a%", "%f0%9f%a6"];
    prop_oneof![
        20 => id().prop_map(PathId::Is),
        1 => select(malformed.to_vec()).prop_map(PathId::Malformed),
    ]
}

pub(crate) fn email() -> impl Strategy<Value = String> {
    let emails = ["a@b", "A@b", "a+c@b", "ü @ß", "%61@b"];
    prop_oneof![
        12 => select(emails.to_vec()).prop_map(str::to_owned),
        1 => (2047..2050_usize).prop_map(|length| "e".repeat(length)),
    ]
}

/// Generates users that can be stored, as JSON.
fn user() -> impl Strategy<Value = String> {
    let others = btree_map("\\PC{1,6}", value(), 0..4);
    (option::of(id()), option::weighted(0.7, email()), others).prop_map(|(id, email, others)| {
        let keys = [("id", id), ("email", email)];
        let keys = keys
            .into_iter()
            .filter_map(|(name, text)| Some((name, quoted(&text?))));
        let others = others
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let members: BTreeMap<_, _> = others.chain(keys).collect();
        let members = members
            .iter()
            .map(|(name, value)| format!("{}: {value}", quoted(name)));
        format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
    })
}

/// Generates a member that is just within a limit of the contract, or just beyond.
fn edge() -> impl Strategy<Value = String> {
    let keys = ["null", "1", "true", "[]", "\"\"", "\"x\""];
    let key = (select(&["id", "email"][..]), select(keys.to_vec()));
    let nested =
        (29..34_usize).prop_map(|levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels)));
    let maps = (29..34_usize)
        .prop_map(|levels| format!("{}0{}", "{\"m\":".repeat(levels), "}".repeat(levels)));
    let digits = (36..41_usize, 0..4_usize, -3..3_i64).prop_map(|(digits, zeros, exponent)| {
        let zeros = "0".repeat(zeros);
        format!("{}{zeros}.35{zeros}e{exponent}", "7".repeat(digits - 3))
    });
    let magnitude = (
        any::<bool>(),
        120..131_i64,
        "(1|9|-1|0\\.1|9\\.99|10|0\\.00)",
    )
        .prop_map(|(is_small, power, number)| {
            format!("{number}e{}{power}", if is_small { "-" } else { "" })
        });
    let name = prop_oneof![Just(0_usize), Just(65_535), Just(65_536)];
    prop_oneof![
        3 => key.prop_map(|(name, value)| format!("\"{name}\":{value}")),
        2 => nested.prop_map(|value| format!("\"v\":{value}")),
        2 => maps.prop_map(|value| format!("\"v\":[{value}]")),
        3 => digits.prop_map(|value| format!("\"v\":[{value}]")),
        3 => magnitude.prop_map(|value| format!("\"v\":{{\"n\":{value}}}")),
        1 => name.prop_map(|length| format!("\"v\":{{\"{}\":1}}", "n".repeat(length))),
    ]
}

/// Generates bodies, most of which are users.
pub(crate) fn body() -> impl Strategy<Value = String> {
    let large = |bytes: i32| {
        let text =
            |text: &str| format!("{{\"id\":\"1\",\"v\":[\"\",null,{{\"é\":true}},\"{text}\"]}}");
        let Some(Json::Object(empty)) = Json::parse(&text("")) else {
            unreachable!("an object")
        };
        let length = model::USER_BYTES - model::bytes(&empty);
        text(&"x".repeat(length.saturating_add_signed(bytes as isize)))
    };
    prop_oneof![
        24 => user(),
        6 => (edge(), option::of(select(&["6", "7"][..]))).prop_map(|(edge, id)| match id {
            Some(id) if !edge.starts_with("\"id\"") => format!("{{\"id\":\"{id}\",{edge}}}"),
            _ => format!("{{{edge}}}"),
        }),
        2 => select(&NON_OBJECTS[..]).prop_map(str::to_owned),
        1 => (user(), any::<Index>()).prop_map(|(mut user, place)| {
            // Any cut removes at least the closing brace of the object.
            let ends: Vec<_> = user.char_indices().map(|(place, _)| place).collect();
            user.truncate(ends[place.index(ends.len())]);
            user
        }),
        1 => (-3..4_i32).prop_map(large),
    ]
}
