//! Records the DynamoDB calls of an invocation, for its log line and its trace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_runtime::retries::classifiers::THROTTLING_ERRORS;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::attempts::{Units, error_code};
use crate::trace::{Subsegment, Trace};

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

/// The totals of the calls of an invocation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) retries: u32,
    /// How many attempts DynamoDB throttled.
    pub(crate) throttles: u32,
    /// The sum of the durations of all calls, which may overlap.
    pub(crate) time: Duration,
    pub(crate) units: Units,
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
        let totals = *self.totals();
        (result, totals)
    }

    fn add(&self, context: &FinalizerInterceptorContextRef<'_>, config: &ConfigBag) {
        let Some(Progress { start, throttles }) = config.load::<Progress>().copied() else {
            return;
        };
        let end = SystemTime::now();
        let attempts = config
            .load::<RequestAttempts>()
            .map_or(1, RequestAttempts::attempts);
        let retries = attempts.saturating_sub(1);
        let units = config.load::<Units>().copied().unwrap_or_default();
        {
            let mut totals = self.totals();
            totals.calls += 1;
            totals.retries += retries;
            totals.throttles += throttles;
            totals.time += end.duration_since(start).unwrap_or_default();
            totals.units.read += units.read;
            totals.units.write += units.write;
        }
        if let Some(trace) = &self.trace {
            let response = context.response();
            trace.add(&Subsegment {
                operation: config.load::<Metadata>().map_or("", Metadata::name),
                start,
                end,
                retries,
                status: response.map(|response| response.status().as_u16()),
                request_id: response
                    .and_then(|response| response.headers().get("x-amzn-requestid")),
                failed: !matches!(context.output_or_error(), Some(Ok(_))),
                throttled: is_throttled(context),
            });
        }
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When a call began, and how many of its attempts were throttled.
#[derive(Clone, Copy, Debug)]
struct Progress {
    start: SystemTime,
    throttles: u32,
}

impl Storable for Progress {
    type Storer = StoreReplace<Self>;
}

/// An interceptor that adds each call of the client to the record of its invocation.
#[derive(Debug)]
pub(crate) struct RecordCalls;

impl Intercept for RecordCalls {
    fn name(&self) -> &'static str {
        "RecordCalls"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let progress = Progress {
            start: SystemTime::now(),
            throttles: 0,
        };
        config.interceptor_state().store_put(progress);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let (true, Some(progress)) = (is_throttled(context), config.load::<Progress>().copied())
        {
            let progress = Progress {
                throttles: progress.throttles + 1,
                ..progress
            };
            config.interceptor_state().store_put(progress);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let _ = CALLS.try_with(|calls| calls.add(context, config));
        Ok(())
    }
}

/// Returns whether DynamoDB throttled the last attempt.
fn is_throttled(context: &FinalizerInterceptorContextRef<'_>) -> bool {
    let code = context.response().and_then(error_code);
    code.is_some_and(|code| THROTTLING_ERRORS.contains(&code.as_str()))
}
