//! The operations of the API.

use std::sync::LazyLock;

use crate::{repository, template};

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

/// Returns the operations: the routes of `template.yaml`. `openapi.yaml` says whether each has a
/// body.
///
/// # Panics
///
/// If one of these files cannot be read, or `openapi.yaml` lacks an operation.
#[must_use]
pub fn operations() -> &'static [Operation] {
    static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        let (template, specification) = (template(), repository::yaml("openapi.yaml"));
        let routes = template.routes.into_iter().map(|route| {
            let specified = &specification["paths"][&route.path][route.method.to_lowercase()];
            assert!(
                specified.is_object(),
                "openapi.yaml lacks {} {}",
                route.method,
                route.path
            );
            Operation {
                executable: template.functions[&route.function].executable.clone(),
                has_body: specified["requestBody"].is_object(),
                function: route.function,
                method: route.method,
                path: route.path,
            }
        });
        routes.collect()
    });
    &OPERATIONS
}
