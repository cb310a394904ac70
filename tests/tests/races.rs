//! Clients that use the same user at the same time: the results of all of them fit into one order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use futures::future::join_all;
use local::Options;
use serde_json::{Value, json};
use tests::oracle::history::{Action, Call, Effects, Outcome, is_linearizable};
use tests::{Api, ScriptedResponse, ScriptedServer, Table, TcpProxy, engine};

const CLIENTS: u64 = 8;
const OPERATIONS: u64 = 60;
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
            let (path, json) = (
                format!("/users/{user}"),
                json!({"id": user.to_string(), "value": value}),
            );
            let start = now();
            let (action, reply) = match kind {
                0 => (Action::Create(value), api.post("/users", json).await),
                1 => (Action::Replace(value), api.put(&path, json).await),
                2 => (Action::Delete, api.delete(&path).await),
                _ => (Action::Read, api.get(&path).await),
            };
            let end = now();
            let outcome = match reply.status {
                200 => Outcome::Done(reply.json()["value"].as_u64().expect("a value")),
                400 => Outcome::Rejected,
                _ => Outcome::Unknown,
            };
            let call = Call {
                action,
                outcome,
                start,
                end,
            };
            history.push((user, call));
        }
        history
    };
    let mut histories = BTreeMap::<_, Vec<_>>::new();
    let calls = join_all((0..CLIENTS).map(client)).await;
    for (user, call) in calls.into_iter().flatten() {
        histories.entry(user).or_default().push(call);
    }
    histories
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

/// Starts an API with up to this many processes of each function.
async fn start(endpoint: &str, table: &Table) -> Api {
    let options = Api::options(endpoint, table.name());
    Api::start(Options {
        instances: 10,
        ..options
    })
    .await
}

/// Asserts that the results of concurrent clients fit into one order. Returns the outcomes.
async fn assert_one_order(api: &Api, effects: Effects) -> Vec<Outcome> {
    let histories = histories(api).await;
    for (user, history) in &histories {
        assert!(
            is_linearizable(history, effects),
            "user {user}: {history:#?}"
        );
    }
    histories
        .into_values()
        .flatten()
        .map(|call| call.outcome)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_late_may_take_effect_later() {
    /// The shortest time after which the service gives up an attempt, in nanoseconds.
    const GIVEN_UP: u64 = 2_000_000_000;

    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = start(proxy.url(), &table).await;
    proxy.delay_every(70);
    assert_one_order(&api, Effects::OnceAndLater(GIVEN_UP)).await;
    assert!(proxy.delayed() > 3, "{} were late", proxy.delayed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_throttled_takes_effect_once() {
    let table = Table::new().await;
    let (server, throttled) = throttling(engine()).await;
    let api = start(server.endpoint(), &table).await;
    let outcomes = assert_one_order(&api, Effects::Once).await;
    assert!(!outcomes.contains(&Outcome::Unknown));
    assert!(throttled.load(Relaxed) > 10, "{throttled:?} were throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_lost_responses_together_leave_one_order() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let (server, throttled) = throttling(proxy.url()).await;
    let api = start(server.endpoint(), &table).await;
    proxy.lose_every(30);
    assert_one_order(&api, Effects::OnceOrTwice).await;
    assert!(throttled.load(Relaxed) > 10, "{throttled:?} were throttled");
    assert!(proxy.lost() > 5, "{} responses were lost", proxy.lost());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_many_clients_creates_a_user() {
    let table = Table::new().await;
    let api = start(engine(), &table).await;
    for user in ["1", "2", "3"] {
        let create = |i| api.post("/users", json!({"id": user, "client": i}));
        let replies = join_all((0..50).map(create)).await;
        let (created, others): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.status == 200);
        assert_eq!(created.len(), 1);
        assert_eq!(table.stored(user).await, Some(created[0].json()));
        for reply in others {
            reply.fails("UserAlreadyExists");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_all_during_writes_deletes_all_that_existed() {
    let table = Table::new().await;
    let api = start(engine(), &table).await;
    let before: Vec<_> = (0..200)
        .map(|i| json!({"id": format!("before-{i}")}))
        .collect();
    table.put_all(&before).await;
    let writers = (0..4).map(async |writer| {
        for i in 0..25 {
            let user = json!({"id": format!("during-{writer}-{i}")});
            api.post("/users", user).await.assert_ok();
        }
    });
    let (deleted, _) = tokio::join!(api.delete("/users"), join_all(writers));
    deleted.is(&Value::Null);
    let left = api.get("/users").await.users();
    let is_old = |user: &&Value| user["id"].to_string().contains("before");
    assert_eq!(left.iter().filter(is_old).count(), 0);
}
