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
    if !json.trim_ascii_start().starts_with('{') {
        let message = "the body must be a JSON object, such as {\"email\": \"ada@example.com\"}";
        return Err(Error::InvalidRequest(message.to_owned()));
    }
    let mut parser = Parser {
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
                    None => return Err(not_json("it ends early")),
                },
                JsonEvent::String(text) => AttributeValue::S(text.into_owned()),
                JsonEvent::Number(text) => match number::canonical(&text) {
                    Ok(number) => AttributeValue::N(number),
                    Err(error) => return Err(self.invalid(&format!("is {error}"))),
                },
                JsonEvent::Boolean(value) => AttributeValue::Bool(value),
                JsonEvent::Null => AttributeValue::Null(true),
                JsonEvent::Eof => return Err(not_json("it ends early")),
            };
            self.keep(value)?;
        }
    }

    fn next(&mut self) -> Result<JsonEvent<'a>, Error> {
        self.events
            .parse_next()
            .map_err(|error| not_json(&position(&error)))
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
                let is_key = |text: &String| Key::new(text).is_some();
                if is_top && [ID, EMAIL].contains(&name.as_str()) && !value.as_s().is_ok_and(is_key)
                {
                    return Err(Error::InvalidUser(format!(
                        "'{name}' must be a string of 1 to {MAX_KEY_BYTES} bytes of UTF-8"
                    )));
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
                JsonEvent::Eof => return Err(not_json("it ends early")),
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

fn position(error: &JsonSyntaxError) -> String {
    let start = error.location().start;
    format!(
        "{} at line {} column {}",
        error.message(),
        start.line + 1,
        start.column + 1
    )
}

fn not_json(problem: &str) -> Error {
    Error::InvalidRequest(format!("the body is not valid JSON: {problem}"))
}
