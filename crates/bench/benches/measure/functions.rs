//! Cold starts, warm invocations, sizes and memory, compared with a function that does nothing and
//! with Python.

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{ScriptedServer, Table, TlsProxy, engine, operations};
use tokio::time::sleep;

use crate::cpu_share::CpuShare;
use crate::dynamodb::one_user;
use crate::function::Function;
use crate::report::{Report, Row, megabytes, time};
use crate::subject::{command, event, executable, user, zip_size};
use crate::{machine, output};

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

/// Measures the functions.
///
/// # Errors
///
/// If a function is not built or fails, or `DELETE /users` leaves a user.
pub(crate) async fn measure() -> Result<Report, Box<dyn Error>> {
    let share = CpuShare::new(MEMORY).map(drop);
    let cpu = match &share {
        Ok(()) => "After init a function has 7.2 % of a CPU, as on Lambda at 128 MB.".to_owned(),
        Err(error) => format!("Functions have a whole CPU: no control group ({error})."),
    };
    let python = python();
    let versions = python
        .as_ref()
        .map_or("Without Python: no python3 has boto3", |(_, text)| text);
    let conditions = format!("{}. {versions}. {cpu}", machine()?);

    let server = ScriptedServer::start(one_user).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut subjects = Vec::new();
    let names = operations()
        .iter()
        .map(|operation| (&*operation.executable, &*operation.executable));
    for (name, function) in [("floor", "get")].into_iter().chain(names) {
        let executable = executable(name)?;
        let command = command(&executable, &proxy, "user-profiles");
        let zip = Some(zip_size(&executable)?);
        subjects.push(Subject {
            name: name.to_owned(),
            command,
            event: event(function),
            zip,
        });
    }
    if let Some((python, _)) = &python {
        let command = python_command(python, "get", &proxy, "user-profiles");
        let name = "python".to_owned();
        subjects.push(Subject {
            name,
            command,
            event: event("get"),
            zip: None,
        });
    }
    let rows = rows(&mut subjects, &proxy, share.ok().map(|()| MEMORY)).await?;
    let delete_all = delete_all(python.as_ref().map(|(python, _)| &**python)).await?;
    Ok(Report {
        conditions,
        rows,
        delete_all,
    })
}

/// A function to measure, which becomes a row of the table.
struct Subject {
    name: String,
    command: Command,
    event: Value,
    zip: Option<u64>,
}

/// Measures cold starts, in rounds of one start of each function, so that a slowdown of the machine
/// affects them all. Then measures the warm invocations of one process of each function.
async fn rows(
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

/// Deletes many users from a real engine, with this project and with Python. Describes the costs.
async fn delete_all(python: Option<&str>) -> Result<String, Box<dyn Error>> {
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
    let Some(python) = python else {
        return Ok(text);
    };
    let command = python_command(python, "delete_all", &proxy, table.name());
    let (took, memory, _) = delete(command).await?;
    let took = time(took);
    Ok(format!(
        "{text} In Python, one `DeleteItem` after another: {took}, {memory}."
    ))
}

/// Returns the command that runs a module in `crates/bench/python` as a function.
fn python_command(python: &str, module: &str, proxy: &TlsProxy, table: &str) -> Command {
    let mut command = command(python, proxy, table);
    command.args([
        concat!(env!("CARGO_MANIFEST_DIR"), "/python/bootstrap.py"),
        module,
    ]);
    command
}

/// Finds a Python interpreter that has boto3, in `.venv` or on the `PATH`. Returns its path, and
/// the versions of Python and boto3.
fn python() -> Option<(String, String)> {
    let script = "import sys, platform as p, boto3; print(sys.executable); \
                  print('Python ' + p.python_version() + ', boto3 ' + boto3.__version__)";
    let in_venv = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python3");
    let text = [in_venv, "python3"]
        .iter()
        .find_map(|python| output(python, &["-c", script]))?;
    let (interpreter, versions) = text.split_once('\n')?;
    Some((interpreter.to_owned(), versions.to_owned()))
}
