//! Which requests the local service accepts, which errors it returns itself, and what pages of
//! other origins can do.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use local::{Options, Service, Template};
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
        stream
            .write_all(request.as_bytes())
            .expect("the service reads");
        let mut response = Vec::new();
        // After the response, the connection may be reset.
        let _ = stream.read_to_end(&mut response);
        String::from_utf8(response).expect("UTF-8")
    });
    response.await.expect("a response")
}

/// Sends this text as a request, and returns the status, the head and the body of the response.
async fn raw(url: &str, request: String) -> (u16, String, Value) {
    let response = exchange(url, request).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("a status");
    (
        status,
        head.to_lowercase(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// Returns the status and the code of the response to a request with these header lines.
async fn send(service: &Service, line: &str, headers: &str) -> (u16, String) {
    let request = format!("{line} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    let (status, _, body) = raw(service.url(), request).await;
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn other_hosts_and_other_origins_are_rejected() {
    let service = service(&[]).await;
    for (line, headers, expected) in [
        ("GET /test/users", "host: localhost\r\n", (200, "")),
        (
            "GET /test/users",
            "host: evil.example\r\n",
            (403, "HostNotAllowed"),
        ),
        (
            "DELETE /test/users",
            "host: evil.example:3000\r\n",
            (403, "HostNotAllowed"),
        ),
        (
            "POST /test/users",
            "host: localhost\r\norigin: http://evil.example\r\ncontent-type: text/plain\r\n",
            (403, "OriginNotAllowed"),
        ),
        (
            "OPTIONS /test/users",
            "host: localhost\r\norigin: null\r\n",
            (403, "OriginNotAllowed"),
        ),
    ] {
        let (status, code) = send(&service, line, headers).await;
        assert_eq!((status, code.as_str()), expected, "{line} {headers}");
    }
    service.stop().await;
}

#[tokio::test]
async fn the_embedded_dynamodb_accepts_only_this_runs_key() {
    let service = service(&[]).await;
    let (key, _) = service
        .dynamodb_credentials()
        .expect("an embedded DynamoDB");
    let scope = "20260101/us-east-1/dynamodb/aws4_request";
    let own = format!("authorization: AWS4-HMAC-SHA256 Credential={key}/{scope}\r\n");
    let other = format!("authorization: AWS4-HMAC-SHA256 Credential=local/{scope}\r\n");
    for (headers, expected) in [
        (format!("host: localhost\r\n{own}"), 200),
        (format!("host: localhost\r\n{other}"), 400),
        ("host: localhost\r\n".to_owned(), 400),
        (format!("host: evil.example\r\n{own}"), 403),
        (
            format!("host: localhost\r\norigin: http://localhost\r\n{own}"),
            403,
        ),
        (
            format!("host: localhost\r\nsec-fetch-site: cross-site\r\n{own}"),
            403,
        ),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nconnection: close\r\nx-amz-target: DynamoDB_20120810.ListTables\r\n\
             {headers}content-length: 2\r\n\r\n{{}}"
        );
        let (status, head, body) = raw(service.dynamodb_endpoint(), request).await;
        assert_eq!(status, expected, "{headers}: {body}");
        assert!(!head.contains("access-control"), "{head}");
    }
    service.stop().await;
}

#[tokio::test]
async fn bytes_that_are_not_a_request_get_an_error() {
    let service = service(&[]).await;
    let many = "x: 1\r\n".repeat(2000);
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            format!(
                "GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
                "a".repeat(70_000)
            ),
            414,
        ),
        (
            format!("GET /test/users HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
            431,
        ),
        (
            format!(
                "GET /test/users HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\nx: {}\r\n\r\n",
                "a".repeat(10_240)
            ),
            431,
        ),
    ] {
        let line = request.chars().take(30).collect::<String>();
        let is_a_request = request.contains("connection: close");
        let (actual, head, body) = raw(service.url(), request).await;
        assert_eq!(actual, status, "{line}: {head}");
        if is_a_request {
            assert_eq!(body["code"], json!("InvalidRequest"), "{line}: {body}");
        }
    }
    service.stop().await;
}

/// Without its fragment, the second request would delete a user.
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
        let found = send(&service, "GET /test/users/1", head).await;
        assert_eq!(found, (200, String::new()), "{target}");
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
        send(&service, line, &format!("host: localhost\r\n{header}\r\n")).await;
        let logged = lines.recv().await.expect("a line");
        assert!(
            logged.contains(shown) && logged.len() < 500,
            "{line}: {logged}"
        );
    }
    service.stop().await;
}

#[tokio::test]
async fn a_stage_with_a_key_and_limits_enforces_both() {
    // The rate is low enough that the bucket hardly refills while the test runs.
    let service = service(&[
        ("AuthType", "API_KEY"),
        ("RateLimit", "1"),
        ("BurstLimit", "2"),
    ])
    .await;
    let key = format!(
        "host: localhost\r\nx-api-key: {}\r\n",
        service.api_key().expect("a key")
    );
    for headers in [
        "host: localhost\r\n",
        "host: localhost\r\nx-api-key: other\r\n",
    ] {
        let rejected = send(&service, "GET /test/users/1", headers).await;
        assert_eq!(rejected, (403, "InvalidApiKey".to_owned()));
    }
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(send(&service, "GET /test/users/1", &key).await);
    }
    assert_eq!(statuses[0], (400, "UserNotFound".to_owned()));
    assert!(
        statuses.contains(&(429, "TooManyRequests".to_owned())),
        "{statuses:?}"
    );
    service.stop().await;
}

#[tokio::test]
async fn only_a_stage_with_cors_responds_to_preflight_requests() {
    let origin = "http://localhost:5173";
    let request = format!(
        "OPTIONS /test/users/1 HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n\
         origin: {origin}\r\naccess-control-request-method: PUT\r\n\r\n"
    );
    let origins = format!("capacitor://localhost,{origin}");
    let parameters = [("CorsAllowOrigin", origins.as_str())];
    let open = service(&parameters).await;
    let (status, head, _) = raw(open.url(), request.clone()).await;
    assert_eq!(status, 204);
    let allows = format!("access-control-allow-origin: {origin}\r\n");
    assert!(head.contains(&allows), "{head}");
    let template = template(&parameters);
    let preflight = template
        .mocks
        .iter()
        .find(|mock| mock.path == "/users/{id}");
    let headers = &preflight
        .expect("the template has a preflight response")
        .headers;
    for (name, value) in headers {
        let value = value.to_str().expect("text");
        let header = format!("{name}: {value}\r\n").to_lowercase();
        assert!(head.contains(&header), "{header}: {head}");
    }
    let unknown = "GET /other HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n\r\n";
    let (status, head, _) = raw(open.url(), unknown.to_owned()).await;
    assert!(
        status == 403 && head.contains("access-control-allow-origin: *"),
        "{head}"
    );
    open.stop().await;

    let closed = service(&[]).await;
    let without_origin = request.replace(&format!("origin: {origin}\r\n"), "");
    let (status, head, _) = raw(closed.url(), without_origin).await;
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
        let list = "GET /test/users HTTP/1.1\r\nconnection: close\r\nhost: localhost\r\n\r\n";
        assert_eq!(raw(url, list.to_owned()).await.2, json!([]));
        service.stop().await;
    }
    other.stop().await;
}
