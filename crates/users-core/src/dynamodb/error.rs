//! DynamoDB's errors: what its responses say, and what they mean for an operation.

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction};
use serde::Deserialize;

use crate::error::Error;
use crate::user::too_large;

/// Codes besides the SDK's own that mean that the same request may succeed later: conflicts between
/// writes to one item, and server errors, whatever their status
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>).
const CONFLICTS: [&str; 2] = [
    "ReplicatedWriteConflictException",
    "TransactionConflictException",
];
const SERVER_ERRORS: [&str; 3] = [
    "InternalFailure",
    "InternalServerError",
    "ServiceUnavailable",
];

/// A response with status 200 that DynamoDB cannot have sent.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB cannot have sent this response")]
pub(super) struct ImplausibleResponse;

/// An error that DynamoDB returned, reduced to what the log may contain.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB returned {status} {code}{message}")]
struct Rejection {
    status: u16,
    code: String,
    message: String,
}

impl Rejection {
    /// Returns the error with this status, code and message. The message is left out unless it can
    /// name only a permission, a principal or a table, because others quote what a client sent.
    fn new(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        /// The maximum size of a code, in bytes. All of DynamoDB's codes are shorter.
        const LONGEST: usize = 64;
        let is_code = |code: &&str| {
            code.len() <= LONGEST && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let code = code.filter(is_code).unwrap_or("without a code");
        let is_harmless = matches!(code, "AccessDeniedException" | "ResourceNotFoundException");
        let message = message.filter(|_| is_harmless);
        Self {
            status,
            code: code.to_owned(),
            message: message.map(|text| format!(": {text}")).unwrap_or_default(),
        }
    }
}

/// Returns the error for a response that DynamoDB cannot have sent.
pub(super) fn implausible() -> Error {
    Error::Unavailable(ImplausibleResponse.into())
}

/// Returns the error for a user that does not exist.
pub(super) fn not_found(id: &str) -> Error {
    Error::UserNotFound { id: id.to_owned() }
}

/// Converts the error of a DynamoDB call, after its last attempt.
impl<E> From<SdkError<E>> for Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let is_our_fault = match &error {
            SdkError::ServiceError(service) => {
                return of_rejection(service.raw().status().as_u16(), service.err());
            }
            SdkError::ConstructionFailure(_) => true,
            SdkError::DispatchFailure(failure) => failure.is_user(),
            _ => false,
        };
        if is_our_fault {
            Self::Internal(error.into())
        } else {
            Self::Unavailable(error.into())
        }
    }
}

/// Returns the error for a response with an error.
fn of_rejection(status: u16, error: &impl ProvideErrorMetadata) -> Error {
    let (code, message) = (error.code(), error.message());
    // Only DynamoDB itself knows exactly how large an item is.
    if message.is_some_and(|text| text.contains("Item size") && text.contains("exceeded")) {
        return too_large();
    }
    let rejection = Rejection::new(status, code, message).into();
    if status == 429 || code.is_some_and(is_throttling) {
        Error::Throttled(rejection)
    } else if status >= 500 || code.is_none_or(is_transient) {
        Error::Unavailable(rejection)
    } else {
        Error::Internal(rejection)
    }
}

fn is_throttling(code: &str) -> bool {
    THROTTLING_ERRORS.contains(&code)
}

/// Returns whether a code means that the same request may succeed later.
fn is_transient(code: &str) -> bool {
    TRANSIENT_ERRORS.contains(&code) || CONFLICTS.contains(&code) || SERVER_ERRORS.contains(&code)
}

/// Returns whether DynamoDB rejected a write because of its condition.
pub(super) fn is_failed_condition<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some(FAILED_CONDITION)
        && error
            .raw_response()
            .is_some_and(|response| response.status().as_u16() == 400)
}

/// The code of a write whose condition failed.
pub(super) const FAILED_CONDITION: &str = "ConditionalCheckFailedException";

/// The body of an error that DynamoDB returns
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.Components>).
#[derive(Debug, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(rename = "__type")]
    name: String,
    #[serde(default, alias = "ThrottlingReasons", rename = "throttlingReasons")]
    throttling_reasons: Vec<ThrottlingReason>,
}

/// Why DynamoDB throttled a request
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ThrottlingReason.html>).
#[derive(Debug, Deserialize)]
struct ThrottlingReason {
    reason: String,
}

impl ErrorBody {
    /// Reads the body of a response, if it is an error.
    pub(super) fn of(response: &HttpResponse) -> Option<Self> {
        let body = response
            .body()
            .bytes()
            .filter(|_| !response.status().is_success())?;
        serde_json::from_slice(body).ok()
    }

    /// Returns the code, such as `ThrottlingException`.
    pub(super) fn code(&self) -> &str {
        self.name.rsplit('#').next().unwrap_or_default()
    }

    /// Returns whether DynamoDB throttled the request.
    pub(super) fn is_throttling(&self) -> bool {
        is_throttling(self.code())
    }

    /// Returns the first reason for throttling, such as `TableWriteKeyRangeThroughputExceeded`. It
    /// names the kind of limit and of resource, and nothing of a client.
    pub(super) fn throttling_reason(&self) -> Option<&str> {
        let reason = self.throttling_reasons.first()?.reason.as_str();
        let is_name = reason.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_name && reason.len() <= 64).then_some(reason)
    }

    /// Returns whether the error says that DynamoDB wrote nothing, as when it throttles or a
    /// condition fails.
    pub(super) fn says_that_nothing_was_written(&self) -> bool {
        let code = self.code();
        !TRANSIENT_ERRORS.contains(&code) && !SERVER_ERRORS.contains(&code)
    }
}

/// Lets the SDK retry what its own classifiers do not know.
#[derive(Debug)]
pub(super) struct RetryConflicts;

impl ClassifyRetry for RetryConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.response().and_then(ErrorBody::of);
        match error {
            Some(error) if is_transient(error.code()) => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "RetryConflicts"
    }
}
