//! Invokes each function many times, a quarter of them with a fault. One process must serve all
//! invocations, and neither its memory nor its number of file descriptors may grow. `CASES` sets
//! the number of invocations of each function; `make test-soak` sets a larger one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{
    Api, Event, Operation, Process, ScriptedResponse, ScriptedServer, cases, one_item, operations,
};

/// How much more memory a process may have at the end than after the first quarter, in bytes. In
/// the first few hundred invocations, the heap still grows by half of this.
const MARGIN: u64 = 256 * 1024;

/// What goes wrong in an invocation.
#[derive(Clone, Debug)]
enum Fault {
    /// The event is for another function.
    Event,
    /// DynamoDB responds a few milliseconds late.
    Late,
    /// DynamoDB closes the connection after its response.
    Last,
    /// DynamoDB denies the function access.
    Rejected,
    /// DynamoDB's first response is this one, and the SDK tries again.
    Retried(ScriptedResponse),
}

/// Returns the fault of an invocation, if it is one of the quarter with a fault.
fn fault(invocation: u32) -> Option<Fault> {
    let number = (invocation % 4 == 3).then_some(invocation / 4)? as usize;
    // The SDK waits half a second on average before another attempt, so these are rarer.
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

/// Returns DynamoDB's response.
fn respond(operation: &str, fault: Option<Fault>) -> ScriptedResponse {
    let user = json!({"id": {"S": "1"}, "text": {"S": "x".repeat(1000)}});
    let result = one_item(operation, &user);
    match fault {
        Some(Fault::Retried(response)) => response,
        Some(Fault::Rejected) => ScriptedResponse::Error(400, "AccessDeniedException"),
        Some(Fault::Last) => ScriptedResponse::Last(result),
        Some(Fault::Late) => {
            ScriptedResponse::Late(Duration::from_millis(5), result.to_string().into_bytes())
        }
        _ => ScriptedResponse::Json(200, result),
    }
}

/// A function, with a DynamoDB server that fails once when it is told to.
struct Subject {
    operation: &'static Operation,
    event: Value,
    fault: Arc<Mutex<Option<Fault>>>,
    dynamodb: ScriptedServer,
    api: Api,
}

/// The memory of a process, in bytes, and its number of file descriptors.
type Size = Option<(u64, usize)>;

impl Subject {
    async fn start(operation: &'static Operation) -> Self {
        let fault = Arc::new(Mutex::new(None));
        let next = Arc::clone(&fault);
        let script = move |operation: &str, _: &Value| {
            respond(operation, next.lock().expect("a fault").take())
        };
        let dynamodb = ScriptedServer::start(script).await;
        dynamodb.spare_waits();
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        let mut event = Event::new(&operation.method, &operation.path);
        if operation.path.contains("{id}") {
            event = event.id("1");
        }
        if operation.has_body {
            event = event.body(r#"{"id": "1"}"#);
        }
        let event = event.json();
        Self {
            operation,
            event,
            fault,
            dynamodb,
            api,
        }
    }

    /// Invokes the function this many times. Returns its size after the first quarter and at the
    /// end.
    async fn soak(&self, invocations: u32) -> (Size, Size) {
        let mut other = self.event.clone();
        other["resource"] = json!("/other");
        let mut first = None;
        for invocation in 0..invocations {
            let fault = fault(invocation);
            self.fault.lock().expect("a fault").clone_from(&fault);
            let (event, expected) = match fault {
                Some(Fault::Event) => (&other, 400),
                Some(Fault::Rejected) => (&self.event, 500),
                _ => (&self.event, 200),
            };
            let function = &self.operation.function;
            let reply = self.api.invoke(function, &event.to_string()).await;
            let reply = reply.expect("a response");
            assert_eq!(reply.status, expected, "{fault:?}: {reply}");
            if invocation == invocations / 4 {
                first = self.size();
            }
        }
        assert_eq!(
            self.api.processes_started(),
            1,
            "{}",
            self.operation.executable
        );
        (first, self.size())
    }

    fn size(&self) -> Size {
        let process = Process::find(&self.operation.executable, self.dynamodb.endpoint())?;
        Some((process.memory()?, process.descriptors()?))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux has /proc")]
async fn a_process_that_encounters_many_faults_does_not_grow() {
    let invocations = cases(400);
    let mut subjects = Vec::new();
    for operation in operations() {
        subjects.push(Subject::start(operation).await);
    }
    let sizes = join_all(subjects.iter().map(|subject| subject.soak(invocations))).await;
    for (subject, (first, last)) in subjects.iter().zip(sizes) {
        let executable = &subject.operation.executable;
        let (Some(first), Some(last)) = (first, last) else {
            panic!("{executable} has exited")
        };
        // The first number is bytes, and the second is descriptors.
        println!("{executable}: {first:?}, after {invocations} invocations {last:?}");
        let growth = last.0.saturating_sub(first.0);
        assert!(growth <= MARGIN, "{executable} grew by {growth} bytes");
        assert!(last.1 <= first.1, "{executable} has more descriptors");
    }
}
