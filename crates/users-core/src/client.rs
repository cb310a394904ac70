//! The DynamoDB client: where it connects to, and how long it tries.

use std::env;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Config, ConfigBag, Credentials, Intercept, Region, RuntimeComponents,
};
use aws_sdk_dynamodb::error::BoxError;
use lambda_http::http::Uri;

use crate::https::Https;

/// The environment variable with the URL of a DynamoDB to use in place of AWS's.
pub const ENDPOINT_VARIABLE: &str = "DYNAMO_ENDPOINT";

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What the environment lacks or has wrong for there to be a client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The endpoint is not a URL that a client can use.
    #[error("'{0}' is not the URL of a DynamoDB: it has to be like http://localhost:8000")]
    Endpoint(String),
    /// There is no region.
    #[error("AWS_REGION is not set")]
    Region,
    /// There are no credentials.
    #[error("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")]
    Credentials,
}

/// A DynamoDB client that is configured by the environment alone, as Lambda sets it: region and credentials.
/// No file is read and no other service is asked.
///
/// `endpoint` is the URL of a DynamoDB to use in place of AWS's. With one, region and credentials may be missing:
/// DynamoDB Local and its like accept any.
///
/// One call ends within 20 seconds, retries included, so that an answer is given within the 29 seconds that API Gateway
/// waits (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
///
/// # Errors
///
/// If a call could never succeed.
pub fn client(endpoint: Option<&str>) -> Result<Client, ConfigurationError> {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(6))
        .operation_timeout(Duration::from_secs(20))
        .build();
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Https::new(CONNECT_TIMEOUT))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .interceptor(RefuseEmptyAnswers);

    if let Some(endpoint) = endpoint {
        let uri = endpoint.parse::<Uri>().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
            return Err(ConfigurationError::Endpoint(endpoint.to_owned()));
        }
        config = config.endpoint_url(endpoint);
    }
    let region = match (variable("AWS_REGION"), endpoint) {
        (Some(region), _) => Region::new(region),
        (None, Some(_)) => Region::from_static("us-east-1"),
        (None, None) => return Err(ConfigurationError::Region),
    };
    let has_credentials =
        variable("AWS_ACCESS_KEY_ID").is_some() && variable("AWS_SECRET_ACCESS_KEY").is_some();
    config = match (has_credentials, endpoint) {
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
    Ok(Client::from_conf(config.region(region).build()))
}

/// The value of an environment variable, unless it is blank.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The DynamoDB endpoint that the environment asks for in place of AWS's: [`ENDPOINT_VARIABLE`], else the SDK's own variables
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>). An empty one counts as none.
#[must_use]
pub fn endpoint_from_env() -> Option<String> {
    [ENDPOINT_VARIABLE, "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| variable(name))
}

/// Takes an answer without a body for the fault that it is. DynamoDB answers everything with a JSON object, but to the SDK no
/// body is an empty object, and so an item that does not exist, or a success.
#[derive(Debug)]
struct RefuseEmptyAnswers;

impl Intercept for RefuseEmptyAnswers {
    fn name(&self) -> &'static str {
        "RefuseEmptyAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().body().bytes().is_some_and(<[u8]>::is_empty) {
            Err("an answer without a body".into())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_to_be_a_url_that_a_client_can_use() {
        for endpoint in
            ["localhost:8000", "not a url", "/path", "ftp://localhost", "http://", "http://ho st"]
        {
            let error = client(Some(endpoint)).expect_err(endpoint);
            assert!(
                matches!(error, ConfigurationError::Endpoint(_))
                    && error.to_string().contains(endpoint),
                "{error}"
            );
        }
        client(Some("http://localhost:8000")).expect("a client without region and credentials");
    }
}
