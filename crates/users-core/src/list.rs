//! Lists of users: what a client requests, how much fits in a response, and where the rest begins.

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::Error;
use crate::key::{EMAIL, Key, MAX_KEY_BYTES};
use crate::proxy::Target;
use crate::store::Store;
use crate::user::User;

const LIMIT: &str = "limit";
const CURSOR: &str = "cursor";

/// The maximum value of `limit`.
const MAX_LIMIT: usize = 1000;

/// The maximum size of a response that Lambda's Runtime API accepts, in bytes. AWS documents 6 MB
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>); this is the number
/// in the Runtime API's error.
const MAX_RESPONSE_BYTES: usize = 6_291_556;

/// An upper bound of the size of a response without its body and its link, in bytes.
const ENVELOPE_BYTES: usize = 1024;

/// The maximum size of a link's URL, in bytes. API Gateway accepts requests with 10,240 bytes of
/// headers, path and query
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>),
/// and each byte can become three in a link.
const MAX_URL_BYTES: usize = 3 * 10_240;

/// What to percent-encode in a query: everything except RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What to percent-encode in a path that is already encoded: the characters that would end the URL
/// in a header, or the header itself.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

/// A request for a list.
#[derive(Debug)]
pub(crate) struct ListRequest {
    email: Option<String>,
    limit: Option<usize>,
    /// The id of the user to continue after.
    after: Option<Key>,
    /// The URL of the next page, up to the cursor's value: an absolute path, and the same query.
    next_url: String,
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
    /// Reads the query of a request. If a parameter is repeated, its last value counts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`].
    pub(crate) fn new(target: &Target) -> Result<Self, Error> {
        let last = |name| target.query.get(name).and_then(|values| values.last());
        let next_url = next_url(target);
        if next_url.len() > MAX_URL_BYTES {
            return Err(Error::InvalidRequest(
                "the path and query are too long".to_owned(),
            ));
        }
        Ok(Self {
            email: last(EMAIL).filter(|email| !email.is_empty()).cloned(),
            limit: last(LIMIT).map(|limit| parse_limit(limit)).transpose()?,
            after: last(CURSOR)
                .map(|cursor| parse_cursor(cursor))
                .transpose()?,
            next_url,
        })
    }

    /// Reads the list from the store, up to the last user that fits in a response.
    ///
    /// # Errors
    ///
    /// [`Error::ResponseTooLarge`] if there is no limit and the users do not fit; else the errors
    /// of the store.
    pub(crate) async fn read(self, store: &Store) -> Result<List, Error> {
        let link_bytes = match self.limit {
            Some(_) => self.next_url.len() + cursor(&"x".repeat(MAX_KEY_BYTES)).len(),
            None => 0,
        };
        let mut array = JsonArray::new(MAX_RESPONSE_BYTES - ENVELOPE_BYTES - link_bytes);
        let mut count = 0;
        let mut last_id = String::new();
        let email = match self.email {
            Some(email) => match Key::new(&email) {
                Some(email) => Some(email),
                // No user can have this address.
                None => {
                    return Ok(List {
                        json: array.finish(),
                        next_url: None,
                    });
                }
            },
            None => None,
        };
        let mut pages = store.list(email, self.after);
        loop {
            // One user more than the limit shows whether there is a next page.
            let wanted = self
                .limit
                .and_then(|limit| i32::try_from(limit - count + 1).ok());
            let Some(users) = pages.next(wanted).await? else {
                return Ok(List {
                    json: array.finish(),
                    next_url: None,
                });
            };
            for user in users {
                if self.limit == Some(count) || !array.push(&user)? {
                    if self.limit.is_none() {
                        return Err(Error::ResponseTooLarge);
                    }
                    let next_url = Some(self.next_url + &cursor(&last_id));
                    return Ok(List {
                        json: array.finish(),
                        next_url,
                    });
                }
                count += 1;
                user.id().clone_into(&mut last_id);
            }
        }
    }
}

fn parse_limit(text: &str) -> Result<usize, Error> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) if is_number => Ok(limit),
        _ => Err(Error::InvalidRequest(format!(
            "'{LIMIT}' must be a number from 1 to {MAX_LIMIT}"
        ))),
    }
}

/// Returns the cursor that continues after the user with this id.
fn cursor(id: &str) -> String {
    BASE64.encode_to_string(id)
}

/// Returns the id in a cursor.
fn parse_cursor(cursor: &str) -> Result<Key, Error> {
    let id = BASE64
        .decode_to_vec(cursor)
        .ok()
        .and_then(|id| String::from_utf8(id).ok());
    id.and_then(|id| Key::new(&id)).ok_or_else(|| {
        Error::InvalidRequest(format!(
            "invalid '{CURSOR}': copy it unchanged from a page's 'next' link, or omit it"
        ))
    })
}

/// Returns the URL of the next page, up to the cursor's value. The path is the one that the client
/// used.
fn next_url(target: &Target) -> String {
    let path = target
        .full_path
        .as_deref()
        .or(target.path.as_deref())
        .unwrap_or("/users");
    let mut url = utf8_percent_encode(path, PATH).to_string();
    url.push('?');
    for (name, values) in &target.query {
        for value in values.iter().filter(|_| name != CURSOR) {
            url.extend(utf8_percent_encode(name, QUERY));
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
            url.push('&');
        }
    }
    url + CURSOR + "="
}

/// A JSON array of users that fits in a response.
struct JsonArray {
    json: Vec<u8>,
    /// By how many bytes the array may still grow, as an escaped string in the JSON of a response.
    room: usize,
}

impl JsonArray {
    fn new(room: usize) -> Self {
        Self {
            json: b"[".to_vec(),
            room: room - "[]".len(),
        }
    }

    /// Adds a user if there is room, and returns whether there was.
    fn push(&mut self, user: &User) -> Result<bool, Error> {
        let start = self.json.len();
        if start > 1 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, user)
            .map_err(|error| Error::Unavailable(error.into()))?;
        let added = &self.json[start..];
        // The JSON contains no control characters, so only these are escaped in a string.
        let escaped = added.len()
            + added
                .iter()
                .filter(|byte| matches!(byte, b'"' | b'\\'))
                .count();
        if let Some(room) = self.room.checked_sub(escaped) {
            self.room = room;
            Ok(true)
        } else {
            self.json.truncate(start);
            Ok(false)
        }
    }

    fn finish(mut self) -> String {
        self.json.push(b']');
        String::from_utf8(self.json).expect("serde_json writes UTF-8")
    }
}
