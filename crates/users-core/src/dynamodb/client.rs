//! The DynamoDB client: which endpoint it uses, and how long it tries.

use std::path::PathBuf;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryPartition, TokenBucket};
use aws_sdk_dynamodb::config::{Builder, Config, Credentials};
use lambda_http::http::Uri;
use rustls::RootCertStore;

use super::calls::ObserveCalls;
use super::error::RetryConflicts;
use super::http::Http;
use super::tls::{TrustError, trusted_roots};

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
    #[error("'{0}' is not a DynamoDB endpoint; use a URL such as http://localhost:8000")]
    Endpoint(String),
    /// There is no region.
    #[error("AWS_REGION is not set")]
    Region,
    /// There are no credentials.
    #[error("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")]
    Credentials,
    /// The credentials would have to come from a server.
    #[error(
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and credentials from {0}, as \
         Lambda SnapStart has them, are not supported"
    )]
    ContainerCredentials(&'static str),
    /// A variable contains a character that cannot be sent, such as a line break.
    #[error("{0} contains a space, a line break or another character that a header cannot contain")]
    Character(&'static str),
    /// The certificates to trust cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

/// What decides which DynamoDB server a client calls, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// The URL of a DynamoDB server to use instead of AWS's. With an endpoint, region and
    /// credentials may be missing, because DynamoDB Local and similar servers accept any.
    pub(crate) endpoint: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) credentials: Option<Credentials>,
    /// A PEM file whose certificates are trusted instead of Mozilla's.
    pub(crate) certificates: Option<PathBuf>,
}

impl Settings {
    /// Returns a client. A call ends within 20 seconds, retries included.
    ///
    /// # Errors
    ///
    /// If no call could ever succeed.
    pub(crate) fn client(&self) -> Result<Client, ConfigurationError> {
        let (config, _) = self.configure()?;
        Ok(Client::from_conf(config.build()))
    }

    /// Returns the same client as [`Settings::client`], and another for the warm-up. The calls of
    /// the second open connections for the first, and send nothing.
    ///
    /// # Errors
    ///
    /// If no call could ever succeed.
    pub(crate) fn client_and_warm_up(&self) -> Result<(Client, Client), ConfigurationError> {
        let (config, http) = self.configure()?;
        let warm_up = config
            .clone()
            .http_client(http.open_only())
            .retry_config(RetryConfig::disabled());
        Ok((
            Client::from_conf(config.build()),
            Client::from_conf(warm_up.build()),
        ))
    }

    fn configure(&self) -> Result<(Builder, Http), ConfigurationError> {
        let endpoint = self.endpoint.as_deref();
        let roots = match endpoint.map(scheme) {
            Some(Some("http")) => RootCertStore::empty(),
            Some(Some("https")) | None => trusted_roots(self.certificates.as_deref())?,
            Some(_) => {
                let endpoint = endpoint.unwrap_or_default();
                return Err(ConfigurationError::Endpoint(endpoint.to_owned()));
            }
        };
        let region = match (&self.region, endpoint) {
            (Some(region), _) => Region::new(region.clone()),
            (None, Some(_)) => Region::from_static("us-east-1"),
            (None, None) => return Err(ConfigurationError::Region),
        };
        let credentials = match (&self.credentials, endpoint) {
            (Some(credentials), _) => credentials.clone(),
            (None, Some(_)) => Credentials::new("local", "local", None, None, "placeholder"),
            (None, None) => return Err(ConfigurationError::Credentials),
        };
        let http = Http::new(roots);
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT_TIMEOUT)
            .operation_timeout(CALL_TIMEOUT)
            .build();
        // The SDK's own quota carries over from one invocation to the next, so a fault would use up
        // the retries of later requests.
        let retries = RetryPartition::custom("invocations")
            .token_bucket(TokenBucket::unlimited())
            .build();
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http.clone())
            .region(region)
            .credentials_provider(credentials)
            .timeout_config(timeouts)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .retry_partition(retries)
            .retry_classifier(RetryConflicts)
            .interceptor(ObserveCalls);
        config.set_endpoint_url(self.endpoint.clone());
        Ok((config, http))
    }
}

/// Returns the scheme of a URL with a host, if it is `http` or `https`.
fn scheme(url: &str) -> Option<&'static str> {
    let url: Uri = url.parse().ok()?;
    ["http", "https"]
        .into_iter()
        .find(|scheme| url.scheme_str() == Some(*scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &str) -> Result<Client, ConfigurationError> {
        let settings = Settings {
            endpoint: Some(endpoint.to_owned()),
            ..Settings::default()
        };
        settings.client()
    }

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
            let error = client(endpoint).expect_err(endpoint);
            assert!(matches!(error, ConfigurationError::Endpoint(_)), "{error}");
            assert!(error.to_string().contains(endpoint), "{error}");
        }
        client("http://localhost:8000").expect("a client without region and credentials");
    }
}
