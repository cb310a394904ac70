//! Checks whether DynamoDB can have sent a response, and reads what it says about the call.
//!
//! The SDK treats whatever is missing as empty, so it would take an error or unrelated JSON for a
//! missing item or a success.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::ConsumedCapacity;
use aws_smithy_runtime_api::client::interceptors::context::Output;
use memchr::memmem;
use serde_json::value::RawValue;

use crate::user::Item;

/// What a successful response says about its call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Report {
    /// The capacity units that the call consumed
    /// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>).
    pub(super) read_units: f64,
    pub(super) write_units: f64,
    /// How many writes of a batch DynamoDB left unprocessed.
    pub(super) unprocessed: usize,
}

/// Returns what a response says, unless it lacks what the operation needs
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations.html>). Members
/// that are not known are ignored: AWS may add some.
pub(super) fn report(output: &Output, body: &[u8]) -> Option<Report> {
    let units = |capacity: Option<&ConsumedCapacity>| {
        capacity
            .and_then(ConsumedCapacity::capacity_units)
            .unwrap_or_default()
    };
    let read = |is_plausible: bool, capacity| {
        is_plausible.then(|| Report {
            read_units: units(capacity),
            ..Report::default()
        })
    };
    let written = |is_plausible: bool, capacity| {
        is_plausible.then(|| Report {
            write_units: units(capacity),
            ..Report::default()
        })
    };
    if let Some(get) = output.downcast_ref::<GetItemOutput>() {
        let is_plausible = get.item.is_some() || is_success(body);
        read(is_plausible, get.consumed_capacity())
    } else if let Some(scan) = output.downcast_ref::<ScanOutput>() {
        let is_plausible = has_counted(scan.items.as_deref(), scan.count);
        read(is_plausible, scan.consumed_capacity())
    } else if let Some(query) = output.downcast_ref::<QueryOutput>() {
        let is_plausible = has_counted(query.items.as_deref(), query.count);
        read(is_plausible, query.consumed_capacity())
    } else if let Some(put) = output.downcast_ref::<PutItemOutput>() {
        written(is_success(body), put.consumed_capacity())
    } else if let Some(delete) = output.downcast_ref::<DeleteItemOutput>() {
        let is_plausible = delete.attributes.is_some() || is_success(body);
        written(is_plausible, delete.consumed_capacity())
    } else if let Some(batch) = output.downcast_ref::<BatchWriteItemOutput>() {
        let unprocessed = batch.unprocessed_items.as_ref()?;
        Some(Report {
            write_units: batch
                .consumed_capacity()
                .iter()
                .map(|capacity| units(Some(capacity)))
                .sum(),
            unprocessed: unprocessed.values().map(Vec::len).sum(),
            ..Report::default()
        })
    } else {
        Some(Report::default())
    }
}

/// Returns whether a response without an item is a success: an object whose members have names such
/// as DynamoDB's, which begin with a capital letter. Those of errors, such as `__type` and
/// `message`, do not.
fn is_success(body: &[u8]) -> bool {
    let is_of_dynamodb = |name: &&str| name.starts_with(|first: char| first.is_ascii_uppercase());
    serde_json::from_slice::<BTreeMap<&str, &RawValue>>(body)
        .is_ok_and(|members| members.keys().all(is_of_dynamodb))
        && memmem::find(body, b"\"__type\"").is_none()
}

/// Returns whether a list has as many items as its count says. A missing count is read as 0, so a
/// count of 0 is always accepted.
fn has_counted(items: Option<&[Item]>, count: i32) -> bool {
    items.is_some_and(|items| count == 0 || usize::try_from(count) == Ok(items.len()))
}
