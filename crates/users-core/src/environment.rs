//! The environment variables that a function reads, besides the credentials and the region that
//! every AWS SDK reads. A blank variable counts as unset.

use std::env;

/// The name of the table. Default: `user-profiles`.
pub const TABLE_VARIABLE: &str = "USERS_TABLE";

/// The URL of a DynamoDB to use instead of AWS's. Takes precedence over the SDK's own
/// `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL`. Default: none.
pub const ENDPOINT_VARIABLE: &str = "DYNAMO_ENDPOINT";

/// The origin whose pages may use the API from a browser, or `*` for any. Default: none.
pub const ORIGIN_VARIABLE: &str = "CORS_ALLOW_ORIGIN";

/// The path of a PEM file whose certificates are trusted instead of Mozilla's. OpenSSL also reads
/// this variable
/// (<https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/>). Default: none.
pub(crate) const CERTIFICATES_VARIABLE: &str = "SSL_CERT_FILE";

/// The UDP address that trace subsegments are sent to, as Lambda sets it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>).
/// Default: none, so nothing is sent.
pub(crate) const DAEMON_VARIABLE: &str = "AWS_XRAY_DAEMON_ADDRESS";

/// The lowest level that is logged, as Lambda sets it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>).
/// Default: `INFO`.
pub(crate) const LOG_LEVEL_VARIABLE: &str = "AWS_LAMBDA_LOG_LEVEL";

/// The format of the log, `JSON` or `Text`, as Lambda sets it. Default: `Text`.
pub(crate) const LOG_FORMAT_VARIABLE: &str = "AWS_LAMBDA_LOG_FORMAT";

/// Returns the value of an environment variable, unless it is blank.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Returns the URL of the DynamoDB to use instead of AWS's, from [`ENDPOINT_VARIABLE`] or else from
/// the SDK's own variables
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>). A blank variable
/// counts as unset.
#[must_use]
pub fn endpoint_from_env() -> Option<String> {
    let names = [
        ENDPOINT_VARIABLE,
        "AWS_ENDPOINT_URL_DYNAMODB",
        "AWS_ENDPOINT_URL",
    ];
    names.into_iter().find_map(variable)
}
