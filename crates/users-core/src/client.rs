//! The DynamoDB client: where it connects to, and how long it tries.

use std::env;
use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, ConfigBag, Credentials, Intercept, Region, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

/// A DynamoDB client that is configured by the environment alone, as Lambda sets it: region and credentials.
/// No file is read and no other service is asked.
///
/// `endpoint` is the URL of a DynamoDB to use in place of AWS's. With one, region and credentials may be missing:
/// DynamoDB Local and its like accept any.
///
/// One call ends within 20 seconds, retries included, so that an answer is given within the 29 seconds that API Gateway
/// waits (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>).
#[must_use]
pub fn client(endpoint: Option<&str>) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(6))
        .operation_timeout(Duration::from_secs(20))
        .build();
    let tls = tls::Provider::Rustls(CryptoMode::Ring);
    let mut config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().tls_provider(tls).build_https())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .interceptor(RefuseEmptyAnswers)
        .region(env::var("AWS_REGION").ok().map(Region::new))
        .credentials_provider(EnvironmentVariableCredentialsProvider::new());
    if let Some(endpoint) = endpoint {
        config = config.endpoint_url(endpoint);
        if env::var_os("AWS_REGION").is_none() {
            config = config.region(Region::from_static("us-east-1"));
        }
        if env::var_os("AWS_ACCESS_KEY_ID").is_none() {
            config = config.credentials_provider(
                Credentials::builder()
                    .access_key_id("local")
                    .secret_access_key("local")
                    .provider_name("placeholder")
                    .build(),
            );
        }
    }
    Client::from_conf(config.build())
}

/// The DynamoDB endpoint that the environment asks for in place of AWS's: `DYNAMO_ENDPOINT`, else the SDK's own variables
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>). An empty one counts as none.
#[must_use]
pub fn endpoint_from_env() -> Option<String> {
    ["DYNAMO_ENDPOINT", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|endpoint| !endpoint.is_empty()))
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
