//! `scripts/merge-table`, on a real engine. Without Python and boto3, these tests are ignored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tempfile::TempDir;
use tests::{ScriptedResponse, ScriptedServer, Table, engine, repository};
use tokio::process::Command;

/// Runs the script in a directory. Returns whether it succeeded, and what it printed.
async fn merge(
    directory: &TempDir,
    endpoint: &str,
    (source, target): (&Table, &Table),
    ids: &[&str],
) -> (bool, String) {
    let output = Command::new(repository::path("scripts/merge-table"))
        .args([source.name(), target.name()])
        .args(ids)
        .current_dir(directory.path())
        .env("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .await
        .expect("the script starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    (output.status.success(), text)
}

/// Returns an item with values of every type.
fn item(number: usize) -> HashMap<String, AttributeValue> {
    let bytes = |bytes: &[u8]| Blob::new(bytes);
    let nested = AttributeValue::B(bytes(&[0xff, 0xfe]));
    [
        ("id", AttributeValue::S(format!("user {number}"))),
        ("version", AttributeValue::N("1".to_owned())),
        ("binary", AttributeValue::B(bytes(&[1, 2, 0xff]))),
        ("binaries", AttributeValue::Bs(vec![bytes(&[0x80])])),
        ("numbers", AttributeValue::Ns(vec!["1.5".to_owned()])),
        ("strings", AttributeValue::Ss(vec!["ü".to_owned()])),
        (
            "exact",
            AttributeValue::N("12345678901234567890.123456789012345678".to_owned()),
        ),
        ("nested", AttributeValue::L(vec![nested])),
        ("null", AttributeValue::Null(true)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

async fn stored(table: &Table, number: usize) -> Option<HashMap<String, AttributeValue>> {
    users_core::client(Some(engine()))
        .expect("a client")
        .get_item()
        .table_name(table.name())
        .key("id", AttributeValue::S(format!("user {number}")))
        .consistent_read(true)
        .send()
        .await
        .expect("the table can be read")
        .item
}

#[tokio::test]
#[cfg_attr(not(boto3), ignore = "needs Python with boto3: make tools")]
async fn missing_users_are_copied_and_newer_ones_kept() {
    let (source, target) = (Table::new().await, Table::new().await);
    for number in 0..40 {
        source.put_item(item(number)).await;
    }
    target.put(&json!({"id": "user 7", "version": 2})).await;

    let directory = TempDir::new().expect("a directory");
    let output = merge(&directory, engine(), (&source, &target), &[]).await;
    let expected = format!("39 copied, 1 already in {}\n", target.name());
    assert_eq!(output, (true, expected));
    for number in (0..40).filter(|number| *number != 7) {
        assert_eq!(stored(&target, number).await, Some(item(number)));
    }
    let newer = target.stored("user 7").await;
    assert_eq!(newer, Some(json!({"id": "user 7", "version": 2})));
    let mut left = directory.path().read_dir().expect("a directory");
    assert!(left.next().is_none(), "the file of progress is deleted");
}

#[tokio::test]
#[cfg_attr(not(boto3), ignore = "needs Python with boto3: make tools")]
async fn single_users_are_copied_by_id() {
    let (source, target) = (Table::new().await, Table::new().await);
    for number in 0..3 {
        source.put_item(item(number)).await;
    }

    let directory = TempDir::new().expect("a directory");
    let ids = ["user 1", "nobody"];
    let output = merge(&directory, engine(), (&source, &target), &ids).await;
    let expected = format!(
        "1 copied, 0 already in {}\n{} has no user with the id 'nobody'\n",
        target.name(),
        source.name()
    );
    assert_eq!(output, (false, expected));
    assert_eq!(stored(&target, 1).await, Some(item(1)));
    assert_eq!(stored(&target, 2).await, None);
}

#[tokio::test]
#[cfg_attr(not(boto3), ignore = "needs Python with boto3: make tools")]
async fn a_failed_copy_continues_after_its_last_pages() {
    const USERS: usize = 2000;
    // The script reads 16 segments in pages of 100 users. One page is read twice.
    const SCANS: usize = 16 + USERS / 100 + 1;
    let (source, target) = (Table::new().await, Table::new().await);
    let users: Vec<_> = (0..USERS)
        .map(|number| json!({"id": number.to_string()}))
        .collect();
    source.put_all(&users).await;
    let (scans, puts) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let counted = Arc::clone(&scans);
    let server = ScriptedServer::start(move |operation, _| match operation {
        "PutItem" if puts.fetch_add(1, Relaxed) == USERS - 100 => {
            ScriptedResponse::Error(400, "AccessDeniedException")
        }
        _ => {
            counted.fetch_add(usize::from(operation == "Scan"), Relaxed);
            ScriptedResponse::Forwarded(engine().to_owned())
        }
    })
    .await;
    let directory = TempDir::new().expect("a directory");
    let run = || merge(&directory, server.endpoint(), (&source, &target), &[]);
    let (succeeded, text) = run().await;
    let is_denied = text.contains("AccessDeniedException");
    assert!(!succeeded && is_denied, "{text}");
    let (succeeded, text) = run().await;
    assert!(succeeded && text.starts_with("Continuing"), "{text}");

    assert_eq!(target.all().await.len(), USERS);
    let scans = scans.load(Relaxed);
    assert!(scans <= SCANS, "{scans} pages are read");
}
