//! The API over HTTP, as its clients know it: at `API_ENDPOINT`, else a local service with the six executables.

use std::collections::BTreeSet;
use std::path::Path;

use lambda_http::http::Method;
use local::{Database, Options, Template};
use serde_json::{Value, json};
use tests::{Api, TEMPLATE, executables};
use users_core::ORIGIN_VARIABLE;

#[tokio::test]
async fn users_are_created_read_replaced_and_deleted() {
    let api = Api::new().await;
    let ada = json!({"id": "1", "email": "ada@example.com", "name": "Ada"});
    let grace = json!({"id": "2", "email": "grace@example.com", "name": "Grace"});

    api.get("/users").await.is(200, &json!([]));
    api.post("/users", &ada.to_string()).await.is(200, &ada);
    api.post("/users", &grace.to_string()).await.is(200, &grace);
    api.post("/users", &ada.to_string()).await.is_error(400, "UserAlreadyExists");

    let all = api.get("/users").await;
    assert_eq!((all.status, all.json().as_array().map(Vec::len)), (200, Some(2)));
    api.get("/users/1").await.is(200, &ada);
    api.get("/users/3").await.is_error(400, "UserNotFound");

    let countess = json!({"id": "1", "name": "Countess of Lovelace"});
    api.put("/users/1", r#"{"id": "9", "name": "Countess of Lovelace"}"#).await.is(200, &countess);
    api.get("/users/1").await.is(200, &countess);
    api.put("/users/3", "{}").await.is_error(400, "UserNotFound");

    api.delete("/users/1").await.is(200, &countess);
    api.delete("/users/1").await.is_error(400, "UserNotFound");
    api.get("/users").await.is(200, &json!([grace]));
    api.delete("/users").await.is(200, &Value::Null);
    api.get("/users").await.is(200, &json!([]));
}

#[tokio::test]
async fn a_user_without_id_can_be_read_by_the_one_it_gets() {
    let api = Api::new().await;
    let user = api.post("/users", r#"{"name": "Ada"}"#).await.json();
    let id = user["id"].as_str().expect("an id");
    api.get(&format!("/users/{id}")).await.is(200, &user);
    api.delete("/users").await.is(200, &Value::Null);
}

#[tokio::test]
async fn users_are_found_by_email_address() {
    let api = Api::new().await;
    let user = json!({"id": "1", "email": "a+b@example.com"});
    api.post("/users", &user.to_string()).await.is(200, &user);
    api.post("/users", r#"{"id": "2", "email": "b@example.com"}"#).await;
    // The index may lag behind for a moment; every question takes a moment, too.
    let mut found = json!([]);
    for _ in 0..100 {
        found = api.get("/users?email=a%2Bb%40example.com").await.json();
        if found != json!([]) {
            break;
        }
    }
    assert_eq!(found, json!([user]));
    api.get("/users?email=nobody@example.com").await.is(200, &json!([]));
    assert_eq!(api.get("/users?email=").await.json().as_array().map(Vec::len), Some(2));
    api.delete("/users").await.is(200, &Value::Null);
}

#[tokio::test]
async fn ids_of_any_text_work_in_a_path() {
    let api = Api::new().await;
    for (id, encoded) in [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("100%", "100%25"),
        ("%41", "%2541"),
        ("ü", "%C3%BC"),
        ("a+b", "a+b"),
        ("😀?#", "%F0%9F%98%80%3F%23"),
    ] {
        let user = json!({"id": id});
        api.post("/users", &user.to_string()).await.is(200, &user);
        api.get(&format!("/users/{encoded}")).await.is(200, &user);
        api.put(&format!("/users/{encoded}"), r#"{"a": 1}"#)
            .await
            .is(200, &json!({"id": id, "a": 1}));
        api.delete(&format!("/users/{encoded}")).await.is(200, &json!({"id": id, "a": 1}));
    }
    api.get("/users/%FF").await.is_error(400, "InvalidRequest");
}

#[tokio::test]
async fn values_come_back_as_they_were_sent() {
    let api = Api::new().await;
    let user = r#"{"a":[0.1,12345678901234567890.5,100000000000000000000,-0.5e-3],"e":["",[],{}],"id":"1","n":null,"s":"ünï 😀 \u0000","t":true}"#;
    let stored = user.replace("-0.5e-3", "-0.0005");
    assert_eq!(api.post("/users", user).await.text, stored);
    assert_eq!(api.get("/users/1").await.text, stored);
    assert_eq!(api.delete("/users/1").await.text, stored);
}

#[tokio::test]
async fn bad_requests_are_refused_with_code_and_message() {
    let api = Api::new().await;
    for body in ["", "{", "[]", "nonsense"] {
        api.post("/users", body).await.is_error(400, "InvalidRequest");
        api.put("/users/1", body).await.is_error(400, "InvalidRequest");
    }
    for body in [r#"{"id": 1}"#, r#"{"email": ""}"#, r#"{"n": 1e126}"#] {
        api.post("/users", body).await.is_error(400, "InvalidUser");
    }
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=!", "cursor="] {
        api.get(&format!("/users?{query}")).await.is_error(400, "InvalidRequest");
    }
    api.get("/users").await.is(200, &json!([]));
}

#[tokio::test]
async fn next_links_lead_to_every_user_once() {
    let api = Api::new().await;
    for i in 0..7 {
        api.post("/users", &json!({"id": format!("ü/{i}")}).to_string()).await;
    }
    let (mut seen, mut pages, mut next) = (BTreeSet::new(), 0, Some("/users?limit=3".to_owned()));
    while let Some(path) = next {
        let page = api.get(&path).await;
        for user in page.json().as_array().expect("an array") {
            assert!(seen.insert(user["id"].to_string()), "{user} came twice");
        }
        pages += 1;
        next = page.next_url().map(|url| api.path_of(&url).to_owned());
    }
    assert_eq!((seen.len(), pages), (7, 3));
    api.delete("/users").await.is(200, &Value::Null);
}

#[tokio::test]
async fn lists_larger_than_a_response_come_in_pages() {
    let api = Api::new().await;
    let about = "x".repeat(390_000);
    for i in 0..20 {
        assert_eq!(
            api.post("/users", &json!({"id": i.to_string(), "about": about}).to_string())
                .await
                .status,
            200
        );
    }
    api.get("/users").await.is_error(400, "ResponseTooLarge");
    let first = api.get("/users?limit=1000").await;
    assert_eq!((first.status, first.json().as_array().map(Vec::len)), (200, Some(16)));
    let rest = api.get(api.path_of(&first.next_url().expect("a next page"))).await;
    assert_eq!((rest.json().as_array().map(Vec::len), rest.next_url()), (Some(4), None));
    api.delete("/users").await.is(200, &Value::Null);
}

#[tokio::test]
async fn what_the_api_does_not_have_is_refused_by_the_gateway() {
    let api = Api::new().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::PATCH, "/users"),
        (Method::POST, "/users/1"),
        (Method::GET, "/users/1/2"),
    ] {
        api.send(method, path, "").await.is_error(403, "MissingAuthenticationToken");
    }
    // More than the 6 MB that an event can have, and more than the 10 MB that a body can have.
    for megabytes in [7, 11] {
        let reply = api.post("/users", &"x".repeat(megabytes << 20)).await;
        reply.is_error(413, "RequestTooLarge");
    }
}

#[tokio::test]
async fn pages_of_the_origin_that_is_allowed_can_read_answers_and_their_links() {
    let mut template = Template::read(Path::new(TEMPLATE)).expect("the template");
    for function in template.functions.values_mut() {
        function.variables.insert(ORIGIN_VARIABLE.to_owned(), "https://app.example.com".to_owned());
    }
    let api = Api::start(Options::new(template, executables().to_owned())).await;
    for reply in [api.get("/users").await, api.get("/users/1").await, api.delete("/users").await] {
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert_eq!(reply.header("access-control-expose-headers"), Some("Link, Retry-After"));
    }
    let closed = Api::local(Database::Memory).await;
    assert_eq!(closed.get("/users").await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn users_in_a_file_are_there_again_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = Database::File(directory.path().join("data/users.db"));
    let api = Api::local(file.clone()).await;
    let user = json!({"id": "1"});
    api.post("/users", &user.to_string()).await.is(200, &user);
    api.stop().await;
    Api::local(file).await.get("/users").await.is(200, &json!([user]));
}
