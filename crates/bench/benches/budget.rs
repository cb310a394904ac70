//! `make budget`: whether the functions have grown beyond `budget.toml`, in what does not depend on the machine: the size of
//! the zip file, and the instructions of its start and of one warm invocation, as valgrind's callgrind counts them.
//!
//! `cargo bench --package bench --bench budget -- [--update]`; `--update` writes what it finds to `budget.toml`.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use bench::dynamodb::{Backend, DynamoDb, Trusted};
use bench::functions::{FUNCTIONS, event, executable, item, program};
use bench::package::zip_size;
use bench::process::{Function, Program};
use serde::Deserialize;

/// How often a count is tried.
const TRIES: u32 = 5;

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml");

const HEAD: &str = "\
# What one function may cost at most, apart from the margins: the bytes of its zip file, the instructions of its start and
# end, and those of one warm invocation. `make budget` checks it, and `make budget UPDATE=1` writes it anew: say in the commit what
# the growth is for.
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
    start: u64,
    warm: u64,
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
        println!(
            "budget: NOT CHECKED: valgrind is missing. Debian and Ubuntu: apt-get install valgrind"
        );
        return Ok(ExitCode::FAILURE);
    }

    let mut costs = BTreeMap::new();
    let dynamodb = DynamoDb::start(Backend::OneUser(item(1)), Trusted::Alike)?;
    for (name, method, resource) in FUNCTIONS {
        let (zip, event) = (zip_size(&executable(name)?)?, event(method, resource));
        let (few, many) = (20, 60);
        let (of_few, of_many) =
            (count(name, &dynamodb, &event, few)?, count(name, &dynamodb, &event, many)?);
        let warm = of_many.saturating_sub(of_few) / (many - few);
        costs.insert(name, Costs { zip, start: of_few.saturating_sub(few * warm), warm });
    }
    if env::args().any(|argument| argument == "--update") {
        fs::write(BUDGET, text(&budget, &costs))?;
    }

    let mut exceeded = false;
    println!(
        "{:12} {:>16} {:>10} {:>21} {:>10} {:>20} {:>10}",
        "function",
        "zip, bytes",
        "budget",
        "start, instructions",
        "budget",
        "warm, instructions",
        "budget"
    );
    for (name, found) in &costs {
        let allowed = if env::args().any(|argument| argument == "--update") {
            Some(found)
        } else {
            budget.functions.get(*name)
        };
        let Some(allowed) = allowed else {
            return Err(io::Error::other(format!("{BUDGET} does not have {name}")));
        };
        println!(
            "{name:12} {:>16} {:>10} {:>21} {:>10} {:>20} {:>10}",
            change(found.zip, allowed.zip),
            allowed.zip,
            change(found.start, allowed.start),
            allowed.start,
            change(found.warm, allowed.warm),
            allowed.warm
        );
        for (found, allowed, margin) in [
            (found.zip, allowed.zip, budget.zip_margin),
            (found.start, allowed.start, budget.instructions_margin),
            (found.warm, allowed.warm, budget.instructions_margin),
        ] {
            exceeded |= found * 100 > allowed * (100 + margin);
        }
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

/// The instructions of a whole process that answers as many invocations on the connection that its start opened.
///
/// A start gives that up after a second, which under valgrind is not much: what then counts is another connection's instructions.
fn count(
    name: &str,
    dynamodb: &DynamoDb,
    event: &serde_json::Value,
    invocations: u64,
) -> io::Result<u64> {
    for _ in 0..TRIES {
        let before = dynamodb.connections();
        let instructions = run(name, dynamodb, event, invocations)?;
        if dynamodb.connections() - before == 1 {
            return Ok(instructions);
        }
    }
    Err(io::Error::other(format!(
        "{name} did not do with one connection to DynamoDB, {TRIES} times: this machine is too slow or too busy, or the function has a fault"
    )))
}

/// The instructions of a whole process that answers as many invocations.
fn run(
    name: &str,
    dynamodb: &DynamoDb,
    event: &serde_json::Value,
    invocations: u64,
) -> io::Result<u64> {
    let output = tempfile::NamedTempFile::new()?.into_temp_path();
    let Program { executable, environment, .. } = program(name, dynamodb)?;
    let mut file = std::ffi::OsString::from("--callgrind-out-file=");
    file.push(&output);
    let arguments = vec!["--tool=callgrind".into(), "--quiet".into(), file, executable.into()];
    let program = Program { executable: "valgrind".into(), arguments, quiet: true, environment };
    let mut function = Function::start(&program, false)?;
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
        let _ = writeln!(
            text,
            "{name} = {{ zip = {}, start = {}, warm = {} }}",
            costs.zip, costs.start, costs.warm
        );
    }
    text
}
