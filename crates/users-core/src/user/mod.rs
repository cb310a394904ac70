//! A user, and its exact mapping from DynamoDB's attribute values to JSON. `parse` maps the other
//! way, and checks the rules for users. Neither does I/O.

mod item;
mod number;
mod parse;

use aws_sdk_dynamodb::types::AttributeValue;
use base64_simd::STANDARD as BASE64;
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

use crate::error::Error;

pub use item::{EMAIL, ID, Key};
pub(crate) use item::{Item, MAX_KEY_BYTES};
use parse::parse;
pub(crate) use parse::too_large;

/// A user profile: an `id`, and any other attributes that the client stores with it.
///
/// It serializes to JSON with its attributes sorted by name, and with exact numbers. Sets become
/// arrays, and binary values become base64 strings. Neither can come from JSON, but other writers
/// may have put them in the table.
///
/// ```
/// let json = r#"{"id": "1", "big": 12345678901234567890.5, "e": 1e20}"#;
/// let user = users_core::User::from_json(json)?;
/// let json = r#"{"big":12345678901234567890.5,"e":100000000000000000000,"id":"1"}"#;
/// assert_eq!(user.to_json()?, json);
/// # Ok::<_, users_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    item: Item,
}

impl User {
    /// Reads a user from JSON. A user without an `id` gets a random UUID (version 4).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the text is not a JSON object, [`Error::InvalidUser`] if it
    /// breaks a rule for users.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        Ok(Self {
            item: parse(json, None)?,
        })
    }

    /// Reads a user from JSON and gives it this id, whatever `id` the JSON contains.
    ///
    /// # Errors
    ///
    /// The same as [`User::from_json`].
    pub fn from_json_with_id(json: &str, id: Key) -> Result<Self, Error> {
        Ok(Self {
            item: parse(json, Some(id))?,
        })
    }

    /// Returns the item as a user, if it has an id that the table can contain.
    pub(crate) fn from_item(item: Item) -> Option<Self> {
        let id = item.get(ID)?.as_s().ok()?;
        (!id.is_empty()).then_some(Self { item })
    }

    pub(crate) fn into_item(self) -> Item {
        self.item
    }

    /// Returns the user as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if an attribute cannot be written as JSON, which happens only if
    /// DynamoDB returned garbage.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Unavailable(error.into()))
    }

    /// Returns the user's id, which is the table's key.
    #[must_use]
    pub fn id(&self) -> &str {
        self.string(ID).unwrap_or_default()
    }

    /// Returns the attribute with this name, if it is a string.
    pub(crate) fn string(&self, name: &str) -> Option<&str> {
        self.item.get(name)?.as_s().ok().map(String::as_str)
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_map(&self.item, serializer)
    }
}

/// An attribute value that serializes to JSON.
struct Json<'a>(&'a AttributeValue);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            AttributeValue::S(text) => serializer.serialize_str(text),
            AttributeValue::N(text) => Number(text).serialize(serializer),
            AttributeValue::Bool(value) => serializer.serialize_bool(*value),
            AttributeValue::Null(_) => serializer.serialize_unit(),
            AttributeValue::L(elements) => serialize_seq(elements, Json, serializer),
            AttributeValue::M(members) => serialize_map(members, serializer),
            AttributeValue::Ss(texts) => serializer.collect_seq(texts),
            AttributeValue::Ns(texts) => serialize_seq(texts, |text| Number(text), serializer),
            AttributeValue::B(bytes) => serializer.serialize_str(&BASE64.encode_to_string(bytes)),
            AttributeValue::Bs(values) => {
                serialize_seq(values, |bytes| BASE64.encode_to_string(bytes), serializer)
            }
            _ => Err(S::Error::custom("an attribute has an unknown type")),
        }
    }
}

/// The text of a number, which serializes to that number.
struct Number<'a>(&'a str);

impl Serialize for Number<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // DynamoDB writes numbers in its own notation.
        let number: &RawValue = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        let text = number::canonical(number.get()).map_err(S::Error::custom)?;
        RawValue::from_string(text)
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

fn serialize_map<S: Serializer>(members: &Item, serializer: S) -> Result<S::Ok, S::Error> {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_unstable_by_key(|(name, _)| *name);
    let mut map = serializer.serialize_map(Some(members.len()))?;
    for (name, value) in members {
        map.serialize_entry(name, &Json(value))?;
    }
    map.end()
}

fn serialize_seq<'a, T, J: Serialize, S: Serializer>(
    elements: &'a [T],
    json: impl Fn(&'a T) -> J,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut seq = serializer.serialize_seq(Some(elements.len()))?;
    for element in elements {
        seq.serialize_element(&json(element))?;
    }
    seq.end()
}
