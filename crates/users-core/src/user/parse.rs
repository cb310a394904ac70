//! Reads a user from JSON in one pass that checks every rule as it goes, and stops at the first
//! violation: 2 MB of JSON could otherwise expand to 300 MB.
//!
//! The parser keeps numbers as text. `serde_json` would round them, or mistake a client's
//! `{"$serde_json::private::Number": …}` for a number.

use aws_sdk_dynamodb::types::AttributeValue;
use json_event_parser::{JsonEvent, JsonSyntaxError, SliceJsonParser};

use super::item::{EMAIL, ID, Item, Key, MAX_KEY_BYTES};
use super::number;
use crate::error::{Error, shortened};

/// The maximum size of an item, in bytes as DynamoDB counts them
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-items>).
const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The maximum size of an attribute's name, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html#limits-attributes>).
const MAX_NAME_BYTES: usize = 65_535;

/// How deeply lists and maps can be nested, the user itself included (same page).
const MAX_LEVELS: usize = 32;

/// The overhead of a list or map in an item, and that of each of its elements, in bytes
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
const CONTAINER_BYTES: usize = 3;
const ELEMENT_BYTES: usize = 1;

/// Reads the JSON of a user as an item. The user has the id `id`, whatever `id` the JSON contains.
/// Without `id`, it has the one in the JSON, or else a random one.
///
/// # Errors
///
/// [`Error::InvalidRequest`] if the text is not a JSON object, [`Error::InvalidUser`] if it breaks
/// a rule for users.
pub(crate) fn parse(json: &str, id: Option<Key>) -> Result<Item, Error> {
    if json.starts_with('\u{feff}') {
        return Err(not_json(
            "it begins with a byte order mark (U+FEFF): send it without (RFC 8259, section 8.1)",
        ));
    }
    if !json.trim_ascii_start().starts_with('{') {
        let message = "the body must be a JSON object, such as {\"email\": \"ada@example.com\"}";
        return Err(Error::InvalidRequest(message.to_owned()));
    }
    let mut parser = Parser {
        json,
        events: SliceJsonParser::new(json.as_bytes()),
        open: Vec::new(),
        bytes: 0,
        skips_id: id.is_some(),
    };
    let mut item = parser.item()?;
    if let Some(id) = id.or_else(|| (!item.contains_key(ID)).then(Key::random)) {
        parser.add(ID.len() + id.as_str().len())?;
        item.insert(ID.to_owned(), AttributeValue::S(id.as_str().to_owned()));
    }
    Ok(item)
}

/// Returns the error for a user that is too large.
pub(crate) fn too_large() -> Error {
    Error::InvalidUser(format!(
        "the user is too large: the names and values of its attributes can have at most \
         {MAX_ITEM_BYTES} bytes, as DynamoDB counts them"
    ))
}

struct Parser<'a> {
    json: &'a str,
    events: SliceJsonParser<'a>,
    /// The lists and maps that are being read, the user itself first.
    open: Vec<Container>,
    /// The size of what has been read so far, in bytes of an item.
    bytes: usize,
    /// Whether the `id` of the user itself is skipped.
    skips_id: bool,
}

enum Container {
    List(Vec<AttributeValue>),
    /// The members so far, and the name of the one that is being read.
    Map(Item, String),
}

impl<'a> Parser<'a> {
    fn item(&mut self) -> Result<Item, Error> {
        loop {
            let value = match self.next()? {
                JsonEvent::StartObject => {
                    self.start(Container::Map(Item::new(), String::new()))?;
                    continue;
                }
                JsonEvent::StartArray => {
                    self.start(Container::List(Vec::new()))?;
                    continue;
                }
                JsonEvent::ObjectKey(name) => {
                    self.name(name.into_owned())?;
                    continue;
                }
                JsonEvent::EndObject | JsonEvent::EndArray => match self.open.pop() {
                    Some(Container::List(elements)) => AttributeValue::L(elements),
                    Some(Container::Map(item, _)) if self.open.is_empty() => {
                        // Fails if anything follows.
                        self.next()?;
                        return Ok(item);
                    }
                    Some(Container::Map(members, _)) => AttributeValue::M(members),
                    None => return Err(not_json("unexpected end of input")),
                },
                JsonEvent::String(text) => AttributeValue::S(text.into_owned()),
                JsonEvent::Number(text) => match number::canonical(&text) {
                    Ok(number) => AttributeValue::N(number),
                    Err(error) => return Err(self.invalid(&format!("is {error}"))),
                },
                JsonEvent::Boolean(value) => AttributeValue::Bool(value),
                JsonEvent::Null => AttributeValue::Null(true),
                JsonEvent::Eof => return Err(not_json("unexpected end of input")),
            };
            self.keep(value)?;
        }
    }

    fn next(&mut self) -> Result<JsonEvent<'a>, Error> {
        self.events
            .parse_next()
            .map_err(|error| not_json(&self.problem(&error)))
    }

    /// Begins a list or map.
    fn start(&mut self, container: Container) -> Result<(), Error> {
        if self.open.len() >= MAX_LEVELS {
            return Err(self.invalid(&format!(
                "is nested too deeply: at most {MAX_LEVELS} levels are allowed, and the user \
                 itself is the first"
            )));
        }
        if !self.open.is_empty() {
            self.add(CONTAINER_BYTES)?;
        }
        self.open.push(container);
        Ok(())
    }

    /// Begins a member of the innermost map.
    fn name(&mut self, name: String) -> Result<(), Error> {
        let is_top = self.open.len() == 1;
        let bytes = name.len();
        let Some(Container::Map(members, current)) = self.open.last_mut() else {
            return Err(not_json("it has a name outside an object"));
        };
        // Of members with the same name, the last counts.
        let replaced = members.remove(&name);
        let is_skipped = is_top && self.skips_id && name == ID;
        *current = name;
        if is_skipped {
            return self.skip();
        }
        if !(1..=MAX_NAME_BYTES).contains(&bytes) {
            return Err(self.invalid(&format!(
                "has a name of {bytes} bytes, but the name of an attribute must have 1 to \
                 {MAX_NAME_BYTES} bytes of UTF-8"
            )));
        }
        match replaced {
            Some(value) => self.bytes -= size(&value),
            None => self.add(bytes + if is_top { 0 } else { ELEMENT_BYTES })?,
        }
        Ok(())
    }

    /// Adds a value to the innermost list or map.
    fn keep(&mut self, value: AttributeValue) -> Result<(), Error> {
        let is_top = self.open.len() == 1;
        // A list or map was counted while it was read.
        let is_counted = matches!(value, AttributeValue::L(_) | AttributeValue::M(_));
        let bytes = if is_counted { 0 } else { size(&value) };
        match self.open.last_mut() {
            Some(Container::List(elements)) => {
                elements.push(value);
                self.add(ELEMENT_BYTES + bytes)
            }
            Some(Container::Map(members, name)) => {
                if is_top {
                    check_attribute(name, &value)?;
                }
                members.insert(std::mem::take(name), value);
                self.add(bytes)
            }
            None => Err(not_json("it has a value outside an object")),
        }
    }

    /// Reads a value and discards it.
    fn skip(&mut self) -> Result<(), Error> {
        let mut levels = 0_usize;
        loop {
            match self.next()? {
                JsonEvent::StartObject | JsonEvent::StartArray => levels += 1,
                JsonEvent::EndObject | JsonEvent::EndArray => levels -= 1,
                JsonEvent::Eof => return Err(not_json("unexpected end of input")),
                _ => {}
            }
            if levels == 0 {
                return Ok(());
            }
        }
    }

    /// Adds to the size of the item, and checks it.
    fn add(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        if self.bytes > MAX_ITEM_BYTES {
            Err(too_large())
        } else {
            Ok(())
        }
    }

    /// Says what is wrong with the JSON, and where.
    fn problem(&self, error: &JsonSyntaxError) -> String {
        let start = error.location().start;
        let offset = usize::try_from(start.offset).unwrap_or(usize::MAX);
        let rest = self.json.get(offset..).unwrap_or_default();
        let problem = match unpaired_surrogate(rest) {
            Some(escape) => format!("unpaired surrogate {escape}"),
            None if error.message().contains("surrogate") => {
                format!("unpaired surrogate: {}", error.message())
            }
            None => error.message().to_owned(),
        };
        let (line, column) = (start.line + 1, start.column + 1);
        format!("{problem} at line {line} column {column}")
    }

    /// Returns the error for the value that is being read. Its text starts with the value's path,
    /// as in `'address.lines[2]' …`.
    fn invalid(&self, problem: &str) -> Error {
        let mut path = String::new();
        for container in &self.open {
            match container {
                Container::List(elements) => {
                    path.push('[');
                    path += &elements.len().to_string();
                    path.push(']');
                }
                Container::Map(_, name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path += &shortened(name);
                }
            }
        }
        Error::InvalidUser(format!("'{path}' {problem}"))
    }
}

/// Checks the rules for an attribute of a user. This is the place for more rules.
fn check_attribute(name: &str, value: &AttributeValue) -> Result<(), Error> {
    let text = value.as_s().map(String::as_str).unwrap_or_default();
    if [ID, EMAIL].contains(&name) && Key::new(text).is_none() {
        return Err(Error::InvalidUser(format!(
            "'{name}' must be a string of 1 to {MAX_KEY_BYTES} bytes of UTF-8"
        )));
    }
    // Browsers resolve them as parts of a path (https://url.spec.whatwg.org/#double-dot-path-segment).
    if name == ID && [".", ".."].contains(&text) {
        return Err(Error::InvalidUser(
            "'id' must not be '.' or '..', which browsers cannot request".to_owned(),
        ));
    }
    Ok(())
}

/// Returns the escape of the first surrogate that is not one of a pair, in the JSON string with
/// which the text begins.
fn unpaired_surrogate(json: &str) -> Option<&str> {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix("\\u")?, 16).ok();
    let mut rest = json.strip_prefix('"')?;
    loop {
        rest = &rest[rest.find(['"', '\\'])?..];
        let first = rest.get(..6).and_then(unit);
        let second = rest.get(6..12).and_then(unit);
        let escaped = match (first, second) {
            _ if rest.starts_with('"') => return None,
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => return rest.get(..6),
            (Some(_), _) => 6,
            (None, _) => 2,
        };
        rest = rest.get(escaped..)?;
    }
}

/// Returns the size of a value in an item, in bytes.
fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(text) => number::size(text),
        AttributeValue::L(elements) => {
            let elements = elements.iter().map(|element| ELEMENT_BYTES + size(element));
            CONTAINER_BYTES + elements.sum::<usize>()
        }
        AttributeValue::M(members) => {
            let members = members
                .iter()
                .map(|(name, value)| ELEMENT_BYTES + name.len() + size(value));
            CONTAINER_BYTES + members.sum::<usize>()
        }
        _ => 1,
    }
}

fn not_json(problem: &str) -> Error {
    Error::InvalidRequest(format!("the body is not valid JSON: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> Error {
        parse(json, None).expect_err(json)
    }

    #[test]
    fn a_user_may_have_any_attributes() {
        let json = r#"{"id": "1", "a": [true, null, {"b": 1.50}], "a": "the last counts"}"#;
        let item = parse(json, None).expect("an item");
        assert_eq!(item["id"], AttributeValue::S("1".to_owned()));
        assert_eq!(item["a"], AttributeValue::S("the last counts".to_owned()));

        let given = Key::new("2").expect("a key");
        let item = parse(r#"{"id": {"not": "read"}}"#, Some(given)).expect("an item");
        assert_eq!(item["id"], AttributeValue::S("2".to_owned()));
        assert_eq!(parse("{}", None).expect("an item").len(), 1);
    }

    #[test]
    fn a_text_that_is_no_json_object_is_named_as_such() {
        for (json, problem) in [
            ("", "must be a JSON object"),
            ("[]", "must be a JSON object"),
            ("\u{feff}{}", "byte order mark"),
            ("{\"a\": 1", "at line 1 column 8"),
            ("{} {}", "at line 1 column"),
            (r#"{"a": "\ud83d"}"#, "unpaired surrogate \\ud83d"),
            (
                r#"{"a": "\"ü\ud83d\ude00\ud83d\u0041"}"#,
                "unpaired surrogate",
            ),
            (r#"{"a": "\udc00"}"#, "unpaired surrogate"),
        ] {
            let error = error(json);
            assert_eq!(error.code(), "InvalidRequest", "{json}");
            assert!(error.to_string().contains(problem), "{json}: {error}");
        }
    }

    #[test]
    fn a_rule_that_is_broken_is_named_with_the_attribute() {
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(32), "]".repeat(32));
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(400 * 1024));
        for (json, problem) in [
            (r#"{"id": 1}"#, "'id' must be a string of 1 to 2048 bytes"),
            (r#"{"id": ".."}"#, "'id' must not be"),
            (
                r#"{"email": ""}"#,
                "'email' must be a string of 1 to 2048 bytes",
            ),
            (
                r#"{"a": {"b": [1, 1e999]}}"#,
                "'a.b[1]' is a number out of range",
            ),
            (r#"{"a": {"": 1}}"#, "has a name of 0 bytes"),
            (&*deep, "nested too deeply"),
            (&*large, "the user is too large"),
        ] {
            let error = error(json);
            assert_eq!(error.code(), "InvalidUser", "{json}");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
