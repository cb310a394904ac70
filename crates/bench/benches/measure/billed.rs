//! The milliseconds that Lambda bills for each operation, by memory size.

use std::error::Error;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{ScriptedServer, TlsProxy, operations, template};

use crate::cpu_share::CpuShare;
use crate::dynamodb::users;
use crate::function::Function;
use crate::markdown::{chart, table};
use crate::subject::{command, event, executable, user};

/// The memory sizes to measure, in megabytes.
const MEMORY: [u32; 5] = [128, 256, 512, 1024, 1769];

/// How long DynamoDB takes to respond. AWS promises single-digit milliseconds
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html>).
const LATENCY: Duration = Duration::from_millis(5);

/// The size of the largest list in a function's response, in bytes: the limit less a thousandth.
const LARGEST_LIST: usize = 6_285_000;

/// A request, and the number of users in the table that it uses.
struct Case {
    name: String,
    executable: String,
    event: Value,
    users: usize,
}

/// The average of the billed milliseconds.
#[derive(Clone, Copy, Default)]
struct Times {
    /// Init and the first invocation.
    cold: f64,
    /// An invocation right after another.
    warm: f64,
}

/// Measures all operations. Returns a table, and a chart of the largest list.
///
/// # Errors
///
/// If a function is not built or fails.
pub(crate) async fn measure() -> Result<String, Box<dyn Error>> {
    if let Err(error) = CpuShare::new(MEMORY[0]) {
        return Ok(format!("No billed time: no control group ({error}).\n"));
    }
    let deployed = template()
        .functions
        .values()
        .next()
        .ok_or("no function")?
        .memory_size;
    let deployed = MEMORY
        .iter()
        .position(|memory| *memory == deployed)
        .ok_or("the template's memory size is not measured")?;
    let largest = largest_list()?;
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for case in cases(largest) {
        eprintln!("{}", case.name);
        let times = times(&case).await?;
        let warm = times.map(|times| times.warm);
        let cells = warm.into_iter().chain([times[deployed].cold]).map(short);
        rows.push([case.name].into_iter().chain(cells).collect());
        if case.users == largest {
            bars = warm
                .iter()
                .zip(MEMORY)
                .map(|(time, memory)| {
                    let time = Duration::from_secs_f64(time / 1000.0);
                    (format!("{memory} MB"), time)
                })
                .collect();
        }
    }
    let sizes = MEMORY.map(|memory| format!("{memory} MB"));
    let cold = format!("cold start, {}", sizes[deployed]);
    let columns: Vec<_> = ["billed milliseconds"]
        .into_iter()
        .chain(sizes.iter().map(String::as_str))
        .chain([&*cold])
        .collect();
    let title = format!("The largest list, {largest} users, by memory");
    Ok(format!(
        "{}\n{}",
        table(&columns, rows),
        chart(&title, &bars)
    ))
}

/// Returns the number of users in the largest list that a response can hold.
fn largest_list() -> Result<usize, Box<dyn Error>> {
    // In a function's response, the list is a JSON string, whose quotes are escaped.
    let in_response = serde_json::to_string(&user(1).to_string())?.len() - 2 + ",".len();
    Ok(LARGEST_LIST / in_response)
}

/// Returns each operation of the API, with as few users as it needs and with many.
fn cases(largest: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in operations() {
        let event = event(&operation.executable);
        let request = format!("`{} {}`", operation.method, operation.path);
        let mut add = |name, event, users| {
            cases.push(Case {
                name,
                executable: operation.executable.clone(),
                event,
                users,
            });
        };
        add(request.clone(), event.clone(), 1);
        match &*operation.executable {
            "get-all" => {
                let mut by_email = event.clone();
                by_email["queryStringParameters"] = json!({"email": user(1)["email"]});
                add("`GET /users?email=`".to_owned(), by_email, 1);
                add(format!("{request} of 1,000"), event.clone(), 1000);
                add(format!("{request}, the largest list"), event, largest);
            }
            "delete-all" => add(format!("{request} of 3,000"), event, 3000),
            _ => {}
        }
    }
    cases
}

/// Measures the billed milliseconds at each memory size. The sizes take turns, so that a slowdown
/// of the machine affects them all.
async fn times(case: &Case) -> Result<[Times; MEMORY.len()], Box<dyn Error>> {
    let server = ScriptedServer::start(users(case.users, LATENCY)).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut command = command(executable(&case.executable)?, &proxy, "user-profiles");
    let (rounds, invocations) = match case.users {
        ..1000 => (5, 40),
        1000 => (5, 5),
        _ => (3, 1),
    };
    let mut sums = [Times::default(); MEMORY.len()];
    // The first round does not count, because it reads the executable from disk.
    for round in 0..=rounds {
        for (memory, sum) in MEMORY.iter().zip(&mut sums) {
            let mut function = Function::start(&mut command, Some(*memory)).await?;
            let cold = function.init() + function.invoke(&case.event).await?;
            if round > 0 {
                sum.cold += billed(cold) / f64::from(rounds);
                for _ in 0..invocations {
                    let warm = function.invoke(&case.event).await?;
                    sum.warm += billed(warm) / f64::from(rounds * invocations);
                }
            }
            function.end().await?;
        }
    }
    Ok(sums)
}

/// Returns the milliseconds that Lambda bills for a duration.
fn billed(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).ceil()
}

/// Formats milliseconds without insignificant decimals.
fn short(milliseconds: f64) -> String {
    if milliseconds < 99.95 {
        format!("{milliseconds:.1}")
    } else {
        format!("{milliseconds:.0}")
    }
}
