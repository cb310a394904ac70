//! Many invocations of each function, a quarter of them with a fault: one process serves them all,
//! and neither its memory nor its file descriptors grow. `CASES` says how many invocations of a
//! function there are; `make test-soak` has more.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::{
    Api, Event, Operation, Process, ScriptedResponse, ScriptedServer, one_item, operations,
};

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
        Some(Fault::Late) => {
            ScriptedResponse::Late(Duration::from_millis(5), result.to_string().into_bytes())
        }
        _ => ScriptedResponse::Json(200, result),
    }
}

/// A function on a DynamoDB that fails once when it is told to.
struct Subject {
    operation: &'static Operation,
    event: Value,
    fault: Arc<Mutex<Option<Fault>>>,
    dynamodb: ScriptedServer,
    api: Api,
}

/// The memory that a process has, in bytes, and how many descriptors.
type Size = Option<(u64, usize)>;

impl Subject {
    async fn start(operation: &'static Operation) -> Self {
        let fault = Arc::new(Mutex::new(None));
        let next = Arc::clone(&fault);
        let script = move |operation: &str, _: &Value| {
            respond(operation, next.lock().expect("a fault").take())
        };
        let dynamodb = ScriptedServer::start(script).await;
        let api = Api::on(dynamodb.endpoint(), "user-profiles").await;
        let event = Event::new(&operation.method, &operation.path);
        let event = event.id("1").body("{\"id\": \"1\"}").json();
        Self { operation, event, fault, dynamodb, api }
    }

    /// Invokes the function this often. Returns its size after the first quarter, and in the end.
    async fn soak(&self, invocations: usize) -> (Size, Size) {
        let service = self.api.service().expect("a local service");
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
            let response = service.invoke(&self.operation.function, event.to_string()).await;
            let response = response.expect("a response");
            let response: Value = serde_json::from_str(&response).expect("JSON");
            assert_eq!(response["statusCode"], json!(expected), "{fault:?}: {response}");
            if invocation == invocations / 4 {
                first = self.size();
            }
        }
        assert_eq!(service.processes_started(), 1, "{} was replaced", self.operation.executable);
        (first, self.size())
    }

    fn size(&self) -> Size {
        let process = Process::find(&self.operation.executable, self.dynamodb.endpoint())?;
        Some((process.memory()?, process.descriptors()?))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_meets_many_faults_does_not_grow() {
    let invocations =
        env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400_usize);
    let mut subjects = Vec::new();
    for operation in operations() {
        subjects.push(Subject::start(operation).await);
    }
    let sizes = join_all(subjects.iter().map(|subject| subject.soak(invocations))).await;
    for (Subject { operation: Operation { executable, .. }, .. }, sizes) in
        subjects.iter().zip(sizes)
    {
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
