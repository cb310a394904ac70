//! Which requests the local service accepts, which errors it returns itself, and what pages of
//! other origins can do.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use local::{Options, Service, Template, Throttle};
use serde_json::{Value, json};
use tests::{Browser, executables, repository};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;

/// Returns the template with these values of its parameters.
fn template(parameters: &[(&str, &str)]) -> Template {
    let parameters: BTreeMap<_, _> = parameters
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Template::read(&repository::path("template.yaml"), &parameters).expect("the template")
}

/// Starts a local service with these values of the template's parameters.
async fn service(parameters: &[(&str, &str)]) -> Service {
    let options = Options::new(template(parameters), executables().to_owned());
    Service::start(options).await.expect("a local service")
}

/// Returns the host and port of a URL.
fn address(url: &str) -> &str {
    url.trim_start_matches("http://")
        .split('/')
        .next()
        .expect("a host")
}

/// Sends this text, and returns everything that the service sends.
async fn exchange(url: &str, request: String) -> String {
    let address = address(url).to_owned();
    let response = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).expect("the service listens");
        let written = stream.write_all(request.as_bytes());
        written.expect("the service reads");
        let mut response = Vec::new();
        // After the response, the connection may be reset.
        let _ = stream.read_to_end(&mut response);
        String::from_utf8(response).expect("UTF-8")
    });
    response.await.expect("a response")
}

/// Sends this text as a request, and returns the status, the head in lower case and the body of the
/// response.
async fn raw(url: &str, request: String) -> (u16, String, Value) {
    let response = exchange(url, request).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = serde_json::from_str(body).unwrap_or_default();
    (status.expect("a status"), head.to_lowercase(), body)
}

/// Sends a request with these header lines besides the host's.
async fn send(url: &str, line: &str, headers: &str) -> (u16, String, Value) {
    let host = if headers.contains("host: ") {
        ""
    } else {
        "host: localhost\r\n"
    };
    let close = "connection: close\r\n";
    raw(
        url,
        format!("{line} HTTP/1.1\r\n{close}{host}{headers}\r\n"),
    )
    .await
}

/// Returns the status and the code of the response to a request.
async fn code(service: &Service, line: &str, headers: &str) -> (u16, String) {
    let (status, _, body) = send(service.url(), line, headers).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn other_hosts_and_other_origins_are_rejected() {
    let service = service(&[]).await;
    let simple = "origin: http://evil.example\r\ncontent-type: text/plain\r\n";
    let (evil, port) = ("host: evil.example\r\n", "host: evil.example:3000\r\n");
    for (line, headers, expected) in [
        ("GET /test/users", "", (200, "")),
        ("GET /test/users", evil, (403, "HostNotAllowed")),
        ("DELETE /test/users", port, (403, "HostNotAllowed")),
        ("POST /test/users", simple, (403, "OriginNotAllowed")),
        (
            "OPTIONS /test/users",
            "origin: null\r\n",
            (403, "OriginNotAllowed"),
        ),
    ] {
        let (status, code) = code(&service, line, headers).await;
        assert_eq!((status, code.as_str()), expected, "{line} {headers}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_embedded_dynamodb_accepts_only_this_runs_key() {
    let service = service(&[]).await;
    let key = service
        .dynamodb_credentials()
        .expect("an embedded DynamoDB");
    let signed = |key: &str| {
        let scope = "20260101/us-east-1/dynamodb/aws4_request";
        format!("authorization: AWS4-HMAC-SHA256 Credential={key}/{scope}\r\n")
    };
    let (own, other) = (signed(key.0), signed("local"));
    for (headers, expected) in [
        (own.clone(), 200),
        (other, 400),
        (String::new(), 400),
        (format!("host: evil.example\r\n{own}"), 403),
        (format!("origin: http://localhost\r\n{own}"), 403),
        (format!("sec-fetch-site: cross-site\r\n{own}"), 403),
    ] {
        let headers = format!("x-amz-target: DynamoDB_20120810.ListTables\r\n{headers}");
        let headers = format!("{headers}content-length: 2\r\n\r\n{{}}");
        let (status, head, body) = send(service.dynamodb_endpoint(), "POST /", &headers).await;
        assert_eq!(status, expected, "{headers}: {body}");
        assert!(!head.contains("access-control"), "{head}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_gets_an_error() {
    let service = service(&[]).await;
    let (line, fields) = (
        format!("GET /{}", "a".repeat(70_000)),
        "x: 1\r\n".repeat(2000),
    );
    assert_eq!(code(&service, &line, "").await.0, 414);
    assert_eq!(code(&service, "GET /test/users", &fields).await.0, 431);
    let field = format!("x: {}\r\n", "a".repeat(10_240));
    let expected = (431, "InvalidRequest".to_owned());
    assert_eq!(code(&service, "GET /test/users", &field).await, expected);
    service.stop().await;
}

/// Without its fragment, the second request would delete a user.
#[tokio::test]
async fn a_client_that_closes_its_side_gets_the_response() {
    let service = service(&[]).await;
    for (line, expected) in [
        ("GET /test/users", "HTTP/1.1 200"),
        ("DELETE /test/users/1", "HTTP/1.1 400"),
        ("GET /docs/", "HTTP/1.1 "),
    ] {
        let address = address(service.url()).to_owned();
        let client = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).expect("the service listens");
            let request = format!("{line} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("it reads");
            stream.shutdown(Shutdown::Write).expect("an open stream");
            let mut response = Vec::new();
            stream.read_to_end(&mut response).expect("a response");
            String::from_utf8_lossy(&response).into_owned()
        });
        let response = client.await.expect("a response");
        assert!(response.starts_with(expected), "{line}: {response:.200}");
    }
    service.stop().await;
}

#[tokio::test]
async fn a_target_with_a_fragment_is_rejected() {
    let service = service(&[]).await;
    let head = "host: localhost\r\n";
    let create =
        format!("POST /test/users HTTP/1.1\r\n{head}content-length: 10\r\n\r\n{{\"id\":\"1\"}}");
    for target in [
        "/test/users/1#2",
        "/test/users/1?#",
        "http://localhost/test/users/1#2",
    ] {
        let delete = format!("DELETE {target} HTTP/1.1\r\n{head}connection: close\r\n\r\n");
        let responses = exchange(service.url(), create.clone() + &delete).await;
        assert!(responses.contains("HTTP/1.1 400"), "{target}: {responses}");
        let (status, ..) = send(service.url(), "GET /test/users/1", head).await;
        assert_eq!(status, 200, "{target}");
    }
    // Text that looks like a request line is no request.
    let body = "GET /test/users#";
    let put = format!(
        "PUT /test/users/1 HTTP/1.1\r\n{head}content-length: {}\r\n\r\n{{\"text\":\"{body}\"}}\
         GET /test/users HTTP/1.1\r\n{head}connection: close\r\n\r\n",
        body.len() + 11
    );
    let responses = exchange(service.url(), put).await;
    assert_eq!(responses.matches("HTTP/1.1 200").count(), 2, "{responses}");
    service.stop().await;
}

/// Runs curl with these arguments, and with this body if there is one. Returns what it prints.
async fn curl(arguments: &[&str], body: Option<&[u8]>) -> String {
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error"])
        .args(arguments)
        .args(body.iter().flat_map(|_| ["--data-binary", "@-"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    let mut input = curl.stdin.take().expect("a pipe");
    input
        .write_all(body.unwrap_or_default())
        .await
        .expect("curl reads");
    drop(input);
    let output = curl.wait_with_output().await.expect("curl ends");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn responses_are_compressed_for_clients_that_accept_it() {
    let service = service(&[]).await;
    let (users, docs) = (
        format!("{}/users", service.url()),
        service.url().replace("/test", "/docs"),
    );
    let user = json!({"id": "1", "text": "x".repeat(2000)});
    for (url, accepted, coding) in [
        (&users, "br, gzip, deflate", "gzip"),
        (&users, "deflate", "deflate"),
        (&users, "gzip;q=0, br", ""),
        (&users, "", ""),
        (&format!("{users}/2"), "gzip", ""),
        (&format!("{docs}/swagger-ui.css"), "gzip", ""),
    ] {
        curl(&[&users], Some(user.to_string().as_bytes())).await;
        let accept = format!("accept-encoding: {accepted}");
        let format = "\n%header{content-encoding} %{size_download}";
        let printed = curl(&["--compressed", "-H", &accept, "-w", format, url], None).await;
        let (body, end) = printed.rsplit_once('\n').expect("the last line");
        let (coded, size) = end.split_once(' ').expect("the size");
        assert_eq!(coded, coding, "{url} {accepted}");
        let is_small = size.parse::<usize>().expect("a number") < 200;
        assert_eq!(
            is_small,
            !coding.is_empty() || url.ends_with("/2"),
            "{url} {accepted}: {size}"
        );
        if *url == users {
            assert_eq!(body, json!([user]).to_string());
        }
    }
    service.stop().await;
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }
    let service = service(&[]).await;
    let user = r#"{"id":"1","name":"Ada"}"#;
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(user.as_bytes()).expect("memory");
    let deflated = deflate.finish().expect("memory");
    let truncated = &gzip(user)[..20];
    let large = gzip(&" ".repeat(11_000_000));
    let url = format!("{}/users", service.url());
    curl(&[&url], Some(br#"{"id":"1"}"#)).await;
    let url = format!("{url}/1");
    for (coding, body, status) in [
        ("gzip", &gzip(user)[..], 200),
        ("GZIP", &gzip(user), 200),
        ("deflate", &deflated, 200),
        ("identity", user.as_bytes(), 200),
        ("gzip", user.as_bytes(), 415),
        ("gzip", truncated, 415),
        ("deflate", &gzip(user), 415),
        ("br", user.as_bytes(), 415),
        ("gzip, gzip", &gzip(user), 415),
        ("gzip", &large, 413),
    ] {
        let header = format!("content-encoding: {coding}");
        let arguments = ["-X", "PUT", "-H", &header, "-w", "%{http_code}", &url];
        let printed = curl(&arguments, Some(body)).await;
        let shown = match status {
            200 => user,
            415 => r#"{"code": "InvalidRequest", "message": "Unsupported Media Type"}"#,
            _ => r#"{"code": "RequestTooLarge", "message": "Request Too Long"}"#,
        };
        assert_eq!(printed, format!("{shown}{status}"), "{coding}");
    }
    service.stop().await;
}

/// A browser hides from a page why its request was rejected.
#[tokio::test]
async fn the_log_says_what_a_failed_request_should_do() {
    let (sender, mut lines) = mpsc::unbounded_channel();
    let template = template(&[("CorsAllowOrigin", "capacitor://localhost,https://a.example")]);
    let mut options = Options::new(template, executables().to_owned());
    options.requests = Arc::new(move |served| {
        let line = format!("{:?} {:?}", served.code, served.message);
        sender.send(line).expect("the test reads");
    });
    let service = Service::start(options).await.expect("a local service");
    let long = format!("GET /test/users/{}", "x".repeat(2000));
    for (line, header, shown) in [
        ("GET /test/users", "origin: https://a.example", "None None"),
        (
            "GET /test/users/1",
            "x: x",
            "UserNotFound\") Some(\"no user has the id '1'\")",
        ),
        (
            "OPTIONS /test/users",
            "origin: http://localhost:5173",
            "`make run CORS=capacitor://localhost,https://a.example,http://localhost:5173`",
        ),
        ("GET /test/users", "origin: null", "`make run CORS='*'`"),
        ("GET /test/users", "origin: file://", "`make run CORS='*'`"),
        (
            "GET /users",
            "x: x",
            "no such route; paths start with /test",
        ),
        ("GET /test/other", "x: x", "no such path and method"),
        (
            "GET /test/users/a%1b%5b2J",
            "x: x",
            "no user has the id 'a\u{fffd}[2J'",
        ),
        (&long, "x: x", "xxx…"),
    ] {
        send(
            service.url(),
            line,
            &format!("host: localhost\r\n{header}\r\n"),
        )
        .await;
        let logged = lines.recv().await.expect("a line");
        assert!(
            logged.contains(shown) && logged.len() < 500,
            "{line}: {logged}"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn a_key_and_each_limit_are_enforced() {
    // The rate is low enough that the bucket hardly refills while the test runs.
    let low = Throttle {
        rate: 1.0,
        burst: 2.0,
    };
    for limited in ["the stage", "the key", "the route"] {
        let mut template = template(&[("AuthType", "API_KEY")]);
        let set = |limits| Some(low).filter(|_| limits == limited);
        template.throttle = set("the stage");
        template.key_throttle = set("the key");
        for route in &mut template.routes {
            route.throttle = set("the route");
        }
        let options = Options::new(template, executables().to_owned());
        let service = Service::start(options).await.expect("a local service");
        for headers in ["", "x-api-key: other\r\n"] {
            let rejected = code(&service, "GET /test/users/1", headers).await;
            assert_eq!(rejected, (403, "InvalidApiKey".to_owned()));
        }
        let key = format!("x-api-key: {}\r\n", service.api_key().expect("a key"));
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(code(&service, "GET /test/users/1", &key).await);
        }
        assert_eq!(statuses[0], (400, "UserNotFound".to_owned()));
        let throttled = (429, "TooManyRequests".to_owned());
        assert!(statuses.contains(&throttled), "{limited}: {statuses:?}");
        service.stop().await;
    }
}

#[tokio::test]
async fn only_a_stage_with_cors_responds_to_preflight_requests() {
    let origin = "origin: http://localhost:5173\r\n";
    let method = "access-control-request-method: PUT\r\n";
    let preflight = "OPTIONS /test/users/1";
    let origins = "capacitor://localhost,http://localhost:5173";
    let open = service(&[("CorsAllowOrigin", origins)]).await;
    let (status, head, _) = send(open.url(), preflight, &format!("{origin}{method}")).await;
    assert_eq!(status, 204);
    for line in [
        "access-control-allow-origin: http://localhost:5173\r\n",
        "access-control-allow-methods: get,put,delete\r\n",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let (status, head, _) = send(open.url(), "GET /other", "").await;
    let allows_all = head.contains("access-control-allow-origin: *");
    assert!(status == 403 && allows_all, "{head}");
    open.stop().await;

    let closed = service(&[]).await;
    let (status, head, _) = send(closed.url(), preflight, method).await;
    assert!(status == 403 && !head.contains("access-control"), "{head}");
    closed.stop().await;
}

/// Returns a script that sends each request, and returns what the page can read of the responses.
fn script(requests: &[(&str, String, &str)]) -> String {
    let calls = requests.iter().map(|(method, url, body)| {
        let body = if body.is_empty() {
            String::new()
        } else {
            format!(", body: {}", json!(body))
        };
        format!(
            "out.push(await fetch('{url}', {{method: '{method}'{body}}})\
             .then(r => r.text().then(t => r.status + ' ' + t)).catch(() => 'blocked'));"
        )
    });
    format!("const out = []; {} return out;", calls.collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(chromium), ignore = "needs Chromium: apt-get install chromium")]
async fn a_page_of_another_origin_can_do_only_what_cors_allows() {
    let mut browser = Browser::start();
    // Any of its responses is a page of another origin.
    let other = service(&[]).await;
    browser.open(&format!("{}/users", other.url()));
    let origin = format!("http://{}", address(other.url()));
    for allowed in [true, false] {
        let parameters = [("CorsAllowOrigin", origin.as_str())];
        let service = service(if allowed { &parameters } else { &[] }).await;
        let (url, dynamodb) = (service.url(), service.dynamodb_endpoint());
        let script = script(&[
            ("POST", format!("{url}/users"), r#"{"id":"1"}"#),
            ("PUT", format!("{url}/users/1"), r#"{"name":"Ada"}"#),
            ("GET", format!("{url}/users"), ""),
            ("GET", format!("{url}/nothing"), ""),
            ("DELETE", format!("{url}/users"), ""),
            ("GET", dynamodb.to_owned(), ""),
            ("POST", dynamodb.to_owned(), "{}"),
        ]);
        let outcome: Vec<String> =
            serde_json::from_value(browser.run(&script)).expect("a list of texts");
        if allowed {
            assert_eq!(outcome[0], r#"200 {"id":"1"}"#);
            assert_eq!(outcome[1], r#"200 {"id":"1","name":"Ada"}"#);
            assert_eq!(outcome[2], r#"200 [{"id":"1","name":"Ada"}]"#);
            assert!(outcome[3].starts_with("403 {\"code\""), "{outcome:?}");
            assert_eq!(outcome[4], "200 null");
            assert_eq!(outcome[5..], ["blocked", "blocked"]);
        } else {
            assert_eq!(outcome, ["blocked"; 7]);
        }
        // The requests whose responses the page could not read changed nothing.
        assert_eq!(send(url, "GET /test/users", "").await.2, json!([]));
        service.stop().await;
    }
    other.stop().await;
}
