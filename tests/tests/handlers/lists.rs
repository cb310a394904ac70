//! `GET /users`: lists and their pages.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Reply, Table};

use crate::{ada, delete, list};

/// Requests a list, and follows the links to all further pages.
async fn pages(table: &Table, query: &[(&str, &str)]) -> Vec<Reply> {
    let mut pages = vec![list(table, query).await];
    while let Some(query) = pages.last().and_then(Reply::next_query) {
        let query = query.iter().map(|(name, value)| (&**name, &**value));
        pages.push(list(table, &query.collect::<Vec<_>>()).await);
    }
    pages
}

/// Returns a table with this many users, whose ids are numbers.
async fn table_of(count: usize, others: &Value) -> Table {
    let table = Table::new().await;
    let user = |i: usize| {
        let mut user = others.clone();
        user["id"] = json!(format!("ü/{i}"));
        user
    };
    table
        .put_all(&(0..count).map(user).collect::<Vec<_>>())
        .await;
    table
}

/// Returns the sizes of pages, which together have every user once.
#[track_caller]
fn sizes(pages: &[Reply]) -> Vec<usize> {
    let users: Vec<_> = pages.iter().map(Reply::users).collect();
    let all: BTreeSet<_> = users
        .iter()
        .flatten()
        .map(|user| user["id"].to_string())
        .collect();
    let sizes: Vec<_> = users.iter().map(Vec::len).collect();
    assert_eq!(all.len(), sizes.iter().sum::<usize>(), "a user came twice");
    sizes
}

#[tokio::test]
async fn a_list_has_the_users_that_its_query_describes() {
    let table = Table::new().await;
    let (grace, long) = ("grace@example.com", "x".repeat(2049));
    for user in [
        ada(),
        json!({"id": "2", "email": "ADA@example.com"}),
        json!({"id": "3", "email": "ada@example.co"}),
        json!({"id": "4"}),
    ] {
        table.put(&user).await;
    }
    for (query, count) in [
        (&[("email", "ada@example.com")][..], 1),
        (&[("email", grace)], 0),
        (&[("email", "")], 4),
        // No user can have this address.
        (&[("email", &long)], 0),
        (&[("email", grace), ("email", "ada@example.com")], 1),
        (&[("email", "ada@example.com"), ("email", grace)], 0),
        (&[("limit", "none"), ("limit", "2")], 2),
    ] {
        let users = list(&table, query).await.users();
        assert_eq!(users.len(), count, "{query:?}");
        assert!(count != 1 || users == [ada()], "{users:?}");
    }
}

#[tokio::test]
async fn a_list_of_many_megabytes_is_read_to_its_end() {
    let table = table_of(50, &json!({"about": "x".repeat(100_000)})).await;
    assert_eq!(sizes(&[list(&table, &[]).await]), [50]);
}

#[tokio::test]
async fn a_list_that_exceeds_a_response_is_rejected_with_advice() {
    // A quotation mark becomes four bytes, because the body and the response both escape it.
    let large = json!({"email": "a@b", "about": "\"".repeat(100_000)});
    let table = table_of(20, &large).await;
    for query in [&[][..], &[("email", "a@b")]] {
        let reply = list(&table, query).await;
        reply.fails_with("ResponseTooLarge", "limit");
    }
}

#[tokio::test]
async fn a_page_ends_before_it_exceeds_a_response() {
    let table = table_of(20, &json!({"about": "x".repeat(400_000)})).await;
    let pages = pages(&table, &[("limit", "1000")]).await;
    for page in &pages {
        let bytes = page.bytes_on_lambda();
        assert!((1..=6_291_556).contains(&bytes), "{bytes} bytes");
    }
    assert_eq!(sizes(&pages), [15, 5]);
}

#[tokio::test]
async fn following_the_next_links_returns_every_user_once() {
    let table = table_of(10, &json!({"email": "a+b@example.com"})).await;
    let email = ("email", "a+b@example.com");
    for (query, expected) in [
        (&[("limit", "3")][..], &[3, 3, 3, 1][..]),
        (&[("limit", "3"), email], &[3, 3, 3, 1]),
        // The last page has no link, even if it is full.
        (&[("limit", "5")], &[5, 5]),
        (&[("limit", "5"), email], &[5, 5]),
        (&[("limit", "1000")], &[10]),
    ] {
        assert_eq!(sizes(&pages(&table, query).await), expected, "{query:?}");
    }
}

#[tokio::test]
async fn the_next_link_is_a_query_that_repeats_the_request() {
    let table = table_of(2, &json!({"email": "ü&=@b"})).await;
    let query = [
        ("email", "x"),
        ("email", "ü&=@b"),
        ("limit", "1"),
        ("other", "dropped"),
    ];
    let url = list(&table, &query).await.next_url().expect("a link");
    let cursor = url.strip_prefix("?email=%C3%BC%26%3D%40b&limit=1&cursor=");
    let cursor = cursor.expect(&url);
    let is_url_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(
        !cursor.is_empty() && cursor.bytes().all(is_url_safe),
        "{url}"
    );
}

#[tokio::test]
async fn a_cursor_works_even_if_its_user_is_gone() {
    let table = table_of(3, &json!({})).await;
    let first = list(&table, &[("limit", "1")]).await;
    let id = first.users()[0]["id"].as_str().expect("an id").to_owned();
    delete(&table, &tests::percent_encoded(&id))
        .await
        .assert_ok();
    let query = first.next_query().expect("a next page");
    let cursor = query.iter().find(|(name, _)| name == "cursor");
    let (name, cursor) = cursor.expect("a cursor");
    assert_eq!(list(&table, &[(name, cursor)]).await.users().len(), 2);
}

#[tokio::test]
async fn an_invalid_limit_or_cursor_is_rejected() {
    let table = Table::new().await;
    let limits = "0 1001 -1 +1 ten 1.0 ٣ 99999999999999999999".split(' ');
    for limit in limits.chain(["", "1 "]) {
        list(&table, &[("limit", limit)])
            .await
            .fails("InvalidRequest");
    }
    for cursor in ["", "!", "a", "====", "_w", "/w", "NDI="] {
        for email in [&[][..], &[("email", "a@b")]] {
            let query = [&[("limit", "1"), ("cursor", cursor)], email].concat();
            list(&table, &query).await.fails("InvalidRequest");
        }
    }
}
