//! Connections between the functions and DynamoDB are opened once, kept, and replaced if they died
//! while Lambda kept the process frozen. The executables run behind the local service, and a
//! TCP proxy breaks their connections to a real engine.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Api, Death, Operation, ScriptedResponse, Table, TcpProxy, engine, operations};

/// An API on a table, behind a proxy.
struct Fixture {
    table: Table,
    proxy: TcpProxy,
    api: Api,
}

impl Fixture {
    async fn start() -> Self {
        let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
        let api = Api::on(proxy.url(), table.name()).await;
        Self { table, proxy, api }
    }

    /// Requests every operation, `DELETE /users` last. Each finds what it needs, and returns 200.
    async fn request_each(&self) {
        let is_delete_all = |operation: &&Operation| operation.executable == "delete-all";
        let (last, first): (Vec<_>, Vec<_>) = operations().iter().partition(is_delete_all);
        let with_user = first.iter().filter(|operation| operation.path != "/users");
        let users: Vec<_> = with_user
            .map(|operation| json!({"id": operation.executable}))
            .collect();
        self.table.put_all(&users).await;
        for operations in [first, last] {
            let requests = operations
                .iter()
                .map(|operation| self.api.request(operation, &operation.executable));
            for reply in join_all(requests).await {
                reply.assert_ok();
            }
        }
    }
}

#[tokio::test]
async fn a_process_serves_its_invocations_on_one_connection() {
    let fixture = Fixture::start().await;
    let before = fixture.proxy.connections();
    for _ in 0..2 {
        fixture.request_each().await;
    }
    let connections = fixture.proxy.connections() - before;
    let counts = (fixture.api.processes_started(), connections);
    assert_eq!(counts, (operations().len(), operations().len()));
}

#[tokio::test]
async fn the_pages_of_a_list_are_read_on_one_connection() {
    let mut pages = 5;
    let (dynamodb, api) = Api::scripted(move |_, _| {
        pages -= 1;
        let id = json!({"id": {"S": pages.to_string()}});
        let next = if pages > 0 { id.clone() } else { json!({}) };
        ScriptedResponse::Json(200, json!({"Items": [id], "LastEvaluatedKey": next}))
    })
    .await;
    let before = dynamodb.connections();
    assert_eq!(api.get("/users").await.users().len(), 5);
    assert_eq!(dynamodb.connections() - before, 1);
}

#[tokio::test]
async fn a_process_that_starts_opens_its_connection_and_sends_nothing() {
    let (sender, sent) = mpsc::channel();
    let (dynamodb, api) = Api::scripted(move |operation, _| {
        sender.send(operation.to_owned()).expect("the test runs");
        ScriptedResponse::Reset
    })
    .await;
    let before = dynamodb.connections();
    for Operation { function, .. } in operations() {
        let reply = api.invoke(function, r#"{"httpMethod": "TRACE"}"#).await;
        reply.expect("a response").fails("InvalidRequest");
    }
    assert_eq!(dynamodb.connections() - before, operations().len());
    assert_eq!(sent.try_iter().collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_dead_connection_costs_one_attempt() {
    for (death, limit) in [(Death::Reset, 2), (Death::Silence, 5)] {
        let fixture = Fixture::start().await;
        fixture.request_each().await;
        fixture.proxy.kill_connections(death);
        let (before, start) = (fixture.proxy.connections(), Instant::now());
        fixture.request_each().await;
        let opened = fixture.proxy.connections() - before;
        assert_eq!(opened, operations().len(), "{death:?}");
        // There are two rounds, because `DELETE /users` follows the other requests.
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(2 * limit), "{elapsed:?}");
    }
}

#[tokio::test]
async fn connections_that_died_together_cost_only_one_attempt() {
    for (death, limit) in [(Death::Reset, 5), (Death::Silence, 8)] {
        let Fixture { table, proxy, api } = Fixture::start().await;
        let users: Vec<_> = (0..17 * 25).map(|i| json!({"id": i.to_string()})).collect();
        let before = proxy.connections();
        table.put_all(&users).await;
        api.delete("/users").await.is(&Value::Null);
        let opened = proxy.connections() - before;
        assert!(opened >= 16, "{opened} connections");

        table.put_all(&users).await;
        proxy.kill_connections(death);
        let start = Instant::now();
        api.delete("/users").await.is(&Value::Null);
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(limit), "{elapsed:?}");
        api.get("/users").await.is(&json!([]));
    }
}

#[tokio::test]
async fn the_outcome_of_a_lost_response_is_not_misreported() {
    let Fixture { table, proxy, api } = Fixture::start().await;
    let ada = json!({"id": "1", "n": 1.5});
    proxy.lose_responses(1);
    api.post("/users", &ada).await.is(&ada);

    let replaced = json!({"id": "1", "n": 2});
    proxy.lose_responses(1);
    api.put("/users/1", &replaced).await.is(&replaced);
    assert_eq!(table.stored("1").await, Some(replaced));

    proxy.lose_responses(1);
    api.delete("/users/1").await.fails("ServiceUnavailable");
    assert_eq!(table.stored("1").await, None);
    api.delete("/users/1").await.fails("UserNotFound");

    table.put(&ada).await;
    proxy.lose_responses(1);
    api.delete("/users").await.is(&Value::Null);
    assert_eq!(table.stored("1").await, None);

    // `PUT` cannot know whether its first attempt found the user.
    proxy.lose_responses(1);
    api.put("/users/1", "{}").await.fails("ServiceUnavailable");
    api.put("/users/1", "{}").await.fails("UserNotFound");
}
