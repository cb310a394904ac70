//! What is right: a model of the contract, a checker of concurrent histories, and exact JSON.

pub mod history;
pub mod json;
pub mod model;

/// The statuses and codes of the service.
pub const CODES: [(u16, &str); 8] = [
    (400, "InvalidRequest"),
    (400, "InvalidUser"),
    (400, "UserNotFound"),
    (400, "UserAlreadyExists"),
    (400, "ResponseTooLarge"),
    (500, "InternalError"),
    (503, "ServiceUnavailable"),
    (503, "DeleteIncomplete"),
];

/// Those of API Gateway, as far as suites provoke its errors.
pub const GATEWAY_CODES: [(u16, &str); 2] = [
    (403, "MissingAuthenticationToken"),
    (413, "RequestTooLarge"),
];
