//! Cold starts, warm invocations, sizes and memory, compared with a function that does nothing and
//! with Python.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;
use tests::{ScriptedServer, Table, TlsProxy, engine, operations};
use tokio::process::Command;
use tokio::time::sleep;

use crate::cpu_share::CpuShare;
use crate::dynamodb::one_user;
use crate::function::Function;
use crate::markdown::{chart, megabytes, table, time};
use crate::output;
use crate::subject::{command, event, executable, user, zip_size};

/// How many cold starts of each function are measured.
const COLD_STARTS: usize = 15;

/// How many warm invocations of each function are measured.
const WARM: usize = 300;

/// How many users `DELETE /users` deletes.
const DELETED: usize = 3000;

/// The pause between warm invocations, so that each has the full CPU quota.
const REST: Duration = Duration::from_millis(20);

/// The functions' memory in megabytes, which determines their share of a CPU.
const MEMORY: u32 = 128;

/// Measures the functions. Returns the conditions, a table, a chart of the cold starts, and the
/// costs of a large deletion.
///
/// # Errors
///
/// If a function is not built or fails, or `DELETE /users` leaves a user.
pub(crate) async fn measure() -> Result<String, Box<dyn Error>> {
    let share = CpuShare::new(MEMORY).map(drop);
    let cpu = match &share {
        Ok(()) => "After init a function has 7.2 % of a CPU, as on Lambda at 128 MB.".to_owned(),
        Err(error) => format!("Functions have a whole CPU: no control group ({error})."),
    };
    let python = python();
    let versions = python
        .as_ref()
        .map_or("Without Python: no python3 has boto3", |python| {
            &python.versions
        });

    let server = ScriptedServer::start(one_user).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut subjects = Vec::new();
    let names = operations().iter().map(|operation| &*operation.executable);
    for name in ["floor"].into_iter().chain(names) {
        let executable = executable(name)?;
        subjects.push(Subject {
            name: name.to_owned(),
            zip: Some(zip_size(&executable)?),
            command: command(executable, &proxy, "user-profiles"),
            event: event(if name == "floor" { "get" } else { name }),
        });
    }
    subjects.extend(python.as_ref().map(|python| Subject {
        name: "python".to_owned(),
        zip: None,
        command: python.command("get", &proxy, "user-profiles"),
        event: event("get"),
    }));
    let rows = measure_all(&mut subjects, &proxy, share.ok().map(|()| MEMORY)).await?;
    // Beside Python's, the bars of the others would be too short to see.
    let bars: Vec<_> = rows
        .iter()
        .filter(|row| row.zip.is_some())
        .map(|row| (row.name.clone(), row.cold()))
        .collect();
    Ok(format!(
        "{versions}. {cpu}\n\n{}\n{}\n{}\n",
        as_table(&rows),
        chart("Cold start at 128 MB: init and the first invocation", &bars),
        delete_all(python.as_ref()).await?,
    ))
}

/// A function to measure.
struct Subject {
    name: String,
    /// The size of the zip file, in bytes.
    zip: Option<u64>,
    command: Command,
    event: Value,
}

/// The results for one function. Times are medians.
struct Row {
    name: String,
    zip: Option<u64>,
    init: Duration,
    /// The first invocation.
    first: Duration,
    /// A later invocation.
    warm: Duration,
    peak_memory: u64,
    /// How many connections to DynamoDB the process opened.
    connections: usize,
}

impl Row {
    /// Returns how long a caller waits for a cold start.
    fn cold(&self) -> Duration {
        self.init + self.first
    }
}

/// Measures cold starts, in rounds of one start of each function, so that a slowdown of the machine
/// affects them all. Then measures the warm invocations of one process of each function.
async fn measure_all(
    subjects: &mut [Subject],
    proxy: &TlsProxy,
    memory: Option<u32>,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut cold = vec![(Vec::new(), Vec::new()); subjects.len()];
    // The first round does not count, because it reads the executables from disk.
    for start in 0..=COLD_STARTS {
        for (subject, (init, first)) in subjects.iter_mut().zip(&mut cold) {
            let mut function = Function::start(&mut subject.command, memory).await?;
            let took = function.invoke(&subject.event).await?;
            if start > 0 {
                init.push(function.init());
                first.push(took);
            }
            function.end().await?;
        }
    }
    let mut rows = Vec::new();
    for (subject, (init, first)) in subjects.iter_mut().zip(cold) {
        let before = proxy.connections();
        let mut function = Function::start(&mut subject.command, memory).await?;
        function.invoke(&subject.event).await?;
        let mut warm = Vec::new();
        for _ in 0..WARM {
            sleep(REST).await;
            warm.push(function.invoke(&subject.event).await?);
        }
        rows.push(Row {
            name: subject.name.clone(),
            zip: subject.zip,
            init: median(init),
            first: median(first),
            warm: median(warm),
            peak_memory: function.peak_memory()?,
            connections: proxy.connections() - before,
        });
        function.end().await?;
    }
    Ok(rows)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Returns the rows as a table. The first row is the floor.
fn as_table(rows: &[Row]) -> String {
    let columns = [
        "function",
        "init",
        "first",
        "init + first",
        "÷ floor",
        "warm",
        "zip",
        "peak memory",
        "connections",
    ];
    let floor = rows[0].cold().as_secs_f64();
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            time(row.init),
            time(row.first),
            time(row.cold()),
            format!("{:.1}", row.cold().as_secs_f64() / floor),
            time(row.warm),
            row.zip.map_or_else(String::new, megabytes),
            megabytes(row.peak_memory),
            row.connections.to_string(),
        ]
    });
    table(&columns, cells)
}

/// Deletes many users from a real engine, with this project and with Python. Describes the costs.
async fn delete_all(python: Option<&Python>) -> Result<String, Box<dyn Error>> {
    let proxy = TlsProxy::start(engine()).await;
    let table = Table::new().await;
    let users: Vec<_> = (0..DELETED).map(user).collect();
    let delete = async |mut command: Command| {
        table.put_all(&users).await;
        let before = proxy.connections();
        let mut function = Function::start(&mut command, None).await?;
        let took = function.invoke(&event("delete-all")).await?;
        if !table.all().await.is_empty() {
            return Err("DELETE /users left a user".into());
        }
        let memory = megabytes(function.peak_memory()?);
        function.end().await?;
        Ok::<_, Box<dyn Error>>((time(took), memory, proxy.connections() - before))
    };
    let own = command(executable("delete-all")?, &proxy, table.name());
    let (took, memory, connections) = delete(own).await?;
    let text = format!(
        "`DELETE /users` of {DELETED} users, with a whole CPU and a real engine: {took}, \
         {connections} connections, {memory}."
    );
    let Some(python) = python else {
        return Ok(text);
    };
    let (took, memory, _) = delete(python.command("delete_all", &proxy, table.name())).await?;
    Ok(format!(
        "{text} In Python, one `DeleteItem` after another: {took}, {memory}."
    ))
}

/// A Python interpreter that has boto3.
struct Python {
    interpreter: String,
    /// The versions of Python and boto3.
    versions: String,
}

impl Python {
    /// Returns the command that runs a module in `crates/bench/python` as a function.
    fn command(&self, module: &str, proxy: &TlsProxy, table: &str) -> Command {
        let bootstrap = concat!(env!("CARGO_MANIFEST_DIR"), "/python/bootstrap.py");
        let mut command = command(&self.interpreter, proxy, table);
        command.args([bootstrap, module]);
        command
    }
}

/// Finds a Python interpreter that has boto3, in `.venv` or on the `PATH`.
fn python() -> Option<Python> {
    let script = "import sys, platform as p, boto3; print(sys.executable); \
                  print('Python ' + p.python_version() + ', boto3 ' + boto3.__version__)";
    let in_venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python3");
    let text = [in_venv, "python3"]
        .iter()
        .find_map(|python| output(python, &["-c", script]))?;
    let (interpreter, versions) = text.split_once('\n')?;
    Some(Python {
        interpreter: interpreter.to_owned(),
        versions: versions.to_owned(),
    })
}
