//! Compresses responses and decompresses bodies, as API Gateway does
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html>).

use std::io::Read;

use axum::body::{Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Response};
use flate2::read::{GzDecoder, ZlibDecoder};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::Predicate;

use super::MAX_BODY;
use super::error::GatewayError;

/// Returns a layer that compresses the API's responses from this size in bytes upwards, for clients
/// that accept it.
pub(crate) fn compression(minimum_size: Option<u64>) -> CompressionLayer<FromSize> {
    CompressionLayer::new().compress_when(FromSize(minimum_size))
}

/// Which responses are compressed. The files of the page at `/docs` are not part of the API.
#[derive(Clone, Copy)]
pub(crate) struct FromSize(Option<u64>);

impl Predicate for FromSize {
    fn should_compress<B: HttpBody>(&self, response: &Response<B>) -> bool {
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind == "application/json");
        let size = response.body().size_hint().lower();
        is_json && self.0.is_some_and(|minimum| size >= minimum)
    }
}

/// Decompresses a body, and removes the header that names its coding.
///
/// # Errors
/// [`GatewayError::UnsupportedMediaType`] if the coding is not supported, or if the body does not
/// have it.
pub(crate) fn decompress(headers: &mut HeaderMap, body: Bytes) -> Result<Bytes, GatewayError> {
    let codings: Vec<_> = headers.get_all(CONTENT_ENCODING).iter().collect();
    let coding = match codings[..] {
        [] => return Ok(body),
        [only] => only.as_bytes().to_ascii_lowercase(),
        _ => return Err(GatewayError::UnsupportedMediaType),
    };
    let reader: Box<dyn Read> = match &coding[..] {
        b"identity" => return Ok(body),
        b"gzip" => Box::new(GzDecoder::new(&body[..])),
        b"deflate" => Box::new(ZlibDecoder::new(&body[..])),
        _ => return Err(GatewayError::UnsupportedMediaType),
    };
    let mut read = Vec::new();
    reader
        // Less does not fit into an event either.
        .take(MAX_BODY as u64)
        .read_to_end(&mut read)
        .map_err(|_| GatewayError::UnsupportedMediaType)?;
    headers.remove(CONTENT_ENCODING);
    Ok(read.into())
}
