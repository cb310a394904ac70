//! `make bench` and `make budget`: what the functions cost.
//!
//! `make bench` measures times, sizes and memory, and compares them with Python and with a function
//! that does nothing. It also measures the time that Lambda bills. With `--save`, it writes to
//! `docs/benchmarks.md`. `budget` compares the figures that do not depend on the machine with
//! `budget.toml`; with `--update`, it rewrites that file.

mod billed;
mod budget;
mod cpu_share;
mod dynamodb;
mod function;
mod functions;
mod markdown;
mod subject;

use std::env;
use std::error::Error;
use std::fs;
use std::process::{Command, ExitCode};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/benchmarks.md");

/// Prints the date, the machine and the compiler.
const MACHINE: &str = "
    echo \"$(date +%Y-%m-%d), $(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo |
        head -n 1), $(uname -sr), $(rustc --version)\"";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let is_given = |name: &str| env::args().any(|argument| argument == name);
    if is_given("budget") {
        return budget::budget(is_given("--update")).await;
    }
    let conditions = output("sh", &["-c", MACHINE]).ok_or("cannot describe the machine")?;
    let functions = functions::measure().await?;
    let billed = billed::measure().await?;
    let report = format!("\n{conditions}. {functions}\n{billed}\n");
    println!("{report}");
    if is_given("--save") {
        save(&report)?;
    }
    Ok(())
}

/// Writes the report into `docs/benchmarks.md`.
fn save(report: &str) -> Result<(), Box<dyn Error>> {
    const START: &str = "<!-- written by make bench -->\n";
    const END: &str = "<!-- to here -->";
    let text = fs::read_to_string(PAGE)?;
    let (before, rest) = text
        .split_once(START)
        .ok_or("the page has no start marker")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no end marker")?;
    Ok(fs::write(
        PAGE,
        [before, START, report, END, after].concat(),
    )?)
}

/// Returns the output of a program, or `None` if the program fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
