//! JSON responses.

use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Response};
use serde::Serialize;

use crate::error::Error;

/// The response with this status whose body is this value as JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    match serde_json::to_string(body) {
        Ok(text) => json_text(status, text),
        // Only a value that DynamoDB answered with can have no form in JSON, such as a number that is none.
        Err(error) => Error::Unavailable(error.into()).into_response(),
    }
}

/// The response with this status whose body is this text, which has to be JSON.
pub(crate) fn json_text(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Text(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
