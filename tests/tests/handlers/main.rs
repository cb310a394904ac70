//! What each handler returns, and what it stores in a table.

mod lists;
mod users;

use std::fmt::Display;

use serde_json::{Value, json};
use tests::{Event, Reply, Table};
use users_core::handlers;

async fn list(table: &Table, query: &[(&str, &str)]) -> Reply {
    let mut event = Event::new("GET", "/users");
    for (name, value) in query {
        event = event.query(name, value);
    }
    event.handle(table, handlers::get_all).await
}

async fn post(table: &Table, body: impl Display) -> Reply {
    let event = Event::new("POST", "/users").body(&body.to_string());
    event.handle(table, handlers::post).await
}

async fn delete_all(table: &Table) -> Reply {
    let event = Event::new("DELETE", "/users");
    event.handle(table, handlers::delete_all).await
}

/// Requests the user with this id, which is percent-encoded as in a URL.
async fn get(table: &Table, id: &str) -> Reply {
    let event = Event::new("GET", "/users/{id}").id(id);
    event.handle(table, handlers::get).await
}

async fn put(table: &Table, id: &str, body: &str) -> Reply {
    let event = Event::new("PUT", "/users/{id}").id(id).body(body);
    event.handle(table, handlers::put).await
}

async fn delete(table: &Table, id: &str) -> Reply {
    let event = Event::new("DELETE", "/users/{id}").id(id);
    event.handle(table, handlers::delete).await
}

fn ada() -> Value {
    json!({
        "id": "1",
        "email": "ada@example.com",
        "name": "Ada",
        "address": {"city": "London", "lines": ["1 St James's Square"]},
    })
}
