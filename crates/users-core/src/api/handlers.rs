//! The operations, from request to response. `process` applies the deadline of the invocation, and
//! turns an error into a response.

#![expect(
    clippy::missing_errors_doc,
    reason = "`docs/api.md` has the errors of each operation"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::http::{HeaderValue, header};
use lambda_http::{Body, Request, RequestExt, Response};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use super::event::target;
use super::list::ListRequest;
use super::response::ok;
use super::route::{Part, Route};
use crate::dynamodb::Store;
use crate::error::Error;
use crate::user::{Key, User};

/// `GET /users`, which [`get_all`] handles.
pub const GET_ALL: Route = Route {
    method: "GET",
    resource: "/users",
    reads: &[Part::Query],
};

/// `POST /users`, which [`post`] handles.
pub const POST: Route = Route {
    method: "POST",
    resource: "/users",
    reads: &[Part::Body],
};

/// `DELETE /users`, which [`delete_all`] handles.
pub const DELETE_ALL: Route = Route {
    method: "DELETE",
    resource: "/users",
    reads: &[Part::Everything],
};

/// `GET /users/{id}`, which [`get`] handles.
pub const GET: Route = Route {
    method: "GET",
    resource: "/users/{id}",
    reads: &[Part::Id],
};

/// `PUT /users/{id}`, which [`put`] handles.
pub const PUT: Route = Route {
    method: "PUT",
    resource: "/users/{id}",
    reads: &[Part::Id, Part::Body],
};

/// `DELETE /users/{id}`, which [`delete`] handles.
pub const DELETE: Route = Route {
    method: "DELETE",
    resource: "/users/{id}",
    reads: &[Part::Id],
};

/// The routes of all operations.
pub const ROUTES: [Route; 6] = [GET_ALL, POST, DELETE_ALL, GET, PUT, DELETE];

/// The minimum time between a response and the deadline of the invocation.
const MARGIN: Duration = Duration::from_secs(1);

/// Lists all users, or those with an email address, in one response or page by page.
pub async fn get_all(store: Store, request: Request) -> Result<Response<Body>, Error> {
    let list = ListRequest::new(&target(&request).query)?
        .read(&store)
        .await?;
    let mut response = ok(list.json);
    if let Some(url) = list.next_url {
        let link = HeaderValue::try_from(format!("<{url}>; rel=\"next\""))
            .map_err(|error| Error::Internal(error.into()))?;
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Stores a new user.
pub async fn post(store: Store, request: Request) -> Result<Response<Body>, Error> {
    let user = User::from_json(body(&request)?)?;
    drop(request);
    let json = user.to_json()?;
    store.create(user, &json).await?;
    Ok(ok(json))
}

/// Deletes all users.
pub async fn delete_all(store: Store, request: Request) -> Result<Response<Body>, Error> {
    store.delete_all(deadline(&request)).await?;
    Ok(ok("null".to_owned()))
}

/// Returns a user.
pub async fn get(store: Store, request: Request) -> Result<Response<Body>, Error> {
    let user = store.get(&id(&request)?).await?;
    Ok(ok(user.to_json()?))
}

/// Replaces a user.
pub async fn put(store: Store, request: Request) -> Result<Response<Body>, Error> {
    let user = User::from_json_with_id(body(&request)?, id(&request)?)?;
    drop(request);
    let json = user.to_json()?;
    store.replace(user).await?;
    Ok(ok(json))
}

/// Deletes a user.
pub async fn delete(store: Store, request: Request) -> Result<Response<Body>, Error> {
    let user = store.delete(&id(&request)?).await?;
    Ok(ok(user.to_json()?))
}

/// Returns the time by which the response to a request must be returned.
pub(crate) fn deadline(request: &Request) -> Instant {
    let milliseconds = request
        .lambda_context_ref()
        .map_or(0, |context| context.deadline);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let left = Duration::from_millis(milliseconds)
        .saturating_sub(now)
        .saturating_sub(MARGIN);
    Instant::now() + left
}

/// Reads the `{id}` of the path. API Gateway passes it as the client sent it, percent-encoded.
fn id(request: &Request) -> Result<Key, Error> {
    let encoded = target(request)
        .id
        .as_deref()
        .filter(|id| !id.is_empty())
        .ok_or_else(|| {
            Error::InvalidRequest("the path has no id: send it as in /users/42".to_owned())
        })?;
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let id = percent_decode_str(encoded)
        .decode_utf8()
        .ok()
        .filter(|_| encoded.split('%').skip(1).all(is_escape))
        .ok_or_else(|| {
            Error::InvalidRequest(
                "the id in the path is not percent-encoded UTF-8: for '%' itself, write '%25'"
                    .to_owned(),
            )
        })?;
    // No user can have an id that is not a key.
    Key::new(&id).ok_or_else(|| Error::UserNotFound { id: id.into() })
}

/// Returns the body as text.
fn body(request: &Request) -> Result<&str, Error> {
    match request.body() {
        Body::Text(text) if !text.is_empty() => Ok(text),
        Body::Binary(bytes) if !bytes.is_empty() => std::str::from_utf8(bytes).map_err(|_| {
            Error::InvalidRequest("the body is not UTF-8, as JSON must be".to_owned())
        }),
        _ => Err(Error::InvalidRequest(
            "the body is missing: send the user as a JSON object".to_owned(),
        )),
    }
}
