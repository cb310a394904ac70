//! Reads a few members of a large JSON object, and skips the others unparsed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object that were looked for.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    found: BTreeMap<&'static str, &'a RawValue>,
    /// The name of the first member that was not looked for.
    other: Option<String>,
}

impl<'a> Members<'a> {
    /// Looks for the members with these names. An empty text has none.
    ///
    /// # Errors
    ///
    /// If the text is not a JSON object, or has a member twice.
    pub(super) fn parse(
        json: &'a str,
        names: &[&[&'static str]],
    ) -> Result<Self, serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(json);
        let members = Names(names).deserialize(&mut parser)?;
        parser.end()?;
        Ok(members)
    }

    /// Returns a member, unless it is absent or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let raw = self.found.get(name).copied();
        raw.filter(|raw| raw.get() != "null")
    }

    /// Returns a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        text(self.get(name)?)
    }

    /// Returns the name of the first member that was not looked for.
    pub(super) fn other(&self) -> Option<&str> {
        self.other.as_deref()
    }

    /// Returns whether the object has no member at all.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty() && self.other.is_none()
    }
}

/// Returns the JSON as text, if it is a string.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

/// The names to look for.
struct Names<'n>(&'n [&'n [&'static str]]);

/// The name of a member, borrowed from the text unless it has escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = Members<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Members<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
        let mut members = Members::default();
        while let Some(Name(name)) = map.next_key()? {
            let mut names = self.0.iter().copied().flatten();
            let Some(known) = names.find(|known| **known == name) else {
                map.next_value::<IgnoredAny>()?;
                members.other.get_or_insert_with(|| name.into_owned());
                continue;
            };
            if members.found.insert(known, map.next_value()?).is_some() {
                return Err(M::Error::custom(format_args!("'{known}' appears twice")));
            }
        }
        Ok(members)
    }
}
