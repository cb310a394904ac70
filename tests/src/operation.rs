//! The operations of the API.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use local::Template;
use serde_json::Value;

use crate::TEMPLATE;

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
/// If one of these files cannot be read.
#[must_use]
pub fn operations() -> &'static [Operation] {
    static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        let template = Template::read(Path::new(TEMPLATE)).expect("the template");
        let specification = Path::new(TEMPLATE).with_file_name("openapi.yaml");
        let specification = fs::read_to_string(specification).expect("the specification");
        let specification: Value = serde_saphyr::from_str(&specification).expect("YAML");
        let routes = template.routes.into_iter().map(|route| Operation {
            executable: template.functions[&route.function].executable.clone(),
            has_body:
                specification["paths"][&route.path][route.method.to_lowercase()]["requestBody"]
                    .is_object(),
            function: route.function,
            method: route.method,
            path: route.path,
        });
        routes.collect()
    });
    &OPERATIONS
}
