//! The six operations: an API Gateway REST proxy request in, a response out. They always answer.
//!
//! A request is answered a second before its invocation's deadline at the latest.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_http::http::{HeaderValue, StatusCode, header};
use lambda_http::{Body, Request, RequestExt, Response};
use percent_encoding::percent_decode_str;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::list::ListRequest;
use crate::response::{json, json_text};
use crate::store::Store;
use crate::user::{ID, User};

/// How long before the invocation's deadline a request is answered.
const MARGIN: Duration = Duration::from_secs(1);

/// `GET /users`: all users, or those of an email address, in one answer or in pages.
pub async fn get_all(store: Store, request: Request) -> Response<Body> {
    answer(deadline(&request), async {
        let list = ListRequest::new(&request)?.read(&store).await?;
        let mut response = json_text(StatusCode::OK, list.json);
        if let Some(url) = list.next_url {
            let link = HeaderValue::try_from(format!("<{url}>; rel=\"next\""))
                .map_err(|error| Error::Internal(error.into()))?;
            response.headers_mut().insert(header::LINK, link);
        }
        Ok(response)
    })
    .await
}

/// `POST /users`: stores a new user.
pub async fn post(store: Store, request: Request) -> Response<Body> {
    answer(deadline(&request), async {
        let user = User::from_json(body(&request)?)?;
        let response = json(StatusCode::OK, &user);
        store.create(user).await?;
        Ok(response)
    })
    .await
}

/// `DELETE /users`: deletes all users.
pub async fn delete_all(store: Store, request: Request) -> Response<Body> {
    let deadline = deadline(&request);
    answer(deadline, async {
        store.delete_all(deadline).await?;
        Ok(json(StatusCode::OK, &()))
    })
    .await
}

/// `GET /users/{id}`: a user.
pub async fn get(store: Store, request: Request) -> Response<Body> {
    answer(deadline(&request), async {
        Ok(json(StatusCode::OK, &store.get(&id(&request)?).await?))
    })
    .await
}

/// `PUT /users/{id}`: replaces a user.
pub async fn put(store: Store, request: Request) -> Response<Body> {
    answer(deadline(&request), async {
        let user = User::from_json_with_id(body(&request)?, &id(&request)?)?;
        let response = json(StatusCode::OK, &user);
        store.replace(user).await?;
        Ok(response)
    })
    .await
}

/// `DELETE /users/{id}`: deletes a user.
pub async fn delete(store: Store, request: Request) -> Response<Body> {
    answer(deadline(&request), async {
        Ok(json(StatusCode::OK, &store.delete(&id(&request)?).await?))
    })
    .await
}

/// The response of an operation, or the one that says why there is none.
async fn answer(
    deadline: Instant,
    operation: impl Future<Output = Result<Response<Body>, Error>>,
) -> Response<Body> {
    match timeout_at(deadline, operation).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(_) => Error::OutOfTime.into_response(),
    }
}

/// When a request has to be answered.
fn deadline(request: &Request) -> Instant {
    let epoch =
        Duration::from_millis(request.lambda_context_ref().map_or(0, |context| context.deadline));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + epoch.saturating_sub(now).saturating_sub(MARGIN)
}

/// The `{id}` of the path. API Gateway passes it on as the client sent it, percent-encoded.
fn id(request: &Request) -> Result<Cow<'_, str>, Error> {
    let encoded = request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first(ID))
        .unwrap_or_default();
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = percent_decode_str(encoded).decode_utf8().ok();
    decoded.filter(|_| encoded.split('%').skip(1).all(is_escape)).ok_or_else(|| {
        Error::InvalidRequest(
            "the id in the path is not percent-encoded UTF-8: for '%' itself, write '%25'"
                .to_owned(),
        )
    })
}

/// The text of the body.
fn body(request: &Request) -> Result<&str, Error> {
    match request.body() {
        Body::Text(text) if !text.is_empty() => Ok(text),
        Body::Binary(bytes) => str::from_utf8(bytes).map_err(|_| {
            Error::InvalidRequest("the body is not UTF-8, as JSON has to be".to_owned())
        }),
        _ => Err(Error::InvalidRequest(
            "the body is missing: send the user as a JSON object".to_owned(),
        )),
    }
}
