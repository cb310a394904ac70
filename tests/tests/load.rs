//! Kills functions and the whole service while clients send requests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::join_all;
use lambda_http::Body;
use lambda_http::http::{Method, Request};
use local::Database;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{Api, Client, Process, executables, repository};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The ids of the users whose last write has a response, and what is stored for each.
type Known = RefCell<BTreeMap<String, Option<Value>>>;

/// Sends a request to the users at a URL. Returns the body of the 200, or nothing if whoever had the
/// request was killed.
async fn send(client: &Client, method: Method, url: &str, body: &Value) -> Option<Value> {
    let body = match body {
        Value::Null => Body::Empty,
        body => Body::from(body.to_string()),
    };
    let request = Request::builder().method(method).uri(url).body(body);
    let response = client.send(request.expect("a request")).await.ok()?;
    if response.status().as_u16() == 502 {
        return None;
    }
    assert_eq!(response.status().as_u16(), 200, "{}", response.body());
    Some(serde_json::from_str(response.body()).expect("JSON"))
}

/// Creates, replaces, reads and deletes this many users. After each request, `goes_on` gets whether
/// there was a response.
async fn write(url: &str, name: &str, count: usize, known: &Known, goes_on: impl Fn(bool) -> bool) {
    let client = Client::default();
    'users: for number in 0..count {
        let id = format!("{name}-{number}");
        let path = format!("{url}/{id}");
        let [first, second] = [1, 2].map(|version| json!({"id": id, "version": version}));
        let steps = [
            (Method::POST, url, &first, &first, Some(&first)),
            (Method::PUT, &path, &second, &second, Some(&second)),
            (Method::GET, &path, &Value::Null, &second, Some(&second)),
            (Method::DELETE, &path, &Value::Null, &second, None),
        ];
        for (method, url, body, expected, stored) in steps.into_iter().take(3 + number % 2) {
            known.borrow_mut().remove(&id);
            let response = send(&client, method, url, body).await;
            let has_response = response.is_some();
            if let Some(response) = response {
                assert_eq!(response, *expected, "{url}");
                known.borrow_mut().insert(id.clone(), stored.cloned());
            }
            match goes_on(has_response) {
                false => return,
                true if !has_response => continue 'users,
                true => {}
            }
        }
    }
}

/// Asserts that the stored users are those of the responses so far.
async fn check(url: &str, known: &Known) {
    let list = send(&Client::default(), Method::GET, url, &Value::Null).await;
    let list = list.expect("a list");
    let users = list.as_array().expect("a list").iter();
    let stored: BTreeMap<_, _> = users.map(|user| (user["id"].as_str(), user)).collect();
    for (id, user) in &*known.borrow() {
        let stored = stored.get(&Some(id.as_str())).copied();
        assert_eq!(stored, user.as_ref(), "{id}");
    }
}

#[tokio::test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_killed_function_costs_at_most_one_request() {
    let api = Api::local(Database::Memory).await;
    let url = &format!("{}/users", api.url());
    let endpoint = api.service().dynamodb_endpoint();
    let (known, killed) = (Known::default(), RefCell::new(HashSet::new()));
    let (requests, lost) = (Cell::new(0), Cell::new(0));
    let after = |has_response: bool| {
        requests.set(requests.get() + 1);
        lost.set(lost.get() + usize::from(!has_response));
        if requests.get() % 10 == 0
            && let Some(process) = fastrand::choice(Process::all(endpoint))
        {
            killed.borrow_mut().insert(process.id());
            process.kill();
        }
        true
    };
    let names: Vec<_> = (0..8).map(|client| client.to_string()).collect();
    join_all(names.iter().map(|name| write(url, name, 15, &known, after))).await;
    let (kills, lost) = (killed.borrow().len(), lost.get());
    println!("{requests:?} requests, {kills} functions killed, {lost} lost");
    assert!(lost <= kills, "{lost} requests were lost to {kills} kills");
    assert!(kills > 25, "only {kills} functions were killed");
    assert!(known.borrow().len() > 60, "{known:?}");
    check(url, &known).await;

    // Killing functions that have fetched no request costs nothing.
    for process in Process::all(endpoint) {
        process.kill();
    }
    // The kernel ends a process a moment after the signal.
    while !Process::all(endpoint).is_empty() {
        tokio::task::yield_now().await;
    }
    let is_served = |has_response: bool| {
        assert!(has_response, "a request was lost");
        true
    };
    write(url, "last", 2, &known, is_served).await;
    api.delete("/users").await.is(&Value::Null);
    api.stop().await;
}

/// A process of the executable that `make run` starts, with its users in a file.
struct Running {
    process: Child,
    url: String,
    /// The URL of its DynamoDB.
    endpoint: String,
}

impl Running {
    async fn start(data: &Path) -> Self {
        let mut process = Command::new(executables().join("local"))
            .current_dir(repository::path("."))
            .env_clear()
            .envs([("PORT", "0"), ("PARAMS", "RateLimit=10000 BurstLimit=5000")])
            .env("DATA", data)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the service starts");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut after = async |mark: &str| loop {
            let line = lines.next_line().await.expect("text");
            let line = line.unwrap_or_else(|| panic!("the service prints no '{mark}'"));
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.to_owned();
            }
        };
        // The rest of the output is not read, which must not stop the service.
        Self {
            url: after("User Profile API: ").await,
            endpoint: after("--endpoint-url ").await,
            process,
        }
    }

    /// Waits until all functions of a service that was killed have exited.
    async fn functions_ended(&self) {
        let start = Instant::now();
        while !Process::all(&self.endpoint).is_empty() {
            let waited = start.elapsed();
            assert!(
                waited < Duration::from_secs(20),
                "functions outlive the service"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_killed_service_loses_no_write_and_leaves_no_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("users.db");
    let known = Known::default();
    for round in 0..5 {
        let mut service = Running::start(&data).await;
        check(&service.url, &known).await;
        let (enough, left) = (Notify::new(), Cell::new(fastrand::usize(20..60)));
        let responded = |has_response: bool| {
            left.set(left.get().saturating_sub(1));
            if left.get() == 1 {
                enough.notify_one();
            }
            has_response
        };
        let names: Vec<_> = (0..6).map(|writer| format!("{round}-{writer}")).collect();
        let writers = names
            .iter()
            .map(|name| write(&service.url, name, usize::MAX, &known, responded));
        let kill = async {
            enough.notified().await;
            service.process.kill().await.expect("the service is killed");
        };
        tokio::join!(join_all(writers), kill);
        service.functions_ended().await;
    }
    let mut service = Running::start(&data).await;
    check(&service.url, &known).await;
    let id = service.process.id().expect("it runs");
    let id = Pid::from_raw(id.try_into().expect("an id")).expect("an id");
    kill_process(id, Signal::TERM).expect("the service is told to stop");
    assert!(service.process.wait().await.expect("it stops").success());
    assert!(Process::all(&service.endpoint).is_empty());
}
