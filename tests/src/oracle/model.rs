//! A model of the contract: users in a map, and what each request returns. It shares no code with
//! the service, so a mistake goes unnoticed only if both make it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bigdecimal::BigDecimal;

use super::json::Json;

/// A user, perhaps without an `id`, or the members of any object.
pub type Members = BTreeMap<String, Json>;

/// The codes of an error, each of which is correct.
pub type Codes = Vec<&'static str>;

const INVALID_REQUEST: &str = "InvalidRequest";
const INVALID_USER: &str = "InvalidUser";

/// The maximum size of an id or email address, in bytes.
const KEY_BYTES: usize = 2048;

/// The maximum size of a user, in bytes.
pub const USER_BYTES: usize = 400 * 1024;

/// The size of a random id with its name, in bytes.
const RANDOM_ID_BYTES: usize = 2 + 36;

/// The `{id}` of a path.
#[derive(Clone, Debug)]
pub enum PathId {
    /// It decodes to this.
    Is(String),
    /// It does not decode to UTF-8.
    Malformed(&'static str),
}

/// The users that exist, by id.
#[derive(Debug, Default)]
pub struct Model(pub Members);

impl Model {
    /// Creates the user in a body. A user without an `id` is returned but not kept, because its id
    /// is not known yet.
    ///
    /// # Errors
    ///
    /// The codes that the service may return.
    pub fn post(&mut self, body: &str) -> Result<Members, Codes> {
        let user = user(body, None).map_err(|code| vec![code])?;
        if let Some(Json::String(id)) = user.get("id") {
            if self.0.contains_key(id) {
                return Err(vec!["UserAlreadyExists"]);
            }
            self.0.insert(id.clone(), Json::Object(user.clone()));
        }
        Ok(user)
    }

    /// Replaces a user with the one in a body. If there are two errors, either may be returned.
    ///
    /// # Errors
    ///
    /// The codes that the service may return.
    pub fn put(&mut self, id: &PathId, body: &str) -> Result<Json, Codes> {
        let text = match id {
            PathId::Is(id) => Some(id.as_str()),
            PathId::Malformed(_) => None,
        };
        match (self.get(id), user(body, text), text) {
            (Ok(_), Ok(user), Some(id)) => {
                let user = Json::Object(user);
                self.0.insert(id.to_owned(), user.clone());
                Ok(user)
            }
            (found, user, _) => {
                let code = user.err().into_iter();
                Err(found.err().into_iter().flatten().chain(code).collect())
            }
        }
    }

    /// Returns a user.
    ///
    /// # Errors
    ///
    /// The codes that the service may return.
    pub fn get(&self, id: &PathId) -> Result<Json, Codes> {
        match id {
            PathId::Malformed(_) => Err(vec![INVALID_REQUEST]),
            PathId::Is(id) => self.0.get(id).cloned().ok_or_else(|| vec!["UserNotFound"]),
        }
    }

    /// Deletes a user, and returns it.
    ///
    /// # Errors
    ///
    /// The codes that the service may return.
    pub fn delete(&mut self, id: &PathId) -> Result<Json, Codes> {
        let user = self.get(id)?;
        if let PathId::Is(id) = id {
            self.0.remove(id);
        }
        Ok(user)
    }

    /// Deletes all users, unless the request has a query or its path ends with a slash.
    ///
    /// # Errors
    ///
    /// The codes that the service may return.
    pub fn delete_all(&mut self, suffix: &str) -> Result<Json, Codes> {
        if !suffix.is_empty() {
            return Err(vec![INVALID_REQUEST]);
        }
        self.0.clear();
        Ok(Json::Null)
    }

    /// Returns whether a list of all users, or of those with this email address, has this user.
    pub fn is_listed(&self, id: &str, email: Option<&str>) -> bool {
        let is_own = |user: &Json| match (user, email) {
            (_, None) => true,
            (Json::Object(user), Some(email)) => {
                matches!(user.get("email"), Some(Json::String(own)) if own == email)
            }
            _ => false,
        };
        self.0.get(id).is_some_and(is_own)
    }
}

/// Returns the limit that a query parameter sets.
///
/// # Errors
///
/// The codes that the service may return.
pub fn limit(text: &str) -> Result<usize, Codes> {
    let valid = (1..=1000).find(|limit: &usize| limit.to_string() == text);
    valid.ok_or_else(|| vec![INVALID_REQUEST])
}

/// Checks a cursor. It is the key to continue from: an id in URL-safe base64 without padding
/// (<https://www.rfc-editor.org/rfc/rfc4648#section-5>).
///
/// # Errors
///
/// The codes that the service may return.
pub fn cursor(text: &str) -> Result<(), Codes> {
    let id = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|id| String::from_utf8(id).ok());
    let is_key = id.is_some_and(|id| (1..=KEY_BYTES).contains(&id.len()));
    if is_key {
        Ok(())
    } else {
        Err(vec![INVALID_REQUEST])
    }
}

/// Returns the user in a body, with the id of the path if there is one, or the code of an error.
fn user(body: &str, id: Option<&str>) -> Result<Members, &'static str> {
    let Some(Json::Object(mut user)) = Json::parse(body) else {
        return Err(INVALID_REQUEST);
    };
    if let Some(id) = id {
        user.insert("id".to_owned(), Json::String(id.to_owned()));
    }
    let is_key =
        |value: &Json| matches!(value, Json::String(text) if (1..=KEY_BYTES).contains(&text.len()));
    let keys_are_valid = ["id", "email"]
        .iter()
        .filter_map(|name| user.get(*name))
        .all(is_key);
    // Browsers cannot request these.
    let is_dots = id.is_none()
        && matches!(user.get("id"), Some(Json::String(id)) if [".", ".."].contains(&id.as_str()));
    let random_id = if user.contains_key("id") {
        0
    } else {
        RANDOM_ID_BYTES
    };
    let is_small = bytes(&user) + random_id <= USER_BYTES;
    let user = Json::Object(user);
    match user {
        _ if !keys_are_valid || is_dots || !is_small || !is_storable(&user, 1) => Err(INVALID_USER),
        Json::Object(user) => Ok(user),
        _ => Err(INVALID_REQUEST),
    }
}

/// Returns whether names, numbers and nesting are within the limits. The user is the first level.
fn is_storable(value: &Json, level: usize) -> bool {
    match value {
        Json::Number(number) => is_kept(number),
        Json::Array(elements) => {
            level <= 32
                && elements
                    .iter()
                    .all(|element| is_storable(element, level + 1))
        }
        Json::Object(members) => {
            let names_are_valid = members
                .keys()
                .all(|name| (1..=65_535).contains(&name.len()));
            let mut values = members.values();
            level <= 32 && names_are_valid && values.all(|value| is_storable(value, level + 1))
        }
        _ => true,
    }
}

/// Returns whether DynamoDB stores a number exactly.
fn is_kept(number: &BigDecimal) -> bool {
    let (digits, scale) = number.normalized().into_bigint_and_exponent();
    let digits = digits.magnitude().to_string();
    let magnitude = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1 - scale;
    digits == "0" || digits.len() <= 38 && (-130..=125).contains(&magnitude)
}

/// Returns the size of a user in bytes, as DynamoDB counts it
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
pub fn bytes(user: &Members) -> usize {
    user.iter()
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum()
}

fn value_bytes(value: &Json) -> usize {
    match value {
        Json::Null | Json::Bool(_) => 1,
        Json::String(text) => text.len(),
        // The maximum. No test has a user with numbers that is large enough for this to matter.
        Json::Number(_) => 21,
        Json::Array(elements) => {
            3 + elements
                .iter()
                .map(|element| 1 + value_bytes(element))
                .sum::<usize>()
        }
        Json::Object(members) => 3 + members.len() + bytes(members),
    }
}
