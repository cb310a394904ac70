//! The budget for the figures that do not depend on the machine: the size of each zip file, and the
//! instructions of a start and of a warm invocation, as Valgrind's Callgrind counts them.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tempfile::NamedTempFile;
use tests::{Operation, ScriptedServer, TlsProxy, operations};

use crate::dynamodb::one_user;
use crate::function::Function;
use crate::subject::{command, event, executable, zip_size};

/// The maximum number of attempts at a count.
const TRIES: u32 = 5;

const BUDGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml");

/// The content of `budget.toml`.
#[derive(Deserialize)]
struct Budget {
    /// The CPU architecture that the figures are for.
    architecture: String,
    /// How much larger a zip file may be, in per cent, such as after a change of compiler.
    zip_margin: u64,
    /// How many more instructions a function may take, in per cent.
    instructions_margin: u64,
    functions: BTreeMap<String, Costs>,
}

#[derive(Clone, Copy, Deserialize)]
struct Costs {
    zip: u64,
    start: u64,
    warm: u64,
}

/// Compares the functions with the budget, or rewrites it, and prints a table.
///
/// # Errors
///
/// If a function exceeds the budget or cannot be measured.
pub(crate) async fn budget(update: bool) -> Result<(), Box<dyn Error>> {
    let text = fs::read_to_string(BUDGET)?;
    let mut budget: Budget = toml::from_str(&text)?;
    if budget.architecture != env::consts::ARCH {
        let (architecture, this) = (&budget.architecture, env::consts::ARCH);
        return Err(format!("{BUDGET} is for {architecture}, and this machine is {this}").into());
    }
    let server = ScriptedServer::start(one_user).await;
    let proxy = TlsProxy::start(server.endpoint()).await;
    let mut costs = BTreeMap::new();
    for Operation { executable, .. } in operations() {
        let cost = measure(executable, &event(executable), &proxy).await?;
        costs.insert(executable.clone(), cost);
    }
    if update {
        fs::write(BUDGET, with_costs(&text, &costs))?;
        budget.functions.clone_from(&costs);
    }

    let mut exceeded = false;
    println!(
        "{:10}  {:>25}  {:>25}  {:>25}",
        "", "zip, bytes", "start, instructions", "warm"
    );
    for (name, found) in &costs {
        let allowed = budget
            .functions
            .get(name)
            .ok_or_else(|| format!("{BUDGET} has no entry for {name}"))?;
        print!("{name:10}");
        for (found, allowed, margin) in [
            (found.zip, allowed.zip, budget.zip_margin),
            (found.start, allowed.start, budget.instructions_margin),
            (found.warm, allowed.warm, budget.instructions_margin),
        ] {
            print!(
                "  {found:>9} of {allowed:>9} {:>+4}",
                per_mille(found, allowed)
            );
            exceeded |= found * 100 > allowed * (100 + margin);
        }
        println!(" ‰");
    }
    if exceeded {
        return Err(format!(
            "a function exceeds its budget by more than {} % (zip) or {} % (instructions).\n\
             To see what grew, use 'callgrind_annotate --inclusive=yes', or build an executable\n\
             with CARGO_PROFILE_RELEASE_STRIP=none and use 'nm --size-sort --demangle'.\n\
             If the growth is worth it, run 'make budget UPDATE=1', and say why in the commit\n\
             message.",
            budget.zip_margin, budget.instructions_margin
        )
        .into());
    }
    println!("\nwithin the budget");
    Ok(())
}

/// Measures one function.
async fn measure(name: &str, event: &Value, proxy: &TlsProxy) -> Result<Costs, Box<dyn Error>> {
    let (few, many) = (20, 60);
    let of_few = count(name, event, proxy, few).await?;
    let of_many = count(name, event, proxy, many).await?;
    let warm = of_many.saturating_sub(of_few) / (many - few);
    let start = of_few.saturating_sub(few * warm);
    Ok(Costs {
        zip: zip_size(&executable(name)?)?,
        start,
        warm,
    })
}

/// Counts the instructions of a process from start to exit. The process serves `invocations` on one
/// connection to DynamoDB.
///
/// On a busy machine, a function under Valgrind may abandon the connection that it opens during
/// init. Such a count is repeated.
async fn count(
    name: &str,
    event: &Value,
    proxy: &TlsProxy,
    invocations: u64,
) -> Result<u64, Box<dyn Error>> {
    for _ in 0..TRIES {
        let before = proxy.connections();
        let output = NamedTempFile::new()?.into_temp_path();
        let mut command = command("valgrind", proxy, "user-profiles");
        command.args(["--tool=callgrind", "--quiet"]);
        command.arg(format!("--callgrind-out-file={}", output.display()));
        // On exit, the function logs that the Runtime API is unreachable.
        command.arg(executable(name)?).stderr(Stdio::null());
        let mut function = Function::start(&mut command, None).await?;
        for _ in 0..invocations {
            function.invoke(event).await?;
        }
        function.exit().await?;
        if proxy.connections() == before + 1 {
            let text = fs::read_to_string(&output)?;
            let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
            return Ok(total.ok_or("Callgrind wrote no total")?.trim().parse()?);
        }
    }
    Err(format!("{name} opened a second connection to DynamoDB {TRIES} times").into())
}

/// Returns by how much a cost exceeds the allowed one, in thousandths of the latter.
fn per_mille(found: u64, allowed: u64) -> i64 {
    (found.cast_signed() - allowed.cast_signed()) * 1000 / allowed.cast_signed()
}

/// Returns the text of `budget.toml` with these costs in place of its own.
fn with_costs(text: &str, costs: &BTreeMap<String, Costs>) -> String {
    const TABLE: &str = "[functions]\n";
    let (head, _) = text.split_once(TABLE).unwrap_or((text, ""));
    let mut text = format!("{head}{TABLE}");
    for (name, Costs { zip, start, warm }) in costs {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{name} = {{ zip = {zip}, start = {start}, warm = {warm} }}"
        );
    }
    text
}
