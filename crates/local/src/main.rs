//! Runs the whole service on this machine until Ctrl-C.

use std::env;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use local::{Database, Options, Service, Template};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The whole User Profile API on this machine: API Gateway, Lambda and DynamoDB
#[derive(Parser)]
#[command(
    after_help = "With DYNAMO_ENDPOINT in the environment, users are kept in the DynamoDB at that URL."
)]
struct Arguments {
    /// The address to listen on; any but loopback lets other machines in
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port to listen on
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The API's stage, the first segment of every path [default: the template's]
    #[arg(long)]
    stage: Option<String>,
    /// The SAM template that describes the service
    #[arg(long, default_value = "template.yaml")]
    template: PathBuf,
    /// The file to keep users in
    #[arg(long, default_value = ".data/users.db")]
    data: PathBuf,
    /// Keep users in memory only
    #[arg(long, conflicts_with = "data")]
    memory: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    let mut template = Template::read(&arguments.template)?;
    if let Some(stage) = arguments.stage {
        template.stage = stage;
    }
    let (database, kept) = match (users_core::endpoint_from_env(), arguments.memory) {
        (Some(endpoint), _) => {
            (Database::Endpoint(endpoint.clone()), format!("in the DynamoDB at {endpoint}"))
        }
        (None, true) => (Database::Memory, "in memory, until it stops".to_owned()),
        (None, false) => {
            (Database::File(arguments.data.clone()), format!("in {}", arguments.data.display()))
        }
    };
    let executable = env::current_exe()?;
    let options = Options {
        database,
        address: SocketAddr::new(arguments.host, arguments.port),
        logs: Arc::new(|function, line| print(&format!("{function} | {line}"))),
        ..Options::new(template, executable.parent().unwrap_or(&executable).to_owned())
    };
    let service = tokio::select! {
        service = Service::start(options) => service?,
        () = signals.next() => return Ok(()),
    };

    let url = service.url();
    print(&format!(
        "User Profile API: {url}/users
Users are kept {kept}. Ctrl-C stops it. Try:

  curl {url}/users
  curl -X POST {url}/users -d '{{\"id\": \"1\", \"email\": \"ada@example.com\", \"name\": \"Ada\"}}'
  curl {url}/users/1
"
    ));

    signals.next().await;
    tokio::select! {
        () = service.stop() => {}
        // Whoever asks twice does not want to wait.
        () = signals.next() => {}
    }
    Ok(())
}

/// The signals that stop the service.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Prints a line. Nobody may be reading any more, which is no reason to stop serving.
fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
