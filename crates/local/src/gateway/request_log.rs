//! What the log shows about a served request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// Receives each served request.
pub type RequestLog = Arc<dyn Fn(&Served) + Send + Sync>;

/// The maximum length of a path in the log, in characters.
const MAX_PATH: usize = 200;

/// A request and its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The method.
    pub method: String,
    /// The path and query, without the stage if the path begins with it. All characters are
    /// printable.
    pub path: String,
    /// The status of the response.
    pub status: u16,
    /// The error code, if the response is an error.
    pub code: Option<String>,
    /// How long the response took.
    pub duration: Duration,
    /// What may be wrong with the request, if that can be guessed.
    pub hint: Option<String>,
}

impl Served {
    pub(crate) fn new(request: &Request, stage: &str) -> Self {
        let path = request
            .uri()
            .path_and_query()
            .map_or("*", |path| path.as_str());
        let prefix = format!("/{stage}");
        let below = path
            .strip_prefix(&prefix)
            .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let hint = below
            .is_none()
            .then(|| format!("no such route; paths start with {prefix}"));
        let path = below.unwrap_or(path);
        Self {
            method: printable(request.method().as_str(), 20),
            path: printable(if path.is_empty() { "/" } else { path }, MAX_PATH),
            status: 0,
            code: None,
            duration: Duration::ZERO,
            hint,
        }
    }

    /// Adds the status, the error code and the duration. Leaves the response unchanged.
    pub(crate) async fn finish(&mut self, response: &mut Response, duration: Duration) {
        let status = response.status();
        self.status = status.as_u16();
        self.duration = duration;
        if status.is_client_error() || status.is_server_error() {
            // The body is already in memory.
            let body = std::mem::take(response.body_mut());
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            self.code = code(&body);
            *response.body_mut() = Body::from(body);
        }
        if status != StatusCode::FORBIDDEN
            || self
                .code
                .as_deref()
                .is_some_and(|code| code.ends_with("NotAllowed"))
        {
            self.hint = None;
        }
    }
}

/// Returns the code in the body of an error.
fn code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        code: String,
    }
    let Error { code } = serde_json::from_slice(body).ok()?;
    Some(printable(&code, 50))
}

/// Returns at most `length` characters of a text. Replaces those that control a terminal.
fn printable(text: &str, length: usize) -> String {
    let mut printable: String = text
        .chars()
        .take(length)
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if text.chars().nth(length).is_some() {
        printable.push('…');
    }
    printable
}
