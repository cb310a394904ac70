//! What a function's environment decides, and what its log says if the environment is wrong.

use serde_json::json;
use tests::{Api, Table, TlsProxy, engine};

/// Asserts that the log contains these words.
async fn assert_logged(api: Api, words: &[&str]) {
    let log = api.into_log().await.join("\n");
    for word in words {
        assert!(log.contains(word), "'{word}' is not in: {log}");
    }
}

#[tokio::test]
async fn a_blank_variable_counts_as_unset() {
    let blank = ["USERS_TABLE", "CORS_ALLOW_ORIGIN", "AWS_LAMBDA_LOG_LEVEL"];
    let api = Api::with_variables(&blank.map(|name| (name, " "))).await;
    let list = api.get("/users").await;
    list.is(&json!([]));
    assert_eq!(list.header("access-control-allow-origin"), None);
    api.post("/users", "{}").await.assert_ok();
    let line = |method| format!("method=\"{method}\" route=\"/users\" status=200");
    assert_logged(api, &[&line("GET"), &line("POST")]).await;

    // Mozilla's roots are then trusted, and the proxy's certificate has another.
    let proxy = TlsProxy::start(engine()).await;
    let variables = [("DYNAMO_ENDPOINT", proxy.url()), ("SSL_CERT_FILE", " ")];
    let api = Api::with_variables(&variables).await;
    api.get("/users").await.fails("ServiceUnavailable");
    assert_logged(api, &["UnknownIssuer"]).await;
}

#[tokio::test]
async fn the_log_names_what_no_function_can_use() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let empty = empty.path().to_str().expect("a path");
    let example = "http://localhost:8000";
    let https = "https://localhost:1";
    let endpoint = |url| vec![("DYNAMO_ENDPOINT", url)];
    let roots = |path| vec![("DYNAMO_ENDPOINT", https), ("SSL_CERT_FILE", path)];
    let (space, ftp) = ("http://local host:8000", "ftp://localhost");
    for (variables, words) in [
        (endpoint(space), [space, example]),
        (endpoint("localhost:8000"), ["'localhost:8000'", example]),
        (endpoint(ftp), [ftp, example]),
        (roots("/missing.pem"), ["/missing.pem", "No such file"]),
        (roots(empty), [empty, "no certificate"]),
        (
            vec![("AWS_SESSION_TOKEN", "line\nbreak")],
            ["AWS_SESSION_TOKEN", "line break"],
        ),
    ] {
        let api = Api::with_variables(&variables).await;
        for (_, reply) in api.request_each("1").await {
            reply.fails("InternalError");
        }
        assert_logged(api, &words).await;
    }
}

#[tokio::test]
async fn a_server_is_trusted_if_the_file_contains_its_root() {
    let (table, proxy) = (Table::new().await, TlsProxy::start(engine()).await);
    let api = Api::with_variables(&[
        ("DYNAMO_ENDPOINT", proxy.url()),
        ("USERS_TABLE", table.name()),
        ("SSL_CERT_FILE", proxy.root()),
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
    let proxy = TlsProxy::start(engine()).await;
    let other = TlsProxy::start(engine()).await;
    let by_address = proxy.url().replace("localhost", "127.0.0.1");
    for (endpoint, root, problem) in [
        (proxy.url(), other.root(), "BadSignature"),
        (&by_address, proxy.root(), "not valid for name"),
    ] {
        let variables = [("DYNAMO_ENDPOINT", endpoint), ("SSL_CERT_FILE", root)];
        let api = Api::with_variables(&variables).await;
        api.get("/users").await.fails("ServiceUnavailable");
        let server = endpoint.trim_start_matches("https://");
        assert_logged(api, &[server, "certificate", problem]).await;
    }
}
