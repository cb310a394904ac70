//! From a REST proxy event to a request
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>).
//!
//! `lambda_http` converts events too, but panics on some hosts, rejects headers that no operation
//! reads, and costs a sixth of a warm invocation. It also trusts an event to be for this function.

use base64_simd::STANDARD as BASE64;
use lambda_http::{Body, Request};
use serde_json::value::RawValue;

use super::members::{Members, text};
use super::route::{Part, Route};
use crate::error::Error;
use crate::user::ID;

/// The members of an event that are read.
const MEMBERS: &[&str] = &[
    "httpMethod",
    "resource",
    "path",
    "pathParameters",
    "queryStringParameters",
    "multiValueQueryStringParameters",
    "requestContext",
    "headers",
    "multiValueHeaders",
    "body",
    "isBase64Encoded",
    "stageVariables",
];

/// Members that no REST proxy event has: those of payload 2.0, VPC Lattice, authorizers and event
/// sources.
pub(super) const FOREIGN_MEMBERS: &[&str] = &[
    "rawPath",
    "raw_path",
    "routeKey",
    "method",
    "type",
    "methodArn",
    "routeArn",
    "Records",
    "eventSource",
    "detail-type",
    "triggerSource",
];

/// The members of a request context that are read.
const CONTEXT_MEMBERS: &[&str] = &["httpMethod", "resourcePath", "path", "requestId"];

/// Members that no request context of a REST API has: those of payload 2.0, load balancers,
/// WebSocket APIs and VPC Lattice.
pub(super) const FOREIGN_CONTEXT_MEMBERS: &[&str] = &[
    "http",
    "elb",
    "routeKey",
    "eventType",
    "connectionId",
    "serviceNetworkArn",
];

/// The maximum size of a map of query parameters, in bytes of JSON. API Gateway accepts 10,240
/// bytes of headers, path and query
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
/// A parameter of two bytes, such as `a&`, has nine in an event.
const MAX_QUERY_BYTES: usize = 64 * 1024;

const EMAIL: &str = "email";
const LIMIT: &str = "limit";
const CURSOR: &str = "cursor";

/// An event, of which only the members that an operation may need are parsed.
pub(crate) struct Event<'a> {
    pub(super) members: Members<'a>,
    /// The request context, or nothing if it is no object.
    pub(super) context: Option<Members<'a>>,
}

/// The path and query of a request. A request has this as an extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// The `{id}` of the path, percent-encoded as the client sent it.
    pub(crate) id: Option<String>,
    pub(crate) query: Query,
}

/// The query parameters of a list, decoded. If one is repeated, this is its last value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) email: Option<String>,
    pub(crate) limit: Option<String>,
    pub(crate) cursor: Option<String>,
}

/// Parses an event, and returns its request for the function of this route.
///
/// # Errors
///
/// [`Error::InvalidRequest`] if the event is not an object or is for another function, or if a part
/// that the operation needs is malformed.
pub fn request(event: &str, route: Route) -> Result<Request, Error> {
    Event::parse(event)?.request(route)
}

/// Returns the path and query of a request.
pub(crate) fn target(request: &Request) -> &Target {
    const NONE: &Target = &Target {
        id: None,
        query: Query {
            email: None,
            limit: None,
            cursor: None,
        },
    };
    request.extensions().get().unwrap_or(NONE)
}

impl<'a> Event<'a> {
    /// Reads the JSON of an event.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the event is not an object.
    pub(crate) fn parse(json: &'a str) -> Result<Self, Error> {
        let members = Members::parse(json, &[MEMBERS, FOREIGN_MEMBERS])
            .map_err(|error| invalid(format!("the event is not a REST proxy event: {error}")))?;
        let context = match members.get("requestContext") {
            Some(context) => {
                Members::parse(context.get(), &[CONTEXT_MEMBERS, FOREIGN_CONTEXT_MEMBERS]).ok()
            }
            None => Some(Members::default()),
        };
        Ok(Self { members, context })
    }

    /// Returns API Gateway's request id, which the client sees as `x-amzn-requestid`.
    pub(crate) fn request_id(&self) -> Option<String> {
        self.context_text("requestId")
    }

    /// Returns the origin of the page that sent the request.
    pub(crate) fn origin(&self) -> Option<String> {
        let headers = self.members.get("headers")?;
        // HTTP/2 has names in lower case, and API Gateway passes on a name as it was sent.
        let headers = Members::parse(headers.get(), &[&["origin", "Origin"]]).ok()?;
        headers.text("origin").or_else(|| headers.text("Origin"))
    }

    /// Returns the request for the function of this route. It contains only what the operation
    /// reads.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the event is for another function, or if a part that the
    /// operation reads is malformed.
    pub(crate) fn request(&self, route: Route) -> Result<Request, Error> {
        let id = self.path_id();
        self.refuse_other_operations(route, id.as_ref().ok().and_then(Option::as_deref))?;
        if route.reads(Part::Everything) {
            self.refuse_fewer_than_all()?;
        }
        let mut target = Target::default();
        if route.reads(Part::Id) {
            target.id = id?;
        }
        if route.reads(Part::Query) {
            target.query = self.query()?;
        }
        let body = if route.reads(Part::Body) {
            self.body()?
        } else {
            Body::Empty
        };
        let mut request = Request::new(body);
        request.extensions_mut().insert(target);
        Ok(request)
    }

    /// Returns the `{id}` of the path, percent-encoded.
    fn path_id(&self) -> Result<Option<String>, Error> {
        let malformed = || invalid("'pathParameters' must be an object with the string 'id'");
        let Some(parameters) = self.members.get("pathParameters") else {
            return Ok(None);
        };
        let parameters = Members::parse(parameters.get(), &[&[ID]]).map_err(|_| malformed())?;
        parameters
            .get(ID)
            .map(|id| text(id).ok_or_else(malformed))
            .transpose()
    }

    /// Reads the query from single values, lists of values, or both. A list takes precedence if it
    /// has a value. For a value that is not a string, its JSON is used.
    fn query(&self) -> Result<Query, Error> {
        let mut maps = Vec::new();
        for name in ["multiValueQueryStringParameters", "queryStringParameters"] {
            let Some(parameters) = self.members.get(name) else {
                continue;
            };
            if parameters.get().len() > MAX_QUERY_BYTES {
                return Err(invalid("the query is longer than API Gateway can send"));
            }
            let parameters = Members::parse(parameters.get(), &[&[EMAIL, LIMIT, CURSOR]])
                .map_err(|_| malformed(name))?;
            maps.push(parameters);
        }
        let last = |name| {
            maps.iter()
                .find_map(|parameters| last_value(parameters.get(name)?))
        };
        Ok(Query {
            email: last(EMAIL),
            limit: last(LIMIT),
            cursor: last(CURSOR),
        })
    }

    fn body(&self) -> Result<Body, Error> {
        let Some(body) = self.members.get("body") else {
            return Ok(Body::Empty);
        };
        let text = text(body).ok_or_else(|| {
            invalid("the event's 'body' must be a string that holds the JSON of the user")
        })?;
        let is_base64 = self.members.get("isBase64Encoded");
        if is_base64.is_some_and(|is_base64| is_base64.get() == "true") {
            BASE64
                .decode_to_vec(text)
                .map(Body::Binary)
                .map_err(|_| invalid("the body is not valid base64"))
        } else {
            Ok(Body::Text(text))
        }
    }

    pub(super) fn in_context(&self, name: &str) -> Option<&'a RawValue> {
        self.context.as_ref()?.get(name)
    }

    pub(super) fn context_text(&self, name: &str) -> Option<String> {
        text(self.in_context(name)?)
    }
}

/// Returns the last value of a query parameter, which may be a list.
fn last_value(raw: &RawValue) -> Option<String> {
    let last = serde_json::from_str::<Vec<&RawValue>>(raw.get())
        .unwrap_or_else(|_| vec![raw])
        .into_iter()
        .rfind(|value| value.get() != "null")?;
    Some(text(last).unwrap_or_else(|| last.get().to_owned()))
}

pub(super) fn malformed(name: &str) -> Error {
    invalid(format!("'{name}' of the event is malformed"))
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidRequest(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::{GET, GET_ALL, POST};

    fn id_in(event: &str) -> Option<String> {
        target(&request(event, GET).expect(event)).id.clone()
    }

    #[test]
    fn the_id_stays_percent_encoded() {
        let event = r#"{"httpMethod": "GET", "path": "/v1/users/a%2Fb",
            "pathParameters": {"id": "a%2Fb"}}"#;
        assert_eq!(id_in(event).as_deref(), Some("a%2Fb"));
        assert_eq!(id_in(r#"{"pathParameters": null}"#), None);
    }

    #[test]
    fn the_last_value_of_a_parameter_counts() {
        let event = r#"{"queryStringParameters": {"limit": 5, "email": "x", "other": {}},
            "multiValueQueryStringParameters": {"email": ["a", "b", null], "limit": []}}"#;
        let request = request(event, GET_ALL).expect("a request");
        let query = &target(&request).query;
        assert_eq!(query.email.as_deref(), Some("b"));
        assert_eq!(query.limit.as_deref(), Some("5"));
        assert_eq!(query.cursor, None);
    }

    #[test]
    fn a_body_may_be_text_or_base64() {
        let body = |event| request(event, POST).expect(event).into_body();
        let text = r#"{"body": "{}"}"#;
        assert_eq!(body(text), Body::Text("{}".to_owned()));
        let base64 = r#"{"body": "e30=", "isBase64Encoded": true}"#;
        assert_eq!(body(base64), Body::Binary(b"{}".to_vec()));
    }
}
