//! Clients that use the same user at the same time: the results of all of them fit into one order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use futures::future::join_all;
use lambda_http::http::Method;
use serde_json::{Value, json};
use tests::oracle::history::{Action, Call, Effects, Outcome, is_linearizable};
use tests::{Api, ScriptedResponse, ScriptedServer, Table, TcpProxy, engine};

/// The maximum number of processes of a function.
const INSTANCES: u16 = 10;

const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 120;
const USERS: u64 = 3;

/// Performs operations on a few users with concurrent clients. Returns the history of each user.
async fn histories(api: &Api) -> BTreeMap<u64, Vec<Call>> {
    let clock = Instant::now();
    let now = || u64::try_from(clock.elapsed().as_nanos()).expect("less than 584 years");
    let client = async |client: u64| {
        let mut history = Vec::new();
        for i in 0..OPERATIONS {
            let value = client * OPERATIONS + i;
            // Every combination of an action and a user occurs, in another order for each client.
            let mixed = value.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let (user, kind) = (mixed % USERS, mixed / USERS % 5);
            let path = format!("/users/{user}");
            let (action, method) = match kind {
                0 => (Action::Create(value), Method::POST),
                1 => (Action::Replace(value), Method::PUT),
                2 => (Action::Delete, Method::DELETE),
                _ => (Action::Read, Method::GET),
            };
            let path = if method == Method::POST {
                "/users"
            } else {
                &path
            };
            let body = match action {
                Action::Create(_) => json!({"id": user.to_string(), "value": value}).to_string(),
                Action::Replace(_) => json!({"value": value}).to_string(),
                _ => String::new(),
            };
            let start = now();
            let reply = api.send(method, path, &body).await;
            let end = now();
            let outcome = match reply.status {
                200 => Outcome::Done(reply.json()["value"].as_u64().expect("a value")),
                400 => Outcome::Rejected,
                _ => Outcome::Unknown,
            };
            history.push((
                user,
                Call {
                    action,
                    outcome,
                    start,
                    end,
                },
            ));
        }
        history
    };
    let mut histories = BTreeMap::<_, Vec<_>>::new();
    for (user, call) in join_all((0..CLIENTS).map(client))
        .await
        .into_iter()
        .flatten()
    {
        histories.entry(user).or_default().push(call);
    }
    histories
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_with_a_lost_response_applies_once_or_twice() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = Api::with_instances(proxy.url(), table.name(), INSTANCES).await;
    proxy.lose_every(50);
    for (user, history) in histories(&api).await {
        assert!(
            is_linearizable(&history, Effects::OnceOrTwice),
            "user {user}: {history:#?}"
        );
    }
    assert!(proxy.lost() > 5, "{} responses were lost", proxy.lost());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_may_take_effect_later() {
    /// The shortest time after which the service gives up an attempt, in nanoseconds.
    const GIVEN_UP: u64 = 2_000_000_000;

    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = Api::with_instances(proxy.url(), table.name(), INSTANCES).await;
    proxy.delay_every(120);
    for (user, history) in histories(&api).await {
        assert!(
            is_linearizable(&history, Effects::OnceAndLater(GIVEN_UP)),
            "user {user}: {history:#?}"
        );
    }
    assert!(proxy.delayed() > 3, "{} were late", proxy.delayed());
}

/// Starts a server that forwards requests to the one at this URL, but throttles about one in 25
/// itself, with DynamoDB's two codes in turn. It throttles no request twice, so that each succeeds
/// in the end. Returns it with the number of requests that it has throttled.
async fn throttling(upstream: &str) -> (ScriptedServer, Arc<AtomicUsize>) {
    let throttled = Arc::new(AtomicUsize::new(0));
    let (upstream, count) = (upstream.to_owned(), Arc::clone(&throttled));
    let (mut forwarded, mut seen) = (0, HashSet::new());
    let server = ScriptedServer::start(move |_, request| {
        if forwarded < 24 || !seen.insert(request.to_string()) {
            forwarded += 1;
            return ScriptedResponse::Forwarded(upstream.clone());
        }
        forwarded = 0;
        let codes = [
            "ThrottlingException",
            "ProvisionedThroughputExceededException",
        ];
        ScriptedResponse::Error(400, codes[count.fetch_add(1, Relaxed) % 2])
    });
    (server.await, throttled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_throttled_takes_effect_once() {
    let table = Table::new().await;
    let (server, throttled) = throttling(engine()).await;
    let api = Api::with_instances(server.endpoint(), table.name(), INSTANCES).await;
    for (user, history) in histories(&api).await {
        assert!(history.iter().all(|call| call.outcome != Outcome::Unknown));
        assert!(
            is_linearizable(&history, Effects::Once),
            "user {user}: {history:#?}"
        );
    }
    assert!(
        throttled.load(Relaxed) > 20,
        "{throttled:?} requests were throttled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_lost_responses_together_leave_one_order() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let (server, throttled) = throttling(proxy.url()).await;
    let api = Api::with_instances(server.endpoint(), table.name(), INSTANCES).await;
    proxy.lose_every(50);
    for (user, history) in histories(&api).await {
        assert!(
            is_linearizable(&history, Effects::OnceOrTwice),
            "user {user}: {history:#?}"
        );
    }
    assert!(
        throttled.load(Relaxed) > 20,
        "{throttled:?} requests were throttled"
    );
    assert!(proxy.lost() > 5, "{} responses were lost", proxy.lost());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_many_clients_creates_a_user() {
    let table = Table::new().await;
    let api = Api::with_instances(engine(), table.name(), INSTANCES).await;
    for user in ["1", "2", "3"] {
        let bodies: Vec<_> = (0..50)
            .map(|i| json!({"id": user, "client": i}).to_string())
            .collect();
        let replies = join_all(bodies.iter().map(|body| api.post("/users", body))).await;
        let created: Vec<_> = replies.iter().filter(|reply| reply.status == 200).collect();
        assert_eq!(created.len(), 1);
        assert_eq!(table.stored(user).await, Some(created[0].json()));
        for reply in replies.iter().filter(|reply| reply.status != 200) {
            reply.assert_error(400, "UserAlreadyExists");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_all_during_writes_deletes_all_that_existed() {
    let table = Table::new().await;
    let api = Api::with_instances(engine(), table.name(), INSTANCES).await;
    let before: Vec<_> = (0..200)
        .map(|i| json!({"id": format!("before-{i}")}))
        .collect();
    table.put_all(&before).await;
    let writers = (0..4).map(async |writer| {
        for i in 0..25 {
            let user = json!({"id": format!("during-{writer}-{i}")});
            assert_eq!(api.post("/users", &user.to_string()).await.status, 200);
        }
    });
    let (deleted, _) = tokio::join!(api.delete("/users"), join_all(writers));
    deleted.assert_is(200, &Value::Null);
    let left = api.get("/users").await.json();
    let ids = left
        .as_array()
        .expect("a list")
        .iter()
        .map(|user| user["id"].to_string());
    assert_eq!(ids.filter(|id| id.contains("before")).count(), 0);
}
