//! Changes to JSON at any path, and to text at any byte.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// Marks the name of a repeated member until the JSON is written. No generated text contains this
/// character.
const REPEATED: char = '\u{e000}';

/// What happens to one member of an object or element of an array.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Replace(Value),
    Remove,
    /// Add another member of the same name, or another element.
    Add(Value),
    /// Add the same member or element again.
    Repeat,
}

/// What happens to one byte.
#[derive(Clone, Debug)]
pub(crate) enum ByteChange {
    Replace(u8),
    Insert(u8),
    Remove,
    /// Cut off this byte and all that follow.
    Truncate,
}

/// Generates any small JSON.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("")),
        Just(json!("%")),
        Just(json!("1")),
        Just(json!("{}")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("[a-zA-Z]{0,6}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Generates a change and its place.
pub(crate) fn change() -> impl Strategy<Value = (Index, Change)> {
    let change = prop_oneof![
        Just(Change::Replace(Value::Null)),
        any_json().prop_map(Change::Replace),
        any_json().prop_map(Change::Replace),
        Just(Change::Remove),
        any_json().prop_map(Change::Add),
        Just(Change::Repeat),
    ];
    (any::<Index>(), change)
}

/// Generates a change of a byte and its place.
pub(crate) fn byte_change() -> impl Strategy<Value = (Index, ByteChange)> {
    // Half are characters of JSON's syntax.
    let byte = || {
        prop_oneof![
            any::<u8>(),
            proptest::sample::select(b"{}[]\":,\\ 019-+.eEtn".to_vec())
        ]
    };
    let change = prop_oneof![
        4 => byte().prop_map(ByteChange::Replace),
        2 => byte().prop_map(ByteChange::Insert),
        2 => Just(ByteChange::Remove),
        1 => Just(ByteChange::Truncate),
    ];
    (any::<Index>(), change)
}

/// Applies changes to JSON, and returns its text.
pub(crate) fn changed(mut json: Value, changes: &[(Index, Change)]) -> String {
    for (place, change) in changes {
        let places = places(&json);
        if places > 0 {
            apply(&mut json, &mut place.index(places), change);
        }
    }
    json.to_string().replace(REPEATED, "")
}

/// Changes a text at a byte.
pub(crate) fn change_byte(text: &mut Vec<u8>, place: Index, change: &ByteChange) {
    if text.is_empty() {
        return;
    }
    let place = place.index(text.len());
    match change {
        ByteChange::Replace(byte) => text[place] = *byte,
        ByteChange::Insert(byte) => text.insert(place, *byte),
        ByteChange::Remove => drop(text.remove(place)),
        ByteChange::Truncate => text.truncate(place),
    }
}

/// Returns how many members and elements JSON has, at any depth.
fn places(json: &Value) -> usize {
    let count = |value| 1 + places(value);
    match json {
        Value::Object(members) => members.values().map(count).sum(),
        Value::Array(elements) => elements.iter().map(count).sum(),
        _ => 0,
    }
}

/// Applies a change at the member or element with the index `place`, and returns whether there is
/// one. Reduces `place` by the members and elements that it passes.
fn apply(json: &mut Value, place: &mut usize, change: &Change) -> bool {
    let is_here = |place: &mut usize| {
        let before = *place;
        *place = before.saturating_sub(1);
        before == 0
    };
    match json {
        Value::Object(members) => {
            let names: Vec<_> = members.keys().cloned().collect();
            for name in names {
                if is_here(place) {
                    let mut repeated = name.clone();
                    while members.contains_key(&repeated) {
                        repeated.push(REPEATED);
                    }
                    match change {
                        Change::Replace(value) => members.insert(name, value.clone()),
                        Change::Remove => members.remove(&name),
                        Change::Add(value) => members.insert(repeated, value.clone()),
                        Change::Repeat => members.insert(repeated, members[&name].clone()),
                    };
                    return true;
                }
                if apply(&mut members[&name], place, change) {
                    return true;
                }
            }
        }
        Value::Array(elements) => {
            for i in 0..elements.len() {
                if is_here(place) {
                    match change {
                        Change::Replace(value) => elements[i] = value.clone(),
                        Change::Remove => drop(elements.remove(i)),
                        Change::Add(value) => elements.insert(i, value.clone()),
                        Change::Repeat => elements.insert(i, elements[i].clone()),
                    }
                    return true;
                }
                if apply(&mut elements[i], place, change) {
                    return true;
                }
            }
        }
        _ => {}
    }
    false
}

#[test]
fn every_member_and_element_can_be_changed() {
    let json = json!({"a": [1, {"b": [2]}], "c": 3});
    let results = |change: Change| {
        let result = |place| {
            let mut json = json.clone();
            assert!(apply(&mut json, &mut { place }, &change));
            json.to_string().replace(REPEATED, "")
        };
        (0..places(&json)).map(result).collect::<Vec<_>>()
    };
    assert_eq!(places(&json), 6);
    assert!(!apply(&mut json.clone(), &mut 6, &Change::Remove));
    assert_eq!(
        results(Change::Replace(Value::Null)),
        [
            r#"{"a":null,"c":3}"#,
            r#"{"a":[null,{"b":[2]}],"c":3}"#,
            r#"{"a":[1,null],"c":3}"#,
            r#"{"a":[1,{"b":null}],"c":3}"#,
            r#"{"a":[1,{"b":[null]}],"c":3}"#,
            r#"{"a":[1,{"b":[2]}],"c":null}"#,
        ]
    );
    assert_eq!(
        results(Change::Add(Value::Null)),
        [
            r#"{"a":[1,{"b":[2]}],"a":null,"c":3}"#,
            r#"{"a":[null,1,{"b":[2]}],"c":3}"#,
            r#"{"a":[1,null,{"b":[2]}],"c":3}"#,
            r#"{"a":[1,{"b":[2],"b":null}],"c":3}"#,
            r#"{"a":[1,{"b":[null,2]}],"c":3}"#,
            r#"{"a":[1,{"b":[2]}],"c":3,"c":null}"#,
        ]
    );
}
