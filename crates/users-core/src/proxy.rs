//! REST proxy events and responses
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>).
//!
//! `lambda_http` converts events too, but panics on some hosts, rejects headers that no operation
//! reads, and costs a sixth of a warm invocation.

use std::collections::BTreeMap;

use base64_simd::STANDARD as BASE64;
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue,
};
use lambda_http::{Body, Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::key::ID;

/// The method and resource of an operation, as in `template.yaml`.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The method, such as `GET`.
    pub method: &'static str,
    /// The path with its parameters, such as `/users/{id}`.
    pub resource: &'static str,
}

impl Route {
    /// Returns whether the operation reads a body.
    fn has_body(self) -> bool {
        matches!(self.method, "POST" | "PUT")
    }

    /// Returns whether this is `DELETE /users`. Its events must name the method, because no ping,
    /// schedule or test event may delete every user.
    fn is_delete_all(self) -> bool {
        (self.method, self.resource) == ("DELETE", "/users")
    }
}

/// The parts of an event that an operation may need, not yet parsed. Other parts are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event<'a> {
    #[serde(borrow)]
    http_method: Option<&'a RawValue>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    path: Option<&'a RawValue>,
    #[serde(borrow)]
    path_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    query_string_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    multi_value_query_string_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    request_context: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    is_base64_encoded: Option<&'a RawValue>,
}

/// The path and query of a request. A request has this as an extension.
#[derive(Clone, Debug, Default)]
pub(crate) struct Target {
    /// The `{id}` of the path, percent-encoded as the client sent it.
    pub(crate) id: Option<String>,
    /// The values of each query parameter, decoded. A parameter may have none.
    pub(crate) query: BTreeMap<String, Vec<String>>,
    /// The path below the stage, such as `/users`.
    pub(crate) path: Option<String>,
    /// The path with its prefix, which is the stage or the base path of a custom domain.
    pub(crate) full_path: Option<String>,
}

impl<'a> Event<'a> {
    /// Reads the JSON of an event.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the event is not an object.
    pub(crate) fn parse(json: &'a str) -> Result<Self, Error> {
        if !json.trim_start().starts_with('{') {
            return Err(invalid("the event is not a JSON object"));
        }
        serde_json::from_str(json)
            .map_err(|error| invalid(format!("the event is not a REST proxy event: {error}")))
    }

    /// Returns API Gateway's request id, which the client sees as `x-amzn-requestid`.
    pub(crate) fn request_id(&self) -> Option<String> {
        text(members(self.request_context).ok()?.remove("requestId"))
    }

    /// Returns the request for the function of this route. It contains only what the operation
    /// needs: the id, the query or the body.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] if the event is for another function, or if a part that the
    /// operation needs is malformed.
    pub(crate) fn request(&self, route: Route) -> Result<Request, Error> {
        check_route(self, route)?;
        let mut target = Target {
            path: text(self.path),
            ..Target::default()
        };
        let mut body = Body::Empty;
        if route.resource.ends_with("{id}") {
            target.id = path_id(self.path_parameters)?;
        } else if !route.has_body() {
            target.query = query(
                self.query_string_parameters,
                self.multi_value_query_string_parameters,
            )?;
            target.full_path = members(self.request_context)
                .ok()
                .and_then(|mut context| text(context.remove("path")));
        }
        if route.has_body() {
            body = read_body(self.body, self.is_base64_encoded)?;
        }
        let mut request = Request::new(body);
        request.extensions_mut().insert(target);
        Ok(request)
    }
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

fn check_route(event: &Event<'_>, route: Route) -> Result<(), Error> {
    let Route { method, resource } = route;
    let is_other =
        |part: Option<&RawValue>, own: &str| part.is_some() && text(part).as_deref() != Some(own);
    if is_other(event.http_method, method) || is_other(event.resource, resource) {
        return Err(invalid(format!(
            "this function serves only {method} {resource}"
        )));
    }
    if route.is_delete_all() {
        if event.http_method.is_none() {
            return Err(invalid(
                "this function deletes all users: its event must contain \
                 \"httpMethod\": \"DELETE\"",
            ));
        }
        // An event without a resource may have the path parameter of one user.
        let has_id = members(event.path_parameters).is_ok_and(|members| members.contains_key(ID));
        if event.resource.is_none() && has_id {
            return Err(invalid(format!(
                "this function serves only {method} {resource}"
            )));
        }
    }
    Ok(())
}

/// Reads the `{id}` of the path.
fn path_id(parameters: Option<&RawValue>) -> Result<Option<String>, Error> {
    let malformed = || invalid("'pathParameters' must be an object with the string 'id'");
    let id = members(parameters).map_err(|_| malformed())?.remove(ID);
    id.map(|id| text(Some(id)).ok_or_else(malformed))
        .transpose()
}

/// Reads the query from single values, lists of values, or both. A list takes precedence if it has
/// a value. For a value that is not a string, its JSON is used.
fn query(
    single: Option<&RawValue>,
    multiple: Option<&RawValue>,
) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut query = BTreeMap::<_, Vec<_>>::new();
    for parameters in [multiple, single] {
        let parameters = members(parameters)
            .map_err(|_| invalid("the query parameters of the event must be objects"))?;
        for (name, raw) in parameters {
            let values = query.entry(name).or_default();
            if values.is_empty() {
                let list = serde_json::from_str::<Vec<&RawValue>>(raw.get());
                let list = list.unwrap_or_else(|_| vec![raw]).into_iter();
                let given = list.filter(|value| value.get() != "null");
                values.extend(given.map(|raw| text(Some(raw)).unwrap_or_else(|| raw.get().into())));
            }
        }
    }
    Ok(query)
}

fn read_body(body: Option<&RawValue>, is_base64: Option<&RawValue>) -> Result<Body, Error> {
    let Some(body) = body else {
        return Ok(Body::Empty);
    };
    let text = text(Some(body)).ok_or_else(|| {
        invalid("the event's 'body' must be a string that holds the JSON of the user")
    })?;
    if is_base64.is_some_and(|is_base64| is_base64.get() == "true") {
        let bytes = BASE64.decode_to_vec(text);
        bytes
            .map(Body::Binary)
            .map_err(|_| invalid("the body is not valid base64"))
    } else {
        Ok(Body::Text(text))
    }
}

/// Returns the JSON as text, if it is a string.
fn text(raw: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(raw?.get()).ok()
}

/// Returns the members of an object, or none if there is no object.
fn members(raw: Option<&RawValue>) -> Result<BTreeMap<String, &RawValue>, serde_json::Error> {
    raw.map_or_else(
        || Ok(BTreeMap::new()),
        |raw| serde_json::from_str(raw.get()),
    )
}

fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidRequest(message.into())
}

/// Returns the path and query of a request.
pub(crate) fn target(request: &Request) -> &Target {
    const NONE: &Target = &Target {
        id: None,
        query: BTreeMap::new(),
        path: None,
        full_path: None,
    };
    request.extensions().get().unwrap_or(NONE)
}

/// Converts a response into the form that API Gateway reads. `lambda_http`'s conversion would add
/// the tables of all character encodings to the executable.
pub(crate) fn response(response: Response<Body>) -> ApiGatewayProxyResponse {
    let (head, body) = response.into_parts();
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = head.status.as_u16().into();
    response.multi_value_headers = head.headers;
    response.body = Some(body);
    response
}

/// Lets scripts on pages of this origin, or of any origin for `*`, read a response
/// (<https://fetch.spec.whatwg.org/#http-cors-protocol>). API Gateway responds to preflight
/// requests, but adds nothing to a function's response.
pub(crate) fn add_cors_headers(response: &mut Response<Body>, origin: HeaderValue) {
    let exposed = HeaderValue::from_static("Link, Retry-After");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}
