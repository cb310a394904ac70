//! What the log shows about a served request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;

/// Receives each served request.
pub type RequestLog = Arc<dyn Fn(&Served) + Send + Sync>;

/// The maximum length of a path, and of a message, in the log, in characters.
const MAX_PATH: usize = 200;
const MAX_MESSAGE: usize = 400;

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
    /// What to do, if the response is an error. A browser hides it from a page of an origin that may
    /// not use the API. All characters are printable.
    pub message: Option<String>,
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
        let message = below
            .is_none()
            .then(|| format!("no such route; paths start with {prefix}"));
        let path = below.unwrap_or(path);
        Self {
            method: printable(request.method().as_str(), 20),
            path: printable(if path.is_empty() { "/" } else { path }, MAX_PATH),
            status: 0,
            code: None,
            duration: Duration::ZERO,
            message,
        }
    }

    /// Adds the status, the error's code and message, and the duration. Leaves the response
    /// unchanged.
    pub(crate) async fn finish(&mut self, response: &mut Response, duration: Duration) {
        let status = response.status();
        self.status = status.as_u16();
        self.duration = duration;
        if status.is_client_error() || status.is_server_error() {
            // The body is already in memory.
            let body = std::mem::take(response.body_mut());
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            let error: ErrorBody = serde_json::from_slice(&body).unwrap_or_default();
            self.code = error.code.map(|code| printable(&code, 50));
            let is_unknown_path = self.code.as_deref() == Some("MissingAuthenticationToken");
            if !is_unknown_path || self.message.is_none() {
                self.message = error.message.map(|text| printable(&text, MAX_MESSAGE));
            }
            *response.body_mut() = Body::from(body);
        } else {
            self.message = None;
        }
    }
}

#[derive(Default, Deserialize)]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
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
