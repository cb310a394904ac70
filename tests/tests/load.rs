//! Kills functions and the whole service while clients send requests.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures::future::join_all;
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use lambda_http::Body;
use lambda_http::http::{Method, Request};
use local::Database;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tests::{Api, Process, Reply, executables, repository};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::time::sleep;

/// A killer of random function processes.
struct Killer<'a> {
    endpoint: &'a str,
    killed: Mutex<HashSet<Pid>>,
    requests: AtomicUsize,
    lost: AtomicUsize,
}

impl Killer<'_> {
    /// Returns the response, unless the function that had fetched the request was killed. Kills a
    /// function after every tenth response.
    fn after(&self, reply: Reply) -> Option<Reply> {
        if self.requests.fetch_add(1, Relaxed) % 10 == 9 {
            let processes = Process::all(self.endpoint);
            if let Some(process) = fastrand::choice(processes) {
                self.killed.lock().expect("a set").insert(process.id());
                process.kill();
            }
        }
        if reply.status == 502 {
            self.lost.fetch_add(1, Relaxed);
            return None;
        }
        Some(reply)
    }
}

/// Creates, reads, replaces, lists and deletes users. Returns the ids of those whose last write has
/// a response, and what is stored for each.
async fn use_users(api: &Api, killer: &Killer<'_>, client: usize) -> Vec<(String, Option<Value>)> {
    let mut known = Vec::new();
    'users: for number in 0..15 {
        let id = format!("{client}-{number}");
        let path = format!("/users/{id}");
        let user = |version: u8| json!({"id": id, "email": "a@b", "version": version});
        let Some(reply) = killer.after(api.post("/users", &user(1)).await) else {
            continue;
        };
        reply.is(&user(1));
        let mut stored = Some(user(1));
        for version in 2..4 {
            if let Some(reply) = killer.after(api.get(&path).await) {
                reply.is(&user(version - 1));
            }
            let Some(reply) = killer.after(api.put(&path, &user(version)).await) else {
                continue 'users;
            };
            reply.is(&user(version));
            stored = Some(user(version));
        }
        if let Some(reply) = killer.after(api.get("/users?email=a@b&limit=5").await) {
            reply.assert_ok();
        }
        if number % 3 == 0 {
            let Some(reply) = killer.after(api.delete(&path).await) else {
                continue;
            };
            reply.is(&user(3));
            stored = None;
        }
        known.push((id, stored));
    }
    known
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_killed_function_costs_at_most_one_request() {
    let api = Api::local(Database::Memory).await;
    let killer = Killer {
        endpoint: api.service().dynamodb_endpoint(),
        killed: Mutex::default(),
        requests: AtomicUsize::new(0),
        lost: AtomicUsize::new(0),
    };
    let clients = (0..8).map(|client| use_users(&api, &killer, client));
    let known: BTreeMap<_, _> = join_all(clients).await.into_iter().flatten().collect();

    let (kills, lost) = (
        killer.killed.lock().expect("a set").len(),
        killer.lost.load(Relaxed),
    );
    println!(
        "{:?} requests, {kills} functions killed, {lost} lost",
        killer.requests
    );
    assert!(lost <= kills, "{lost} requests were lost to {kills} kills");
    assert!(kills > 50, "only {kills} functions were killed");
    let all = api.get("/users").await.json();
    let users = all.as_array().expect("a list");
    let stored: BTreeMap<_, _> = users
        .iter()
        .map(|user| (user["id"].as_str(), user))
        .collect();
    for (id, user) in &known {
        assert_eq!(
            stored.get(&Some(id.as_str())).copied(),
            user.as_ref(),
            "{id}"
        );
    }
    assert!(known.len() > 60, "{} users", known.len());

    // Killing functions that have fetched no request costs nothing.
    for process in Process::all(killer.endpoint) {
        process.kill();
    }
    // The kernel ends a process a moment after the signal.
    while !Process::all(killer.endpoint).is_empty() {
        tokio::task::yield_now().await;
    }
    let user = json!({"id": "1"});
    api.post("/users", &user).await.is(&user);
    api.put("/users/1", &user).await.is(&user);
    api.get("/users/1").await.is(&user);
    api.get("/users?limit=1").await.assert_ok();
    api.delete("/users/1").await.is(&user);
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
        let (mut url, mut endpoint) = (None, None);
        while let (Some(line), true) = (
            lines.next_line().await.expect("text"),
            url.is_none() || endpoint.is_none(),
        ) {
            url = url.or(line.strip_prefix("User Profile API: ").map(str::to_owned));
            endpoint = endpoint.or(line
                .split_once("--endpoint-url ")
                .map(|(_, it)| it.to_owned()));
        }
        // The rest of the output is not read, which must not stop the service.
        let url = url.expect("the service prints its URL");
        Self {
            process,
            url,
            endpoint: endpoint.expect("the service prints its DynamoDB's"),
        }
    }

    /// Waits until all functions of a service that was killed have exited.
    async fn functions_ended(&self) {
        let start = Instant::now();
        while !Process::all(&self.endpoint).is_empty() {
            let left = Process::all(&self.endpoint);
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{left:?} outlive the service"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

type HttpClient = Client<HttpConnector, Body>;

/// Sends a request. Returns the body of the 200, or nothing if the connection ends first.
async fn send(client: &HttpClient, method: Method, url: &str, body: &Value) -> Option<Value> {
    let body = if body.is_null() {
        Body::Empty
    } else {
        Body::from(body.to_string())
    };
    let request = Request::builder()
        .method(method)
        .uri(url)
        .body(body)
        .expect("a request");
    let response = client.request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert_eq!(status, 200, "{text}");
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// The ids of the users whose last write has a response, and what is stored for each.
type Known = Mutex<BTreeMap<String, Option<Value>>>;

/// Creates, replaces and deletes users until the service is killed. Calls `responded` after each
/// response.
async fn write(url: &str, name: &str, known: &Known, responded: impl Fn()) -> Option<()> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    for number in 0.. {
        let id = format!("{name}-{number}");
        let path = format!("{url}/{id}");
        let users = [1, 2].map(|version| json!({"id": id, "version": version}));
        let steps = [
            (Method::POST, url, &users[0], Some(&users[0])),
            (Method::PUT, path.as_str(), &users[1], Some(&users[1])),
            (Method::DELETE, path.as_str(), &Value::Null, None),
        ];
        for (method, url, body, stored) in steps.into_iter().take(2 + number % 2) {
            known.lock().expect("a map").remove(&id);
            send(&client, method, url, body).await?;
            known
                .lock()
                .expect("a map")
                .insert(id.clone(), stored.cloned());
            responded();
        }
    }
    None
}

/// Asserts that the stored users are those of the responses so far.
async fn check(service: &Running, known: &Known) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let list = send(&client, Method::GET, &service.url, &Value::Null)
        .await
        .expect("a list");
    let users = list.as_array().expect("a list");
    let stored: BTreeMap<_, _> = users
        .iter()
        .map(|user| (user["id"].as_str(), user))
        .collect();
    for (id, user) in &*known.lock().expect("a map") {
        assert_eq!(
            stored.get(&Some(id.as_str())).copied(),
            user.as_ref(),
            "{id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_loses_no_write_and_leaves_no_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("users.db");
    let known = Known::default();
    for round in 0..10 {
        let mut service = Running::start(&data).await;
        check(&service, &known).await;
        let (enough, left) = (Notify::new(), AtomicUsize::new(fastrand::usize(20..60)));
        let responded = || {
            if left.fetch_sub(1, Relaxed) == 1 {
                enough.notify_one();
            }
        };
        let names: Vec<_> = (0..6).map(|writer| format!("{round}-{writer}")).collect();
        let writers = names
            .iter()
            .map(|name| write(&service.url, name, &known, responded));
        let kill = async {
            enough.notified().await;
            service.process.kill().await.expect("the service is killed");
        };
        tokio::join!(join_all(writers), kill);
        service.functions_ended().await;
    }
    let mut service = Running::start(&data).await;
    check(&service, &known).await;
    let id = service
        .process
        .id()
        .and_then(|id| Pid::from_raw(id.try_into().ok()?));
    kill_process(id.expect("an id"), Signal::TERM).expect("the service is told to stop");
    assert!(service.process.wait().await.expect("it stops").success());
    assert!(Process::all(&service.endpoint).is_empty());
    println!(
        "{} users with a known state",
        known.lock().expect("a map").len()
    );
}
