//! The errors of the operations. Only `response` turns them into responses.

use std::fmt::{self, Display, Formatter};

use aws_sdk_dynamodb::error::BoxError;
use thiserror::Error;

/// Why an operation on users failed.
///
/// The client sees the texts of the variants that it can act on. The other texts are for the log.
#[derive(Debug, Error)]
pub enum Error {
    /// The body, the path, the query or the event is invalid.
    #[error("{0}")]
    InvalidRequest(String),
    /// The user breaks a rule for users; the text names the attribute.
    #[error("{0}")]
    InvalidUser(String),
    /// No user has this id.
    #[error("no user has the id '{}'", shortened(.id))]
    UserNotFound {
        /// The id.
        id: String,
    },
    /// A user with this id exists, and is unchanged.
    #[error(
        "a user with the id '{}' exists already; use PUT to replace it, or POST without an id to \
         get a new one", shortened(.id)
    )]
    UserAlreadyExists {
        /// The id.
        id: String,
    },
    /// The whole list does not fit in one response.
    #[error(
        "the response would be larger than 6 MB; request it in pages with the query parameter \
         'limit', and follow the 'next' links"
    )]
    ResponseTooLarge,
    /// The invocation ran out of time before all users were deleted.
    #[error("time ran out after {deleted} users were deleted; send the request again to continue")]
    DeleteIncomplete {
        /// How many users this invocation deleted.
        deleted: usize,
    },
    /// DynamoDB throttled, failed, returned garbage or did not respond, even after retries. The
    /// same request may succeed later.
    #[error("DynamoDB is unavailable")]
    Unavailable(#[source] BoxError),
    /// A write may have been applied by an attempt whose response was lost.
    #[error("the response to an earlier attempt was lost, so its effect is unknown")]
    UnknownOutcome,
    /// The invocation ran out of time during a DynamoDB call.
    #[error("DynamoDB did not respond before the deadline of the invocation")]
    OutOfTime,
    /// The service itself failed, for example because its table or a permission is missing.
    #[error("internal error")]
    Internal(#[source] BoxError),
}

/// An error that DynamoDB returned, reduced to what the log may contain.
#[derive(Debug, Error)]
#[error("DynamoDB returned {status} {code}{message}")]
pub(crate) struct Rejection {
    status: u16,
    code: String,
    message: String,
}

impl Rejection {
    /// Returns the error with this status, code and message. The message is left out unless it can
    /// name only a permission, a principal or a table, because others quote what a client sent.
    pub(crate) fn new(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        /// The maximum size of a code, in bytes. All of DynamoDB's codes are shorter.
        const LONGEST: usize = 64;
        let is_code = |code: &&str| {
            code.len() <= LONGEST && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let code = code.filter(is_code).unwrap_or("without a code");
        let is_harmless = matches!(code, "AccessDeniedException" | "ResourceNotFoundException");
        let message = message
            .filter(|_| is_harmless)
            .map(|message| format!(": {message}"));
        Self {
            status,
            code: code.to_owned(),
            message: message.unwrap_or_default(),
        }
    }
}

/// An error that is displayed with all its sources. The SDK's own `DisplayErrorContext` adds their
/// `Debug` texts, which would put the bodies of responses, and so users, in the log.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source())
            .try_for_each(|source| write!(f, ": {source}"))
    }
}

/// Returns at most 100 characters of a client's text, which is enough to recognise it.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 100;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
