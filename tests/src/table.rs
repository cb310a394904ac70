//! A table for each test, on a real engine.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::sync::OnceLock;
use std::thread;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::Value;
use users_core::Store;
use uuid::Uuid;

use crate::oracle::json::{Json, quoted};
use crate::template;

/// A table for one test, with the schema from `template.yaml`. Dropping this deletes it.
#[derive(Debug)]
pub struct Table {
    client: Client,
    name: String,
}

impl Table {
    /// Creates a table in the DynamoDB at `DYNAMO_ENDPOINT`, or in the one that is embedded in this
    /// process if the variable is unset.
    pub async fn new() -> Self {
        let table = Self::missing();
        local::create_table(engine(), &template().table, &table.name)
            .await
            .expect("a table");
        table
    }

    /// Returns a table that does not exist.
    pub fn missing() -> Self {
        Self {
            client: client(),
            name: format!("user-profiles-{}", Uuid::new_v4()),
        }
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns a store for the users in the table.
    pub fn store(&self) -> Store {
        Store::new(self.client.clone(), &self.name)
    }

    /// Puts a user in the table.
    pub async fn put(&self, user: &Value) {
        self.put_item(item(user)).await;
    }

    /// Puts an item in the table.
    pub async fn put_item(&self, item: HashMap<String, AttributeValue>) {
        self.client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .send()
            .await
            .expect("the item is stored");
    }

    /// Puts users in the table.
    pub async fn put_all(&self, users: &[Value]) {
        for batch in users.chunks(25) {
            let requests = batch.iter().map(|user| {
                let put = PutRequest::builder().set_item(Some(item(user))).build();
                let put = put.expect("a request with an item");
                WriteRequest::builder().put_request(put).build()
            });
            let batch = self.client.batch_write_item();
            let batch = batch.request_items(&self.name, requests.collect());
            let output = batch.send().await.expect("the items are stored");
            assert_eq!(output.unprocessed_items.unwrap_or_default().len(), 0);
        }
    }

    /// Returns the user in the table with this id.
    pub async fn stored(&self, id: &str) -> Option<Value> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", AttributeValue::S(id.to_owned()))
            .consistent_read(true);
        let item = get.send().await.expect("the table can be read").item?;
        Some(serde_json::from_str(&json(&AttributeValue::M(item))).expect("JSON"))
    }

    /// Returns all users in the table by id, with exact numbers.
    pub async fn all(&self) -> BTreeMap<String, Json> {
        let scan = self.client.scan().table_name(&self.name);
        let pages = scan.consistent_read(true).into_paginator().items().send();
        let items: Vec<_> = pages.collect::<Result<_, _>>().await.expect("all pages");
        let user = |item: HashMap<String, AttributeValue>| {
            let id = item["id"].as_s().expect("a string").clone();
            (
                id,
                Json::parse(&json(&AttributeValue::M(item))).expect("JSON"),
            )
        };
        items.into_iter().map(user).collect()
    }
}

impl Drop for Table {
    /// Deletes the table from a server that outlives the tests.
    fn drop(&mut self) {
        let name = self.name.clone();
        // Needs its own runtime and connection, because the test's are blocked until this returns.
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let request = client().delete_table().table_name(name);
            runtime.block_on(request.send()).is_ok()
        };
        let _ = thread::spawn(delete).join();
    }
}

fn client() -> Client {
    users_core::client(Some(engine())).expect("a client")
}

/// Returns the URL of the DynamoDB that holds all tables of this process.
pub fn engine() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| {
        env::var("DYNAMO_ENDPOINT")
            .ok()
            .filter(|url| !url.is_empty())
            .unwrap_or_else(embedded)
    })
}

/// Starts a DynamoDB server in memory that runs as long as this process, and returns its URL. Like
/// DynamoDB Local, it accepts any credentials. The local service's DynamoDB accepts only its own.
fn embedded() -> String {
    let (sender, port) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
            let listener = listener.expect("a free port");
            let port = listener.local_addr().expect("an address").port();
            sender.send(port).expect("the other thread waits");
            let database = dynoxide::Database::memory().expect("a database");
            dynoxide::server::serve_on(listener, database).await;
        });
    });
    format!("http://127.0.0.1:{}", port.recv().expect("a port"))
}

/// Converts a user to an item without the code under test. Numbers must be exact as floats.
fn item(user: &Value) -> HashMap<String, AttributeValue> {
    user.as_object()
        .expect("an object")
        .iter()
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

fn attribute(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(elements) => AttributeValue::L(elements.iter().map(attribute).collect()),
        Value::Object(_) => AttributeValue::M(item(value)),
    }
}

/// Returns a value as JSON, with numbers as DynamoDB returns them.
fn json(value: &AttributeValue) -> String {
    match value {
        AttributeValue::Null(_) => "null".to_owned(),
        AttributeValue::Bool(value) => value.to_string(),
        AttributeValue::N(number) => number.clone(),
        AttributeValue::S(text) => quoted(text),
        AttributeValue::L(elements) => {
            let elements: Vec<_> = elements.iter().map(json).collect();
            format!("[{}]", elements.join(","))
        }
        AttributeValue::M(members) => {
            let members = members.iter();
            let members: Vec<_> = members
                .map(|(name, value)| format!("{}:{}", quoted(name), json(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        other => panic!("not from JSON: {other:?}"),
    }
}
