//! Lists of users: what a client requests, how much fits in a response, and where the rest begins.

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::event::Query;
use crate::dynamodb::Store;
use crate::error::Error;
use crate::user::{Key, MAX_KEY_BYTES, User};

/// The maximum value of `limit`.
const MAX_LIMIT: usize = 1000;

/// The maximum size of a response that Lambda's Runtime API accepts, in bytes. AWS documents 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>); this is the number
/// in the Runtime API's error.
const MAX_RESPONSE_BYTES: usize = 6_291_556;

/// An upper bound of the size of a response without its body and its link, in bytes.
const ENVELOPE_BYTES: usize = 1024;

/// What to percent-encode in a query: everything except RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A request for a list.
#[derive(Debug)]
pub(crate) struct ListRequest {
    /// The email address that every user must have.
    email: Option<String>,
    limit: Option<usize>,
    /// The id of the user to continue after.
    after: Option<Key>,
}

/// A list, or a page of one.
#[derive(Debug)]
pub(crate) struct List {
    /// The array of users, as JSON.
    pub(crate) json: String,
    /// The URL of the next page, if there is one.
    pub(crate) next_url: Option<String>,
}

impl ListRequest {
    /// Reads the query of a request. An empty email address counts as none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`].
    pub(crate) fn new(query: &Query) -> Result<Self, Error> {
        Ok(Self {
            email: query.email.clone().filter(|email| !email.is_empty()),
            limit: query.limit.as_deref().map(parse_limit).transpose()?,
            after: query.cursor.as_deref().map(parse_cursor).transpose()?,
        })
    }

    /// Reads the list from the store, up to the last user that fits in a response.
    ///
    /// # Errors
    ///
    /// [`Error::ResponseTooLarge`] if there is no limit and the users do not fit; else the errors
    /// of the store.
    pub(crate) async fn read(self, store: &Store) -> Result<List, Error> {
        let email = match self.email.as_deref().map(Key::new) {
            // No user can have this address.
            Some(None) => return Ok(JsonArray::new(MAX_RESPONSE_BYTES).into_list(None)),
            Some(email) => email,
            None => None,
        };
        let longest_link = self.limit.map_or(0, |limit| {
            self.next_url(limit, &"x".repeat(MAX_KEY_BYTES)).len()
        });
        let mut array = JsonArray::new(MAX_RESPONSE_BYTES - ENVELOPE_BYTES - longest_link);
        let mut last_id = String::new();
        let mut pages = store.list(email, self.after.as_ref());
        loop {
            // One user more than the limit shows whether there is a next page.
            let wanted = self.limit.map(|limit| limit - array.users + 1);
            let Some(users) = pages.next(wanted).await? else {
                return Ok(array.into_list(None));
            };
            for user in users {
                if self.limit != Some(array.users) && array.push(&user)? {
                    user.id().clone_into(&mut last_id);
                    continue;
                }
                let limit = self.limit.ok_or(Error::ResponseTooLarge)?;
                let next_url = self.next_url(limit, &last_id);
                return Ok(array.into_list(Some(next_url)));
            }
        }
    }

    /// Returns the URL of the page after the user with this id. It is a reference that consists of
    /// the query alone, so it resolves behind any proxy (RFC 3986, section 5.2.2).
    fn next_url(&self, limit: usize, last_id: &str) -> String {
        let cursor = BASE64.encode_to_string(last_id);
        let email = self.email.as_ref().map_or_else(String::new, |email| {
            format!("email={}&", utf8_percent_encode(email, QUERY))
        });
        format!("?{email}limit={limit}&cursor={cursor}")
    }
}

fn parse_limit(text: &str) -> Result<usize, Error> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) if is_number => Ok(limit),
        _ => Err(Error::InvalidRequest(format!(
            "'limit' must be a number from 1 to {MAX_LIMIT}"
        ))),
    }
}

/// Returns the id in a cursor.
fn parse_cursor(cursor: &str) -> Result<Key, Error> {
    BASE64
        .decode_to_vec(cursor)
        .ok()
        .and_then(|id| String::from_utf8(id).ok())
        .and_then(|id| Key::new(&id))
        .ok_or_else(|| {
            Error::InvalidRequest(
                "invalid 'cursor': copy it unchanged from a page's 'next' link, or omit it"
                    .to_owned(),
            )
        })
}

/// A JSON array of users that fits in a response.
struct JsonArray {
    json: Vec<u8>,
    /// The number of users in the array.
    users: usize,
    /// Bytes left in the response, counting escapes.
    room: usize,
}

impl JsonArray {
    fn new(room: usize) -> Self {
        Self {
            json: b"[".to_vec(),
            users: 0,
            room: room - "[]".len(),
        }
    }

    /// Adds a user if there is room, and returns whether there was.
    fn push(&mut self, user: &User) -> Result<bool, Error> {
        let start = self.json.len();
        if self.users > 0 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, user)
            .map_err(|error| Error::Unavailable(error.into()))?;
        let added = &self.json[start..];
        // The JSON contains no control characters, so only these are escaped in a string.
        let is_escaped = |byte: &&u8| matches!(byte, b'"' | b'\\');
        let bytes = added.len() + added.iter().filter(is_escaped).count();
        let Some(room) = self.room.checked_sub(bytes) else {
            self.json.truncate(start);
            return Ok(false);
        };
        self.room = room;
        self.users += 1;
        Ok(true)
    }

    fn into_list(mut self, next_url: Option<String>) -> List {
        self.json.push(b']');
        let json = String::from_utf8(self.json).expect("serde_json writes UTF-8");
        List { json, next_url }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(email: &str, limit: &str, cursor: &str) -> Result<ListRequest, Error> {
        ListRequest::new(&Query {
            email: Some(email.to_owned()),
            limit: Some(limit.to_owned()),
            cursor: Some(cursor.to_owned()),
        })
    }

    #[test]
    fn limits_and_cursors_are_checked() {
        request("", "1", "MQ").expect("a request");
        request("", "1000", "MQ").expect("a request");
        for (limit, cursor) in [
            ("0", "MQ"),
            ("1001", "MQ"),
            ("+1", "MQ"),
            ("", "MQ"),
            ("1", ""),
            ("1", "*"),
            ("1", "MQ=="),
        ] {
            let error = request("", limit, cursor).expect_err(limit);
            assert_eq!(error.code(), "InvalidRequest", "{limit}, {cursor}");
        }
    }

    #[test]
    fn the_link_is_a_query_that_repeats_the_request() {
        let list = request("a+b@c", "007", "MQ").expect("a request");
        let url = list.next_url(7, "ü");
        assert_eq!(url, "?email=a%2Bb%40c&limit=7&cursor=w7w");
    }

    #[test]
    fn an_array_counts_what_its_json_takes_in_a_response() {
        let user = User::from_json(r#"{"id": "1"}"#).expect("a user");
        let escaped = r#"[{\"id\":\"1\"}]"#.len();
        assert!(JsonArray::new(escaped).push(&user).expect("JSON"));
        assert!(!JsonArray::new(escaped - 1).push(&user).expect("JSON"));
    }
}
