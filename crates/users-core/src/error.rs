//! Why an operation fails, and what the client and the log are told. `api::response` turns an error
//! into a response, and `dynamodb::error` turns a failed DynamoDB call into an error.

use std::fmt::{self, Display, Formatter};

use aws_sdk_dynamodb::error::BoxError;
use lambda_http::http::StatusCode;

/// Why an operation on users failed.
///
/// The client sees the texts of the variants that it can act on. The other texts are for the log.
#[derive(Debug, thiserror::Error)]
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
        "a user with the id '{}' already exists; use PUT to replace it, or POST without an id to \
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
        /// Why it stopped before, if DynamoDB failed.
        source: Option<BoxError>,
    },
    /// DynamoDB throttled the request, even after retries.
    #[error("DynamoDB throttles")]
    Throttled(#[source] BoxError),
    /// DynamoDB failed, returned garbage or did not respond, even after retries. The same request
    /// may succeed later.
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

impl Error {
    /// Returns the status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidUser(_)
            | Self::UserNotFound { .. }
            | Self::UserAlreadyExists { .. }
            | Self::ResponseTooLarge => StatusCode::BAD_REQUEST,
            Self::DeleteIncomplete { .. }
            | Self::Throttled(_)
            | Self::Unavailable(_)
            | Self::UnknownOutcome
            | Self::OutOfTime => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the code, which is for programs and never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::InvalidUser(_) => "InvalidUser",
            Self::UserNotFound { .. } => "UserNotFound",
            Self::UserAlreadyExists { .. } => "UserAlreadyExists",
            Self::ResponseTooLarge => "ResponseTooLarge",
            Self::DeleteIncomplete { .. } => "DeleteIncomplete",
            Self::Throttled(_) | Self::Unavailable(_) | Self::UnknownOutcome | Self::OutOfTime => {
                "ServiceUnavailable"
            }
            Self::Internal(_) => "InternalError",
        }
    }

    /// Returns the message for the client. It contains nothing about the service's own parts.
    pub(crate) fn message(&self) -> String {
        match self.code() {
            "ServiceUnavailable" => {
                "the service is unavailable at the moment; try again a little later".to_owned()
            }
            "InternalError" => {
                "internal error; the log has the details under the id of this request".to_owned()
            }
            _ => self.to_string(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_sees_only_what_it_can_act_on() {
        let error = Error::Unavailable("the table is arn:aws:dynamodb:::".into());
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.code(), "ServiceUnavailable");
        assert!(!error.message().contains("arn"), "{}", error.message());
        assert!(Chain(&error).to_string().contains("arn"));

        let error = Error::UserNotFound {
            id: "42".to_owned(),
        };
        assert_eq!(error.message(), "no user has the id '42'");
    }

    #[test]
    fn a_long_id_is_shortened() {
        let error = Error::UserNotFound {
            id: "ü".repeat(200),
        };
        assert_eq!(error.message().chars().filter(|c| *c == 'ü').count(), 100);
    }
}
