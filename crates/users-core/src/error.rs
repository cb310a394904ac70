//! What can go wrong, and the one place that turns it into a response.

use std::fmt::{self, Display, Formatter};

use aws_sdk_dynamodb::error::BoxError;
use lambda_http::http::{StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;
use thiserror::Error;

use crate::response;

/// Why an operation on users could not be done.
///
/// The texts of the variants that a caller can act on are shown to the caller; those of the others are for the log.
#[derive(Debug, Error)]
pub enum Error {
    /// The request is not one that the API defines: its body, path or query.
    #[error("{0}")]
    InvalidRequest(String),
    /// The user breaks a rule for users; the text names the attribute.
    #[error("{0}")]
    InvalidUser(String),
    /// No user has this id.
    #[error("no user has the id '{}'", shortened(.id))]
    UserNotFound {
        /// The id asked for.
        id: String,
    },
    /// A user with this id exists, and was left as it is.
    #[error("a user with the id '{}' exists already; use PUT to replace it, or POST without an id to get a new one", shortened(.id))]
    UserAlreadyExists {
        /// The id that is taken.
        id: String,
    },
    /// The whole list does not fit one response.
    #[error(
        "the answer would be larger than 6 MB; ask for it in pages with the query parameter 'limit' and follow the 'next' links"
    )]
    ResponseTooLarge,
    /// The time of the invocation ran out before all users were deleted.
    #[error("the time ran out after {deleted} users were deleted; send the request again to go on")]
    DeleteIncomplete {
        /// How many users this invocation deleted.
        deleted: usize,
    },
    /// DynamoDB throttled, failed, answered with rubbish or not at all, retries included. The same request may succeed
    /// later.
    #[error("DynamoDB is not available")]
    Unavailable(#[source] BoxError),
    /// The invocation's time ran out while DynamoDB was still being asked.
    #[error("DynamoDB did not answer in the time of the invocation")]
    OutOfTime,
    /// A fault of the service itself, such as a missing table or permission.
    #[error("the service is at fault")]
    Internal(#[source] BoxError),
}

/// The body of every error response.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

impl Error {
    /// The response that says so, logged here with its whole chain of sources where the service or DynamoDB is to
    /// blame.
    pub(crate) fn into_response(self) -> Response<Body> {
        let unavailable =
            "the service is not available for the moment; send the request again a little later";
        let (status, code, message) = match &self {
            Self::InvalidRequest(message) => {
                (StatusCode::BAD_REQUEST, "InvalidRequest", message.clone())
            }
            Self::InvalidUser(message) => (StatusCode::BAD_REQUEST, "InvalidUser", message.clone()),
            Self::UserNotFound { .. } => {
                (StatusCode::BAD_REQUEST, "UserNotFound", self.to_string())
            }
            Self::UserAlreadyExists { .. } => {
                (StatusCode::BAD_REQUEST, "UserAlreadyExists", self.to_string())
            }
            Self::ResponseTooLarge => {
                (StatusCode::BAD_REQUEST, "ResponseTooLarge", self.to_string())
            }
            Self::DeleteIncomplete { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "DeleteIncomplete", self.to_string())
            }
            Self::Unavailable(_) | Self::OutOfTime => {
                (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", unavailable.to_owned())
            }
            Self::Internal(_) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                "the service failed; its log has the details under the id of this request"
                    .to_owned(),
            ),
        };
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), code, error = %Chain(&self), "request failed");
        } else {
            // Not the message: it may name an id, and an id may be an e-mail address.
            tracing::info!(status = status.as_u16(), code, "request refused");
        }

        let mut response = response::json(status, &ErrorBody { code, message: &message });
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// When a caller may try again after a 503, in seconds: DynamoDB's throttling is counted by the second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html>).
const RETRY_AFTER_SECONDS: u16 = 1;

/// An error with all its sources, to be displayed. Their `Debug` texts, which the SDK's own `DisplayErrorContext` adds, would put bodies of
/// responses, and so users, in the log.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        std::iter::successors(self.0.source(), |error| error.source())
            .try_for_each(|source| write!(f, ": {source}"))
    }
}

/// Enough of a text of the caller's to recognise it by.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 100;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
