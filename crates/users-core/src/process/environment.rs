//! The environment variables that a function reads. A blank variable counts as unset, and white
//! space around a value is ignored.

use std::env;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Credentials;

use crate::api::AllowedOrigins;
use crate::dynamodb::{ConfigurationError, Settings, Tracer};

/// The name of the table. Default: `user-profiles`.
pub const TABLE_VARIABLE: &str = "USERS_TABLE";

/// The URL of a DynamoDB server to use instead of AWS's. Takes precedence over the SDK's own
/// `AWS_ENDPOINT_URL_DYNAMODB` and `AWS_ENDPOINT_URL`. Default: none.
pub const ENDPOINT_VARIABLE: &str = "DYNAMO_ENDPOINT";

/// The origins whose pages may use the API from a browser, separated by commas, or `*` for any.
/// Default: none.
pub const ORIGIN_VARIABLE: &str = "CORS_ALLOW_ORIGIN";

/// The path of a PEM file whose certificates are trusted instead of Mozilla's. OpenSSL also reads
/// this variable
/// (<https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/>). Default: none.
const CERTIFICATES_VARIABLE: &str = "SSL_CERT_FILE";

/// The UDP address that trace subsegments are sent to, as Lambda sets it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>).
/// Default: none, so nothing is sent.
const DAEMON_VARIABLE: &str = "AWS_XRAY_DAEMON_ADDRESS";

/// The lowest level that is logged, as Lambda sets it
/// (<https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-advanced.html>).
/// Default: `INFO`.
pub(super) const LOG_LEVEL_VARIABLE: &str = "AWS_LAMBDA_LOG_LEVEL";

/// The format of the log, `JSON` or `Text`, as Lambda sets it. Default: `Text`.
pub(super) const LOG_FORMAT_VARIABLE: &str = "AWS_LAMBDA_LOG_FORMAT";

/// The address of the Runtime API, as Lambda sets it. Without it, this is no Lambda function.
pub(super) const RUNTIME_API_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";

/// How many invocations Lambda sends to a process at once, as Lambda sets it for managed instances.
pub(super) const CONCURRENCY_VARIABLE: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// The table that is used if the environment does not name one.
const DEFAULT_TABLE: &str = "user-profiles";

/// The variables with which Lambda points to a server for credentials, as with `SnapStart`
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).
const CREDENTIALS_SERVER_VARIABLES: [&str; 2] = [
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
];

/// What the environment says about the table and its calls.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) table: String,
    pub(super) dynamodb: Settings,
}

impl Environment {
    /// Reads the environment.
    ///
    /// # Errors
    ///
    /// If a variable contains a character that cannot be sent, or nothing provides credentials.
    pub(super) fn read() -> Result<Self, ConfigurationError> {
        let table = sendable(TABLE_VARIABLE)?;
        Ok(Self {
            table: table.unwrap_or_else(|| DEFAULT_TABLE.to_owned()),
            dynamodb: settings(endpoint_from_env())?,
        })
    }

    /// Returns a tracer, if there is a daemon to send to.
    pub(super) fn tracer(&self) -> Option<Arc<Tracer>> {
        let daemon = variable(DAEMON_VARIABLE)?.parse().ok()?;
        Tracer::new(daemon, self.dynamodb.region.as_deref(), &self.table)
    }
}

/// Reads the origins whose pages may use the API.
///
/// # Errors
///
/// If an origin contains a character that cannot be sent.
pub(super) fn allowed_origins() -> Result<AllowedOrigins, ConfigurationError> {
    let origins = variable(ORIGIN_VARIABLE).unwrap_or_default();
    AllowedOrigins::new(&origins).ok_or(ConfigurationError::Character(ORIGIN_VARIABLE))
}

/// Returns a DynamoDB client. Its region and credentials come only from the environment variables
/// that Lambda sets. It reads no profile and calls no other service.
///
/// `endpoint` is the URL of a DynamoDB server to use instead of AWS's. With an endpoint, region and
/// credentials may be missing, because DynamoDB Local and similar servers accept any.
///
/// A call ends within 20 seconds, retries included.
///
/// # Errors
///
/// If no call could ever succeed.
pub fn client(endpoint: Option<&str>) -> Result<Client, ConfigurationError> {
    settings(endpoint.map(str::to_owned))?.client()
}

/// Returns the URL of the DynamoDB server to use instead of AWS's, from [`ENDPOINT_VARIABLE`] or
/// else from the SDK's own variables
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
fn endpoint_from_env() -> Option<String> {
    let of_sdk = || {
        let is_ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .is_some_and(|ignored| ignored.eq_ignore_ascii_case("true"));
        ["AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]
            .into_iter()
            .filter(|_| !is_ignored)
            .find_map(variable)
    };
    variable(ENDPOINT_VARIABLE).or_else(of_sdk)
}

fn settings(endpoint: Option<String>) -> Result<Settings, ConfigurationError> {
    let key_id = sendable("AWS_ACCESS_KEY_ID")?;
    let secret = sendable("AWS_SECRET_ACCESS_KEY")?;
    let token = sendable("AWS_SESSION_TOKEN")?;
    let credentials = key_id
        .zip(secret)
        .map(|(id, secret)| Credentials::new(id, secret, token, None, "environment"));
    let server = CREDENTIALS_SERVER_VARIABLES
        .into_iter()
        .find(|name| variable(name).is_some());
    if let (None, None, Some(name)) = (&credentials, &endpoint, server) {
        return Err(ConfigurationError::ContainerCredentials(name));
    }
    Ok(Settings {
        endpoint,
        region: sendable("AWS_REGION")?,
        credentials,
        certificates: variable(CERTIFICATES_VARIABLE).map(Into::into),
    })
}

/// Returns the value of a variable that is sent in a header.
fn sendable(name: &'static str) -> Result<Option<String>, ConfigurationError> {
    let value = variable(name);
    match &value {
        Some(text) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(ConfigurationError::Character(name))
        }
        _ => Ok(value),
    }
}

/// Returns the value of a variable without white space around it, unless it is blank.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = env::var_os(name)?;
    let value = value.to_string_lossy();
    let trimmed = value.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}
