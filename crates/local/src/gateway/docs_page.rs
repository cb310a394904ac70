//! The page at `/docs`, for trying the API in a browser, its documentation at `/docs/api.md`, and the
//! specification that it shows, at `/openapi.yaml`. They are outside the stage, because they are not
//! part of the API.
//!
//! The page is Swagger UI. All its files are in this executable.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::response::{IntoResponse, Redirect, Response};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// The page's path.
pub(crate) const PATH: &str = "/docs";

const SPECIFICATION: &str = include_str!("../../../../openapi.yaml");
/// The local service's URL in the specification.
const SERVER: &str = "http://127.0.0.1:3000/test";

const INDEX: &str = include_str!("docs_page/index.html");
const SCRIPT: &str = include_str!("docs_page/page.js");
const STYLE: &str = include_str!("docs_page/page.css");
const DOCUMENTATION: &str = include_str!("../../../../docs/api.md");

/// What the page may do: load files from this service, and call its API or a deployed stage.
/// Swagger UI's style sheet contains images as `data:` URLs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self' https://*.amazonaws.com https://*.amazonaws.com.cn; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Swagger UI's files that the page uses, by name.
static ASSETS: LazyLock<BTreeMap<&str, Bytes>> = LazyLock::new(|| {
    let names = [
        "swagger-ui-bundle.js",
        "swagger-ui.css",
        "favicon-32x32.png",
    ];
    names
        .into_iter()
        .filter_map(|name| Some((name, unpacked(name)?)))
        .collect()
});

/// Returns a file of Swagger UI's distribution.
fn unpacked(name: &str) -> Option<Bytes> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).ok()?;
    let suffix = format!("/dist/{name}");
    let path = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|path| path.ends_with(&suffix))?
        .into_owned();
    let mut content = Vec::new();
    archive
        .by_name(&path)
        .ok()?
        .read_to_end(&mut content)
        .ok()?;
    Some(content.into())
}

/// Returns the response to a request for the page, for one of its files or for the specification,
/// and leads a browser from `/` to the page. Returns `None` for any other request. The page fills in
/// `key`.
pub(crate) fn respond(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    stage: &str,
    key: Option<&str>,
) -> Option<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return None;
    }
    if path == "/" {
        let accept = headers.get(ACCEPT)?.to_str().ok()?;
        return accept
            .contains("text/html")
            .then(|| Redirect::temporary(PATH).into_response());
    }
    let (content_type, body) = match path.trim_end_matches('/') {
        PATH => (
            "text/html; charset=utf-8",
            INDEX.replacen("{key}", key.unwrap_or_default(), 1).into(),
        ),
        "/openapi.yaml" => ("application/yaml", specification(stage).into()),
        "/docs/page.js" => ("text/javascript; charset=utf-8", SCRIPT.into()),
        "/docs/page.css" => ("text/css; charset=utf-8", STYLE.into()),
        // A browser shows this, but downloads Markdown.
        "/docs/api.md" => ("text/plain; charset=utf-8", DOCUMENTATION.into()),
        path => {
            let name = path.strip_prefix(PATH)?.strip_prefix('/')?;
            let content_type = match name.rsplit_once('.')?.1 {
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                _ => "image/png",
            };
            (content_type, ASSETS.get(name)?.clone())
        }
    };
    let headers = [
        (CONTENT_TYPE, content_type),
        // Another version of this service may listen on the same port later.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (RESOURCE_POLICY, "same-origin"),
    ];
    Some((headers, body).into_response())
}

/// Returns the specification with this service as its first server. The server's URL is relative,
/// so it works under any name and port.
fn specification(stage: &str) -> String {
    SPECIFICATION.replacen(SERVER, &format!("/{stage}"), 1)
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::HeaderValue;
    use axum::http::header::LOCATION;

    use super::*;

    async fn body(path: &str) -> (String, Bytes) {
        let response = respond(&Method::GET, path, &HeaderMap::new(), "dev", None).expect(path);
        let headers = response.headers();
        assert_eq!(headers[CONTENT_SECURITY_POLICY], POLICY, "{path}");
        let content_type = headers[CONTENT_TYPE].to_str().expect("text").to_owned();
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        (content_type, body)
    }

    #[tokio::test]
    async fn every_file_that_the_page_names_is_served() {
        let (content_type, page) = body("/docs").await;
        assert!(content_type.starts_with("text/html"), "{content_type}");
        let page = String::from_utf8(page.to_vec()).expect("UTF-8");
        let names = page
            .split("=\"/docs/")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        let names: Vec<_> = names.collect();
        assert_eq!(names.len(), 6, "{page}");
        for name in names {
            let (content_type, content) = body(&format!("/docs/{name}")).await;
            let expected = match name.rsplit_once('.').expect("an extension").1 {
                "js" => "text/javascript",
                "css" => "text/css",
                "md" => "text/plain",
                _ => "image/png",
            };
            assert!(
                content_type.starts_with(expected) && !content.is_empty(),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn the_specification_names_the_stage_as_its_first_server() {
        let (content_type, specification) = body("/openapi.yaml").await;
        assert_eq!(content_type, "application/yaml");
        let specification = String::from_utf8(specification.to_vec()).expect("UTF-8");
        assert!(
            specification.contains("\n  - url: /dev\n"),
            "{specification}"
        );
        assert!(!specification.contains("127.0.0.1"), "{specification}");
    }

    #[test]
    fn other_requests_are_left_to_the_api() {
        for (method, path) in [
            (Method::POST, "/docs"),
            (Method::GET, "/docs/users"),
            (Method::GET, "/docs/users/page.js"),
            (Method::GET, "/docs/index.css"),
            (Method::GET, "/docspage.js"),
            (Method::GET, "/test/docs"),
            (Method::GET, "/"),
            (Method::OPTIONS, "/openapi.yaml"),
        ] {
            let response = respond(&method, path, &HeaderMap::new(), "docs", None);
            assert!(response.is_none(), "{method} {path}");
        }
    }

    #[test]
    fn a_browser_is_led_to_the_page() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html,*/*"))]);
        let response = respond(&Method::GET, "/", &headers, "test", None).expect("a response");
        assert_eq!(response.headers()[LOCATION], PATH);
    }

    #[tokio::test]
    async fn the_page_has_the_key_of_this_run() {
        let headers = HeaderMap::new();
        let response = respond(&Method::GET, PATH, &headers, "test", Some("abc"));
        let body = response.expect("the page").into_body();
        let page = to_bytes(body, usize::MAX).await.expect("a body");
        assert!(String::from_utf8_lossy(&page).contains(r#"data-key="abc""#));
    }
}
