//! Lists of users: what is asked for, how much of it fits a response, and where the rest is.

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use futures::stream::TryStreamExt;
use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::Error;
use crate::store::Store;
use crate::user::{EMAIL, MAX_KEY_BYTES, User, is_key};

const LIMIT: &str = "limit";
const CURSOR: &str = "cursor";

/// The most users that a page can be asked to have.
const MAX_LIMIT: usize = 1000;

/// The most bytes of a response that Lambda's Runtime API takes from a function.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html> says 6 MB; this is the number in its refusal.
const MAX_RESPONSE_BYTES: usize = 6_291_556;

/// More than a response has around the text of its body when there is no link: its status, its other headers.
const ENVELOPE_BYTES: usize = 1024;

/// What stands for itself in a query: RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A list that is asked for.
#[derive(Debug)]
pub(crate) struct ListRequest {
    email: Option<String>,
    limit: Option<usize>,
    /// The id of the user to go on after.
    after: Option<String>,
    /// The URL of the next page up to the value of its cursor: an absolute path, and the same query.
    next_url: String,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct List {
    /// An array of users, as JSON.
    pub(crate) json: String,
    /// The URL of the next page, if there is one.
    pub(crate) next_url: Option<String>,
}

impl ListRequest {
    /// Reads the query of a request. The last of the values of a parameter counts.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`].
    pub(crate) fn new(request: &Request) -> Result<Self, Error> {
        let query = request.query_string_parameters_ref();
        let last = |name| {
            query.and_then(|query| query.all(name)).and_then(|values| values.last().copied())
        };
        Ok(Self {
            email: last(EMAIL).filter(|email| !email.is_empty()).map(str::to_owned),
            limit: last(LIMIT).map(parse_limit).transpose()?,
            after: last(CURSOR).map(parse_cursor).transpose()?,
            next_url: next_url(request),
        })
    }

    /// Reads the list, and no more than fits a response.
    ///
    /// # Errors
    ///
    /// [`Error::ResponseTooLarge`] if there is no limit and not all users fit; the store's errors.
    pub(crate) async fn read(self, store: &Store) -> Result<List, Error> {
        match self.limit {
            Some(limit) => self.read_page(store, limit).await,
            None => self.read_all(store).await,
        }
    }

    async fn read_all(self, store: &Store) -> Result<List, Error> {
        let mut pages = match (self.email, self.after) {
            (None, None) => store.all(),
            (email, after) => store.list(email, after.as_deref()).stream(),
        };
        let mut array = JsonArray::new(MAX_RESPONSE_BYTES - ENVELOPE_BYTES);
        while let Some(users) = pages.try_next().await? {
            for user in users {
                if !array.push(&user)? {
                    return Err(Error::ResponseTooLarge);
                }
            }
        }
        Ok(List { json: array.finish(), next_url: None })
    }

    async fn read_page(self, store: &Store, limit: usize) -> Result<List, Error> {
        let link_bytes = self.next_url.len() + cursor(&"x".repeat(MAX_KEY_BYTES)).len();
        let mut array = JsonArray::new(MAX_RESPONSE_BYTES - ENVELOPE_BYTES - link_bytes);
        let mut count = 0;
        let mut after = String::new();
        let mut pages = store.list(self.email, self.after.as_deref());
        loop {
            // One more than asked for tells whether there are more.
            let wanted = i32::try_from(limit - count + 1).ok();
            let Some(users) = pages.next(wanted).await? else {
                return Ok(List { json: array.finish(), next_url: None });
            };
            for user in users {
                if count == limit || !array.push(&user)? {
                    return Ok(List {
                        json: array.finish(),
                        next_url: Some(self.next_url + &cursor(&after)),
                    });
                }
                count += 1;
                user.id().clone_into(&mut after);
            }
        }
    }
}

fn parse_limit(text: &str) -> Result<usize, Error> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(limit @ 1..=MAX_LIMIT) if digits => Ok(limit),
        _ => {
            Err(Error::InvalidRequest(format!("'{LIMIT}' must be a number from 1 to {MAX_LIMIT}")))
        }
    }
}

/// The cursor to the users after the one with this id.
fn cursor(id: &str) -> String {
    BASE64.encode_to_string(id)
}

/// The id in a cursor.
fn parse_cursor(cursor: &str) -> Result<String, Error> {
    let id = BASE64.decode_to_vec(cursor).ok().and_then(|id| String::from_utf8(id).ok());
    id.filter(|id| is_key(id)).ok_or_else(|| {
        Error::InvalidRequest(format!(
            "'{CURSOR}' is not one of this API's: take it as it is from the 'next' link of a page, or leave it away"
        ))
    })
}

/// The URL of the next page of a list up to the value of its cursor. The path is the one that the caller used, with the
/// stage or what stands for it under a custom domain.
fn next_url(request: &Request) -> String {
    let mut url = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV1(context)) => context.path.clone().unwrap_or_default(),
        _ => String::new(),
    };
    let mut query: Vec<_> =
        request.query_string_parameters_ref().into_iter().flat_map(|query| query.iter()).collect();
    // The order of the values of one name stays: the last one counts.
    query.sort_by_key(|(name, _)| *name);
    url.push('?');
    for (name, value) in query {
        if name != CURSOR {
            url.extend(utf8_percent_encode(name, QUERY));
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
            url.push('&');
        }
    }
    url + CURSOR + "="
}

/// An array of users as JSON that is kept from growing too large for a response.
struct JsonArray {
    json: Vec<u8>,
    /// How many bytes it may still grow when it is a string in the JSON of a response.
    room: usize,
}

impl JsonArray {
    fn new(room: usize) -> Self {
        Self { json: b"[".to_vec(), room: room - "[]".len() }
    }

    /// Adds a user if there is room, and tells whether there was.
    fn push(&mut self, user: &User) -> Result<bool, Error> {
        let start = self.json.len();
        if start > 1 {
            self.json.push(b',');
        }
        serde_json::to_writer(&mut self.json, user)
            .map_err(|error| Error::Unavailable(error.into()))?;
        let added = &self.json[start..];
        // JSON has no control characters, so these are all that a string escapes.
        let escaped =
            added.len() + added.iter().filter(|byte| matches!(byte, b'"' | b'\\')).count();
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
