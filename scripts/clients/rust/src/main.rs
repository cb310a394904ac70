//! Calls the API at `API_ENDPOINT` with the client that progenitor generates from `openapi.yaml`.

use serde_json::{Value, json};

progenitor::generate_api!("../../../openapi.yaml");

#[tokio::main]
async fn main() {
    let client = Client::new(&std::env::var("API_ENDPOINT").expect("API_ENDPOINT"));
    let ids = ["a/b", "c d", "ü"];
    let user = |id: &str| {
        json!({"id": id, "email": "ada+1@example.com", "born": 1815, "tags": ["a", {"b": null}]})
    };
    for id in ids {
        let body = serde_json::from_value(user(id)).expect("a user");
        let created = client.create_user(&body).await.expect("a response").into_inner();
        assert_eq!(json!(created), user(id));
    }

    let (mut found, mut cursor) = (0, None::<String>);
    loop {
        let limit = std::num::NonZeroU64::new(1);
        let following = cursor.as_deref().map(|cursor| cursor.parse().expect("a cursor"));
        let page = client.list_users(following.as_ref(), None, limit).await;
        let page = page.expect("a response");
        found += page.len();
        let link = page.headers().get("link").and_then(|link| link.to_str().ok());
        let Some(link) = link else { break };
        let (_, rest) = link.split_once("cursor=").expect("a cursor");
        cursor = rest.split(['&', '>']).next().map(str::to_owned);
    }
    assert_eq!(found, 3);

    let id = "a/b".parse().expect("an id");
    let read = client.get_user(&id).await.expect("a response").into_inner();
    let mut changed: Value = json!(read);
    assert_eq!(changed, user("a/b"));
    changed["title"] = json!("Countess");
    let body = serde_json::from_value(changed.clone()).expect("a replacement");
    let replaced = client.replace_user(&id, &body).await.expect("a response").into_inner();
    assert_eq!(json!(replaced), changed);

    for id in ids {
        let id = id.parse().expect("an id");
        client.delete_user(&id).await.expect("a response");
    }
    assert!(client.get_user(&id).await.is_err());
    println!("progenitor, Rust: works");
}
