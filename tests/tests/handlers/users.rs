//! What each handler returns and stores, on a DynamoDB.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tests::{Event, Reply, Table};
use users_core::handlers;

async fn list(table: &Table, query: &[(&str, &str)]) -> Reply {
    let event = query
        .iter()
        .fold(Event::new("GET", "/users"), |event, (name, value)| event.query(name, value));
    Reply::of(handlers::get_all(table.store(), event.request()).await)
}

async fn post(table: &Table, body: &str) -> Reply {
    Reply::of(
        handlers::post(table.store(), Event::new("POST", "/users").body(body).request()).await,
    )
}

async fn delete_all(table: &Table) -> Reply {
    Reply::of(handlers::delete_all(table.store(), Event::new("DELETE", "/users").request()).await)
}

/// Requests the user with this id, which is percent-encoded as in a URL.
async fn get(table: &Table, id: &str) -> Reply {
    Reply::of(handlers::get(table.store(), Event::new("GET", "/users/{id}").id(id).request()).await)
}

async fn put(table: &Table, id: &str, body: &str) -> Reply {
    Reply::of(
        handlers::put(table.store(), Event::new("PUT", "/users/{id}").id(id).body(body).request())
            .await,
    )
}

async fn delete(table: &Table, id: &str) -> Reply {
    Reply::of(
        handlers::delete(table.store(), Event::new("DELETE", "/users/{id}").id(id).request()).await,
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

// GET /users

#[tokio::test]
async fn a_list_of_no_users_is_empty() {
    let table = Table::new().await;
    list(&table, &[]).await.is(200, &json!([]));
}

#[tokio::test]
async fn the_list_contains_every_user() {
    let table = Table::new().await;
    table.put(&ada()).await;
    table.put(&json!({"id": "2"})).await;
    let reply = list(&table, &[]).await;
    assert_eq!(
        (reply.status, ids(&reply.json())),
        (200, BTreeSet::from(["1".to_owned(), "2".to_owned()]))
    );
    assert!(reply.json().as_array().expect("an array").contains(&ada()));
}

#[tokio::test]
async fn the_list_for_an_email_address_contains_the_users_with_exactly_that_address() {
    let table = Table::new().await;
    table.put(&ada()).await;
    table.put(&json!({"id": "2", "email": "ADA@example.com"})).await;
    table.put(&json!({"id": "3", "email": "ada@example.co"})).await;
    table.put(&json!({"id": "4"})).await;
    list(&table, &[("email", "ada@example.com")]).await.is(200, &json!([ada()]));
    list(&table, &[("email", "grace@example.com")]).await.is(200, &json!([]));
}

#[tokio::test]
async fn an_email_address_that_no_user_can_have_returns_an_empty_list() {
    let table = Table::new().await;
    table.put(&ada()).await;
    list(&table, &[("email", &"x".repeat(2049))]).await.is(200, &json!([]));
}

#[tokio::test]
async fn an_empty_email_address_is_no_filter() {
    let table = Table::new().await;
    table.put(&ada()).await;
    table.put(&json!({"id": "2"})).await;
    assert_eq!(ids(&list(&table, &[("email", "")]).await.json()).len(), 2);
}

#[tokio::test]
async fn the_last_of_repeated_parameters_counts() {
    let table = Table::new().await;
    table.put(&ada()).await;
    list(&table, &[("email", "grace@example.com"), ("email", "ada@example.com")])
        .await
        .is(200, &json!([ada()]));
    list(&table, &[("email", "ada@example.com"), ("email", "grace@example.com")])
        .await
        .is(200, &json!([]));
    list(&table, &[("limit", "none"), ("limit", "1")]).await.is(200, &json!([ada()]));
}

#[tokio::test]
async fn a_list_of_many_megabytes_is_read_to_its_end() {
    let table = Table::new().await;
    let users: Vec<_> =
        (0..50).map(|i| json!({"id": i.to_string(), "about": "x".repeat(100_000)})).collect();
    table.put_all(&users).await;
    let store = table.store();
    // A list does not depend on an earlier one.
    for _ in 0..2 {
        let reply = Reply::of(
            handlers::get_all(store.clone(), Event::new("GET", "/users").request()).await,
        );
        let list = reply.json();
        assert_eq!((list.as_array().map(Vec::len), ids(&list).len()), (Some(50), 50));
    }
}

#[tokio::test]
async fn a_list_that_does_not_fit_in_a_response_is_rejected_with_advice_to_use_pages() {
    let table = Table::new().await;
    // A quotation mark becomes four bytes, because the body and the response both escape it.
    let users: Vec<_> = (0..20)
        .map(|i| json!({"id": i.to_string(), "email": "a@b", "about": "\"".repeat(100_000)}))
        .collect();
    table.put_all(&users).await;
    for query in [&[][..], &[("email", "a@b")]] {
        let reply = list(&table, query).await;
        reply.is_error(400, "ResponseTooLarge");
        assert!(reply.message().contains("limit"), "{}", reply.message());
    }
}

#[tokio::test]
async fn a_page_ends_before_it_exceeds_a_response() {
    let table = Table::new().await;
    let users: Vec<_> =
        (0..40).map(|i| json!({"id": i.to_string(), "about": "x".repeat(400_000)})).collect();
    table.put_all(&users).await;
    let mut seen = BTreeSet::new();
    let mut pages = 0;
    let mut next = Some(vec![("limit".to_owned(), "1000".to_owned())]);
    while let Some(query) = next {
        let query: Vec<_> =
            query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = list(&table, &query).await;
        assert!(
            (1..=6_291_556).contains(&reply.bytes_on_lambda()),
            "{} bytes",
            reply.bytes_on_lambda()
        );
        assert_eq!(reply.status, 200);
        let users = ids(&reply.json());
        assert!(users.is_disjoint(&seen));
        seen.extend(users);
        next = reply.next_query();
        pages += 1;
    }
    assert_eq!((seen.len(), pages), (40, 3));
}

#[tokio::test]
async fn following_the_next_links_returns_every_user_once() {
    let table = Table::new().await;
    let users: Vec<_> =
        (0..10).map(|i| json!({"id": format!("ü/{i}"), "email": "a+b@example.com"})).collect();
    table.put_all(&users).await;
    for filter in [None, Some("a+b@example.com")] {
        let mut seen = Vec::new();
        let mut query = vec![("limit".to_owned(), "3".to_owned())];
        query.extend(filter.map(|email| ("email".to_owned(), email.to_owned())));
        let mut sizes = Vec::new();
        let mut next = Some(query);
        while let Some(query) = next {
            let query: Vec<_> =
                query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let reply = list(&table, &query).await;
            let page = ids(&reply.json());
            sizes.push(page.len());
            seen.extend(page);
            next = reply.next_query();
        }
        assert_eq!(sizes, [3, 3, 3, 1], "{filter:?}");
        assert_eq!(BTreeSet::from_iter(seen).len(), 10, "{filter:?}");
    }
}

#[tokio::test]
async fn the_last_page_has_no_next_link() {
    let table = Table::new().await;
    let users: Vec<_> = (0..4).map(|i| json!({"id": i.to_string()})).collect();
    table.put_all(&users).await;
    assert_eq!(
        list(&table, &[("limit", "3")]).await.next_query().map(|query| query.len()),
        Some(2)
    );
    assert_eq!(list(&table, &[("limit", "4")]).await.next_query(), None);
    assert_eq!(list(&table, &[("limit", "1000")]).await.next_query(), None);
}

#[tokio::test]
async fn the_next_link_is_an_absolute_path_with_the_stage_and_the_same_query() {
    let table = Table::new().await;
    table
        .put_all(&[json!({"id": "1", "email": "ü&=@b"}), json!({"id": "2", "email": "ü&=@b"})])
        .await;
    let reply = list(&table, &[("email", "ü&=@b"), ("limit", "1"), ("other", "kept")]).await;
    let link = reply.header("link").expect("a link");
    let (url, rest) = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect("a URL");
    assert_eq!(rest, "; rel=\"next\"");
    let cursor = url
        .strip_prefix("/test/users?email=%C3%BC%26%3D%40b&limit=1&other=kept&cursor=")
        .expect(url);
    assert!(
        !cursor.is_empty()
            && cursor.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
        "{cursor}"
    );
}

#[tokio::test]
async fn the_next_link_keeps_the_order_of_repeated_parameters() {
    let table = Table::new().await;
    table
        .put_all(&[
            json!({"id": "1", "email": "a@x"}),
            json!({"id": "2", "email": "a@x"}),
            json!({"id": "3", "email": "b@x"}),
        ])
        .await;
    let reply = list(&table, &[("email", "b@x"), ("email", "a@x"), ("limit", "1")]).await;
    let query = reply.next_query().expect("a next page");
    assert_eq!(
        query[..2],
        [("email".to_owned(), "b@x".to_owned()), ("email".to_owned(), "a@x".to_owned())]
    );
}

#[tokio::test]
async fn a_cursor_works_even_if_its_user_is_gone() {
    let table = Table::new().await;
    let users: Vec<_> = (0..3).map(|i| json!({"id": i.to_string()})).collect();
    table.put_all(&users).await;
    let first = list(&table, &[("limit", "1")]).await;
    let id = ids(&first.json()).pop_first().expect("a user");
    delete(&table, &id).await;
    let query = first.next_query().expect("a next page");
    let cursor = &query.iter().find(|(name, _)| name == "cursor").expect("a cursor").1;
    let rest = list(&table, &[("cursor", cursor)]).await;
    assert_eq!(ids(&rest.json()).len(), 2);
}

#[tokio::test]
async fn an_invalid_limit_or_cursor_is_rejected() {
    let table = Table::new().await;
    for limit in ["0", "1001", "-1", "+1", "", "ten", "1.0", "1 ", "٣", "99999999999999999999"] {
        list(&table, &[("limit", limit)]).await.is_error(400, "InvalidRequest");
    }
    for cursor in ["", "!", "a", "====", "_w", "/w", "NDI="] {
        list(&table, &[("limit", "1"), ("cursor", cursor)]).await.is_error(400, "InvalidRequest");
    }
    list(&table, &[("limit", "1"), ("email", "a@b"), ("cursor", "?")])
        .await
        .is_error(400, "InvalidRequest");
}

// POST /users

#[tokio::test]
async fn a_new_user_is_stored_and_returned() {
    let table = Table::new().await;
    post(&table, &ada().to_string()).await.is(200, &ada());
    assert_eq!(table.stored("1").await, Some(ada()));
}

#[tokio::test]
async fn a_new_user_without_an_id_gets_a_random_uuid() {
    let table = Table::new().await;
    let (first, second) =
        (post(&table, r#"{"name": "Ada"}"#).await, post(&table, r#"{"name": "Ada"}"#).await);
    for reply in [&first, &second] {
        assert_eq!(reply.status, 200);
        let user = reply.json();
        let id = user["id"].as_str().expect("an id");
        let uuid = uuid::Uuid::parse_str(id).expect("a UUID");
        assert_eq!((uuid.get_version_num(), uuid.hyphenated().to_string()), (4, id.to_owned()));
        assert_eq!(user, json!({"id": id, "name": "Ada"}));
        assert_eq!(table.stored(id).await, Some(user));
    }
    assert_ne!(first.json()["id"], second.json()["id"]);
}

#[tokio::test]
async fn a_new_user_whose_id_exists_is_rejected_and_the_stored_user_is_unchanged() {
    let table = Table::new().await;
    table.put(&ada()).await;
    post(&table, r#"{"id": "1", "name": "Eve"}"#).await.is_error(400, "UserAlreadyExists");
    post(&table, &ada().to_string()).await.is_error(400, "UserAlreadyExists");
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
        "true",
        "{\"a\": 1,}",
        "{\"a\": 01}",
        "{} {}",
        "{\"a\": NaN}",
    ] {
        post(&table, body).await.is_error(400, "InvalidRequest");
        put(&table, "1", body).await.is_error(400, "InvalidRequest");
    }
    for body in
        [r#"{"a": "\ud800"}"#, r#"{"\udc00": 1}"#, r#"{"a": ["\ud800x"]}"#, "{\"a\": \"\u{1}\"}"]
    {
        post(&table, body).await.is_error(400, "InvalidRequest");
    }
    let missing = Event::new("POST", "/users").request();
    Reply::of(handlers::post(table.store(), missing).await).is_error(400, "InvalidRequest");
    list(&table, &[]).await.is(200, &json!([]));
}

#[tokio::test]
async fn a_body_in_base64_is_decoded() {
    let table = Table::new().await;
    let event = Event::new("POST", "/users").base64_body("eyJpZCI6ICLDvCJ9");
    Reply::of(handlers::post(table.store(), event.request()).await).is(200, &json!({"id": "ü"}));
    let latin1 = Event::new("POST", "/users").base64_body("eyJpZCI6ICL8In0=");
    Reply::of(handlers::post(table.store(), latin1.request()).await)
        .is_error(400, "InvalidRequest");
}

#[tokio::test]
async fn a_user_that_breaks_a_rule_is_rejected_with_the_name_of_the_attribute() {
    let table = Table::new().await;
    let deep = format!("{}1{}", "[".repeat(32), "]".repeat(32));
    for (attribute, value) in [
        ("id", r#""""#),
        ("id", "1"),
        ("id", "null"),
        ("id", "[]"),
        ("id", &format!("{:?}", "x".repeat(2049))),
        ("id", &format!("{:?}", "ü".repeat(1025))),
        ("email", r#""""#),
        ("email", "true"),
        ("email", "null"),
        ("email", "{}"),
        ("email", &format!("{:?}", "x".repeat(2049))),
        ("age", "123456789012345678901234567890123456789"),
        ("age", "1e126"),
        ("age", "-1e126"),
        ("age", "1e-131"),
        ("deep", &deep),
    ] {
        let reply = post(&table, &format!(r#"{{"{attribute}": {value}}}"#)).await;
        reply.is_error(400, "InvalidUser");
        assert!(reply.message().contains(&format!("'{attribute}")), "{}", reply.message());
    }
    let nested = post(&table, r#"{"a": {"b": [1, {"c": 1e200}]}}"#).await;
    nested.is_error(400, "InvalidUser");
    assert!(nested.message().contains("'a.b[1].c'"), "{}", nested.message());
    for body in [r#"{"": 1}"#, r#"{"a": {"": 1}}"#] {
        post(&table, body).await.is_error(400, "InvalidUser");
    }
    put(&table, "1", r#"{"email": ""}"#).await.is_error(400, "InvalidUser");
    list(&table, &[]).await.is(200, &json!([]));
}

#[tokio::test]
async fn a_user_may_be_as_large_as_an_item_and_not_a_byte_larger() {
    let table = Table::new().await;
    // "id", "x" and "about" are 8 bytes.
    let user = |bytes: usize| json!({"id": "x", "about": "a".repeat(bytes - 8)}).to_string();
    assert_eq!(post(&table, &user(400 * 1024)).await.status, 200);
    delete(&table, "x").await;
    post(&table, &user(400 * 1024 + 1)).await.is_error(400, "InvalidUser");
    post(&table, &user(5_000_000)).await.is_error(400, "InvalidUser");
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
    let reply = post(&table, &user).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
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
    post(&table, r#"{"id": "v", "same": [1.0, 1e2, 1E+20, -0, 0.10e-1]}"#).await;
    assert_eq!(
        get(&table, "v").await.text,
        r#"{"id":"v","same":[1,100,100000000000000000000,0,0.01]}"#
    );
}

#[tokio::test]
async fn a_user_of_numbers_with_many_zeros_fits_in_a_response() {
    let table = Table::new().await;
    let user = format!(r#"{{"id":"1","n":[{}]}}"#, vec!["1e125"; 30_000].join(","));
    post(&table, &user).await.is(200, &serde_json::from_str(&user).expect("JSON"));
    for reply in
        [list(&table, &[("limit", "1")]).await, get(&table, "1").await, delete(&table, "1").await]
    {
        assert_eq!(reply.status, 200, "{}", reply.text);
        assert!(reply.bytes_on_lambda() < 1_000_000, "{}", reply.bytes_on_lambda());
    }
}

// GET, PUT and DELETE /users/{id}

#[tokio::test]
async fn a_user_is_read_by_its_id() {
    let table = Table::new().await;
    table.put(&ada()).await;
    get(&table, "1").await.is(200, &ada());
}

#[tokio::test]
async fn types_that_only_other_writers_use_are_shown_as_json() {
    let table = Table::new().await;
    let strings =
        |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    table
        .put_item(HashMap::from([
            ("id".to_owned(), AttributeValue::S("1".to_owned())),
            ("binary".to_owned(), AttributeValue::B(Blob::new(b"\x00\xff"))),
            ("binaries".to_owned(), AttributeValue::Bs(vec![Blob::new(b"\xff")])),
            ("numbers".to_owned(), AttributeValue::Ns(strings(&["12345678901234567890.5"]))),
            ("strings".to_owned(), AttributeValue::Ss(strings(&["a"]))),
        ]))
        .await;
    assert_eq!(
        get(&table, "1").await.text,
        concat!(
            r#"{"binaries":["/w=="],"binary":"AP8=","id":"1","#,
            r#""numbers":[12345678901234567890.5],"strings":["a"]}"#
        )
    );
}

#[tokio::test]
async fn a_user_that_does_not_exist_is_not_found_by_any_operation() {
    let table = Table::new().await;
    for id in ["1", &"x".repeat(2049)] {
        for reply in [get(&table, id).await, put(&table, id, "{}").await, delete(&table, id).await]
        {
            reply.is_error(400, "UserNotFound");
        }
    }
    assert!(get(&table, "4%322").await.message().contains("'422'"));
    list(&table, &[]).await.is(200, &json!([]));
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
        (".", "%2E"),
        ("..", ".."),
        ("?#&=", "%3F%23%26%3D"),
        ("ada@example.com", "ada@example.com"),
        ("\u{0}\n", "%00%0A"),
        ("😀", "%F0%9F%98%80"),
    ] {
        let user = json!({"id": id});
        post(&table, &user.to_string()).await.is(200, &user);
        get(&table, encoded).await.is(200, &user);
        put(&table, encoded, r#"{"a": 1}"#).await.is(200, &json!({"id": id, "a": 1}));
        delete(&table, encoded).await.is(200, &json!({"id": id, "a": 1}));
        assert_eq!(table.stored(id).await, None, "{id}");
    }
}

#[tokio::test]
async fn an_id_in_a_path_that_is_not_percent_encoded_utf8_is_rejected() {
    let table = Table::new().await;
    for id in ["%FF", "%C3", "%", "100%", "%zz", "%2", "%%41", "a%2x"] {
        for reply in [get(&table, id).await, put(&table, id, "{}").await, delete(&table, id).await]
        {
            reply.is_error(400, "InvalidRequest");
        }
    }
}

#[tokio::test]
async fn a_user_is_replaced_as_a_whole() {
    let table = Table::new().await;
    table.put(&ada()).await;
    put(&table, "1", r#"{"nick": "A"}"#).await.is(200, &json!({"id": "1", "nick": "A"}));
    assert_eq!(table.stored("1").await, Some(json!({"id": "1", "nick": "A"})));
    list(&table, &[("email", "ada@example.com")]).await.is(200, &json!([]));
}

#[tokio::test]
async fn the_id_in_the_path_counts_when_a_user_is_replaced() {
    let table = Table::new().await;
    table.put(&ada()).await;
    for id in [r#""2""#, r#""""#, "7", "null", "[[1e999]]"] {
        put(&table, "1", &format!(r#"{{"id": {id}, "a": 1}}"#))
            .await
            .is(200, &json!({"id": "1", "a": 1}));
    }
    assert_eq!(ids(&list(&table, &[]).await.json()), BTreeSet::from(["1".to_owned()]));
}

#[tokio::test]
async fn a_deleted_user_is_returned_and_no_longer_stored() {
    let table = Table::new().await;
    table.put(&ada()).await;
    table.put(&json!({"id": "2"})).await;
    delete(&table, "1").await.is(200, &ada());
    get(&table, "1").await.is_error(400, "UserNotFound");
    list(&table, &[]).await.is(200, &json!([{"id": "2"}]));
}

// DELETE /users

#[tokio::test]
async fn all_users_are_deleted_however_many() {
    let table = Table::new().await;
    delete_all(&table).await.is(200, &Value::Null);
    let users: Vec<_> =
        (0..130).map(|i| json!({"id": format!("ü{i}"), "about": "x".repeat(20_000)})).collect();
    table.put_all(&users).await;
    delete_all(&table).await.is(200, &Value::Null);
    list(&table, &[]).await.is(200, &json!([]));
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
        reply.is_error(500, "InternalError");
        assert!(!reply.text.contains(table.name()), "{}", reply.text);
    }
}
