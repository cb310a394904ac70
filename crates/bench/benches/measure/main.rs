//! `make bench` and `make budget`: what the functions cost.
//!
//! `functions` measures times, sizes and memory, and compares them with Python and with a function
//! that does nothing. `cost` measures what AWS bills, and computes prices from it. With `--save`,
//! both write to `docs`. `budget` compares the figures that do not depend on the machine with
//! `budget.toml`; with `--update`, it rewrites that file.

mod budget;
mod chart;
mod cost;
mod cpu_share;
mod dynamodb;
mod function;
mod functions;
mod prices;
mod report;
mod subject;

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

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
    let arguments: Vec<_> = env::args().skip(1).collect();
    let is_given = |name| arguments.iter().any(|argument| argument == name);
    let (page, text, chart) = if is_given("budget") {
        return budget::budget(is_given("--update")).await;
    } else if is_given("cost") {
        let report = cost::measure().await?;
        ("cost.md", report.markdown(), report.chart())
    } else {
        let report = functions::measure().await?;
        ("benchmarks.md", report.markdown(), report.chart())
    };
    println!("{text}");
    if is_given("--save") {
        save(page, &text, &chart)?;
    }
    Ok(())
}

/// Writes a report into a page in `docs`, and its chart to an SVG file beside the page.
fn save(page: &str, report: &str, chart: &str) -> Result<(), Box<dyn Error>> {
    const START: &str = "<!-- written by make bench -->\n";
    const END: &str = "<!-- to here -->";
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs")).join(page);
    let text = fs::read_to_string(&page)?;
    let (before, rest) = text
        .split_once(START)
        .ok_or("the page has no start marker")?;
    let (_, after) = rest.split_once(END).ok_or("the page has no end marker")?;
    fs::write(&page, [before, START, report, END, after].concat())?;
    Ok(fs::write(page.with_extension("svg"), chart)?)
}

/// Returns the date, the machine and the compiler.
fn machine() -> Result<String, Box<dyn Error>> {
    Ok(output("sh", &["-c", MACHINE]).ok_or("cannot determine the machine and the compiler")?)
}

/// Returns the output of a program, or `None` if the program fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
