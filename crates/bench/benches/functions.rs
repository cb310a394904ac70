//! `make bench`: what the six functions cost, beside a function that does nothing and beside Python with boto3.
//!
//! `cargo bench --package bench --bench functions -- [--save] [NAME ...]` measures the named rows, or all: `floor`, the
//! functions' names, `python`, `bulk`. `--save` writes the page in `docs`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::Duration;

use bench::dynamodb::{Backend, DynamoDb, Engine, Many, Trusted};
use bench::functions::{FUNCTIONS, event, executable, item, program};
use bench::package::zip_size;
use bench::process::{Function, Program};
use bench::report::{Bulk, List, Report, Row, Times};
use bench::share::{self, SHARE};
use serde_json::Value;

/// How many processes of each function are started.
const COLD_STARTS: usize = 15;

/// How many warm invocations are measured.
const WARM: usize = 300;

/// How long a function rests between invocations, so that each has its whole share of the CPU.
const REST: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| *wanted == name);
    let python = python();
    let share = share::check();
    let mut report =
        Report { conditions: conditions(&share, python.as_ref()), ..Report::default() };
    let shares = share.is_ok();

    let dynamodb = DynamoDb::start(Backend::OneUser(item(1)), Trusted::System)?;
    let floor = ("floor", "GET", "/users/{id}");
    let mut subjects = Vec::new();
    for (name, method, resource) in iter::once(floor).chain(FUNCTIONS) {
        if wanted(name) {
            let zip = Some(zip_size(&executable(name)?)?);
            subjects.push(Subject {
                name,
                program: program(name, &dynamodb)?,
                event: event(method, resource),
                zip,
            });
        }
    }
    if let Some(python) = python.as_ref().filter(|_| wanted("python")) {
        let program = python_program(python, "get", &dynamodb);
        subjects.push(Subject {
            name: "python",
            program,
            event: event("GET", "/users/{id}"),
            zip: None,
        });
    }
    report.rows = rows(&subjects, shares)?;
    if wanted("bulk") {
        report.bulk = Some(bulk(python.as_ref(), shares)?);
    }
    println!("{}", report.markdown());
    if arguments.iter().any(|argument| argument == "--save") {
        report.save(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs"))?;
    }
    Ok(())
}

/// What is measured on and with, and what is left out.
fn conditions(share: &io::Result<()>, python: Option<&Python>) -> Vec<String> {
    let output = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        Some(
            text.lines()
                .find_map(|line| line.strip_prefix("model name"))?
                .trim_start_matches(['\t', ' ', ':'])
                .to_owned(),
        )
    });
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let facts = [
        output("date", "+%Y-%m-%d"),
        Some(format!("{cores} cores of {}", cpu.as_deref().unwrap_or("an unknown CPU"))),
        output("uname", "-srm"),
        output("rustc", "--version"),
        python.map(|python| python.versions.clone()),
    ];
    let share = match share {
        Ok(()) => format!(
            "From its first invocation on, a function has {:.1} % of a CPU, as on Lambda at 128 MB.",
            SHARE * 100.0
        ),
        Err(error) => {
            format!(
                "Functions have a whole CPU, not the share that Lambda gives: no control group can be made ({error})."
            )
        }
    };
    let mut conditions =
        vec![facts.into_iter().flatten().collect::<Vec<_>>().join(", ") + ".", share];
    if python.is_none() {
        conditions
            .push("Python is left out: there is no python3 that can import boto3.".to_owned());
    }
    conditions
}

/// What a row of the table is about.
struct Subject {
    name: &'static str,
    program: Program,
    event: Value,
    zip: Option<u64>,
}

/// Starts the functions in turn, again and again, so that a machine that becomes slower does so for all; then invokes one process of
/// each again and again.
fn rows(subjects: &[Subject], shares: bool) -> io::Result<Vec<Row>> {
    let mut cold: Vec<_> = subjects.iter().map(|_| (Times::default(), Times::default())).collect();
    // The first start reads the executable from disk.
    for start in 0..=COLD_STARTS {
        for (Subject { program, event, .. }, (init, first)) in subjects.iter().zip(&mut cold) {
            let mut function = Function::start(program, shares)?;
            let answer = function.invoke(event)?;
            if start > 0 {
                init.add(function.init());
                first.add(answer.took);
            }
        }
    }
    let row = |(subject, (init, first)): (&Subject, _)| {
        let mut function = Function::start(&subject.program, shares)?;
        function.invoke(&subject.event)?;
        let mut warm = Times::default();
        for _ in 0..WARM {
            sleep(REST);
            warm.add(function.invoke(&subject.event)?.took);
        }
        let peak_memory = function.peak_memory();
        Ok(Row { name: subject.name.to_owned(), init, first, warm, zip: subject.zip, peak_memory })
    };
    subjects.iter().zip(cold).map(row).collect()
}

fn bulk(python: Option<&Python>, shares: bool) -> io::Result<Bulk> {
    let engine = Engine::start()?;
    let dynamodb = DynamoDb::start(Backend::Engine(engine.clone()), Trusted::System)?;
    let delete_all = event("DELETE", "/users");
    let empty = |program: &Program| {
        engine.put((0..Bulk::DELETED).map(item).collect())?;
        let took = Function::start(program, false)?.invoke(&delete_all)?.took;
        match engine.users()? {
            0 => Ok(took),
            left => Err(io::Error::other(format!("{left} users are left"))),
        }
    };
    let delete_all_rust = empty(&program("delete-all", &dynamodb)?)?;
    let delete_all_python =
        python.map(|python| empty(&python_program(python, "delete_all", &dynamodb))).transpose()?;

    let many = Arc::new(Many::new(Bulk::MANY, Duration::from_millis(5)));
    let slow = DynamoDb::start(Backend::Many(Arc::clone(&many)), Trusted::System)?;
    let mut function = Function::start(&program("delete-all", &slow)?, shares)?;
    let delete_many = function.invoke(&delete_all)?.took;
    if many.left() > 0 {
        return Err(io::Error::other(format!("{} users are left", many.left())));
    }
    let delete_many_memory = function.peak_memory();
    drop(function);

    engine.put((0..Bulk::LISTED).map(item).collect())?;
    let get_all = program("get-all", &dynamodb)?;
    let lists = |shares| {
        let mut function = Function::start(&get_all, shares)?;
        let mut list = || {
            let answer = function.invoke(&event("GET", "/users"))?;
            io::Result::Ok(List {
                bytes: answer.bytes,
                took: answer.took,
                memory: function.peak_memory(),
            })
        };
        io::Result::Ok([list()?, list()?])
    };
    Ok(Bulk {
        delete_all_rust,
        delete_all_python,
        delete_many,
        delete_many_memory,
        lists: lists(false)?,
        lists_with_share: shares.then(|| lists(true)).transpose()?,
    })
}

fn python_program(python: &Python, module: &str, dynamodb: &DynamoDb) -> Program {
    let bootstrap = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/bootstrap.py");
    Program {
        executable: python.interpreter.clone(),
        arguments: vec![bootstrap.into_os_string(), OsString::from(module)],
        quiet: false,
        environment: dynamodb.environment(),
    }
}

/// A Python that has boto3.
struct Python {
    interpreter: PathBuf,
    versions: String,
}

/// The Python in `.venv`, else the one on the `PATH`.
fn python() -> Option<Python> {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python3");
    let script = "import sys, platform, boto3; print(sys.executable, platform.python_version(), boto3.__version__, sep='\\n')";
    [local, PathBuf::from("python3")].into_iter().find_map(|python| {
        let output = Command::new(python).args(["-c", script]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let [interpreter, python, boto3] = text.lines().collect::<Vec<_>>()[..] else {
            return None;
        };
        Some(Python {
            interpreter: interpreter.into(),
            versions: format!("Python {python}, boto3 {boto3}"),
        })
    })
}
