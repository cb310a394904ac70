//! The operations, from request to response. Each always returns a response, at the latest a second
//! before the deadline of the invocation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::http::{HeaderValue, header};
use lambda_http::{Body, Request, RequestExt, Response};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::key::Key;
use crate::list::ListRequest;
use crate::proxy::{Route, target};
use crate::response::{from_error, ok};
use crate::store::Store;
use crate::user::User;

/// `GET /users`, which [`get_all`] handles.
pub const GET_ALL: Route = Route {
    method: "GET",
    resource: "/users",
};
/// `POST /users`, which [`post`] handles.
pub const POST: Route = Route {
    method: "POST",
    resource: "/users",
};
/// `DELETE /users`, which [`delete_all`] handles.
pub const DELETE_ALL: Route = Route {
    method: "DELETE",
    resource: "/users",
};
/// `GET /users/{id}`, which [`get`] handles.
pub const GET: Route = Route {
    method: "GET",
    resource: "/users/{id}",
};
/// `PUT /users/{id}`, which [`put`] handles.
pub const PUT: Route = Route {
    method: "PUT",
    resource: "/users/{id}",
};
/// `DELETE /users/{id}`, which [`delete`] handles.
pub const DELETE: Route = Route {
    method: "DELETE",
    resource: "/users/{id}",
};

/// The minimum time between a response and the deadline of the invocation.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

/// Lists all users, or those with an email address, in one response or page by page.
pub async fn get_all(store: Store, request: Request) -> Response<Body> {
    respond(deadline(&request), async move {
        let list = ListRequest::new(target(&request))?.read(&store).await?;
        let mut response = ok(list.json);
        if let Some(url) = list.next_url {
            let link = HeaderValue::try_from(format!("<{url}>; rel=\"next\""))
                .map_err(|error| Error::Internal(error.into()))?;
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    })
    .await
}

/// Stores a new user.
pub async fn post(store: Store, request: Request) -> Response<Body> {
    respond(deadline(&request), async move {
        let user = User::from_json(body(&request)?)?;
        drop(request);
        let json = user.to_json()?;
        store.create(user, &json).await?;
        Ok(ok(json))
    })
    .await
}

/// Deletes all users. Rejects a request that could mean only some of them.
pub async fn delete_all(store: Store, request: Request) -> Response<Body> {
    let deadline = deadline(&request);
    respond(deadline, async {
        let target = target(&request);
        if let Some(name) = target.query.keys().next() {
            return Err(Error::InvalidRequest(format!(
                "DELETE /users deletes all users and accepts no parameters such as '{name}': to \
                 delete some, find their ids with GET /users, and send DELETE /users/{{id}} for \
                 each"
            )));
        }
        for path in target.path.iter().chain(&target.full_path) {
            if path.ends_with('/') {
                return Err(Error::InvalidRequest(
                    "the path ends with '/', as if an id were missing: send DELETE /users/{id} to \
                     delete a user, or DELETE /users to delete all"
                        .to_owned(),
                ));
            }
            if !path.ends_with(DELETE_ALL.resource) {
                return Err(Error::InvalidRequest(
                    "the path in the event is not that of the resource /users".to_owned(),
                ));
            }
        }
        store.delete_all(deadline).await?;
        Ok(ok("null".to_owned()))
    })
    .await
}

/// Returns a user.
pub async fn get(store: Store, request: Request) -> Response<Body> {
    respond(deadline(&request), async move {
        let user = store.get(&id(&request)?).await?;
        Ok(ok(user.to_json()?))
    })
    .await
}

/// Replaces a user.
pub async fn put(store: Store, request: Request) -> Response<Body> {
    respond(deadline(&request), async move {
        let user = User::from_json_with_id(body(&request)?, id(&request)?)?;
        drop(request);
        let json = user.to_json()?;
        store.replace(user).await?;
        Ok(ok(json))
    })
    .await
}

/// Deletes a user.
pub async fn delete(store: Store, request: Request) -> Response<Body> {
    respond(deadline(&request), async move {
        let user = store.delete(&id(&request)?).await?;
        Ok(ok(user.to_json()?))
    })
    .await
}

/// Returns the response of an operation, or an error response if it fails or misses the deadline.
async fn respond(
    deadline: Instant,
    operation: impl Future<Output = Result<Response<Body>, Error>>,
) -> Response<Body> {
    match timeout_at(deadline, operation).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => from_error(&error),
        Err(_) => from_error(&Error::OutOfTime),
    }
}

/// Returns the time by which the response to a request must be returned.
fn deadline(request: &Request) -> Instant {
    let epoch = Duration::from_millis(
        request
            .lambda_context_ref()
            .map_or(0, |context| context.deadline),
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Instant::now() + epoch.saturating_sub(now).saturating_sub(MARGIN)
}

/// Reads the `{id}` of the path. API Gateway passes it as the client sent it, percent-encoded.
fn id(request: &Request) -> Result<Key, Error> {
    let encoded = target(request).id.as_deref().filter(|id| !id.is_empty());
    let encoded = encoded.ok_or_else(|| {
        Error::InvalidRequest("the path has no id: send it as in /users/42".to_owned())
    })?;
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = percent_decode_str(encoded).decode_utf8().ok();
    let id = decoded
        .filter(|_| encoded.split('%').skip(1).all(is_escape))
        .ok_or_else(|| {
            Error::InvalidRequest(
                "the id in the path is not percent-encoded UTF-8: for '%' itself, write '%25'"
                    .to_owned(),
            )
        })?;
    // No user can have an id that is not a key.
    Key::new(&id).ok_or_else(|| Error::UserNotFound {
        id: id.into_owned(),
    })
}

/// Returns the text of the body.
fn body(request: &Request) -> Result<&str, Error> {
    match request.body() {
        Body::Text(text) if !text.is_empty() => Ok(text),
        Body::Binary(bytes) => str::from_utf8(bytes).map_err(|_| {
            Error::InvalidRequest("the body is not UTF-8, as JSON must be".to_owned())
        }),
        _ => Err(Error::InvalidRequest(
            "the body is missing: send the user as a JSON object".to_owned(),
        )),
    }
}
