//! A quick test of a production stage, which creates one user and deletes it again.

use serde_json::json;
use tests::Api;

#[tokio::test]
async fn a_user_is_created_read_found_replaced_and_deleted() {
    Api::share(async |api| {
        let (id, email) = (api.id("smoke"), api.email("smoke"));
        let path = format!("/users/{id}");
        let user = json!({"id": id, "email": email, "number": 0.1});
        api.post("/users", &user).await.is(&user);
        api.get(&path).await.is(&user);
        api.get("/users?limit=1").await.assert_ok();

        assert_eq!(api.found(&email).await, json!([user]));

        let replaced = json!({"id": id, "email": email});
        api.put(&path, &replaced).await.is(&replaced);
        api.delete(&path).await.is(&replaced);
        api.get(&path).await.fails("UserNotFound");
    })
    .await;
}
