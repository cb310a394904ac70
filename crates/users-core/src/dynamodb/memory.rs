//! Bounds the memory that a response takes, as JSON and once the SDK has parsed it.
//!
//! Every item of 400 KB can be read. A page of a list has at most 1 MB as DynamoDB counts it
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html#Scan.Pagination>),
//! but up to fifty times as much as JSON, or eighty times as much in memory. Such a page is cut
//! after the last item that fits, and the list continues after that item.

use std::fmt::{self, Formatter};

use aws_sdk_dynamodb::types::AttributeValue;
use memchr::memchr_iter;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::user::Item;

/// The maximum JSON of an item, in bytes: 400 KB of numbers such as 1E-130, each of which is 3
/// bytes in an item and 141 in JSON.
const MAX_ITEM_JSON: usize = 20 * 1024 * 1024;

/// The maximum memory of an item with its JSON, in bytes: 400 KB of such numbers as well. Objects
/// with one short name and an empty string, of 6 bytes, come next.
const MAX_ITEM_BYTES: usize = 54 * 1024 * 1024;

/// The maximum memory of several items with their JSON, in bytes. A function with 128 MB can spare
/// this much, and the list that it writes.
const MAX_PAGE_BYTES: usize = 46 * 1024 * 1024;

/// Upper bounds of the memory that a response takes for each `{` and `"` in its JSON, in bytes:
/// half of an item with one attribute, and half of a short string, in lists that grew by doubling.
const BYTES_PER_BRACE: usize = 230;
const BYTES_PER_QUOTE: usize = 36;

/// The error for a response that is larger than any of DynamoDB's.
#[derive(Debug, thiserror::Error)]
#[error("the response is too large to read")]
pub(super) struct OversizedResponse;

/// Which key a page of a list starts after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOf {
    Table,
    Index,
}

/// A response, as DynamoDB returns it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Response<'a> {
    /// The items of a page, if this is one.
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
    #[serde(borrow, alias = "Attributes")]
    item: Option<&'a RawValue>,
    #[serde(borrow)]
    consumed_capacity: Option<&'a RawValue>,
}

/// The key of an item.
#[derive(Deserialize, Serialize)]
struct Key<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    email: Option<&'a RawValue>,
}

/// Cuts a page whose items do not fit in memory together. `key_of` says what its list continues
/// after.
///
/// # Errors
///
/// If an item is larger than any of DynamoDB's.
pub(super) fn bound(json: &mut Vec<u8>, key_of: KeyOf) -> Result<(), OversizedResponse> {
    let at_most = 2 * json.len()
        + BYTES_PER_BRACE * memchr_iter(b'{', json).count()
        + BYTES_PER_QUOTE * memchr_iter(b'"', json).count();
    if at_most <= MAX_PAGE_BYTES {
        return Ok(());
    }
    let Ok(response) = serde_json::from_slice::<Response>(json) else {
        return if json.len() > MAX_ITEM_JSON {
            Err(OversizedResponse)
        } else {
            Ok(())
        };
    };
    if let Some(item) = response.item {
        memory(item)?;
    }
    let items = response.items.unwrap_or_default();
    let mut kept = 0;
    let mut bytes = 0;
    for item in &items {
        bytes += memory(item)?;
        if kept > 0 && bytes > MAX_PAGE_BYTES {
            break;
        }
        kept += 1;
    }
    if kept < items.len()
        && let Some(end) = end_after(items[kept - 1], kept, response.consumed_capacity, key_of)
    {
        let last = items[kept - 1].get();
        let length = last.as_ptr().addr() - json.as_ptr().addr() + last.len();
        json.truncate(length);
        json.shrink_to_fit();
        json.extend_from_slice(end.as_bytes());
    }
    Ok(())
}

/// Returns the JSON that follows the last item of a page that is cut. Its members override those
/// before the items.
fn end_after(
    last: &RawValue,
    count: usize,
    capacity: Option<&RawValue>,
    key_of: KeyOf,
) -> Option<String> {
    let mut key: Key = serde_json::from_str(last.get()).ok()?;
    if key_of == KeyOf::Table {
        key.email = None;
    }
    let key = serde_json::to_string(&key).ok()?;
    let capacity = capacity.map_or("null", RawValue::get);
    Some(format!(
        r#"],"Count":{count},"LastEvaluatedKey":{key},"ConsumedCapacity":{capacity}}}"#
    ))
}

/// Returns the memory of an item with its JSON, in bytes.
fn memory(item: &RawValue) -> Result<usize, OversizedResponse> {
    let json = item.get().len();
    let bytes = json + parsed_bytes(item.get());
    if json <= MAX_ITEM_JSON && bytes <= MAX_ITEM_BYTES {
        Ok(bytes)
    } else {
        Err(OversizedResponse)
    }
}

/// Returns the memory of an item once the SDK has parsed it, in bytes.
fn parsed_bytes(item: &str) -> usize {
    let mut parser = serde_json::Deserializer::from_str(item);
    let members = Part::Members.deserialize(&mut parser).unwrap_or_default();
    2 * size_of::<Item>() + members
}

/// A part of an item's JSON, which deserializes to the memory that it takes besides its own slot in
/// a list or map, in bytes.
#[derive(Clone, Copy)]
enum Part {
    /// A map of attribute values, such as the item itself.
    Members,
    /// An attribute value.
    Value,
    /// A list of attribute values.
    List,
    /// A set of strings, numbers or binary values.
    Set,
    /// The name of an attribute, or a value without parts.
    Scalar,
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = usize;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a part of an item")
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_str<E>(self, text: &str) -> Result<usize, E> {
        Ok(allocation(text.len()))
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<usize, S::Error> {
        let (element, slot) = match self {
            Self::Set => (Self::Scalar, size_of::<String>()),
            _ => (Self::Value, size_of::<AttributeValue>()),
        };
        let (mut count, mut bytes) = (0, 0);
        while let Some(more) = seq.next_element_seed(element)? {
            count += 1;
            bytes += more;
        }
        // A list grows by doubling, from four elements.
        let capacity: usize = if count == 0 {
            0
        } else {
            4.max(usize::next_power_of_two(count))
        };
        Ok(bytes + allocation(slot * capacity))
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<usize, M::Error> {
        let mut bytes = 0;
        if let Self::Value = self {
            while let Some(name) = map.next_key::<&str>()? {
                bytes += map.next_value_seed(match name {
                    "L" => Self::List,
                    "M" => Self::Members,
                    "SS" | "NS" | "BS" => Self::Set,
                    _ => Self::Scalar,
                })?;
            }
            return Ok(bytes);
        }
        let mut count = 0;
        while let Some(name) = map.next_key_seed(Self::Scalar)? {
            count += 1;
            bytes += name + map.next_value_seed(Self::Value)?;
        }
        // A table is at most seven eighths full, and has a byte of its own for each entry.
        let capacity: usize = match count {
            0 => return Ok(bytes),
            1..=3 => 4,
            _ => usize::next_power_of_two(count * 8 / 7 + 1),
        };
        let entry = size_of::<(String, AttributeValue)>() + 1;
        Ok(bytes + allocation(entry * capacity + 16))
    }
}

/// Returns what an allocation of this size takes with its overhead in glibc, in bytes.
fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => (bytes + 8).next_multiple_of(16).max(32),
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use serde_json::{Value, json};

    use super::*;

    fn bounded(items: &[Value], key_of: KeyOf) -> Value {
        let page = json!({
            "ConsumedCapacity": {"CapacityUnits": 128.5},
            "Count": items.len(),
            "Items": items,
        });
        let mut json = page.to_string().into_bytes();
        bound(&mut json, key_of).expect("items of DynamoDB");
        serde_json::from_slice(&json).expect("JSON")
    }

    #[test]
    fn a_page_that_fits_is_unchanged() {
        let item = json!({"id": {"S": "1"}, "text": {"S": "x".repeat(1000)}});
        let page = bounded(&vec![item; 1000], KeyOf::Table);
        assert_eq!(page["Items"].as_array().map(Vec::len), Some(1000));
        assert_eq!(page.get("LastEvaluatedKey"), None);
    }

    #[test]
    fn a_page_is_cut_after_the_last_item_that_fits() {
        let list: Vec<_> = repeat_n(json!({"L": [{"S": ""}]}), 60_000).collect();
        let item = |id: &str| json!({"id": {"S": id}, "email": {"S": "a@b"}, "list": {"L": list}});
        let items = [item("1"), item("2"), item("3")];
        for (key_of, key) in [
            (KeyOf::Table, json!({"id": {"S": "2"}})),
            (
                KeyOf::Index,
                json!({"id": {"S": "2"}, "email": {"S": "a@b"}}),
            ),
        ] {
            let page = bounded(&items, key_of);
            assert_eq!(page["Items"], json!(items[..2]));
            assert_eq!(page["Count"], json!(2));
            assert_eq!(page["LastEvaluatedKey"], key);
            assert_eq!(page["ConsumedCapacity"]["CapacityUnits"], json!(128.5));
        }
    }
}
