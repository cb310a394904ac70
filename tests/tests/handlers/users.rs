//! Operations on single users, and `DELETE /users`.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Event, Table};
use users_core::handlers;
use uuid::Uuid;

use crate::{ada, delete, delete_all, get, list, post, put};

// POST /users

#[tokio::test]
async fn a_new_user_without_an_id_gets_a_random_uuid() {
    let table = Table::new().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let user = post(&table, r#"{"name": "Ada"}"#).await.json();
        let id = user["id"].as_str().expect("an id").to_owned();
        let uuid = Uuid::parse_str(&id).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 4);
        assert_eq!(uuid.hyphenated().to_string(), id);
        assert_eq!(user, json!({"id": id, "name": "Ada"}));
        assert_eq!(table.stored(&id).await, Some(user));
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_taken_id_is_rejected_and_its_user_is_unchanged() {
    let table = Table::new().await;
    table.put(&ada()).await;
    for user in [json!({"id": "1", "name": "Eve"}), ada()] {
        post(&table, user).await.fails("UserAlreadyExists");
    }
    assert_eq!(table.stored("1").await, Some(ada()));
}

#[tokio::test]
async fn a_body_that_is_not_a_json_object_is_rejected() {
    let table = Table::new().await;
    for body in [
        "",
        " ",
        "{",
        "nonsense",
        "[]",
        "\"text\"",
        "42",
        "null",
        "{\"a\": 1,}",
        "{\"a\": 01}",
        "{} {}",
        "{\"a\": NaN}",
        r#"{"a": "\ud800"}"#,
        r#"{"\udc00": 1}"#,
        r#"{"a": ["\ud800x"]}"#,
        "{\"a\": \"\u{1}\"}",
    ] {
        post(&table, body).await.fails("InvalidRequest");
        put(&table, "1", body).await.fails("InvalidRequest");
    }
    let missing = Event::new("POST", "/users");
    let missing = missing.handle(&table, handlers::post).await;
    missing.fails("InvalidRequest");
    list(&table, &[]).await.is(&json!([]));
}

#[tokio::test]
async fn a_body_in_base64_is_decoded() {
    let table = Table::new().await;
    let utf8 = Event::new("POST", "/users").base64_body("eyJpZCI6ICLDvCJ9");
    let utf8 = utf8.handle(&table, handlers::post).await;
    utf8.is(&json!({"id": "ü"}));
    let latin1 = Event::new("POST", "/users").base64_body("eyJpZCI6ICL8In0=");
    let latin1 = latin1.handle(&table, handlers::post).await;
    latin1.fails("InvalidRequest");
}

#[tokio::test]
async fn the_error_for_a_broken_rule_names_the_attribute() {
    let table = Table::new().await;
    let deep = format!("{}1{}", "[".repeat(32), "]".repeat(32));
    let long = format!("{:?}", "x".repeat(2049));
    let wide = format!("{:?}", "ü".repeat(1025));
    for (attribute, values) in [
        (
            "id",
            &["\"\"", "\".\"", "\"..\"", "1", "null", "[]", &long, &wide][..],
        ),
        ("email", &["\"\"", "true", "null", "{}", &long]),
        (
            "age",
            &[
                "123456789012345678901234567890123456789",
                "1e126",
                "-1e126",
                "1e-131",
            ],
        ),
        ("deep", &[&deep]),
    ] {
        for value in values {
            let reply = post(&table, format!(r#"{{"{attribute}": {value}}}"#)).await;
            reply.fails_with("InvalidUser", &format!("'{attribute}"));
        }
    }
    let nested = post(&table, r#"{"a": {"b": [1, {"c": 1e200}]}}"#).await;
    nested.fails_with("InvalidUser", "'a.b[1].c'");
    for body in [r#"{"": 1}"#, r#"{"a": {"": 1}}"#] {
        post(&table, body).await.fails("InvalidUser");
    }
    put(&table, "1", r#"{"email": ""}"#)
        .await
        .fails("InvalidUser");
    list(&table, &[]).await.is(&json!([]));
}

#[tokio::test]
async fn a_user_may_be_as_large_as_an_item_and_not_a_byte_larger() {
    let table = Table::new().await;
    // "id", "x" and "about" are 8 bytes.
    let user = |bytes: usize| json!({"id": "x", "about": "a".repeat(bytes - 8)});
    post(&table, user(400 * 1024)).await.assert_ok();
    delete(&table, "x").await.assert_ok();
    for bytes in [400 * 1024 + 1, 5_000_000] {
        post(&table, user(bytes)).await.fails("InvalidUser");
    }
    assert_eq!(table.stored("x").await, None);
}

#[tokio::test]
async fn a_user_at_the_limits_is_stored() {
    let table = Table::new().await;
    let deep = format!("{}1{}", "[".repeat(31), "]".repeat(31));
    let long = "ü".repeat(1024);
    let numbers = concat!(
        "99999999999999999999999999999999999999, 1e-130, ",
        "-9.9999999999999999999999999999999999999e125"
    );
    let user =
        format!(r#"{{"id": "{long}", "email": "{long}", "deep": {deep}, "n": [{numbers}]}}"#);
    let reply = post(&table, user).await;
    reply.assert_ok();
    assert_eq!(get(&table, &long).await.text, reply.text);
}

#[tokio::test]
async fn values_come_back_equal() {
    let table = Table::new().await;
    let user = concat!(
        r#"{"big":100000000000000000000,"control":"\u0000\u001f \"\\/","empty":["",[],{}],"#,
        r#""exact":0.1,"false":false,"id":"v","long":12345678901234567890.5,"negative":-7,"#,
        r#""null":null,"text":"ünï 😀","true":true,"zero":0}"#
    );
    for reply in [
        post(&table, user).await,
        get(&table, "v").await,
        put(&table, "v", user).await,
        delete(&table, "v").await,
    ] {
        assert_eq!((reply.status, reply.text.as_str()), (200, user));
    }
    let numbers = r#"{"id": "v", "same": [1.0, 1e2, 1E+20, -0, 0.10e-1]}"#;
    post(&table, numbers).await.assert_ok();
    let stored = r#"{"id":"v","same":[1,100,100000000000000000000,0,0.01]}"#;
    assert_eq!(get(&table, "v").await.text, stored);
}

#[tokio::test]
async fn a_user_of_numbers_with_many_zeros_fits_in_a_response() {
    let table = Table::new().await;
    let user = format!(r#"{{"id":"1","n":[{}]}}"#, vec!["1e125"; 10_000].join(","));
    let expected = serde_json::from_str(&user).expect("JSON");
    post(&table, &user).await.is(&expected);
    for reply in [
        list(&table, &[("limit", "1")]).await,
        get(&table, "1").await,
        delete(&table, "1").await,
    ] {
        reply.assert_ok();
        let bytes = reply.bytes_on_lambda();
        assert!(bytes < 300_000, "{bytes}");
    }
}

// GET, PUT and DELETE /users/{id}

#[tokio::test]
async fn types_that_only_other_writers_use_are_shown_as_json() {
    let table = Table::new().await;
    let texts = |text: &str| vec![text.to_owned()];
    let item = [
        ("id", AttributeValue::S("1".to_owned())),
        ("binary", AttributeValue::B(Blob::new(b"\x00\xff"))),
        ("binaries", AttributeValue::Bs(vec![Blob::new(b"\xff")])),
        (
            "numbers",
            AttributeValue::Ns(texts("12345678901234567890.5")),
        ),
        ("strings", AttributeValue::Ss(texts("a"))),
    ];
    let item = item.map(|(name, value)| (name.to_owned(), value));
    table.put_item(HashMap::from(item)).await;
    let shown = concat!(
        r#"{"binaries":["/w=="],"binary":"AP8=","id":"1","#,
        r#""numbers":[12345678901234567890.5],"strings":["a"]}"#
    );
    assert_eq!(get(&table, "1").await.text, shown);
}

#[tokio::test]
async fn a_user_that_does_not_exist_is_not_found_by_any_operation() {
    let table = Table::new().await;
    let long = "x".repeat(2049);
    for (id, named) in [("1", "'1'"), ("4%322", "'422'"), (&long, "")] {
        for reply in [
            get(&table, id).await,
            put(&table, id, "{}").await,
            delete(&table, id).await,
        ] {
            reply.fails_with("UserNotFound", named);
        }
    }
    list(&table, &[]).await.is(&json!([]));
}

#[tokio::test]
async fn an_id_in_a_path_is_percent_decoded_once() {
    let table = Table::new().await;
    for (id, encoded) in [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("a/b", "a%2fb"),
        ("100%", "100%25"),
        ("%20", "%2520"),
        ("ü", "%C3%BC"),
        ("a+b", "a+b"),
        ("a+b", "a%2Bb"),
        ("?#&=", "%3F%23%26%3D"),
        ("ada@example.com", "ada@example.com"),
        ("\u{0}\n", "%00%0A"),
        ("😀", "%F0%9F%98%80"),
    ] {
        let (user, replaced) = (json!({"id": id}), json!({"id": id, "a": 1}));
        post(&table, &user).await.is(&user);
        get(&table, encoded).await.is(&user);
        put(&table, encoded, r#"{"a": 1}"#).await.is(&replaced);
        delete(&table, encoded).await.is(&replaced);
        assert_eq!(table.stored(id).await, None, "{id}");
    }
    for id in ["%FF", "%C3", "%", "100%", "%zz", "%2", "%%41", "a%2x"] {
        for reply in [
            get(&table, id).await,
            put(&table, id, "{}").await,
            delete(&table, id).await,
        ] {
            reply.fails("InvalidRequest");
        }
    }
}

#[tokio::test]
async fn a_user_is_replaced_as_a_whole_and_keeps_its_id() {
    let table = Table::new().await;
    table.put(&ada()).await;
    let replaced = json!({"id": "1", "a": 1});
    for id in [r#""2""#, r#""""#, "7", "null", "[[1e999]]"] {
        let body = format!(r#"{{"id": {id}, "a": 1}}"#);
        put(&table, "1", &body).await.is(&replaced);
    }
    list(&table, &[]).await.is(&json!([replaced]));
    let by_email = list(&table, &[("email", "ada@example.com")]).await;
    by_email.is(&json!([]));
}

// DELETE /users

#[tokio::test]
async fn all_users_are_deleted_however_many() {
    let table = Table::new().await;
    delete_all(&table).await.is(&Value::Null);
    let user = |i| json!({"id": format!("ü{i}"), "about": "x".repeat(20_000)});
    table.put_all(&(0..130).map(user).collect::<Vec<_>>()).await;
    delete_all(&table).await.is(&Value::Null);
    list(&table, &[]).await.is(&json!([]));
}

// All operations

#[tokio::test]
async fn a_missing_table_is_an_internal_error_that_does_not_name_it() {
    let table = Table::missing();
    for reply in [
        list(&table, &[]).await,
        list(&table, &[("email", "a@b")]).await,
        post(&table, "{}").await,
        delete_all(&table).await,
        get(&table, "1").await,
        put(&table, "1", "{}").await,
        delete(&table, "1").await,
    ] {
        reply.fails("InternalError");
        assert!(!reply.text.contains(table.name()), "{reply}");
    }
}
