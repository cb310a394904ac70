//! Checks each attempt of a DynamoDB call: rejects garbage, reads the units that the response
//! reports, and counts the attempts whose outcome is unknown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use aws_runtime::retries::classifiers::TRANSIENT_ERRORS;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{BoxError, ConnectorError};
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemOutput;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemOutput;
use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::ConsumedCapacity;
use aws_smithy_runtime_api::client::interceptors::context::Output;
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::ConnectError;
use crate::key::Item;

/// A successful response that DynamoDB cannot have sent.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB cannot have sent this response")]
pub(crate) struct Garbage;

/// An interceptor that turns a successful response that DynamoDB cannot have sent into an error.
/// The SDK treats whatever is missing as empty, so it would take an error or unrelated JSON for a
/// missing item or a success. Like any response that cannot be read, such a response is worth
/// another attempt. Adds [`Units`] to the configuration of a call that succeeds.
#[derive(Debug)]
pub(crate) struct CheckResponses;

impl Intercept for CheckResponses {
    fn name(&self) -> &'static str {
        "CheckResponses"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context
            .response()
            .filter(|response| response.status().is_success())
        else {
            return Ok(());
        };
        let body = response.body().bytes().unwrap_or_default();
        // A response that could not be parsed is garbage, too.
        let output = context.output_or_error().and_then(Result::ok);
        if let Some(units) = output.and_then(|output| consumed_units(output, body)) {
            config.interceptor_state().store_put(units);
        } else if let Some(result) = context.output_or_error_mut() {
            *result = Err(OrchestratorError::response(Garbage.into()));
        }
        Ok(())
    }
}

/// The capacity units that a call consumed, as DynamoDB reports them
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html>).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Units {
    pub(crate) read: f64,
    pub(crate) write: f64,
}

impl Storable for Units {
    type Storer = StoreReplace<Self>;
}

/// Returns the units that a call consumed, unless its response lacks what DynamoDB always sends
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Operations.html>).
fn consumed_units(output: &Output, body: &[u8]) -> Option<Units> {
    let units = |capacity: Option<&ConsumedCapacity>| {
        capacity
            .and_then(ConsumedCapacity::capacity_units)
            .unwrap_or_default()
    };
    let (is_genuine, read, write) = if let Some(scan) = output.downcast_ref::<ScanOutput>() {
        let is_genuine = has_counted(scan.items.as_deref(), scan.count);
        (is_genuine, units(scan.consumed_capacity()), 0.0)
    } else if let Some(query) = output.downcast_ref::<QueryOutput>() {
        let is_genuine = has_counted(query.items.as_deref(), query.count);
        (is_genuine, units(query.consumed_capacity()), 0.0)
    } else if let Some(batch) = output.downcast_ref::<BatchWriteItemOutput>() {
        let write = batch
            .consumed_capacity()
            .iter()
            .map(|capacity| units(Some(capacity)))
            .sum();
        (batch.unprocessed_items.is_some(), 0.0, write)
    } else if let Some(get) = output.downcast_ref::<GetItemOutput>() {
        let is_genuine = get.item.is_some() || has_only_capacity(body);
        (is_genuine, units(get.consumed_capacity()), 0.0)
    } else if let Some(delete) = output.downcast_ref::<DeleteItemOutput>() {
        let is_genuine = delete.attributes.is_some() || has_only_capacity(body);
        (is_genuine, 0.0, units(delete.consumed_capacity()))
    } else if let Some(put) = output.downcast_ref::<PutItemOutput>() {
        (has_only_capacity(body), 0.0, units(put.consumed_capacity()))
    } else {
        (true, 0.0, 0.0)
    };
    is_genuine.then_some(Units { read, write })
}

/// Returns whether a response without an item contains nothing but the consumed capacity, which the
/// requests ask for.
fn has_only_capacity(body: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, &RawValue>>(body)
        .is_ok_and(|members| members.keys().all(|name| name == "ConsumedCapacity"))
}

/// Returns whether a list has as many items as its count says. A missing count is read as 0, so a
/// count of 0 is always accepted.
fn has_counted(items: Option<&[Item]>, count: i32) -> bool {
    items.is_some_and(|items| count == 0 || usize::try_from(count) == Ok(items.len()))
}

/// An interceptor that counts the attempts of one call whose outcome is unknown, because there was
/// no response, or it does not say what happened. Such an attempt may have written, or may still
/// write.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnknownOutcomes(Arc<AtomicU32>);

impl UnknownOutcomes {
    /// Returns whether the outcome of any attempt so far is unknown.
    pub(crate) fn any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Intercept for UnknownOutcomes {
    fn name(&self) -> &'static str {
        "UnknownOutcomes"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Relaxed);
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_known = match context.output_or_error() {
            Some(Ok(_)) => true,
            Some(Err(error)) => {
                context
                    .response()
                    .is_some_and(says_that_nothing_was_written)
                    || error.as_connector_error().is_some_and(was_not_sent)
            }
            None => false,
        };
        if is_known {
            self.0.fetch_sub(1, Relaxed);
        }
        Ok(())
    }
}

/// Returns the code of DynamoDB's error in a response, such as `ThrottlingException`
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html#Programming.Errors.Components>).
pub(crate) fn error_code(response: &HttpResponse) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody {
        __type: String,
    }
    let body = response
        .body()
        .bytes()
        .filter(|_| !response.status().is_success())?;
    let ErrorBody { __type: name } = serde_json::from_slice(body).ok()?;
    Some(name.rsplit('#').next().unwrap_or_default().to_owned())
}

/// Returns whether a response to a write says that DynamoDB wrote nothing, as when it throttles or
/// a condition fails.
fn says_that_nothing_was_written(response: &HttpResponse) -> bool {
    response.status().as_u16() < 500
        && error_code(response).is_some_and(|code| !TRANSIENT_ERRORS.contains(&code.as_str()))
}

/// Returns whether the request was not sent, because there was no connection.
fn was_not_sent(error: &ConnectorError) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<ConnectError>)
}
