//! `make budget`: whether the functions have grown beyond `budget.toml`, in what does not depend on the machine: the size of
//! the zip file, and the instructions of one warm invocation, as valgrind's callgrind counts them.
//!
//! `cargo bench --package bench --bench budget -- [--update]`; `--update` writes what it finds to `budget.toml`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bench::dynamodb::{Backend, DynamoDb};
use bench::functions::{FUNCTIONS, event, executable, item, program};
use bench::package::zip_size;
use bench::process::{Function, Program};
use serde::Deserialize;

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml");

const HEAD: &str = "\
# What one function may cost at most, apart from the margins: the bytes of its zip file, and the instructions of one warm
# invocation. `make budget` checks it, and `make budget UPDATE=1` writes it anew: say in the commit what the growth is for.
";

/// What `budget.toml` says.
#[derive(Deserialize)]
struct Budget {
    /// The kind of machine that the numbers are for.
    architecture: String,
    /// How much larger a zip may be, in percent: another compiler changes it by so much.
    zip_margin: u64,
    /// How many more instructions there may be, in percent.
    instructions_margin: u64,
    functions: BTreeMap<String, Costs>,
}

#[derive(Clone, Copy, Deserialize)]
struct Costs {
    zip: u64,
    instructions: u64,
}

fn main() -> io::Result<ExitCode> {
    let budget: Budget = toml::from_str(&fs::read_to_string(BUDGET)?).map_err(io::Error::other)?;
    if budget.architecture != env::consts::ARCH {
        println!(
            "budget: NOT CHECKED: {BUDGET} is for {}, and this machine is {}.",
            budget.architecture,
            env::consts::ARCH
        );
        return Ok(ExitCode::FAILURE);
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("budget: NOT CHECKED: valgrind is missing. Debian and Ubuntu: apt-get install valgrind");
        return Ok(ExitCode::FAILURE);
    }

    let mut costs = BTreeMap::new();
    let dynamodb = DynamoDb::start(Backend::OneUser(item(1)))?;
    for (name, method, resource) in FUNCTIONS {
        let (zip, event) = (zip_size(&executable(name)?)?, event(method, resource));
        let (few, many) = (20, 60);
        let instructions =
            (count(name, &dynamodb, &event, many)? - count(name, &dynamodb, &event, few)?) / (many - few);
        costs.insert(name, Costs { zip, instructions });
    }
    if env::args().any(|argument| argument == "--update") {
        fs::write(BUDGET, text(&budget, &costs))?;
    }

    let mut exceeded = false;
    println!("{:12} {:>16} {:>10} {:>16} {:>10}", "function", "zip, bytes", "budget", "instructions", "budget");
    for (name, found) in &costs {
        let allowed =
            if env::args().any(|argument| argument == "--update") { Some(found) } else { budget.functions.get(*name) };
        let Some(allowed) = allowed else {
            return Err(io::Error::other(format!("{BUDGET} does not have {name}")));
        };
        println!(
            "{name:12} {:>16} {:>10} {:>16} {:>10}",
            change(found.zip, allowed.zip),
            allowed.zip,
            change(found.instructions, allowed.instructions),
            allowed.instructions
        );
        exceeded |= found.zip * 100 > allowed.zip * (100 + budget.zip_margin)
            || found.instructions * 100 > allowed.instructions * (100 + budget.instructions_margin);
    }
    if exceeded {
        println!(
            "\nbudget: EXCEEDED by more than {} % (zip) or {} % (instructions).\n\
             What grew shows in 'callgrind_annotate --inclusive=yes FILE' of a run under valgrind, and in the sizes of 'nm --size-sort \
             --demangle' of\nan executable built with CARGO_PROFILE_RELEASE_STRIP=none. If it is worth it: 'make budget UPDATE=1', and say \
             in the commit what for.",
            budget.zip_margin, budget.instructions_margin
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("\nbudget: kept");
    Ok(ExitCode::SUCCESS)
}

/// The instructions of a whole process that answers as many invocations.
fn count(name: &str, dynamodb: &DynamoDb, event: &serde_json::Value, invocations: u64) -> io::Result<u64> {
    let output = tempfile::NamedTempFile::new()?.into_temp_path();
    let Program { executable, environment, .. } = program(name, dynamodb)?;
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&output);
    let arguments = vec!["--tool=callgrind".into(), "--quiet".into(), file, executable.into()];
    let program = Program { executable: "valgrind".into(), arguments, quiet: true, environment };
    let mut function = Function::start(&program, None)?;
    for _ in 0..invocations {
        function.invoke(event)?;
    }
    function.end()?;
    let text = fs::read_to_string(Path::new(&output))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:")?.trim().parse().ok());
    total.ok_or_else(|| io::Error::other("callgrind wrote no total"))
}

/// A number with how much it is above or below another.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn change(found: u64, allowed: u64) -> String {
    format!("{found} {:+.1}%", (found as f64 / allowed as f64 - 1.0) * 100.0)
}

/// The text of `budget.toml` with these costs.
fn text(budget: &Budget, costs: &BTreeMap<&str, Costs>) -> String {
    let mut text = format!(
        "{HEAD}architecture = \"{}\"\nzip_margin = {}\ninstructions_margin = {}\n\n[functions]\n",
        budget.architecture, budget.zip_margin, budget.instructions_margin
    );
    for (name, costs) in costs {
        // A string takes everything.
        let _ = writeln!(text, "{name} = {{ zip = {}, instructions = {} }}", costs.zip, costs.instructions);
    }
    text
}
