//! Tests the functions with generated events, sequences of operations and DynamoDB responses.
//! Whatever they receive, they must return a response that the contract allows, and no process may
//! exit or take much time or memory. `CASES` sets how many cases are tried, 1,000 by default;
//! `make test-fuzz` tries 100,000.

mod bodies;
mod changes;
mod dynamodb;
mod events;
mod meter;
mod operations;

use std::cell::RefCell;
use std::thread;
use std::time::Instant;

use meter::{Figures, Meter};
use proptest::prelude::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tests::{Api, repository};
use tokio::runtime::Runtime;

/// How long a failed case is shrunk, in milliseconds.
const SHRINK_TIME: u32 = 60_000;

/// Returns this percentage of all cases.
fn cases(percent: u32) -> u32 {
    tests::cases(1000).div_ceil(100) * percent
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
    let work = |(worker, meter): (W, Meter)| {
        let mut runner = TestRunner::new(Config {
            cases: values,
            failure_persistence: Some(repository::regressions()),
            max_shrink_time: SHRINK_TIME,
            ..Config::default()
        });
        let meter = RefCell::new(meter);
        let result = runner.run(&strategy(), |value| {
            let mut meter = meter.borrow_mut();
            test(&worker, value, &mut meter)
        });
        result.unwrap_or_else(|error| panic!("{kind}: {error}"));
        meter.into_inner().figures()
    };
    let figures: Vec<Figures> = thread::scope(|scope| {
        let spawn = |worker| scope.spawn(|| work(worker));
        let threads: Vec<_> = workers.into_iter().map(spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("all cases pass"))
            .collect()
    });
    Figures::print(kind, start.elapsed(), &figures);
}

/// Invokes a function, and asserts that the contract allows its response.
fn invoke(runtime: &Runtime, api: &Api, function: &str, event: &str) -> Result<(), TestCaseError> {
    let reply = runtime.block_on(api.invoke(function, event));
    let reply = reply.map_err(|error| TestCaseError::fail(error.to_string()))?;
    if reply.status != 200 {
        // Panics unless the contract has this code with this status.
        reply.fails(reply.json()["code"].as_str().unwrap_or_default());
    }
    Ok(())
}

/// Asserts that this many functions of a service run, and that each still has its first process.
fn assert_first_processes(api: &Api, functions: usize) {
    assert_eq!(api.processes_started(), functions);
}
