//! Many invocations of each function, a quarter of them with a fault: one process serves them all,
//! and neither its memory nor its file descriptors grow. `CASES` says how many invocations of a
//! function there are; `make test-soak` has more.

use std::env;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Api, Event, FUNCTIONS, Process, ScriptedResponse, ScriptedServer, one_item};

/// How much more memory a process may have in the end than after the first quarter, in bytes. The
/// heap still grows by half of it in the first hundreds of invocations.
const MARGIN: u64 = 256 * 1024;

/// What goes wrong in an invocation.
#[derive(Clone, Debug)]
enum Fault {
    /// The event is for another function.
    Event,
    /// DynamoDB is some milliseconds late.
    Late,
    /// DynamoDB closes the connection after its response.
    Last,
    /// DynamoDB rejects the function.
    Rejected,
    /// DynamoDB's first response is this one, after which the SDK tries again.
    Retried(ScriptedResponse),
}

/// Returns the fault of an invocation, if it is one of the quarter that have one.
fn fault(invocation: usize) -> Option<Fault> {
    let number = (invocation % 4 == 3).then_some(invocation / 4)?;
    // Before another attempt, the SDK waits for half a second on average, so these are rarer.
    let retried = [
        ScriptedResponse::Error(400, "ThrottlingException"),
        ScriptedResponse::Error(500, "InternalServerError"),
        ScriptedResponse::Text(200, "<html>"),
        ScriptedResponse::Partial,
        ScriptedResponse::Reset,
    ];
    let others = [Fault::Event, Fault::Late, Fault::Last, Fault::Rejected];
    Some(match retried.get(number % 40) {
        Some(response) => Fault::Retried(response.clone()),
        None => others[number % others.len()].clone(),
    })
}

/// Returns what DynamoDB responds.
fn respond(operation: &str, fault: Option<Fault>) -> ScriptedResponse {
    let result = one_item(operation, &json!({"id": {"S": "1"}, "text": {"S": "x".repeat(1000)}}));
    match fault {
        Some(Fault::Retried(response)) => response,
        Some(Fault::Rejected) => ScriptedResponse::Error(400, "AccessDeniedException"),
        Some(Fault::Last) => ScriptedResponse::Last(result),
        Some(Fault::Late) => ScriptedResponse::Late(result),
        _ => ScriptedResponse::Json(200, result),
    }
}

/// The memory that a process has, in bytes, and how many descriptors.
type Size = Option<(u64, usize)>;

/// Invokes a function this often, and returns its size after a quarter of it, and in the end.
async fn soak(function: (&str, &str, &str, &str), invocations: usize) -> (Size, Size) {
    let (name, executable, method, resource) = function;
    let next = Arc::new(Mutex::new(None));
    let script = Arc::clone(&next);
    let dynamodb = ScriptedServer::start(move |operation, _| {
        respond(operation, script.lock().expect("a fault").take())
    })
    .await;
    let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
    let service = api.service().expect("a local service");
    let event = Event::new(method, resource).id("1").body("{\"id\": \"1\"}").json();
    let mut other = event.clone();
    other["resource"] = json!("/other");

    let size = || {
        let process = Process::find(executable, dynamodb.endpoint())?;
        Some((process.memory()?, process.descriptors()?))
    };
    let mut warm = None;
    for invocation in 0..invocations {
        let fault = fault(invocation);
        next.lock().expect("a fault").clone_from(&fault);
        let (event, expected) = match fault {
            Some(Fault::Event) => (&other, 400),
            Some(Fault::Rejected) => (&event, 500),
            _ => (&event, 200),
        };
        let response = service.invoke(name, event.to_string()).await.expect("a response");
        let response: Value = serde_json::from_str(&response).expect("JSON");
        assert_eq!(response["statusCode"], json!(expected), "{fault:?}: {response}");
        if invocation == invocations / 4 {
            warm = size();
        }
    }
    assert_eq!(service.processes_started(), 1, "{executable} was replaced");
    (warm, size())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_meets_many_faults_does_not_grow() {
    let invocations =
        env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400_usize);
    let sizes = join_all(FUNCTIONS.map(|function| soak(function, invocations))).await;
    for ((_, executable, ..), sizes) in FUNCTIONS.into_iter().zip(sizes) {
        let (Some((memory, descriptors)), Some((memory_in_end, descriptors_in_end))) = sizes else {
            eprintln!("not checked: this system does not show the memory of a process");
            return;
        };
        let growth = memory_in_end.saturating_sub(memory);
        println!(
            "{executable}: {invocations} invocations, {memory} to {memory_in_end} bytes, \
             {descriptors} to {descriptors_in_end} descriptors"
        );
        assert!(growth <= MARGIN, "{executable} grew by {growth} bytes");
        assert!(descriptors_in_end <= descriptors, "{executable} has more descriptors");
    }
}
