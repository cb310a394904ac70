//! The DynamoDB client: which endpoint it uses, and how long it tries.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Builder, Config, Credentials, Region};
use lambda_http::http::Uri;
use rustls::RootCertStore;

use crate::attempts::CheckResponses;
use crate::calls::RecordCalls;
use crate::environment::variable;
use crate::http::{Http, TrustError, trusted_roots};

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);

/// How long one call may take with all its attempts: less than the 29 seconds that API Gateway
/// waits
/// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The maximum number of attempts of a call.
const ATTEMPTS: u32 = 3;

/// Why the environment does not configure a client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The endpoint is not a URL that a client can use.
    #[error("'{0}' is not the URL of a DynamoDB: use one such as http://localhost:8000")]
    Endpoint(String),
    /// There is no region.
    #[error("AWS_REGION is not set")]
    Region,
    /// There are no credentials.
    #[error("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")]
    Credentials,
    /// A variable contains a character that cannot be sent, such as a line break.
    #[error("{0} contains a space, a line break or another character that a header cannot contain")]
    Character(&'static str),
    /// The certificates to trust cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// Returns a DynamoDB client. Its region and credentials come only from the environment variables
/// that Lambda sets. It reads no profile and calls no other service.
///
/// `endpoint` is the URL of a DynamoDB to use instead of AWS's. With an endpoint, region and
/// credentials may be missing, because DynamoDB Local and similar servers accept any.
///
/// A call ends within 20 seconds, retries included.
///
/// # Errors
///
/// If no call could ever succeed.
pub fn client(endpoint: Option<&str>) -> Result<Client, ConfigurationError> {
    let (config, _) = configure(endpoint)?;
    Ok(Client::from_conf(config.build()))
}

/// Returns the same client as [`client`], and another for the warm-up. The calls of the second open
/// connections for the first, and send nothing.
///
/// # Errors
///
/// If no call could ever succeed.
pub(crate) fn client_and_warm_up(
    endpoint: Option<&str>,
) -> Result<(Client, Client), ConfigurationError> {
    let (config, http) = configure(endpoint)?;
    let warm_up = config
        .clone()
        .http_client(http.open_only())
        .retry_config(RetryConfig::disabled());
    Ok((
        Client::from_conf(config.build()),
        Client::from_conf(warm_up.build()),
    ))
}

fn configure(endpoint: Option<&str>) -> Result<(Builder, Http), ConfigurationError> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let retries = RetryPartition::custom("invocations");
    // The SDK's own quota carries over from one invocation to the next, so a fault would use up the
    // retries of later requests.
    let retries = retries.token_bucket(TokenBucket::unlimited()).build();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .retry_partition(retries)
        .interceptor(CheckResponses)
        .interceptor(RecordCalls);

    let mut roots = RootCertStore::empty();
    if endpoint.is_none_or(|endpoint| !has_scheme(endpoint, &["http"])) {
        roots = trusted_roots()?;
    }
    let http = Http::new(roots);
    config = config.http_client(http.clone());
    if let Some(endpoint) = endpoint {
        if !has_scheme(endpoint, &["http", "https"]) {
            return Err(ConfigurationError::Endpoint(endpoint.to_owned()));
        }
        config = config.endpoint_url(endpoint);
    }
    let region = match (variable("AWS_REGION"), endpoint) {
        (Some(region), _) => Region::new(region),
        (None, Some(_)) => Region::from_static("us-east-1"),
        (None, None) => return Err(ConfigurationError::Region),
    };
    config = match (has_credentials()?, endpoint) {
        (true, _) => config.credentials_provider(EnvironmentVariableCredentialsProvider::new()),
        (false, Some(_)) => config.credentials_provider(
            Credentials::builder()
                .access_key_id("local")
                .secret_access_key("local")
                .provider_name("placeholder")
                .build(),
        ),
        (false, None) => return Err(ConfigurationError::Credentials),
    };
    Ok((config.region(region), http))
}

/// Returns whether the text is a URL with a host and one of these schemes.
fn has_scheme(url: &str, schemes: &[&str]) -> bool {
    url.parse::<Uri>().is_ok_and(|url| {
        url.scheme_str()
            .is_some_and(|scheme| schemes.contains(&scheme))
    })
}

/// Returns whether the environment has credentials.
fn has_credentials() -> Result<bool, ConfigurationError> {
    const NAMES: [&str; 3] = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ];
    let values = NAMES.map(variable);
    for (name, value) in NAMES.iter().zip(&values) {
        if value
            .as_ref()
            .is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigurationError::Character(name));
        }
    }
    Ok(values[0].is_some() && values[1].is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_must_be_a_url_that_a_client_can_use() {
        for endpoint in [
            "localhost:8000",
            "not a url",
            "/path",
            "ftp://localhost",
            "http://",
            "http://ho st",
        ] {
            let error = client(Some(endpoint)).expect_err(endpoint);
            let is_endpoint = matches!(error, ConfigurationError::Endpoint(_));
            assert!(
                is_endpoint && error.to_string().contains(endpoint),
                "{error}"
            );
        }
        client(Some("http://localhost:8000")).expect("a client without region and credentials");
    }
}
