//! The operations of the API.

use std::sync::LazyLock;

use users_core::Part;
use users_core::handlers::ROUTES;

use crate::template;

/// An operation of the API, and the function that serves it.
#[derive(Debug)]
pub struct Operation {
    /// The logical id of the function.
    pub function: String,
    /// The file name of the function's executable.
    pub executable: String,
    /// The HTTP method, in capital letters.
    pub method: String,
    /// The path of the resource without the stage, such as `/users/{id}`.
    pub path: String,
    /// Whether a request has a body.
    pub has_body: bool,
}

impl Operation {
    /// Returns the operation that serves requests with this method and path, which may have a
    /// query and end with `/`.
    pub fn of(method: &str, path: &str) -> Option<&'static Self> {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<_> = path.trim_end_matches('/').split('/').collect();
        operations().iter().find(|own| {
            let names: Vec<_> = own.path.split('/').collect();
            let is_own = |(name, segment): (&&str, &&str)| name == segment || *name == "{id}";
            own.method == method
                && names.len() == segments.len()
                && names.iter().zip(&segments).all(is_own)
        })
    }
}

/// Returns the operations: the routes of `template.yaml`.
pub fn operations() -> &'static [Operation] {
    static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        let template = template();
        let routes = template.routes.into_iter().map(|route| Operation {
            executable: template.functions[&route.function].executable.clone(),
            has_body: ROUTES.iter().any(|own| {
                (own.method, own.resource) == (&route.method, &route.path) && own.reads(Part::Body)
            }),
            function: route.function,
            method: route.method,
            path: route.path,
        });
        routes.collect()
    });
    &OPERATIONS
}
