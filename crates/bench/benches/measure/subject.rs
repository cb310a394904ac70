//! The executables to measure, and the requests that they serve.

use std::env;
use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::DeflateEncoder;
use serde_json::{Value, json};
use tests::{Event, Operation, TlsProxy, operations};
use tokio::process::Command;

/// What a zip file adds to the compressed bytes of a single file called `bootstrap`, in bytes: the
/// local header, the entry in the central directory, and the end of the directory.
const ZIP_OVERHEAD: usize = (30 + "bootstrap".len()) + (46 + "bootstrap".len()) + 22;

/// The size of a [`user`] in bytes, as DynamoDB counts it
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
pub(crate) const USER_BYTES: usize = 300;

/// Returns the path of an executable in the release build.
///
/// # Errors
///
/// If the executable has not been built.
pub(crate) fn executable(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    // This program runs as `target/PROFILE/deps/NAME-HASH`.
    let program = env::current_exe()?;
    let target = program
        .ancestors()
        .nth(3)
        .ok_or("this program is not in the target directory")?;
    let executable = target.join("release").join(name);
    if !executable.is_file() {
        let path = executable.display();
        return Err(format!("{path} is not built: use make, which builds it first").into());
    }
    Ok(executable)
}

/// Returns the command that starts a program with the environment that Lambda sets for a function.
/// The function's table is in the DynamoDB behind `proxy`.
pub(crate) fn command(program: impl AsRef<Path>, proxy: &TlsProxy, table: &str) -> Command {
    let mut command = Command::new(program.as_ref());
    command
        .env_clear()
        .env("AWS_LAMBDA_FUNCTION_NAME", "bench")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "bench")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "bench")
        .env("AWS_SECRET_ACCESS_KEY", "bench")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("USERS_TABLE", table)
        .env("DYNAMO_ENDPOINT", proxy.url())
        .env("SSL_CERT_FILE", proxy.root())
        // The same for boto3.
        .env("AWS_CA_BUNDLE", proxy.root());
    command
}

/// Returns a user of [`USER_BYTES`].
pub(crate) fn user(number: usize) -> Value {
    json!({
        "id": format!("5f2c8a1e-7b3d-4c9f-8e6a-{number:012}"),
        "email": format!("ada.lovelace.{number:06}@example.com"),
        "name": "Ada Lovelace",
        "age": 36,
        "active": true,
        "tags": ["mathematics", "poetry"],
        "about": "The first to see that a machine could do more than compute numbers; wrote the \
                  first program for it in 1843.",
        "address": {"street": "12 St James's Square", "city": "London", "zip": "SW1Y 4JH"},
    })
}

/// Returns the event of a request to the function with this executable, with the headers of a
/// typical client.
///
/// # Panics
///
/// If `template.yaml` has no such function.
pub(crate) fn event(executable: &str) -> Value {
    let operation = operations()
        .iter()
        .find(|operation| operation.executable == executable);
    let Operation {
        method,
        path,
        has_body,
        ..
    } = operation.expect("a function of template.yaml");
    let mut event = Event::new(method, path);
    if path.contains("{id}") {
        event = event.id("5f2c8a1e-7b3d-4c9f-8e6a-000000000001");
    }
    if *has_body {
        let mut user = user(1);
        user.as_object_mut().expect("an object").remove("id");
        // Not the stored user's age, so that a `PUT` changes the user.
        user["age"] = json!(37);
        event = event.body(&user.to_string());
    }
    let mut event = event.json();
    for (name, value) in [
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("Host", "0123456789.execute-api.us-east-1.amazonaws.com"),
        ("User-Agent", "curl/8.5.0"),
        (
            "X-Amzn-Trace-Id",
            "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
        ),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Port", "443"),
    ] {
        event["headers"][name] = json!(value);
        event["multiValueHeaders"][name] = json!([value]);
    }
    event
}

/// Returns the size in bytes of the zip file that deploys an executable, at the default compression
/// level of zip programs.
///
/// # Errors
///
/// If the executable cannot be read.
pub(crate) fn zip_size(executable: &Path) -> Result<u64, Box<dyn Error>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&fs::read(executable)?)?;
    Ok((encoder.finish()?.len() + ZIP_OVERHEAD) as u64)
}
