//! A user: its rules, and its exact mapping from JSON to DynamoDB's attribute values and back. No I/O.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

use aws_sdk_dynamodb::types::AttributeValue;
use base64_simd::STANDARD as BASE64;
use serde::ser::{Error as _, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::{Error, shortened};
use crate::number;

/// The attribute that is the table's partition key.
pub const ID: &str = "id";

/// The attribute that is the index's partition key.
pub const EMAIL: &str = "email";

/// The most bytes of UTF-8 that the value of a partition key can have, the table's or the index's.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys>
pub const MAX_KEY_BYTES: usize = 2048;

/// The most bytes an item can have, as DynamoDB sizes it.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items>
const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The most bytes of UTF-8 that an attribute's name can have; it has at least one.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-attributes>
const MAX_NAME_BYTES: usize = 65_535;

/// The most lists and maps that can be inside one another, the user itself included.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-attributes>
const MAX_LEVELS: usize = 32;

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A user profile: an `id`, and whatever else the caller wants to keep with it.
///
/// It serializes to JSON with its attributes in the order of their names. Sets become arrays and binary values base64
/// strings; from JSON come neither, but other writers can have put them in the table.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    item: Item,
}

impl User {
    /// Reads a user from JSON. One without an `id` gets a random UUID (version 4).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if it is not a JSON object, [`Error::InvalidUser`] if it breaks a rule for users.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let mut members = members(json)?;
        let id = match members.remove(ID) {
            Some(id) => attribute_value(id, &Path::Name(ID), 1)?,
            None => AttributeValue::S(Uuid::new_v4().to_string()),
        };
        Self::new(id, members)
    }

    /// Reads a user from JSON and gives it this id, whatever `id` the JSON has.
    ///
    /// # Errors
    ///
    /// As [`User::from_json`]; [`Error::UserNotFound`] if no user can have the id.
    pub fn from_json_with_id(json: &str, id: &str) -> Result<Self, Error> {
        if !is_key(id) {
            return Err(Error::UserNotFound { id: id.to_owned() });
        }
        let mut members = members(json)?;
        members.remove(ID);
        Self::new(AttributeValue::S(id.to_owned()), members)
    }

    fn new(id: AttributeValue, members: BTreeMap<String, &RawValue>) -> Result<Self, Error> {
        let mut item = map(members, None, 1)?;
        item.insert(ID.to_owned(), id);
        for key in [ID, EMAIL] {
            if item
                .get(key)
                .is_some_and(|value| !matches!(value, AttributeValue::S(text) if is_key(text)))
            {
                return Err(Error::InvalidUser(format!(
                    "'{key}' must be a string of 1 to {MAX_KEY_BYTES} bytes of UTF-8"
                )));
            }
        }
        let bytes: usize = item.iter().map(|(name, value)| name.len() + size(value)).sum();
        if bytes > MAX_ITEM_BYTES {
            return Err(too_large(&format!("{bytes} bytes")));
        }
        Ok(Self { item })
    }

    pub(crate) fn from_item(item: Item) -> Self {
        Self { item }
    }

    pub(crate) fn into_item(self) -> Item {
        self.item
    }

    /// Whether two users are the same in JSON. DynamoDB does not give numbers back as they were written.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        serde_json::to_string(self).ok() == serde_json::to_string(other).ok()
    }

    /// The key of the table; empty only if the table holds a user that this service can not have written.
    #[must_use]
    pub fn id(&self) -> &str {
        self.item.get(ID).and_then(|id| id.as_s().ok()).map_or("", String::as_str)
    }
}

/// Whether a text can be the value of a partition key.
pub(crate) fn is_key(text: &str) -> bool {
    (1..=MAX_KEY_BYTES).contains(&text.len())
}

/// The error for a user that is too large; `size` tells how large it is.
pub(crate) fn too_large(size: &str) -> Error {
    Error::InvalidUser(format!(
        "the user is too large: {size}, and at most {MAX_ITEM_BYTES} can be kept (names and values of attributes, as DynamoDB counts them)"
    ))
}

/// The members of a JSON object with their values as written, in the order in which they are checked. The last one of a
/// name counts.
///
/// `serde_json`'s own `Value` would not do: without its feature `arbitrary_precision` it rounds numbers, and with it, it
/// takes objects that have certain member names for numbers.
fn members(json: &str) -> Result<BTreeMap<String, &RawValue>, Error> {
    let body: &RawValue = serde_json::from_str(json)
        .map_err(|error| Error::InvalidRequest(format!("the body is not valid JSON: {error}")))?;
    if !body.get().starts_with('{') {
        return Err(Error::InvalidRequest(
            "the body must be a JSON object, such as {\"email\": \"ada@example.com\"}".to_owned(),
        ));
    }
    parse(body)
}

/// Parses a piece of JSON that is known to be well-formed but for its strings' escapes.
fn parse<'a, T: serde::Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Error> {
    serde_json::from_str(raw.get()).map_err(|_| {
        Error::InvalidRequest(
            "the body is not valid JSON: a string has an unpaired surrogate escape (\\uD800 to \\uDFFF)".to_owned(),
        )
    })
}

/// The value of one attribute, which is inside `level` lists and maps.
fn attribute_value(
    json: &RawValue,
    path: &Path<'_>,
    level: usize,
) -> Result<AttributeValue, Error> {
    match json.get().as_bytes() {
        [b'{' | b'[', ..] if level >= MAX_LEVELS => Err(Error::InvalidUser(format!(
            "'{path}' is nested too deeply: at most {MAX_LEVELS} levels can be kept, the user itself being the first"
        ))),
        [b'{', ..] => map(parse(json)?, Some(path), level + 1).map(AttributeValue::M),
        [b'[', ..] => {
            let elements: Vec<&RawValue> = parse(json)?;
            let values = elements
                .iter()
                .enumerate()
                .map(|(i, element)| attribute_value(element, &Path::Index(path, i), level + 1));
            values.collect::<Result<_, _>>().map(AttributeValue::L)
        }
        [b'"', ..] => parse(json).map(AttributeValue::S),
        [b't', ..] => Ok(AttributeValue::Bool(true)),
        [b'f', ..] => Ok(AttributeValue::Bool(false)),
        [b'n', ..] => Ok(AttributeValue::Null(true)),
        _ => match number::canonical(json.get()) {
            Ok(number) => Ok(AttributeValue::N(number)),
            Err(error) => Err(Error::InvalidUser(format!("'{path}' is {error}"))),
        },
    }
}

/// The values of an object's members, which are inside `level` lists and maps.
fn map(
    members: BTreeMap<String, &RawValue>,
    parent: Option<&Path<'_>>,
    level: usize,
) -> Result<Item, Error> {
    members
        .into_iter()
        .map(|(name, json)| {
            let path = parent.map_or(Path::Name(&name), |parent| Path::Member(parent, &name));
            if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
                return Err(Error::InvalidUser(format!(
                    "'{path}' has a name of {} bytes, and the name of an attribute must have 1 to {MAX_NAME_BYTES} bytes of UTF-8",
                    name.len()
                )));
            }
            let value = attribute_value(json, &path, level)?;
            Ok((name, value))
        })
        .collect()
}

/// Where in a user a value is, for messages: `address.lines[2]`.
enum Path<'a> {
    Name(&'a str),
    Member(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&shortened(name)),
            Self::Member(parent, name) => write!(f, "{parent}.{}", shortened(name)),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The bytes that a value takes in an item. DynamoDB adds those of names, 3 for a list or map, and 1 for each element.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(text) => number::size(text),
        AttributeValue::L(elements) => {
            3 + elements.iter().map(|element| 1 + size(element)).sum::<usize>()
        }
        AttributeValue::M(members) => {
            3 + members.iter().map(|(name, value)| 1 + name.len() + size(value)).sum::<usize>()
        }
        _ => 1,
    }
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_map(&self.item, serializer)
    }
}

/// An attribute value, to be serialized as JSON.
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
            _ => Err(S::Error::custom("an attribute of a type that is not known")),
        }
    }
}

/// The text of a number, to be serialized as that number.
struct Number<'a>(&'a str);

impl Serialize for Number<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // DynamoDB gives numbers back in a notation of its own.
        let number: &RawValue = serde_json::from_str(self.0).map_err(S::Error::custom)?;
        let text = number::canonical(number.get()).map_err(S::Error::custom)?;
        RawValue::from_string(text).map_err(S::Error::custom)?.serialize(serializer)
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
