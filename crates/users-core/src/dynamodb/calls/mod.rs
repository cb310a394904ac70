//! Observes the DynamoDB calls of an invocation: checks each response, counts for the log line, and
//! traces.

mod check;
mod trace;
mod unknown;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::query::QueryInput;
use aws_smithy_runtime_api::client::orchestrator::{Metadata, OrchestratorError};
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use super::error::{ErrorBody, FAILED_CONDITION, ImplausibleResponse};
use check::Report;
use trace::Subsegment;
pub(crate) use trace::{Trace, Tracer, trace_id};
pub(super) use unknown::UnknownOutcomes;

tokio::task_local! {
    /// The calls of the invocation that this task serves. It is unset during the warm-up, which
    /// belongs to no invocation.
    static CALLS: Arc<Calls>;
}

/// The calls of one invocation.
#[derive(Debug)]
pub(crate) struct Calls {
    totals: Mutex<Totals>,
    trace: Option<Trace>,
}

/// The totals of the calls of an invocation. Those that were cancelled count as well.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) retries: u32,
    /// How many attempts DynamoDB throttled.
    pub(crate) throttles: u32,
    /// Why DynamoDB throttled the last of them, if it said so.
    pub(crate) throttle_reason: Option<String>,
    /// How many writes of batches DynamoDB left unprocessed.
    pub(crate) unprocessed: usize,
    /// How many users a deletion of all users has deleted.
    pub(crate) deleted: Option<usize>,
    /// The sum of the durations of all calls, which may overlap.
    pub(crate) time: Duration,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

impl Calls {
    /// Returns an empty record for an invocation. Its calls are traced if it has a trace.
    pub(crate) fn new(trace: Option<Trace>) -> Arc<Self> {
        Arc::new(Self {
            totals: Mutex::default(),
            trace,
        })
    }

    /// Runs the work of the invocation. Returns its result and the totals of its calls.
    pub(crate) async fn record<T>(self: Arc<Self>, work: impl Future<Output = T>) -> (T, Totals) {
        let result = CALLS.scope(Arc::clone(&self), work).await;
        if let Some(trace) = &self.trace {
            trace.finish();
        }
        let totals = lock(&self.totals).clone();
        (result, totals)
    }
}

/// Adds to the number of users that the invocation has deleted.
pub(super) fn count_deleted(users: usize) {
    let _ = CALLS.try_with(|calls| {
        *lock(&calls.totals).deleted.get_or_insert_default() += users;
    });
}

/// A call, in the SDK's configuration of the call. It ends when it is dropped, whether it came to
/// its end or was cancelled.
#[derive(Debug)]
struct Call {
    calls: Arc<Calls>,
    index: Option<String>,
    start: SystemTime,
    progress: Mutex<Progress>,
}

/// How far a call has come.
#[derive(Debug, Default)]
struct Progress {
    operation: String,
    attempts: u32,
    throttles: u32,
    units: f64,
    /// The status of the last response, if there was one.
    status: Option<u16>,
    /// DynamoDB's id of the last response.
    request_id: Option<String>,
    outcome: Outcome,
}

/// How the last attempt of a call ended, the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It succeeded, or the condition of a write was not met, which is an answer as well.
    Answered,
    Throttled,
    /// It failed, or was cancelled.
    #[default]
    Failed,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

impl Call {
    /// Records the response of an attempt, whose body is this.
    fn add_response(&self, status: u16, request_id: Option<&str>, error: Option<&ErrorBody>) {
        let mut progress = lock(&self.progress);
        progress.status = Some(status);
        progress.request_id = request_id.map(str::to_owned);
        progress.outcome = match error {
            Some(error) if error.is_throttling() => Outcome::Throttled,
            Some(error) if error.code() == FAILED_CONDITION => Outcome::Answered,
            _ => Outcome::Failed,
        };
        if progress.outcome == Outcome::Throttled {
            progress.throttles += 1;
            let mut totals = lock(&self.calls.totals);
            totals.throttles += 1;
            let reason = error.and_then(ErrorBody::throttling_reason);
            totals.throttle_reason = reason.map(str::to_owned);
        }
    }

    /// Records what a successful response says.
    fn add_report(&self, report: Report) {
        let mut progress = lock(&self.progress);
        progress.units += report.read_units + report.write_units;
        progress.outcome = Outcome::Answered;
        let mut totals = lock(&self.calls.totals);
        totals.read_units += report.read_units;
        totals.write_units += report.write_units;
        totals.unprocessed += report.unprocessed;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let end = SystemTime::now();
        lock(&self.calls.totals).time += end.duration_since(self.start).unwrap_or_default();
        let Some(trace) = &self.calls.trace else {
            return;
        };
        let progress = lock(&self.progress);
        trace.add(&Subsegment {
            operation: &progress.operation,
            index: self.index.as_deref(),
            start: self.start,
            end,
            retries: progress.attempts.saturating_sub(1),
            throttles: progress.throttles,
            units: progress.units,
            status: progress.status,
            request_id: progress.request_id.as_deref(),
            outcome: progress.outcome,
        });
    }
}

/// The interceptor of every call: it rejects what DynamoDB cannot have sent, and adds each call to
/// the record of its invocation.
#[derive(Debug)]
pub(super) struct ObserveCalls;

impl Intercept for ObserveCalls {
    fn name(&self) -> &'static str {
        "ObserveCalls"
    }

    fn read_before_execution(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(calls) = CALLS.try_with(Arc::clone) else {
            return Ok(());
        };
        lock(&calls.totals).calls += 1;
        let query = context.input().downcast_ref::<QueryInput>();
        let call = Call {
            calls,
            index: query.and_then(|query| query.index_name.clone()),
            start: SystemTime::now(),
            progress: Mutex::default(),
        };
        config.interceptor_state().store_put(call);
        Ok(())
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(call) = config.load::<Call>() {
            let mut progress = lock(&call.progress);
            if progress.attempts == 0 {
                let operation = config.load::<Metadata>().map_or("", Metadata::name);
                operation.clone_into(&mut progress.operation);
            }
            progress.attempts += 1;
            // Until its response arrives. The one of the attempt before is history.
            progress.outcome = Outcome::Failed;
            progress.status = None;
            progress.request_id = None;
            if progress.attempts > 1 {
                lock(&call.calls.totals).retries += 1;
            }
        }
        Ok(())
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(response) = context.response() else {
            return Ok(());
        };
        let call = config.load::<Call>();
        if let Some(call) = call {
            call.add_response(
                response.status().as_u16(),
                response.headers().get("x-amzn-requestid"),
                ErrorBody::of(response).as_ref(),
            );
        }
        if !response.status().is_success() {
            return Ok(());
        }
        let body = response.body().bytes().unwrap_or_default();
        // A response that could not be parsed is implausible, too.
        let output = context.output_or_error().and_then(Result::ok);
        if let Some(report) = output.and_then(|output| check::report(output, body)) {
            if let Some(call) = call {
                call.add_report(report);
            }
        } else if let Some(result) = context.output_or_error_mut() {
            *result = Err(OrchestratorError::response(ImplausibleResponse.into()));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
