//! Responses: from a handler's outcome to what API Gateway reads.

use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::error::Error;

/// How long a client should wait after a 503, in seconds. DynamoDB throttles by the second
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html>).
const RETRY_AFTER_SECONDS: u16 = 1;

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

impl Error {
    /// Returns the response to an operation that failed with this error.
    ///
    /// # Panics
    ///
    /// Never: two strings can be written as JSON.
    #[must_use]
    pub fn to_response(&self) -> Response<Body> {
        let body = ErrorBody {
            code: self.code(),
            message: &self.message(),
        };
        let json = serde_json::to_string(&body).expect("two strings can be written as JSON");
        let mut response = with_status(self.status(), json);
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            response
                .headers_mut()
                .insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

fn with_status(status: StatusCode, json: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Reads are strongly consistent, and users are personal.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Converts a response into the form that API Gateway reads. `lambda_http`'s conversion would add
/// the tables of all character encodings to the executable.
pub(crate) fn to_api_gateway(response: Response<Body>) -> ApiGatewayProxyResponse {
    let (head, body) = response.into_parts();
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = head.status.as_u16().into();
    response.multi_value_headers = head.headers;
    response.body = Some(body);
    response
}
