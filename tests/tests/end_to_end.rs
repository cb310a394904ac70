//! The API over HTTP, as clients use it: the one at `API_ENDPOINT`, else a local service with the
//! executables of the functions. Other clients may use the API at `API_ENDPOINT` at the same time.

use std::collections::BTreeSet;
use std::env;
use std::process::Stdio;
use std::time::Duration;

use lambda_http::http::Method;
use local::Database;
use serde_json::{Value, json};
use tests::Api;
use tokio::process::Command;
use tokio::time::interval;
use users_core::ORIGIN_VARIABLE;

#[tokio::test]
async fn users_are_created_read_replaced_and_deleted() {
    Api::share(async |api| {
        let (id, other) = (api.id("1"), api.id("2"));
        let (one, nobody) = (format!("/users/{id}"), format!("/users/{}", api.id("3")));
        let ada = json!({"id": id, "email": "ada@example.com", "name": "Ada"});
        let grace = json!({"id": other, "email": "grace@example.com", "name": "Grace"});
        api.post("/users", &ada).await.is(&ada);
        api.post("/users", &grace).await.is(&grace);
        api.post("/users", &ada).await.fails("UserAlreadyExists");
        assert_eq!(listed(api).await.len(), 2);
        api.get(&one).await.is(&ada);
        api.get(&nobody).await.fails("UserNotFound");

        let countess = json!({"id": id, "name": "Countess of Lovelace"});
        let replacement = json!({"id": "9", "name": "Countess of Lovelace"});
        api.put(&one, replacement).await.is(&countess);
        api.get(&one).await.is(&countess);
        api.put(&nobody, "{}").await.fails("UserNotFound");

        api.delete(&one).await.is(&countess);
        api.delete(&one).await.fails("UserNotFound");
        assert_eq!(listed(api).await, [grace]);
    })
    .await;
}

/// Returns the users of a test from pages, because a stage may have more users than one response
/// can hold.
async fn listed(api: &Api) -> Vec<Value> {
    let pages = api.pages("/users?email=&limit=1000").await;
    pages.iter().flat_map(|page| api.mine(page)).collect()
}

#[tokio::test]
async fn all_users_are_deleted_at_once() {
    let api = Api::own().await;
    api.get("/users").await.is(&json!([]));
    for id in ["1", "2"] {
        api.post("/users", json!({"id": id})).await.assert_ok();
    }
    api.delete("/users").await.is(&Value::Null);
    api.get("/users").await.is(&json!([]));
}

#[tokio::test]
async fn a_user_without_an_id_can_be_read_by_the_id_that_it_gets() {
    Api::share(async |api| {
        let user = api.post("/users", r#"{"name": "Ada"}"#).await.json();
        let id = user["id"].as_str().expect("an id");
        api.get(&format!("/users/{id}")).await.is(&user);
    })
    .await;
}

#[tokio::test]
async fn users_are_found_by_email_address() {
    Api::share(async |api| {
        let (email, other) = (api.email("a+b"), api.email("b"));
        let user = json!({"id": api.id("1"), "email": email});
        api.post("/users", &user).await.is(&user);
        let other = json!({"id": api.id("2"), "email": other});
        api.post("/users", &other).await.is(&other);
        assert_eq!(api.found(&email).await, json!([user]));
        let nobody = format!("/users?email={}", api.email("nobody"));
        api.get(&nobody).await.is(&json!([]));
    })
    .await;
}

#[tokio::test]
async fn any_id_works_in_a_path() {
    Api::share(async |api| {
        for (id, encoded) in [
            ("a b", "a%20b"),
            ("a/b", "a%2Fb"),
            ("%41", "%2541"),
            ("a+b", "a+b"),
            ("😀?#", "%F0%9F%98%80%3F%23"),
        ] {
            let (id, path) = (api.id(id), format!("/users/{}", api.id(encoded)));
            let (user, replaced) = (json!({"id": id}), json!({"id": id, "a": 1}));
            api.post("/users", &user).await.is(&user);
            api.get(&path).await.is(&user);
            api.put(&path, r#"{"a": 1}"#).await.is(&replaced);
            api.delete(&path).await.is(&replaced);
        }
        api.get("/users/%FF").await.fails("InvalidRequest");
    })
    .await;
}

#[tokio::test]
async fn values_come_back_as_they_were_sent() {
    Api::share(async |api| {
        let id = api.id("1");
        let path = format!("/users/{id}");
        let user = concat!(
            r#"{"a":[0.1,12345678901234567890.5,100000000000000000000,-0.5e-3],"#,
            r#""e":["",[],{}],"id":"ID","n":null,"s":"ünï 😀 \u0000","t":true}"#
        );
        let user = user.replace("ID", &id);
        let stored = user.replace("-0.5e-3", "-0.0005");
        assert_eq!(api.post("/users", &user).await.text, stored);
        assert_eq!(api.get(&path).await.text, stored);
        assert_eq!(api.delete(&path).await.text, stored);
    })
    .await;
}

/// The suite of the handlers has all kinds of bad requests.
#[tokio::test]
async fn bad_requests_are_rejected_with_a_code_and_a_message() {
    Api::share(async |api| {
        let path = format!("/users/{}", api.id("1"));
        for body in ["", "{"] {
            api.post("/users", body).await.fails("InvalidRequest");
            api.put(&path, body).await.fails("InvalidRequest");
        }
        api.post("/users", r#"{"email": ""}"#)
            .await
            .fails("InvalidUser");
        for query in ["limit=1001", "cursor=!"] {
            let reply = api.get(&format!("/users?{query}")).await;
            reply.fails("InvalidRequest");
        }
    })
    .await;
}

#[tokio::test]
async fn next_links_lead_to_every_user_once() {
    Api::share(async |api| {
        for i in 0..7 {
            let user = json!({"id": api.id(&format!("ü/{i}"))});
            api.post("/users", &user).await.assert_ok();
        }
        let mut seen = BTreeSet::new();
        let pages = api.pages("/users?limit=3").await;
        for page in &pages {
            assert!(page.users().len() <= 3, "{page}");
            for user in api.mine(page) {
                assert!(seen.insert(user["id"].to_string()), "{user} came twice");
            }
        }
        assert_eq!(seen.len(), 7);
        assert!(pages.len() >= 3, "{} pages", pages.len());
    })
    .await;
}

#[tokio::test]
async fn a_list_larger_than_a_response_can_be_read_in_pages() {
    Api::share(async |api| {
        let about = "x".repeat(390_000);
        for i in 0..20 {
            let user = json!({"id": api.id(&i.to_string()), "about": about});
            api.post("/users", &user).await.assert_ok();
        }
        api.get("/users").await.fails("ResponseTooLarge");
        let pages = api.pages("/users?limit=1000").await;
        let counts: Vec<_> = pages.iter().map(|page| api.mine(page).len()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 20);
        // A response of 6 MB has room for 16 such users.
        assert!(counts.iter().all(|count| *count <= 16), "{counts:?}");
    })
    .await;
}

#[tokio::test]
async fn the_gateway_rejects_unknown_routes_and_oversized_bodies() {
    let api = Api::shared().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::PATCH, "/users"),
        (Method::POST, "/users/1"),
        (Method::GET, "/users/1/2"),
    ] {
        let reply = api.send(method, path, "").await;
        reply.fails("MissingAuthenticationToken");
    }
    // One body exceeds the 6 MB limit of an event, and the other the 10 MB limit of a body.
    for megabytes in [7, 11] {
        let reply = api.post("/users", "x".repeat(megabytes << 20)).await;
        reply.fails("RequestTooLarge");
    }
}

#[tokio::test]
async fn pages_of_the_allowed_origin_can_read_responses() {
    let exposed = "Link, Retry-After, x-amzn-RequestId";
    for origin in [Some("https://app.example.com"), None] {
        let api = Api::with_variables(&[(ORIGIN_VARIABLE, origin.unwrap_or_default())]).await;
        for reply in [
            api.get("/users").await,
            api.get("/users/1").await,
            api.delete("/users").await,
        ] {
            assert_eq!(reply.header("access-control-allow-origin"), origin);
            let header = reply.header("access-control-expose-headers");
            assert_eq!(header, origin.map(|_| exposed));
        }
    }
}

/// Returns a command that runs this suite without a test, on the API at a URL.
fn suite(url: &str, skipped: &str) -> Command {
    let mut suite = Command::new(env::current_exe().expect("the executable of this suite"));
    suite
        .args(["--skip", skipped])
        .env("API_ENDPOINT", url)
        .env_remove("WIPE")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    suite
}

#[tokio::test]
async fn a_wrong_api_endpoint_is_named() {
    for url in ["nonsense", "http://127.0.0.1:1/test"] {
        let mut suite = suite(url, "all");
        let output = suite.args(["--exact", "any_id_works_in_a_path"]).output();
        let output = output.await.expect("the suite runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("API_ENDPOINT") && text.contains(url),
            "{text}"
        );
        assert!(
            !output.status.success() && !text.contains("Error {"),
            "{text}"
        );
    }
}

/// Runs this suite in another process, while a second client creates users on the same API.
#[tokio::test]
async fn the_suite_leaves_the_users_of_other_clients_alone() {
    let api = Api::local(Database::Memory).await;
    let mut written = BTreeSet::new();
    // More users than one response can hold, such as an aborted run leaves.
    for i in 0..17 {
        let id = format!("large-{i}");
        let user = json!({"id": id, "about": "x".repeat(390_000)});
        api.post("/users", &user).await.assert_ok();
        written.insert(id);
    }
    let mut suite = suite(
        api.url(),
        "the_suite_leaves_the_users_of_other_clients_alone",
    )
    .stdout(Stdio::null())
    .spawn()
    .expect("the suite starts");

    // The client pauses between requests to leave CPU time for the suite.
    let mut sign_ups = interval(Duration::from_millis(50));
    let status = loop {
        sign_ups.tick().await;
        if let Some(status) = suite.try_wait().expect("the suite's status") {
            break status;
        }
        let id = format!("customer-{}", written.len());
        api.post("/users", json!({"id": id})).await.assert_ok();
        written.insert(id);
    };
    assert!(
        status.success(),
        "the suite failed on an API with other users"
    );

    let mut left = BTreeSet::new();
    for page in api.pages("/users?limit=1000").await {
        let ids = page.users().into_iter().map(|user| user["id"].clone());
        left.extend(ids.map(|id| id.as_str().expect("an id").to_owned()));
    }
    assert!(written.len() > 27, "few small users in {}", written.len());
    assert_eq!(left, written);
}

#[tokio::test]
async fn users_in_a_file_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = Database::File(directory.path().join("data/users.db"));
    let api = Api::local(file.clone()).await;
    let user = json!({"id": "1"});
    api.post("/users", &user).await.is(&user);
    api.stop().await;
    let api = Api::local(file).await;
    api.get("/users").await.is(&json!([user]));
}
