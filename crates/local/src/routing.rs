//! Finds the operation that a request is for.

use std::collections::BTreeMap;

use axum::http::Method;

use crate::template::{Mock, Route};

/// A method of a resource of the API.
pub(crate) trait Operation {
    /// Returns the HTTP method, in capital letters.
    fn method(&self) -> &str;
    /// Returns the resource's path without the stage, such as `/users/{id}`.
    fn path(&self) -> &str;
}

impl Operation for Route {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }
}

impl Operation for Mock {
    fn method(&self) -> &str {
        &self.method
    }

    fn path(&self) -> &str {
        &self.path
    }
}

/// The operation that a request is for, and the request's path.
#[derive(Debug)]
pub(crate) struct Matched<'a, O = Route> {
    pub(crate) operation: &'a O,
    /// Its position in the list of operations.
    pub(crate) index: usize,
    path: &'a str,
    parameters: BTreeMap<&'a str, &'a str>,
}

impl<'a, O: Operation> Matched<'a, O> {
    /// Returns the path without the stage, as sent.
    pub(crate) fn path(&self) -> &'a str {
        self.path
    }

    /// Returns the path of the resource.
    pub(crate) fn path_pattern(&self) -> &str {
        self.operation.path()
    }

    /// Returns the parameters in the path, as sent, percent-encoded.
    pub(crate) fn parameters(&self) -> &BTreeMap<&'a str, &'a str> {
        &self.parameters
    }
}

/// Finds the operation that a request is for. Like API Gateway, it compares paths as they are sent,
/// percent-encoded, but ignores trailing slashes.
pub(crate) fn find<'a, O: Operation>(
    stage: &str,
    operations: &'a [O],
    method: &Method,
    path: &'a str,
) -> Option<Matched<'a, O>> {
    let path = path.strip_prefix('/')?.strip_prefix(stage)?;
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let candidates = operations
        .iter()
        .enumerate()
        .filter(|(_, operation)| operation.method() == method.as_str());
    candidates.into_iter().find_map(|(index, operation)| {
        let expected: Vec<&str> = operation.path().trim_end_matches('/').split('/').collect();
        let mut parameters = BTreeMap::new();
        let matches = expected.len() == segments.len()
            && expected.iter().zip(&segments).all(|(expected, segment)| {
                match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) => {
                        !segment.is_empty() && parameters.insert(name, *segment).is_none()
                    }
                    None => expected == segment,
                }
            });
        matches.then_some(Matched { operation, index, path, parameters })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn routes() -> Vec<Route> {
        [("GET", "/users"), ("POST", "/users"), ("GET", "/users/{id}")]
            .map(|(method, path)| Route {
                method: method.to_owned(),
                path: path.to_owned(),
                function: format!("{method} {path}"),
                needs_key: false,
            })
            .into()
    }

    #[test]
    fn a_path_is_matched_as_it_is_sent() {
        for (method, path, expected) in [
            (Method::GET, "/test/users", Some(("GET /users", None))),
            (Method::GET, "/test/users/", Some(("GET /users", None))),
            (Method::POST, "/test/users", Some(("POST /users", None))),
            (Method::GET, "/test/users/1", Some(("GET /users/{id}", Some("1")))),
            (
                Method::GET,
                "/test/users/a%2Fb+%C3%BC",
                Some(("GET /users/{id}", Some("a%2Fb+%C3%BC"))),
            ),
            (Method::GET, "/test/users/..", Some(("GET /users/{id}", Some("..")))),
            (Method::GET, "/test/users/a/b", None),
            (Method::GET, "/test//users", None),
            (Method::GET, "/test/%75sers", None),
            (Method::GET, "/testing/users", None),
            (Method::GET, "/other/users", None),
            (Method::GET, "/users", None),
            (Method::GET, "/test", None),
            (Method::GET, "/", None),
            (Method::GET, "*", None),
            (Method::PUT, "/test/users", None),
            (Method::HEAD, "/test/users", None),
        ] {
            let routes = routes();
            let matched = find("test", &routes, &method, path);
            let found = matched.as_ref().map(|matched| {
                (matched.operation.function.as_str(), matched.parameters.get("id").copied())
            });
            assert_eq!(found, expected, "{method} {path}");
        }
    }
}
