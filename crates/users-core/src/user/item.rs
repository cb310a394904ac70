//! Items, and the keys by which the table and its index find them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use uuid::Uuid;

/// The attribute that is the table's partition key.
pub const ID: &str = "id";

/// The attribute that is the index's partition key.
pub const EMAIL: &str = "email";

/// The maximum size of a partition key's value in a table or an index, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-partition-sort-keys>).
pub(crate) const MAX_KEY_BYTES: usize = 2048;

/// An item, as the SDK represents it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A string that can be a partition key, such as an id: 1 to 2,048 bytes of UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Returns this text as a key, unless it is empty or too long.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (1..=MAX_KEY_BYTES)
            .contains(&text.len())
            .then(|| Self(text.to_owned()))
    }

    /// Returns a new random UUID (version 4), in lower case and with hyphens.
    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
