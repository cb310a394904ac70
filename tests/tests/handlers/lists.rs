//! `GET /users`: lists and their pages.

use std::collections::BTreeSet;

use serde_json::json;
use tests::{Reply, Table};

use crate::{ada, delete, ids, list};

/// Requests a list, and follows the links to all further pages.
async fn pages(table: &Table, query: &[(&str, &str)]) -> Vec<Reply> {
    let mut pages = vec![list(table, query).await];
    while let Some(query) = pages.last().and_then(Reply::next_query) {
        let query: Vec<_> = query
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        pages.push(list(table, &query).await);
    }
    pages
}

#[tokio::test]
async fn a_list_by_email_has_the_users_with_exactly_that_address() {
    let table = Table::new().await;
    table.put(&ada()).await;
    table
        .put(&json!({"id": "2", "email": "ADA@example.com"}))
        .await;
    table
        .put(&json!({"id": "3", "email": "ada@example.co"}))
        .await;
    table.put(&json!({"id": "4"})).await;
    list(&table, &[("email", "ada@example.com")])
        .await
        .is(&json!([ada()]));
    list(&table, &[("email", "grace@example.com")])
        .await
        .is(&json!([]));
}

#[tokio::test]
async fn an_email_address_that_no_user_can_have_returns_an_empty_list() {
    let table = Table::new().await;
    table.put(&ada()).await;
    list(&table, &[("email", &"x".repeat(2049))])
        .await
        .is(&json!([]));
}

#[tokio::test]
async fn the_last_of_repeated_parameters_counts() {
    let table = Table::new().await;
    table.put(&ada()).await;
    list(
        &table,
        &[("email", "grace@example.com"), ("email", "ada@example.com")],
    )
    .await
    .is(&json!([ada()]));
    list(
        &table,
        &[("email", "ada@example.com"), ("email", "grace@example.com")],
    )
    .await
    .is(&json!([]));
    list(&table, &[("limit", "none"), ("limit", "1")])
        .await
        .is(&json!([ada()]));
}

#[tokio::test]
async fn a_list_of_many_megabytes_is_read_to_its_end() {
    let table = Table::new().await;
    let users: Vec<_> = (0..50)
        .map(|i| json!({"id": i.to_string(), "about": "x".repeat(100_000)}))
        .collect();
    table.put_all(&users).await;
    let list = list(&table, &[]).await.json();
    assert_eq!(
        (list.as_array().map(Vec::len), ids(&list).len()),
        (Some(50), 50)
    );
}

#[tokio::test]
async fn a_list_that_exceeds_a_response_is_rejected_with_advice() {
    let table = Table::new().await;
    // A quotation mark becomes four bytes, because the body and the response both escape it.
    let users: Vec<_> = (0..20)
        .map(|i| json!({"id": i.to_string(), "email": "a@b", "about": "\"".repeat(100_000)}))
        .collect();
    table.put_all(&users).await;
    for query in [&[][..], &[("email", "a@b")]] {
        let reply = list(&table, query).await;
        reply.fails("ResponseTooLarge");
        assert!(reply.message().contains("limit"), "{}", reply.message());
    }
}

#[tokio::test]
async fn a_page_ends_before_it_exceeds_a_response() {
    let table = Table::new().await;
    let users: Vec<_> = (0..40)
        .map(|i| json!({"id": i.to_string(), "about": "x".repeat(400_000)}))
        .collect();
    table.put_all(&users).await;
    let mut seen = BTreeSet::new();
    let pages = pages(&table, &[("limit", "1000")]).await;
    for page in &pages {
        let bytes = page.bytes_on_lambda();
        assert!((1..=6_291_556).contains(&bytes), "{bytes} bytes");
        page.assert_ok();
        let users = ids(&page.json());
        assert!(users.is_disjoint(&seen));
        seen.extend(users);
    }
    assert_eq!((seen.len(), pages.len()), (40, 3));
}

#[tokio::test]
async fn following_the_next_links_returns_every_user_once() {
    let table = Table::new().await;
    let users: Vec<_> = (0..10)
        .map(|i| json!({"id": format!("ü/{i}"), "email": "a+b@example.com"}))
        .collect();
    table.put_all(&users).await;
    for query in [
        &[("limit", "3")][..],
        &[("limit", "3"), ("email", "a+b@example.com")],
    ] {
        let pages = pages(&table, query).await;
        let pages: Vec<_> = pages.iter().map(|page| ids(&page.json())).collect();
        let sizes: Vec<_> = pages.iter().map(BTreeSet::len).collect();
        assert_eq!(sizes, [3, 3, 3, 1], "{query:?}");
        let seen: BTreeSet<_> = pages.into_iter().flatten().collect();
        assert_eq!(seen.len(), 10, "{query:?}");
    }
}

#[tokio::test]
async fn the_last_page_has_no_next_link() {
    let table = Table::new().await;
    let users: Vec<_> = (0..4).map(|i| json!({"id": i.to_string()})).collect();
    table.put_all(&users).await;
    assert_eq!(
        list(&table, &[("limit", "3")])
            .await
            .next_query()
            .map(|query| query.len()),
        Some(2)
    );
    assert_eq!(list(&table, &[("limit", "4")]).await.next_query(), None);
    assert_eq!(list(&table, &[("limit", "1000")]).await.next_query(), None);
}

#[tokio::test]
async fn the_next_link_is_a_query_that_repeats_the_request() {
    let table = Table::new().await;
    table
        .put_all(&[
            json!({"id": "1", "email": "ü&=@b"}),
            json!({"id": "2", "email": "ü&=@b"}),
        ])
        .await;
    let query = [
        ("email", "x"),
        ("email", "ü&=@b"),
        ("limit", "1"),
        ("other", "dropped"),
    ];
    let reply = list(&table, &query).await;
    let link = reply.header("link").expect("a link");
    let (url, rest) = link
        .strip_prefix('<')
        .and_then(|link| link.split_once('>'))
        .expect("a URL");
    assert_eq!(rest, "; rel=\"next\"");
    let cursor = url
        .strip_prefix("?email=%C3%BC%26%3D%40b&limit=1&cursor=")
        .expect(url);
    let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(
        !cursor.is_empty() && cursor.bytes().all(is_url_safe),
        "{cursor}"
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
    let cursor = &query
        .iter()
        .find(|(name, _)| name == "cursor")
        .expect("a cursor")
        .1;
    let rest = list(&table, &[("cursor", cursor)]).await;
    assert_eq!(ids(&rest.json()).len(), 2);
}

#[tokio::test]
async fn an_invalid_limit_or_cursor_is_rejected() {
    let table = Table::new().await;
    for limit in [
        "0",
        "1001",
        "-1",
        "+1",
        "",
        "ten",
        "1.0",
        "1 ",
        "٣",
        "99999999999999999999",
    ] {
        list(&table, &[("limit", limit)])
            .await
            .fails("InvalidRequest");
    }
    for cursor in ["", "!", "a", "====", "_w", "/w", "NDI="] {
        list(&table, &[("limit", "1"), ("cursor", cursor)])
            .await
            .fails("InvalidRequest");
    }
    list(&table, &[("limit", "1"), ("email", "a@b"), ("cursor", "?")])
        .await
        .fails("InvalidRequest");
}
