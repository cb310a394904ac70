//! Turns failed DynamoDB calls into errors of the service.

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::attempts::Garbage;
use crate::error::{Error, Rejection};
use crate::http::ResponseTooLarge;
use crate::parse::too_large;

/// Returns the error for a response that DynamoDB cannot have sent.
pub(crate) fn garbage() -> Error {
    Error::Unavailable(Garbage.into())
}

/// Returns the error for a DynamoDB call that failed.
pub(crate) fn fault<E>(error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let SdkError::ServiceError(service) = &error {
        let (status, error) = (service.raw().status().as_u16(), service.err());
        let rejection = Rejection::new(status, error.code(), error.message()).into();
        let is_unavailable =
            status >= 500 || status == 429 || error.code().is_none_or(is_transient);
        return if is_unavailable {
            Error::Unavailable(rejection)
        } else {
            Error::Internal(rejection)
        };
    }
    let is_own = match &error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_user(),
        _ => false,
    };
    if is_own {
        Error::Internal(error.into())
    } else {
        Error::Unavailable(error.into())
    }
}

/// Returns whether a code means that the same request may succeed later. These are AWS's throttling
/// and transient errors, and conflicts between writes to one item
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>).
fn is_transient(code: &str) -> bool {
    THROTTLING_ERRORS.contains(&code)
        || TRANSIENT_ERRORS.contains(&code)
        || [
            "ReplicatedWriteConflictException",
            "TransactionConflictException",
        ]
        .contains(&code)
}

/// Returns whether DynamoDB rejected a write because of its condition.
pub(crate) fn is_failed_condition<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
        && error
            .raw_response()
            .is_some_and(|response| response.status().as_u16() == 400)
}

/// Returns whether a page was too large to be read.
pub(crate) fn is_too_large(error: &Error) -> bool {
    let mut chain = std::iter::successors(std::error::Error::source(error), |error| error.source());
    chain.any(<dyn std::error::Error>::is::<ResponseTooLarge>)
}

/// Returns the error for a write of an item that failed. Only DynamoDB itself knows exactly how
/// large an item is.
pub(crate) fn write_fault<E>(error: SdkError<E>) -> Error
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    let is_too_large = error
        .message()
        .is_some_and(|text| text.contains("Item size") && text.contains("exceeded"));
    if is_too_large {
        too_large()
    } else {
        fault(error)
    }
}
