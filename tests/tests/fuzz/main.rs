//! Tests the functions with generated events, requests, sequences of operations and DynamoDB
//! responses. Whatever they receive, they must return a response that the contract allows, and no
//! process may exit or take much time or memory. `CASES` sets how many cases are tried, 1,000 by
//! default; `make test-fuzz` tries 100,000.

mod bodies;
mod changes;
mod dynamodb;
mod events;
mod http;
mod meter;
mod operations;

use std::cell::RefCell;
use std::time::Instant;
use std::{env, thread};

use meter::{Figures, Meter};
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use serde_json::Value;
use tests::{Api, REGRESSIONS};
use tokio::runtime::Runtime;

/// The statuses and codes of the contract.
const CODES: [(u64, &str); 8] = [
    (400, "InvalidRequest"),
    (400, "InvalidUser"),
    (400, "UserNotFound"),
    (400, "UserAlreadyExists"),
    (400, "ResponseTooLarge"),
    (500, "InternalError"),
    (503, "ServiceUnavailable"),
    (503, "DeleteIncomplete"),
];

/// How long a failed case is shrunk, in milliseconds.
const SHRINK_TIME: u32 = 60_000;

/// Returns this percentage of all cases.
fn cases(percent: u32) -> u32 {
    let all = env::var("CASES").unwrap_or_else(|_| "1000".to_owned());
    let all: u32 = all.parse().expect("CASES is a number of cases, such as 100000");
    all.div_ceil(100) * percent
}

/// Tries cases on several threads. Each thread has its own worker, its own meter of the functions
/// that the worker uses, and its own generator of values. A value may contain several cases.
fn fuzz<W: Send, S: Strategy>(
    kind: &str,
    values: u32,
    workers: Vec<(W, Meter)>,
    strategy: impl Fn() -> S + Sync,
    test: impl Fn(&W, S::Value, &mut Meter) -> Result<(), TestCaseError> + Sync,
) {
    let start = Instant::now();
    let values = values.div_ceil(u32::try_from(workers.len()).expect("a few threads"));
    let work = |(worker, mut meter): (W, Meter)| {
        meter.expect(values);
        let mut runner = TestRunner::new(Config {
            cases: values,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            max_shrink_time: SHRINK_TIME,
            ..Config::default()
        });
        let meter = RefCell::new(meter);
        let result = runner.run(&strategy(), |value| {
            let mut meter = meter.borrow_mut();
            test(&worker, value, &mut meter)?;
            meter.finish_value()
        });
        result.unwrap_or_else(|error| panic!("{kind}: {error}"));
        meter.into_inner().figures()
    };
    let figures: Vec<Figures> = thread::scope(|scope| {
        let spawn = |worker| scope.spawn(|| work(worker));
        let threads: Vec<_> = workers.into_iter().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("all cases pass")).collect()
    });
    Figures::print(kind, start.elapsed(), &figures);
}

/// Asserts that the contract allows a status and a body.
fn check(status: u64, body: &str) -> Result<(), TestCaseError> {
    let json: Value = serde_json::from_str(body)
        .map_err(|error| TestCaseError::fail(format!("{status}, {error}: {body}")))?;
    let code = json["code"].as_str().unwrap_or_default();
    let is_known = status == 200 || CODES.contains(&(status, code));
    proptest::prop_assert!(is_known, "{status}: {body}");
    Ok(())
}

/// Invokes a function, and checks its response.
fn invoke(
    runtime: &Runtime,
    api: &Api,
    function: &str,
    event: String,
) -> Result<(), TestCaseError> {
    let service = api.service().expect("a local service");
    let response = runtime.block_on(service.invoke(function, event));
    let response = response.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let response: Value = serde_json::from_str(&response).expect("JSON");
    let body = response["body"].as_str().unwrap_or_default();
    check(response["statusCode"].as_u64().unwrap_or_default(), body)
}

/// Asserts that this many functions of a service run, and that each still has its first process.
fn assert_first_processes(api: &Api, functions: usize) {
    assert_eq!(api.service().expect("a local service").processes_started(), functions);
}
