//! Responses of the API, and assertions on them.

use lambda_http::http::{HeaderMap, HeaderName};
use lambda_http::{Body, Response};
use serde_json::{Value, json};

/// A complete JSON response.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The text of the body.
    pub text: String,
    headers: HeaderMap,
    /// What this is a reply to, for the messages of assertions.
    request: String,
}

impl Reply {
    /// Returns the reply for a response over HTTP.
    ///
    /// # Panics
    ///
    /// If the body is not JSON, or the content type is another.
    #[must_use]
    pub fn new(status: u16, headers: HeaderMap, text: String) -> Self {
        let reply = Self {
            status,
            text,
            headers,
            request: "a response".to_owned(),
        };
        assert_eq!(
            reply.header("content-type"),
            Some("application/json"),
            "{}",
            reply.text
        );
        let _ = reply.json();
        reply
    }

    /// Returns the reply for a handler's outcome.
    ///
    /// # Panics
    ///
    /// If the body is not JSON, or the content type is another.
    #[must_use]
    pub fn of(outcome: Result<Response<Body>, users_core::Error>) -> Self {
        let (parts, body) = outcome
            .unwrap_or_else(|error| error.to_response())
            .into_parts();
        let Body::Text(text) = body else {
            panic!("the body is {body:?}")
        };
        Self::new(parts.status.as_u16(), parts.headers, text)
    }

    /// Returns the reply for a function's response to API Gateway.
    ///
    /// # Panics
    ///
    /// If it is not such a response, its body is not JSON, or its content type is another.
    #[must_use]
    pub fn from_function(response: &str) -> Self {
        let response: Value = serde_json::from_str(response).expect("a response in JSON");
        let mut headers = HeaderMap::new();
        for (name, values) in response["multiValueHeaders"].as_object().expect("headers") {
            let name: HeaderName = name.parse().expect("the name of a header");
            for value in values.as_array().expect("a list of values") {
                let value = value
                    .as_str()
                    .expect("a text")
                    .parse()
                    .expect("a value of a header");
                headers.append(&name, value);
            }
        }
        let status = response["statusCode"]
            .as_u64()
            .and_then(|status| status.try_into().ok());
        let body = response["body"].as_str().expect("a body");
        Self::new(status.expect("a status"), headers, body.to_owned())
    }

    /// Adds the request, such as `GET /users`, for the messages of assertions.
    #[must_use]
    pub fn to(self, request: String) -> Self {
        Self { request, ..self }
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    ///
    /// If the body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Asserts the status and the body.
    ///
    /// # Panics
    ///
    /// If they differ.
    pub fn assert_is(&self, status: u16, body: &Value) {
        assert_eq!(
            (self.status, &self.json()),
            (status, body),
            "{}",
            self.request
        );
    }

    /// Asserts that this is an error with this status and code, in the form that the contract
    /// promises.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_error(&self, status: u16, code: &str) {
        let (body, request) = (self.json(), &self.request);
        assert_eq!(
            (self.status, &body["code"]),
            (status, &json!(code)),
            "{request}: {body}"
        );
        let members = body.as_object().map_or(0, serde_json::Map::len);
        assert!(
            members == 2 && !self.message().is_empty(),
            "{request}: {body}"
        );
        assert_eq!(
            self.header("retry-after").is_some(),
            status == 503,
            "{request}: {body}"
        );
    }

    /// Returns the message of an error.
    #[must_use]
    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Returns the URL of the next page, if there is one.
    ///
    /// # Panics
    ///
    /// If there is a link to something else.
    #[must_use]
    pub fn next_url(&self) -> Option<String> {
        let link = self.header("link")?;
        let url = link
            .strip_prefix('<')
            .and_then(|link| link.strip_suffix(">; rel=\"next\""));
        Some(
            url.unwrap_or_else(|| panic!("not a link to a next page: {link}"))
                .to_owned(),
        )
    }

    /// Returns the decoded query of the next page, if there is one.
    #[must_use]
    pub fn next_query(&self) -> Option<Vec<(String, String)>> {
        let url = self.next_url()?;
        let query = url.split_once('?').map_or("", |(_, query)| query);
        Some(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Returns the size of the response as a function sends it to Lambda, in bytes.
    #[must_use]
    pub fn bytes_on_lambda(&self) -> usize {
        let headers: serde_json::Map<_, _> = self
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    json!([value.to_str().unwrap_or_default()]),
                )
            })
            .collect();
        let response = json!({
            "statusCode": self.status,
            "headers": {},
            "multiValueHeaders": headers,
            "body": self.text,
            "isBase64Encoded": false,
        });
        response.to_string().len()
    }
}
