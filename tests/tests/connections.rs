//! Connections between the functions and DynamoDB are opened once, kept, and replaced if they died
//! while Lambda kept the process frozen. The executables run behind the local service, and a
//! TCP proxy breaks their connections to a real engine.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{
    Api, Death, Operation, ScriptedServer, Table, TcpProxy, empty_table, engine, operations,
};

/// Requests every operation, `DELETE /users` last. Each finds what it needs, and returns 200.
async fn request_each(api: &Api, table: &Table) {
    let is_delete_all = |operation: &&Operation| operation.executable == "delete-all";
    let (last, first): (Vec<_>, Vec<_>) = operations().iter().partition(is_delete_all);
    let with_user = first.iter().filter(|operation| operation.path != "/users");
    let users: Vec<_> = with_user
        .map(|operation| json!({"id": operation.executable}))
        .collect();
    table.put_all(&users).await;
    for operations in [first, last] {
        let requests = operations
            .iter()
            .map(|operation| api.request(operation, &operation.executable));
        for (operation, reply) in operations.iter().zip(join_all(requests).await) {
            assert_eq!(
                reply.status, 200,
                "{}: {}",
                operation.executable, reply.text
            );
        }
    }
}

#[tokio::test]
async fn a_process_serves_its_invocations_on_one_connection() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = Api::on(proxy.url(), table.name()).await;
    let before = proxy.connections();
    for _ in 0..2 {
        request_each(&api, &table).await;
    }
    let connections = proxy.connections() - before;
    assert_eq!(
        (api.processes_started(), connections),
        (operations().len(), operations().len())
    );
}

#[tokio::test]
async fn a_process_that_starts_opens_its_connection_and_sends_nothing() {
    let (sender, sent) = mpsc::channel();
    let dynamodb = ScriptedServer::start(move |operation, request| {
        sender.send(operation.to_owned()).expect("the test runs");
        empty_table(operation, request)
    })
    .await;
    let proxy = TcpProxy::start(dynamodb.endpoint()).await;
    let api = Api::on(proxy.url(), "users").await;
    let before = proxy.connections();
    for Operation { function, .. } in operations() {
        let reply = api.invoke(function, r#"{"httpMethod": "TRACE"}"#).await;
        reply
            .expect("a response")
            .assert_error(400, "InvalidRequest");
    }
    assert_eq!(proxy.connections() - before, operations().len());
    assert_eq!(sent.try_iter().collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn a_dead_connection_costs_one_attempt() {
    for (death, limit) in [(Death::Reset, 2), (Death::Silence, 5)] {
        let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
        let api = Api::on(proxy.url(), table.name()).await;
        request_each(&api, &table).await;
        proxy.kill_connections(death);
        let (before, start) = (proxy.connections(), Instant::now());
        request_each(&api, &table).await;
        assert_eq!(
            proxy.connections() - before,
            operations().len(),
            "{death:?}"
        );
        // There are two rounds, because `DELETE /users` follows the other requests.
        assert!(
            start.elapsed() < Duration::from_secs(2 * limit),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn connections_that_died_together_cost_only_one_attempt() {
    for connections in [5, 17] {
        for (death, limit) in [(Death::Reset, 5), (Death::Silence, 8)] {
            let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
            let api = Api::on(proxy.url(), table.name()).await;
            let users: Vec<_> = (0..connections * 25)
                .map(|i| json!({"id": i.to_string()}))
                .collect();
            let before = proxy.connections();
            table.put_all(&users).await;
            api.delete("/users").await.assert_is(200, &Value::Null);
            let opened = proxy.connections() - before;
            assert!(opened >= connections.min(16), "{opened} connections");

            table.put_all(&users).await;
            proxy.kill_connections(death);
            let start = Instant::now();
            api.delete("/users").await.assert_is(200, &Value::Null);
            assert!(
                start.elapsed() < Duration::from_secs(limit),
                "{:?}",
                start.elapsed()
            );
            api.get("/users").await.assert_is(200, &json!([]));
        }
    }
}

#[tokio::test]
async fn the_outcome_of_a_lost_response_is_not_misreported() {
    let (table, proxy) = (Table::new().await, TcpProxy::start(engine()).await);
    let api = Api::on(proxy.url(), table.name()).await;
    let ada = json!({"id": "1", "n": 1.5});

    proxy.lose_responses(1);
    api.post("/users", &ada.to_string())
        .await
        .assert_is(200, &ada);

    let replaced = json!({"id": "1", "n": 2});
    proxy.lose_responses(1);
    api.put("/users/1", &replaced.to_string())
        .await
        .assert_is(200, &replaced);
    assert_eq!(table.stored("1").await, Some(replaced));

    proxy.lose_responses(1);
    api.delete("/users/1")
        .await
        .assert_error(503, "ServiceUnavailable");
    assert_eq!(table.stored("1").await, None);
    api.delete("/users/1")
        .await
        .assert_error(400, "UserNotFound");

    table.put(&ada).await;
    proxy.lose_responses(1);
    api.delete("/users").await.assert_is(200, &Value::Null);
    assert_eq!(table.stored("1").await, None);

    // `PUT` cannot know whether its first attempt found the user.
    proxy.lose_responses(1);
    api.put("/users/1", "{}")
        .await
        .assert_error(503, "ServiceUnavailable");
    api.put("/users/1", "{}")
        .await
        .assert_error(400, "UserNotFound");
}
