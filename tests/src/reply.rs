//! Responses of the API, and assertions on them.

use std::fmt;

use lambda_http::http::{HeaderMap, HeaderName};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

use crate::oracle::{CODES, GATEWAY_CODES};

/// A complete JSON response.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The text of the body.
    pub text: String,
    headers: HeaderMap,
    /// What this is a reply to, which failed assertions show.
    request: String,
}

impl Reply {
    /// Returns the reply to a request, such as `GET /users`, from the parts of its response.
    #[track_caller]
    pub fn new(request: &str, status: u16, headers: HeaderMap, text: String) -> Self {
        let reply = Self {
            status,
            // The beginning is enough to recognise the request.
            request: request.chars().take(1000).collect(),
            text,
            headers,
        };
        let content_type = reply.header("content-type");
        assert_eq!(content_type, Some("application/json"), "{reply}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply}");
        reply.json();
        reply
    }

    /// Returns the reply for a handler's outcome.
    #[track_caller]
    pub fn of(request: &str, outcome: Result<Response<Body>, users_core::Error>) -> Self {
        let response = outcome.unwrap_or_else(|error| error.to_response());
        let (parts, body) = response.into_parts();
        let Body::Text(text) = body else {
            panic!("the body is {body:?}")
        };
        Self::new(request, parts.status.as_u16(), parts.headers, text)
    }

    /// Returns the reply for a function's response to API Gateway.
    #[track_caller]
    pub fn from_function(request: &str, response: &str) -> Self {
        let response: Value = serde_json::from_str(response).expect("a response in JSON");
        let mut headers = HeaderMap::new();
        for (name, values) in response["multiValueHeaders"].as_object().expect("headers") {
            let name: HeaderName = name.parse().expect("the name of a header");
            for value in values.as_array().expect("a list of values") {
                let value = value.as_str().and_then(|value| value.parse().ok());
                headers.append(&name, value.expect("a value of a header"));
            }
        }
        let status = response["statusCode"].as_u64().map(u16::try_from);
        let status = status.and_then(Result::ok).expect("a status");
        let body = response["body"].as_str().expect("a body");
        Self::new(request, status, headers, body.to_owned())
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Returns the users of a list.
    #[track_caller]
    pub fn users(&self) -> Vec<Value> {
        self.assert_ok();
        match self.json() {
            Value::Array(users) => users,
            _ => panic!("not a list: {self}"),
        }
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Asserts that the status is 200.
    #[track_caller]
    pub fn assert_ok(&self) {
        assert_eq!(self.status, 200, "{self}");
    }

    /// Asserts that the status is 200, and that this is the body.
    #[track_caller]
    pub fn is(&self, body: &Value) {
        assert_eq!((self.status, &self.json()), (200, body), "{self}");
    }

    /// Asserts that this is the error with this code, with its status and in the form that the
    /// contract promises.
    #[track_caller]
    pub fn fails(&self, code: &str) {
        let mut codes = CODES.into_iter().chain(GATEWAY_CODES);
        let expected = codes.find(|own| own.1 == code);
        let (status, _) = expected.unwrap_or_else(|| panic!("'{code}' is no code: {self}"));
        let body = self.json();
        assert_eq!(
            (self.status, &body["code"]),
            (status, &json!(code)),
            "{self}"
        );
        let members = body.as_object().map_or(0, serde_json::Map::len);
        assert!(members == 2 && !self.message().is_empty(), "{self}");
        let has_retry_after = self.header("retry-after").is_some();
        assert_eq!(has_retry_after, status == 503, "{self}");
    }

    /// Asserts that this is the error with this code, and that its message contains this text.
    #[track_caller]
    pub fn fails_with(&self, code: &str, text: &str) {
        self.fails(code);
        assert!(self.message().contains(text), "'{text}' is not in {self}");
    }

    /// Returns the message of an error.
    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns the URL of the next page, if there is one.
    #[track_caller]
    pub fn next_url(&self) -> Option<String> {
        let link = self.header("link")?;
        let url = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        let url = url.unwrap_or_else(|| panic!("not a link to a next page: {link}"));
        Some(url.to_owned())
    }

    /// Returns the decoded query of the next page, if there is one.
    pub fn next_query(&self) -> Option<Vec<(String, String)>> {
        let url = self.next_url()?;
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let query = form_urlencoded::parse(query.as_bytes());
        Some(query.into_owned().collect())
    }

    /// Returns the size of the response as a function sends it to Lambda, in bytes.
    pub fn bytes_on_lambda(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| {
            let value = value.to_str().unwrap_or_default();
            (name.to_string(), json!([value]))
        });
        let response = json!({
            "statusCode": self.status,
            "headers": {},
            "multiValueHeaders": headers.collect::<serde_json::Map<_, _>>(),
            "body": self.text,
            "isBase64Encoded": false,
        });
        response.to_string().len()
    }
}

impl fmt::Display for Reply {
    /// Writes the request, and the beginning of the response.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.text.chars().take(1000).collect();
        write!(f, "{}: {} {text}", self.request, self.status)
    }
}
