//! What each handler returns, and what it stores in a table of a DynamoDB.

mod lists;
mod users;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Event, Reply, Table};
use users_core::handlers;

async fn list(table: &Table, query: &[(&str, &str)]) -> Reply {
    let event = query
        .iter()
        .fold(Event::new("GET", "/users"), |event, (name, value)| {
            event.query(name, value)
        });
    Reply::of(handlers::get_all(table.store(), event.request()).await)
}

async fn post(table: &Table, body: &str) -> Reply {
    Reply::of(
        handlers::post(
            table.store(),
            Event::new("POST", "/users").body(body).request(),
        )
        .await,
    )
}

async fn delete_all(table: &Table) -> Reply {
    Reply::of(handlers::delete_all(table.store(), Event::new("DELETE", "/users").request()).await)
}

/// Requests the user with this id, which is percent-encoded as in a URL.
async fn get(table: &Table, id: &str) -> Reply {
    Reply::of(
        handlers::get(
            table.store(),
            Event::new("GET", "/users/{id}").id(id).request(),
        )
        .await,
    )
}

async fn put(table: &Table, id: &str, body: &str) -> Reply {
    Reply::of(
        handlers::put(
            table.store(),
            Event::new("PUT", "/users/{id}").id(id).body(body).request(),
        )
        .await,
    )
}

async fn delete(table: &Table, id: &str) -> Reply {
    Reply::of(
        handlers::delete(
            table.store(),
            Event::new("DELETE", "/users/{id}").id(id).request(),
        )
        .await,
    )
}

fn ada() -> Value {
    json!({
        "id": "1",
        "email": "ada@example.com",
        "name": "Ada",
        "address": {"city": "London", "lines": ["1 St James's Square"]},
    })
}

/// Returns the ids in an array of users.
fn ids(users: &Value) -> BTreeSet<String> {
    users
        .as_array()
        .expect("an array")
        .iter()
        .map(|user| user["id"].as_str().expect("an id").to_owned())
        .collect()
}
