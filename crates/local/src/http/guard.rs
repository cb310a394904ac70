//! Decides which requests are served at all, from their `Host` and `Origin` headers.
//!
//! A browser is the one program on a machine that sends requests on behalf of strangers. A page
//! can reach a loopback port by its address, or by a domain name that its owner makes resolve to
//! loopback (DNS rebinding). It cannot forge the headers that are checked here.

use std::net::IpAddr;

use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN, USER_AGENT};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Why a request is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// For programs.
    pub(crate) code: &'static str,
    /// For people: what to do.
    pub(crate) message: String,
}

impl IntoResponse for Rejection {
    /// Returns the gateway's response.
    fn into_response(self) -> Response {
        let body = json!({"code": self.code, "message": self.message}).to_string();
        (
            StatusCode::FORBIDDEN,
            [(CONTENT_TYPE, "application/json")],
            body,
        )
            .into_response()
    }
}

/// Checks a request to the gateway, which listens on `address`. Its own pages may use it, and so
/// may pages of `allowed_origins`, where `*` means any origin.
///
/// # Errors
/// [`Rejection`] if a request to a loopback service names another host, or if a page of another
/// origin sent it.
pub(crate) fn check(
    uri: &Uri,
    headers: &HeaderMap,
    address: IpAddr,
    allowed_origins: &[HeaderValue],
) -> Result<(), Rejection> {
    if address.is_loopback()
        && let Some(name) = foreign_name(uri, headers)
    {
        return Err(Rejection {
            code: "HostNotAllowed",
            message: format!(
                "this service is only available as localhost or by an address, not as '{name}'; \
                 to serve it under other names, start it with `make run HOST=0.0.0.0`"
            ),
        });
    }
    for origin in headers.get_all(ORIGIN) {
        let allowed = allowed_origins
            .iter()
            .any(|allowed| allowed == "*" || allowed == origin);
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let own = host(headers).is_some_and(|host| origin.strip_prefix("http://") == Some(host));
        if !own && !allowed {
            return Err(Rejection {
                code: "OriginNotAllowed",
                message: format!(
                    "pages of the origin '{origin}' may not use this service; to allow them, \
                     start it with `make run CORS={}`",
                    advised(&origin, allowed_origins)
                ),
            });
        }
    }
    Ok(())
}

/// Returns the value of `CORS` that allows an origin besides those that are allowed already. Some
/// pages, such as those of files, have an origin that no list can name.
fn advised(origin: &str, allowed_origins: &[HeaderValue]) -> String {
    let has_name = origin
        .split_once("://")
        .is_some_and(|(_, host)| !host.is_empty());
    if !has_name {
        return "'*'".to_owned();
    }
    let allowed = allowed_origins
        .iter()
        .filter_map(|allowed| allowed.to_str().ok());
    allowed.chain([origin]).collect::<Vec<_>>().join(",")
}

/// Checks a request to an internal server, which listens on a loopback address. Such a server is
/// for programs; a browser never has a reason to use it.
///
/// # Errors
/// [`Rejection`] if a browser may have sent the request, or if it names another host.
pub(crate) fn check_internal(uri: &Uri, headers: &HeaderMap) -> Result<(), Rejection> {
    let from_browser = [ORIGIN, SEC_FETCH_SITE, SEC_FETCH_MODE]
        .iter()
        .any(|name| headers.contains_key(name))
        || headers
            .get(USER_AGENT)
            .is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    if from_browser {
        return Err(Rejection {
            code: "BrowserNotAllowed",
            message: "this port is for programs; web pages may not use it".to_owned(),
        });
    }
    match foreign_name(uri, headers) {
        Some(name) => Err(Rejection {
            code: "HostNotAllowed",
            message: format!("this port is only available by an address, not as '{name}'"),
        }),
        None => Ok(()),
    }
}

/// Returns the name by which a request calls this machine, if a stranger may own it. A request
/// without any name, which HTTP/1.0 allows, is not from a browser.
fn foreign_name<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let names = [host(headers), uri.authority().map(Authority::as_str)];
    names.into_iter().flatten().find(|name| !is_own(name))
}

/// Returns the `Host` of a request. If there are several, none can be trusted, so this returns an
/// empty string, which is not a loopback name.
fn host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return Some("");
    }
    Some(host.to_str().unwrap_or_default())
}

/// Returns whether no stranger can make a name, with or without a port, mean this machine. Names
/// that end in `.localhost` are loopback names
/// (<https://www.rfc-editor.org/rfc/rfc6761#section-6.3>). An address is no name that could be
/// rebound; emulators call their host by one, such as 10.0.2.2.
fn is_own(name: &str) -> bool {
    let Ok(authority) = name.parse::<Authority>() else {
        return false;
    };
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn code(
        address: IpAddr,
        origins: &[&'static str],
        pairs: &[(&'static str, &'static str)],
    ) -> String {
        let origins: Vec<_> = origins
            .iter()
            .map(|origin| HeaderValue::from_static(origin))
            .collect();
        let checked = check(
            &Uri::from_static("/test/users"),
            &headers(pairs),
            address,
            &origins,
        );
        checked.map_or_else(|rejection| rejection.code.to_owned(), |()| String::new())
    }

    #[test]
    fn on_loopback_only_own_names_are_served() {
        let address = Ipv4Addr::LOCALHOST.into();
        for name in [
            "localhost",
            "localhost:3000",
            "LOCALHOST.:3000",
            "api.localhost:3000",
            "127.0.0.1:3000",
            "127.1.2.3",
            "[::1]:3000",
            "10.0.2.2:3000",
            "192.168.1.2:3000",
        ] {
            assert_eq!(code(address, &[], &[("host", name)]), "", "{name}");
        }
        for name in [
            "evil.example",
            "evil.example:3000",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "evil.example@localhost",
            "",
            " ",
        ] {
            assert_eq!(
                code(address, &[], &[("host", name)]),
                "HostNotAllowed",
                "{name}"
            );
        }
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(code(address, &[], &two), "HostNotAllowed");
        let uri = Uri::from_static("http://evil.example/test/users");
        assert!(check(&uri, &headers(&[("host", "localhost")]), address, &[]).is_err());
    }

    #[test]
    fn elsewhere_any_name_is_served_but_no_foreign_origin() {
        let address = Ipv4Addr::UNSPECIFIED.into();
        assert_eq!(code(address, &[], &[("host", "laptop.example:3000")]), "");
        let foreign = [
            ("host", "laptop.example:3000"),
            ("origin", "http://evil.example"),
        ];
        assert_eq!(code(address, &[], &foreign), "OriginNotAllowed");
        let own = [
            ("host", "laptop.example:3000"),
            ("origin", "http://laptop.example:3000"),
        ];
        assert_eq!(code(address, &[], &own), "");
    }

    #[test]
    fn a_foreign_origin_is_served_only_if_it_is_allowed() {
        let address = Ipv4Addr::LOCALHOST.into();
        let from = |origin| [("host", "localhost:3000"), ("origin", origin)];
        let page = "http://localhost:5173";
        assert_eq!(code(address, &[], &from(page)), "OriginNotAllowed");
        assert_eq!(code(address, &[page], &from(page)), "");
        assert_eq!(code(address, &["*"], &from(page)), "");
        assert_eq!(code(address, &["*"], &from("null")), "");
        for origin in [
            "null",
            "http://localhost:5174",
            "https://localhost:3000",
            "",
        ] {
            assert_eq!(
                code(address, &[page], &from(origin)),
                "OriginNotAllowed",
                "{origin}"
            );
        }
    }

    #[test]
    fn an_internal_port_rejects_requests_that_browsers_send() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            check_internal(&Uri::from_static("/"), &headers(pairs)).is_ok()
        };
        assert!(check(&[
            ("host", "127.0.0.1:4000"),
            ("user-agent", "aws-cli/1")
        ]));
        assert!(!check(&[
            ("host", "127.0.0.1:4000"),
            ("origin", "http://127.0.0.1:4000")
        ]));
        assert!(!check(&[
            ("host", "127.0.0.1:4000"),
            ("sec-fetch-site", "none")
        ]));
        assert!(!check(&[
            ("host", "127.0.0.1:4000"),
            ("user-agent", "Mozilla/5.0 (X11)")
        ]));
        assert!(!check(&[("host", "evil.example:4000")]));
    }
}
