//! Which pages may read responses in a browser
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue, VARY,
};
use lambda_http::{Body, Response};

/// The headers that scripts may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("Link, Retry-After, x-amzn-RequestId");

/// The origins whose pages may use the API from a browser.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Reads origins such as `https://example.com`, or `*` for any, separated by commas, unless one
    /// contains a character that no origin has.
    pub(crate) fn new(list: &str) -> Option<Self> {
        let origins = list
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        let is_graphic = |origin: &&str| origin.bytes().all(|byte| byte.is_ascii_graphic());
        origins
            .map(|origin| Some(origin).filter(is_graphic)?.parse().ok())
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Returns whether the headers depend on where a request comes from.
    pub(crate) fn is_list(&self) -> bool {
        self.0.len() > 1
    }

    /// Adds the headers to the response to a request from this origin. API Gateway responds to
    /// preflight requests, but adds nothing to a function's response.
    pub(crate) fn add_headers(&self, response: &mut Response<Body>, origin: Option<&str>) {
        let allowed = match &self.0[..] {
            [only] => Some(only),
            several => several.iter().find(|allowed| {
                **allowed == "*" || origin.is_some_and(|origin| *allowed == origin)
            }),
        };
        let headers = response.headers_mut();
        if let Some(allowed) = allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        if self.is_list() {
            headers.insert(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &str, origin: &str) -> Option<String> {
        let mut response = Response::new(Body::Empty);
        let origins = AllowedOrigins::new(list).expect("origins");
        origins.add_headers(&mut response, Some(origin));
        let allowed = response.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(allowed.to_str().expect("text").to_owned())
    }

    #[test]
    fn a_listed_origin_is_allowed() {
        let list = "https://a.example, capacitor://localhost";
        for origin in ["https://a.example", "capacitor://localhost"] {
            assert_eq!(allowed(list, origin).as_deref(), Some(origin));
        }
        assert_eq!(allowed(list, "https://b.example"), None);
        assert_eq!(allowed("*", "https://b.example").as_deref(), Some("*"));
        assert_eq!(allowed("", "https://b.example"), None);
    }
}
