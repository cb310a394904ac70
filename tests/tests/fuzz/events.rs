//! Events of every shape.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use tests::{Api, Event, Table, engine, operations};
use tokio::runtime::Runtime;

use crate::changes::{any_json, change, changed};
use crate::meter::Meter;
use crate::{assert_first_processes, cases, fuzz, invoke};

/// The form of an event before it is changed.
#[derive(Clone, Debug)]
enum Shape {
    /// As API Gateway builds it.
    Whole,
    /// As people type it.
    Short,
    /// Anything.
    Other(Value),
}

#[test]
fn any_event_gets_a_response_that_the_contract_allows() {
    let runtime = Runtime::new().expect("a runtime");
    let table = runtime.block_on(Table::new());
    let api = runtime.block_on(Api::on(engine(), table.name()));
    let workers = operations().iter().map(|operation| {
        (
            operation,
            Meter::start(&runtime, &api, [operation], table.name()),
        )
    });
    let strategy = || {
        let shape = prop_oneof![
            1 => any_json().prop_map(Shape::Other),
            3 => Just(Shape::Short),
            6 => Just(Shape::Whole),
        ];
        (shape, vec(change(), 0..4))
    };
    fuzz(
        "events",
        cases(50),
        workers.collect(),
        strategy,
        |operation, (shape, changes), meter| {
            let method = &operation.method;
            let event = match shape {
                Shape::Other(event) => event,
                Shape::Short => json!({
                    "httpMethod": method,
                    "body": "{}",
                    "pathParameters": {"id": "1"},
                    "queryStringParameters": {"limit": "1"},
                }),
                Shape::Whole => Event::new(method, &operation.path)
                    .id("1")
                    .query("limit", "1")
                    .query("email", "a@b")
                    .query("email", "a@c")
                    .body("{\"id\": \"1\"}")
                    .json(),
            };
            invoke(
                &runtime,
                &api,
                &operation.function,
                &changed(event, &changes),
            )?;
            meter.finish_case()
        },
    );
    assert_first_processes(&api, operations().len());
}
