//! JSON responses, and the one place that turns an error into a response.

use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::error::{Chain, Error};

/// How long a client should wait after a 503, in seconds. DynamoDB throttles by the second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html>).
const RETRY_AFTER_SECONDS: u16 = 1;

/// What went wrong, for the log. An error response has this as an extension.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    /// The error with its sources, if the service or DynamoDB failed. The message of any other
    /// error may contain an id.
    pub(crate) chain: Option<String>,
}

/// The body of every error response.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
}

/// Returns a 200 response whose body is this text, which must be JSON.
pub(crate) fn ok(json: String) -> Response<Body> {
    with_status(StatusCode::OK, json)
}

fn with_status(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(json));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Returns the response to an operation that failed.
pub(crate) fn from_error(error: &Error) -> Response<Body> {
    let (status, code) = match error {
        Error::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "InvalidRequest"),
        Error::InvalidUser(_) => (StatusCode::BAD_REQUEST, "InvalidUser"),
        Error::UserNotFound { .. } => (StatusCode::BAD_REQUEST, "UserNotFound"),
        Error::UserAlreadyExists { .. } => (StatusCode::BAD_REQUEST, "UserAlreadyExists"),
        Error::ResponseTooLarge => (StatusCode::BAD_REQUEST, "ResponseTooLarge"),
        Error::DeleteIncomplete { .. } => (StatusCode::SERVICE_UNAVAILABLE, "DeleteIncomplete"),
        Error::Unavailable(_) | Error::UnknownOutcome | Error::OutOfTime => {
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable")
        }
        Error::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    };
    // The texts of these errors are for the log.
    let message = match code {
        "ServiceUnavailable" => {
            "the service is unavailable at the moment; try again a little later".to_owned()
        }
        "InternalError" => {
            "internal error; the log has the details under the id of this request".to_owned()
        }
        _ => error.to_string(),
    };
    let body = ErrorBody {
        code,
        message: &message,
    };
    let json = serde_json::to_string(&body).expect("two strings can be written as JSON");
    let mut response = with_status(status, json);
    let chain = status.is_server_error().then(|| Chain(error).to_string());
    response.extensions_mut().insert(Failure { code, chain });
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    }
    response
}
