//! What AWS bills for each operation: milliseconds, units, log bytes and response bytes.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{ScriptedServer, Table, TlsProxy, engine, template};

use crate::chart::{Bar, Panel, chart};
use crate::dynamodb::{item_size, users};
use crate::function::Function;
use crate::machine;
use crate::prices::{self, PARTS, Usage, dollars, number, thousands};
use crate::subject::{command, event, executable, user};

/// The memory sizes to measure, in megabytes.
const MEMORY: [u32; 5] = [128, 256, 512, 1024, 1769];

/// How long DynamoDB takes to respond. AWS promises single-digit milliseconds
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Introduction.html>).
const LATENCY: Duration = Duration::from_millis(5);

/// The maximum share of invocations that are cold starts
/// (<https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/>).
const COLD_STARTS: f64 = 0.01;

/// The size of the largest list in a function's response, in bytes: the limit less a thousandth.
const LARGEST_LIST: usize = 6_285_000;

/// The item sizes whose units are measured, in bytes.
const ITEM_SIZES: [usize; 5] = [300, 1024, 4096, 102_400, 409_600];

/// A request, and the number of users in the table that it uses.
struct Operation {
    name: String,
    executable: &'static str,
    event: Value,
    users: usize,
}

/// What an operation costs.
struct Costs {
    name: String,
    users: usize,
    /// One for each of [`MEMORY`].
    times: Vec<Times>,
    usage: Usage,
}

/// The average milliseconds that Lambda bills.
#[derive(Default)]
struct Times {
    /// Init and the first invocation.
    cold: f64,
    /// An invocation right after another.
    warm: f64,
}

impl Times {
    /// Returns the average over cold starts and warm invocations.
    fn average(&self) -> f64 {
        COLD_STARTS * self.cold + (1.0 - COLD_STARTS) * self.warm
    }
}

/// The results.
pub(crate) struct Report {
    conditions: String,
    /// The memory size in `template.yaml`, in megabytes.
    memory: u32,
    costs: Vec<Costs>,
    /// The units by item size, as a Markdown table.
    units: String,
}

/// Measures all operations.
///
/// # Errors
///
/// If there is no control group, or a function is not built or fails.
pub(crate) async fn measure() -> Result<Report, Box<dyn Error>> {
    let memory = template()
        .functions
        .values()
        .next()
        .ok_or("no function")?
        .memory_size;
    let item = item_size(&user(1));
    let conditions = format!(
        "{}. The user has {item} bytes as an item and {} as JSON. DynamoDB responds after {} ms.",
        machine()?,
        user(1).to_string().len(),
        LATENCY.as_millis()
    );
    let units = units_by_size().await?;
    let mut costs = Vec::new();
    for operation in operations()? {
        eprintln!("{}", operation.name);
        let times = times(&operation).await?;
        let usage = usage(&operation).await?;
        costs.push(Costs {
            name: operation.name,
            users: operation.users,
            times,
            usage,
        });
    }
    Ok(Report {
        conditions,
        memory,
        costs,
        units,
    })
}

/// Returns the operations to measure.
fn operations() -> Result<Vec<Operation>, Box<dyn Error>> {
    // In a function's response, the list is a JSON string, whose quotes are escaped.
    let in_response = serde_json::to_string(&user(1).to_string())?.len() - 2 + ",".len();
    let operation = |name: &str, executable, users| {
        let event = event_of(name, executable);
        Operation {
            name: name.to_owned(),
            executable,
            event,
            users,
        }
    };
    let all = |name, executable, users| {
        operation(
            &format!("{name} of {}", thousands(number(users))),
            executable,
            users,
        )
    };
    Ok(vec![
        operation("POST /users", "post", 0),
        operation("GET /users/{id}", "get", 2),
        operation("PUT /users/{id}", "put", 2),
        operation("DELETE /users/{id}", "delete", 2),
        operation("GET /users?email=", "get-all", 2),
        all("GET /users", "get-all", 1),
        all("GET /users", "get-all", 1000),
        all("GET /users", "get-all", LARGEST_LIST / in_response),
        all("DELETE /users", "delete-all", 1),
        all("DELETE /users", "delete-all", 3000),
    ])
}

/// Measures the billed milliseconds at each memory size. The sizes take turns, so that a slowdown
/// of the machine affects them all.
async fn times(operation: &Operation) -> Result<Vec<Times>, Box<dyn Error>> {
    let server = ScriptedServer::start(users(operation.users.max(1), LATENCY)).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut command = command(executable(operation.executable)?, &proxy, "user-profiles");
    let (rounds, invocations) = match operation.users {
        ..1000 => (5, 40),
        1000 => (5, 5),
        _ => (3, 1),
    };
    let mut sums: Vec<_> = MEMORY.iter().map(|_| Times::default()).collect();
    // The first round does not count, because it reads the executable from disk.
    for round in 0..=rounds {
        for (memory, sum) in MEMORY.iter().zip(&mut sums) {
            let mut function = Function::start(&mut command, Some(*memory)).await?;
            let cold = function.init() + function.invoke(&operation.event).await?;
            if round == 0 {
                continue;
            }
            sum.cold += billed(cold) / f64::from(rounds);
            let share = f64::from(rounds) * f64::from(invocations);
            for _ in 0..invocations {
                sum.warm += billed(function.invoke(&operation.event).await?) / share;
            }
        }
    }
    Ok(sums)
}

/// Returns the milliseconds that Lambda bills for a duration.
fn billed(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).ceil()
}

/// Sends the request to the function once, with a real engine, and returns its usage.
async fn usage(operation: &Operation) -> Result<Usage, Box<dyn Error>> {
    let table = Table::new().await;
    table
        .put_all(&(0..operation.users).map(user).collect::<Vec<_>>())
        .await;
    let proxy = TlsProxy::start(engine()).await;
    let mut command = command(executable(operation.executable)?, &proxy, table.name());
    let mut function = Function::start(&mut command, None).await?;
    function.invoke(&operation.event).await?;
    let (line, read_units, write_units) = logged(&function)?;
    let (line_bytes, body_bytes) = (number(line.len()), number(function.response_bytes()));
    Ok(Usage {
        read_units,
        write_units,
        line_bytes,
        body_bytes,
    })
}

/// Returns the last line of a function's log, and its read and write units.
fn logged(function: &Function) -> Result<(String, f64, f64), Box<dyn Error>> {
    let line = function.last_log_line()?;
    let fields: Value = serde_json::from_str(&line)?;
    let units = |name: &str| fields[name].as_f64().ok_or(format!("no {name} in {line}"));
    let (read, write) = (units("read_units")?, units("write_units")?);
    Ok((line, read, write))
}

/// Measures the units of requests for one user by item size, on a real engine. Returns a table.
async fn units_by_size() -> Result<String, Box<dyn Error>> {
    const STEPS: [(&str, &str, &str); 6] = [
        ("POST /users", "post", ""),
        ("GET /users/{id}", "get", ""),
        ("GET /users?email=", "get-all", ""),
        ("PUT /users/{id}", "put", ""),
        ("PUT /users/{id}", "put", ", another email"),
        ("DELETE /users/{id}", "delete", ""),
    ];
    let table = Table::new().await;
    let proxy = TlsProxy::start(engine()).await;
    let mut functions = BTreeMap::new();
    let mut text = "| item |".to_owned();
    for (name, executable_name, note) in STEPS {
        let mut command = command(executable(executable_name)?, &proxy, table.name());
        functions.insert(executable_name, Function::start(&mut command, None).await?);
        let _ = write!(text, " `{name}`{note} |");
    }
    text += "\n| --: |";
    text += &" --: |".repeat(STEPS.len());
    for bytes in ITEM_SIZES {
        let _ = write!(text, "\n| {} B |", thousands(number(bytes)));
        let mut user = user(1);
        user["about"] = json!("");
        let rest = bytes
            .checked_sub(item_size(&user))
            .ok_or("the user is too large")?;
        for (number, (name, executable, note)) in STEPS.iter().enumerate() {
            // Each write changes the user.
            user["about"] = json!(number.to_string().repeat(rest));
            let mut event = event_of(name, executable);
            if !note.is_empty() {
                user["email"] = json!(user["email"].as_str().unwrap_or_default().replace('a', "b"));
            }
            if !event["body"].is_null() {
                event["body"] = json!(user.to_string());
            }
            let function = functions.get_mut(executable).ok_or("no function")?;
            function.invoke(&event).await?;
            let (_, read, write) = logged(function)?;
            let _ = write!(text, " {} |", thousands(read + write));
        }
    }
    Ok(text + "\n")
}

/// Returns the event for a function, with a query if the name of the operation has one.
fn event_of(name: &str, executable: &str) -> Value {
    let mut event = event(executable);
    if name.contains('?') {
        event["queryStringParameters"] = json!({"email": user(1)["email"]});
    }
    event
}

impl Report {
    /// Returns the conditions and the tables as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let memory = MEMORY.map(|memory| format!("{} MB", thousands(f64::from(memory))));
        let row = |text: &mut String, name: &str, cells: &[String]| {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
        };
        let head = |text: &mut String, cells: &[String]| {
            row(text, "operation", cells);
            row(text, "---", &vec!["--:".to_owned(); cells.len()]);
        };
        let mut text = format!("\n{}\n\n### Prices\n\n{}", self.conditions, prices::table());

        text += "\n### Billed milliseconds\n\n";
        head(&mut text, &memory);
        for costs in &self.costs {
            let cells: Vec<_> = costs.times.iter().map(|times| short(times.warm)).collect();
            row(&mut text, &code(&costs.name), &cells);
        }
        text += "\n### Billed milliseconds of a cold start\n\n";
        head(&mut text, &memory);
        for costs in self.costs.iter().filter(|costs| costs.users < 1000) {
            let cells: Vec<_> = costs.times.iter().map(|times| short(times.cold)).collect();
            row(&mut text, &code(&costs.name), &cells);
        }

        text += "\n### Units by the size of an item\n\n";
        text += &self.units;
        text += "\n### Units and bytes of a request\n\n";
        let columns = [
            "read units",
            "write units",
            "the function's line",
            "all logs",
            "response",
        ];
        head(&mut text, &columns.map(str::to_owned));
        for Costs { name, usage, .. } in &self.costs {
            let bytes = |bytes: f64| format!("{} B", thousands(bytes));
            let units = [usage.read_units, usage.write_units].map(thousands);
            let logs = [usage.line_bytes, usage.log_bytes(), usage.body_bytes].map(bytes);
            row(&mut text, &code(name), &[units.as_slice(), &logs].concat());
        }

        let _ = writeln!(
            text,
            "\n### A million requests, in dollars, at {} MB\n",
            self.memory
        );
        let mut columns: Vec<_> = PARTS.iter().map(|part| (*part).to_owned()).collect();
        columns.push("together".to_owned());
        head(&mut text, &columns);
        for costs in &self.costs {
            let parts = costs.prices(self.memory);
            let sum = parts.iter().sum();
            let cells: Vec<_> = parts.into_iter().chain([sum]).map(dollars).collect();
            row(&mut text, &code(&costs.name), &cells);
        }

        text += "\n### A million requests, in dollars, by memory\n\n";
        let columns = ["cheapest", "fastest"].map(str::to_owned);
        head(&mut text, &[&memory[..], &columns].concat());
        for costs in &self.costs {
            let sums = MEMORY.map(|memory| costs.prices(memory).iter().sum::<f64>());
            let cheapest = sums.iter().copied().fold(f64::INFINITY, f64::min);
            let fastest = costs
                .times
                .iter()
                .map(Times::average)
                .fold(f64::INFINITY, f64::min);
            // The smallest size within 1 % of the lowest price or 5 % of the shortest time, because
            // smaller differences may be chance.
            let cheapest = sums.iter().position(|sum| *sum <= cheapest * 1.01);
            let fastest = costs
                .times
                .iter()
                .position(|times| times.average() <= fastest * 1.05);
            let mut cells: Vec<_> = sums.into_iter().map(dollars).collect();
            cells.extend(
                [cheapest, fastest]
                    .into_iter()
                    .flatten()
                    .map(|at| memory[at].clone()),
            );
            row(&mut text, &code(&costs.name), &cells);
        }
        text + "\n"
    }

    /// Returns the chart: what a million requests for one user cost, and how memory affects the
    /// largest list.
    pub(crate) fn chart(&self) -> String {
        let bar = |costs: &Costs| {
            let parts = costs.prices(self.memory);
            let label = format!("${}", dollars(parts.iter().sum()));
            Bar {
                name: costs.name.clone(),
                parts,
                label,
            }
        };
        let million = Panel {
            title: format!(
                "A million requests for one user, in dollars, at {} MB",
                self.memory
            ),
            parts: PARTS,
            bars: self
                .costs
                .iter()
                .filter(|costs| costs.users < 1000)
                .map(bar)
                .collect(),
        };
        let mut panels = vec![million];
        let largest = self
            .costs
            .iter()
            .filter(|costs| costs.name.starts_with("GET"));
        if let Some(costs) = largest.max_by_key(|costs| costs.users) {
            let bar = |(memory, times): (&u32, &Times)| {
                let duration = costs.prices(*memory)[2];
                Bar {
                    name: format!("{memory} MB"),
                    parts: vec![times.warm],
                    label: format!("{:.2} s, ${}", times.warm / 1000.0, dollars(duration)),
                }
            };
            panels.push(Panel {
                title: format!("{}: the largest list, and its duration's price", costs.name),
                parts: &["seconds for one list, and dollars for a million"],
                bars: MEMORY.iter().zip(&costs.times).map(bar).collect(),
            });
        }
        chart("What a million requests cost", &panels)
    }
}

impl Costs {
    /// Returns the price of a million requests in dollars, split into [`PARTS`].
    fn prices(&self, memory: u32) -> Vec<f64> {
        let at = MEMORY
            .iter()
            .position(|other| *other == memory)
            .unwrap_or_default();
        self.usage
            .price_of_a_million(self.times[at].average(), memory)
    }
}

/// Formats the name of an operation as Markdown, with its request as code.
fn code(name: &str) -> String {
    match name.split_once(" of ") {
        Some((request, users)) => format!("`{request}` of {users}"),
        None => format!("`{name}`"),
    }
}

/// Formats milliseconds without insignificant decimals.
fn short(milliseconds: f64) -> String {
    if milliseconds < 99.95 {
        format!("{milliseconds:.1}")
    } else {
        thousands(milliseconds)
    }
}
