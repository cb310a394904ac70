//! What a function's environment decides, and what its log says if the environment is wrong.

use serde_json::json;
use tests::{Api, Table, TlsProxy, engine};

/// Asserts that every function fails because of its configuration, and that the log contains these
/// words.
async fn fail_because(api: Api, words: &[&str]) {
    for (_, reply) in api.request_each("1").await {
        reply.fails("InternalError");
    }
    assert_logged(api, words).await;
}

/// Asserts that the log contains these words.
async fn assert_logged(api: Api, words: &[&str]) {
    let log = api.into_log().await.join("\n");
    for word in words {
        assert!(log.contains(word), "'{word}' is not in: {log}");
    }
}

#[tokio::test]
async fn a_blank_variable_counts_as_unset() {
    let blank = [("USERS_TABLE", " "), ("CORS_ALLOW_ORIGIN", " ")];
    let api = Api::with_variables(&[&blank[..], &[("AWS_LAMBDA_LOG_LEVEL", "")]].concat()).await;
    let list = api.get("/users").await;
    list.is(&json!([]));
    assert_eq!(list.header("access-control-allow-origin"), None);
    api.post("/users", "{}").await.assert_ok();
    assert_logged(
        api,
        &[
            r#"method="GET" route="/users" status=200"#,
            r#"method="POST" route="/users" status=200"#,
        ],
    )
    .await;

    // Mozilla's roots are then trusted, and the proxy's certificate has another.
    let proxy = TlsProxy::start(engine()).await;
    let variables = [("DYNAMO_ENDPOINT", proxy.url()), ("SSL_CERT_FILE", " ")];
    let api = Api::with_variables(&variables).await;
    api.get("/users").await.fails("ServiceUnavailable");
    assert_logged(api, &["UnknownIssuer"]).await;
}

#[tokio::test]
async fn the_log_names_an_endpoint_that_is_not_a_url() {
    for endpoint in [
        "http://local host:8000",
        "localhost:8000",
        "ftp://localhost",
    ] {
        let api = Api::with_variables(&[("DYNAMO_ENDPOINT", endpoint)]).await;
        fail_because(api, &[endpoint, "http://localhost:8000"]).await;
    }
}

#[tokio::test]
async fn the_log_names_a_credential_that_cannot_be_sent() {
    let api = Api::with_variables(&[("AWS_SESSION_TOKEN", "line\nbreak")]).await;
    fail_because(api, &["AWS_SESSION_TOKEN", "line break"]).await;
}

#[tokio::test]
async fn the_log_names_a_file_of_certificates_that_cannot_be_used() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let empty = empty.path().to_str().expect("a path");
    for (path, problem) in [("/missing.pem", "No such file"), (empty, "no certificate")] {
        let variables = [
            ("DYNAMO_ENDPOINT", "https://localhost:1"),
            ("SSL_CERT_FILE", path),
        ];
        fail_because(Api::with_variables(&variables).await, &[path, problem]).await;
    }
}

#[tokio::test]
async fn a_server_is_trusted_if_the_file_contains_its_root() {
    let (table, proxy) = (Table::new().await, TlsProxy::start(engine()).await);
    let root = proxy.root().to_str().expect("a path");
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", proxy.url()),
        ("USERS_TABLE", table.name()),
        ("SSL_CERT_FILE", root),
    ])
    .await;
    for _ in 0..2 {
        api.get("/users").await.is(&json!([]));
        api.put("/users/1", "{}").await.fails("UserNotFound");
    }
    assert_eq!(proxy.connections(), 2);
}

#[tokio::test]
async fn the_log_says_which_certificate_is_untrusted_and_why() {
    let (proxy, other) = (
        TlsProxy::start(engine()).await,
        TlsProxy::start(engine()).await,
    );
    let by_address = proxy.url().replace("localhost", "127.0.0.1");
    let trusting = |proxy: &TlsProxy| proxy.root().to_str().expect("a path").to_owned();
    for (endpoint, root, problem) in [
        (proxy.url(), trusting(&other), "BadSignature"),
        (&by_address, trusting(&proxy), "not valid for name"),
    ] {
        let api =
            Api::with_variables(&[("DYNAMO_ENDPOINT", endpoint), ("SSL_CERT_FILE", &root)]).await;
        api.get("/users").await.fails("ServiceUnavailable");
        let server = endpoint.trim_start_matches("https://");
        assert_logged(api, &[server, "certificate", problem]).await;
    }
}
