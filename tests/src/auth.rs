//! Authenticates requests to a deployed API with the credentials in the environment.

use std::env;
use std::time::SystemTime;

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use lambda_http::Body;
use lambda_http::http::{HeaderValue, Request};

/// Adds the API key in `API_KEY`, and a signature if `AUTH_TYPE` is `AWS_IAM`.
pub(crate) fn authenticate(request: &mut Request<Body>) {
    if let Some(key) = variable("API_KEY") {
        request.headers_mut().insert(
            "x-api-key",
            HeaderValue::try_from(key).expect("an API key that is a valid header"),
        );
    }
    if variable("AUTH_TYPE").as_deref() == Some("AWS_IAM") {
        add_signature(request);
    }
}

fn add_signature(request: &mut Request<Body>) {
    let needed = |name| {
        variable(name)
            .unwrap_or_else(|| panic!("AUTH_TYPE=AWS_IAM needs {name} in the environment"))
    };
    let mut credentials = Credentials::builder()
        .access_key_id(needed("AWS_ACCESS_KEY_ID"))
        .secret_access_key(needed("AWS_SECRET_ACCESS_KEY"))
        .provider_name("environment");
    credentials.set_session_token(variable("AWS_SESSION_TOKEN"));
    let identity = credentials.build().into();
    // The host is ID.execute-api.REGION.amazonaws.com, unless the API has a custom domain.
    let host = request.uri().host().expect("a host").to_owned();
    let region = match host.split('.').collect::<Vec<_>>()[..] {
        [_, "execute-api", region, ..] => region.to_owned(),
        _ => needed("AWS_REGION"),
    };
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(&region)
        .name("execute-api")
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .expect("complete signing parameters")
        .into();
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        std::iter::empty(),
        SignableBody::Bytes(request.body()),
    );
    let (instructions, _) = sign(signable.expect("a request"), &parameters)
        .expect("a signature")
        .into_parts();
    instructions.apply_to_request_http1x(request);
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
