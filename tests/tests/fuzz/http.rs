//! Arbitrary bytes over HTTP.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use tests::{Api, Table, engine, operations};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::meter::Meter;
use crate::{assert_first_processes, cases, fuzz};

/// The number of services, each with a thread that uses it.
const THREADS: usize = 2;

/// Sends bytes to the local service, and returns what it sends until it closes the connection.
async fn exchange(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let _ = stream.write_all(request).await;
    let _ = stream.shutdown().await;
    let mut response = Vec::new();
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut response)).await;
    String::from_utf8_lossy(&response).into_owned()
}

#[test]
fn a_request_over_http_gets_a_response() {
    let runtime = Runtime::new().expect("a runtime");
    let tables: Vec<_> = (0..THREADS)
        .map(|_| runtime.block_on(Table::new()))
        .collect();
    let on = |table: &Table| runtime.block_on(Api::on(engine(), table.name()));
    let services: Vec<_> = tables.iter().map(|table| (on(table), table)).collect();
    let workers = services
        .iter()
        .map(|(api, table)| (api, Meter::start(&runtime, api, operations(), table.name())));
    let strategy = || {
        let method = "(GET|POST|PUT|DELETE|PATCH|OPTIONS|HEAD|[A-Z]{1,8}|\\PC{0,5})";
        let path =
            "(/users|/users/1|/users/%41|/users/[ -~]{0,12}|/users\\?[ -~]{0,20}|/[ -~]{0,12})";
        let header =
            "(content-length: [0-9]{1,3}|transfer-encoding: chunked|[a-z-]{1,12}: [ -~]{0,12})";
        let body = prop_oneof![any::<Vec<u8>>(), "\\PC{0,40}".prop_map(String::into_bytes)];
        (method, path, vec(header, 0..3), body, any::<bool>())
    };
    fuzz(
        "HTTP",
        cases(50),
        workers.collect(),
        strategy,
        |api, case, meter| {
            let (method, path, headers, body, is_announced) = case;
            let url = api.url().trim_start_matches("http://");
            // A header may announce more of a body than there is.
            let is_complete = !headers.iter().any(|header| {
                header.starts_with("content-length") || header.starts_with("transfer")
            });
            let (address, stage) = url.split_once('/').expect("a URL with a stage");
            let mut head = format!("{method} /{stage}{path} HTTP/1.1\r\nhost: localhost\r\n");
            for header in headers {
                head += &header;
                head += "\r\n";
            }
            if is_announced {
                head += "content-length: ";
                head += &body.len().to_string();
                head += "\r\n";
            }
            let mut request = (head + "\r\n").into_bytes();
            request.extend(body);
            let response = runtime.block_on(exchange(address, &request));
            if let Some((head, body)) = response.split_once("\r\n\r\n") {
                prop_assert!(head.starts_with("HTTP/1.1 "), "{response}");
                // The bytes may contain a second request, which gets a second response.
                let body = body.split("HTTP/1.1 ").next().unwrap_or_default();
                if !body.is_empty() {
                    let json = serde_json::from_str::<Value>(body);
                    prop_assert!(json.is_ok() || head.contains("chunked"), "{response}");
                }
            } else {
                prop_assert!(response.is_empty() && !is_complete, "no response");
            }
            meter.finish_case()
        },
    );
    for (api, _) in &services {
        assert_first_processes(api, operations().len());
    }
}
