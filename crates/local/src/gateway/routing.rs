//! Finds the operation that a request is for.

use std::collections::BTreeMap;

use axum::http::Method;

/// The method of the API that a request is for, and the request's path.
#[derive(Debug)]
pub(crate) struct Matched<'a> {
    /// The position of the method in the list that was searched.
    pub(crate) index: usize,
    /// The path of the resource, such as `/users/{id}`.
    pub(crate) resource: &'a str,
    /// The path without the stage, as sent.
    pub(crate) path: &'a str,
    /// The parameters in the path, as sent, percent-encoded.
    pub(crate) parameters: BTreeMap<&'a str, &'a str>,
}

/// Finds which of `methods`, given as HTTP method and resource, a request is for. Like API Gateway,
/// compares paths as they are sent, percent-encoded, but ignores trailing slashes.
pub(crate) fn find<'a>(
    stage: &str,
    methods: impl Iterator<Item = (&'a str, &'a str)>,
    method: &Method,
    path: &'a str,
) -> Option<Matched<'a>> {
    let path = path.strip_prefix('/')?.strip_prefix(stage)?;
    let segments: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let mut candidates = methods
        .enumerate()
        .filter(|(_, (name, _))| *name == method.as_str());
    candidates.find_map(|(index, (_, resource))| {
        let expected: Vec<&str> = resource.trim_end_matches('/').split('/').collect();
        let mut parameters = BTreeMap::new();
        let matches = expected.len() == segments.len()
            && expected.iter().zip(&segments).all(|(expected, segment)| {
                match expected
                    .strip_prefix('{')
                    .and_then(|name| name.strip_suffix('}'))
                {
                    Some(name) => {
                        !segment.is_empty() && parameters.insert(name, *segment).is_none()
                    }
                    None => expected == segment,
                }
            });
        matches.then_some(Matched {
            index,
            resource,
            path,
            parameters,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_matched_as_it_is_sent() {
        let methods = [
            ("GET", "/users"),
            ("POST", "/users"),
            ("GET", "/users/{id}"),
        ];
        for (method, path, expected) in [
            (Method::GET, "/test/users", Some((0, None))),
            (Method::GET, "/test/users/", Some((0, None))),
            (Method::POST, "/test/users", Some((1, None))),
            (Method::GET, "/test/users/1", Some((2, Some("1")))),
            (
                Method::GET,
                "/test/users/a%2Fb+%C3%BC",
                Some((2, Some("a%2Fb+%C3%BC"))),
            ),
            (Method::GET, "/test/users/..", Some((2, Some("..")))),
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
            let matched = find("test", methods.into_iter(), &method, path);
            let found =
                matched.map(|matched| (matched.index, matched.parameters.get("id").copied()));
            assert_eq!(found, expected, "{method} {path}");
        }
    }
}
