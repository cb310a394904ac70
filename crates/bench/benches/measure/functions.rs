//! Cold starts, warm invocations, sizes and memory, beside a function that does nothing and beside
//! Python.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{ScriptedServer, Table, TlsProxy, engine};
use tokio::time::sleep;

use crate::cpu_share::CpuShare;
use crate::dynamodb::one_user;
use crate::function::Function;
use crate::report::{Report, Row, megabytes, time};
use crate::subject::{command, event, executable, functions, user, zip_size};
use crate::{machine, output};

/// How many processes of each function are started.
const COLD_STARTS: usize = 15;

/// How many warm invocations are measured.
const WARM: usize = 300;

/// How many users are deleted.
const DELETED: usize = 3000;

/// How long a function rests between invocations, so that each has its whole share of the CPU.
const REST: Duration = Duration::from_millis(20);

/// The memory of the functions, in megabytes, which sets their share of a CPU.
const MEMORY: u32 = 128;

/// Measures the functions.
///
/// # Errors
///
/// If one is not built, fails, or leaves a user.
pub(crate) async fn measure() -> Result<Report, Box<dyn Error>> {
    let share = CpuShare::new(MEMORY).map(drop);
    let cpu = match &share {
        Ok(()) => "After init a function has 7.2 % of a CPU, as on Lambda at 128 MB.".to_owned(),
        Err(error) => format!("Without Lambda's share of a CPU: no control group ({error})."),
    };
    let python = python();
    let versions = python.as_ref().map_or("Without Python: no python3 has boto3", |(_, text)| text);
    let conditions = format!("{}. {versions}. {cpu}", machine()?);

    let server = ScriptedServer::start(one_user).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut subjects = Vec::new();
    let floor = ("floor".to_owned(), event("GET", "/users/{id}"));
    for (name, event) in [floor].into_iter().chain(functions()?) {
        let executable = executable(&name)?;
        let command = command(&executable, &proxy, "user-profiles");
        let zip = Some(zip_size(&executable)?);
        subjects.push(Subject { name, command, event, zip });
    }
    if let Some((python, _)) = &python {
        let command = python_command(python, "get", &proxy, "user-profiles");
        let event = event("GET", "/users/{id}");
        subjects.push(Subject { name: "python".to_owned(), command, event, zip: None });
    }
    let rows = rows(&mut subjects, &proxy, share.ok().map(|()| MEMORY)).await?;
    let delete_all = delete_all(python.as_ref().map(|(python, _)| &**python)).await?;
    Ok(Report { conditions, rows, delete_all })
}

/// What a row of the table is about.
struct Subject {
    name: String,
    command: Command,
    event: Value,
    zip: Option<u64>,
}

/// Starts the functions in turn, again and again, so that a machine that becomes slower does so for
/// all. Then invokes one process of each again and again.
async fn rows(
    subjects: &mut [Subject],
    proxy: &TlsProxy,
    memory: Option<u32>,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut cold = vec![(Vec::new(), Vec::new()); subjects.len()];
    // The first start reads the executable from disk.
    for start in 0..=COLD_STARTS {
        for (subject, (init, first)) in subjects.iter_mut().zip(&mut cold) {
            let mut function = Function::start(&mut subject.command, memory).await?;
            let took = function.invoke(&subject.event).await?;
            if start > 0 {
                init.push(function.init());
                first.push(took);
            }
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
            init: median(init),
            first: median(first),
            warm: median(warm),
            zip: subject.zip,
            peak_memory: function.peak_memory()?,
            connections: proxy.connections() - before,
        });
    }
    Ok(rows)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Deletes many users of a real engine, with this project and with Python, and says what it cost.
async fn delete_all(python: Option<&str>) -> Result<String, Box<dyn Error>> {
    let proxy = TlsProxy::start(engine()).await;
    let table = Table::new().await;
    let users: Vec<_> = (0..DELETED).map(user).collect();
    let delete = async |mut command: Command| {
        table.put_all(&users).await;
        let before = proxy.connections();
        let mut function = Function::start(&mut command, None).await?;
        let took = function.invoke(&event("DELETE", "/users")).await?;
        let left = table.store().list(None, None).next(None).await?;
        if left.is_some_and(|users| !users.is_empty()) {
            return Err("DELETE /users left a user".into());
        }
        let (memory, connections) = (function.peak_memory()?, proxy.connections() - before);
        Ok::<_, Box<dyn Error>>((took, megabytes(memory), connections))
    };
    let (took, memory, connections) =
        delete(command(executable("delete-all")?, &proxy, table.name())).await?;
    let text = format!(
        "`DELETE /users` of {DELETED} users, with a whole CPU and a real engine: {}, \
         {connections} connections, {memory}.",
        time(took)
    );
    let Some(python) = python else { return Ok(text) };
    let command = python_command(python, "delete_all", &proxy, table.name());
    let (took, memory, _) = delete(command).await?;
    let took = time(took);
    Ok(format!("{text} In Python, one `DeleteItem` after another: {took}, {memory}."))
}

/// Returns the command that starts a module of `python` as a function.
fn python_command(python: &str, module: &str, proxy: &TlsProxy, table: &str) -> Command {
    let mut command = command(python, proxy, table);
    command.args([concat!(env!("CARGO_MANIFEST_DIR"), "/python/bootstrap.py"), module]);
    command
}

/// Returns the interpreter of a Python that has boto3, in `.venv` or on the `PATH`, and both
/// versions.
fn python() -> Option<(String, String)> {
    let script = "import sys, platform as p, boto3; print(sys.executable); \
                  print('Python ' + p.python_version() + ', boto3 ' + boto3.__version__)";
    let in_venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python3");
    let text = [in_venv, "python3"].iter().find_map(|python| output(python, &["-c", script]))?;
    let (interpreter, versions) = text.split_once('\n')?;
    Some((interpreter.to_owned(), versions.to_owned()))
}
