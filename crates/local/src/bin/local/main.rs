//! Runs the whole service on this machine until Ctrl-C.

mod banner;
mod line_log;
mod settings;
mod watch;

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use local::{Options, Served, Service, Template};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use line_log::LineLog;
use settings::{Given, Settings};
use watch::Watch;

/// The template that describes the service.
const TEMPLATE: &str = "template.yaml";
/// How many open files and connections the service may need. Some systems allow only 256.
const OPEN_FILES: u64 = 4096;
/// How long a function may take that waits for a debugger.
const DEBUG_TIMEOUT: Duration = Duration::from_hours(24);
/// How long to wait for the last lines to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> ExitCode {
    let matches = settings::command().get_matches();
    let log = LineLog::to_stdout();
    let result = run(&matches, &log).await;
    log.flush(FLUSH_TIMEOUT);
    let error = match result {
        Ok(End::Stop) => return ExitCode::SUCCESS,
        Ok(End::Restart(executable)) => {
            let arguments = env::args_os().skip(1);
            Command::new(executable).args(arguments).exec().into()
        }
        Err(error) => error,
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Why the service ends.
enum End {
    Stop,
    /// This program or what it reads at its start has changed.
    Restart(PathBuf),
}

async fn run(matches: &ArgMatches, log: &LineLog) -> Result<End, Box<dyn std::error::Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal was closed.
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut stop_requested = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    let executable = env::current_exe()?;
    let settings = Settings::new(|variable| Given::find(matches, variable), hostname)?;
    let functions = executable.parent().unwrap_or(&executable);
    let template_path = template_path(functions)?;
    let mut template = Template::read(&template_path, &settings.parameters)
        .map_err(|error| settings.explain(error))?;
    for function in template.functions.values_mut() {
        // The service already prints a line for each request.
        if !settings.parameters.contains_key("LogLevel") {
            function.log_level = Some("WARN".to_owned());
        }
        if settings.debug {
            function.timeout = DEBUG_TIMEOUT;
        }
    }
    let throttle = template.throttle;
    raise_open_file_limit();
    let changes = settings
        .watch
        .then(|| Watch::start(&executable, &template_path, log.clone()))
        .transpose()?;

    let colored = io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none();
    let (functions_log, requests_log) = (log.clone(), log.clone());
    let mut options = Options {
        database: settings.database.clone(),
        dynamodb_port: settings.dynamodb_port,
        address: SocketAddr::new(settings.host, settings.port),
        log_processes: settings.debug,
        logs: Arc::new(move |function, line| {
            functions_log.line(format!("{function} | {}", printable(line)));
        }),
        requests: Arc::new(move |served| requests_log.line(request_line(served, colored))),
        ..Options::new(template, functions.to_owned())
    };
    if settings.debug {
        // The process to which a debugger is attached serves every request.
        options.instances = 1;
        options.initialisation_timeout = DEBUG_TIMEOUT;
        options.timeouts.integration = DEBUG_TIMEOUT;
    }
    let service = tokio::select! {
        service = Service::start(options) => service?,
        () = stop_requested() => return Ok(End::Stop),
    };
    log.line(banner::banner(&service, &settings, throttle));

    let check = || {
        let read = Template::read(&template_path, &settings.parameters);
        read.map(|_| ()).map_err(|error| error.to_string())
    };
    let end = tokio::select! {
        () = stop_requested() => End::Stop,
        () = watch::restart_needed(changes, check) => End::Restart(executable),
    };
    tokio::select! {
        () = service.stop() => {}
        // A second signal ends the wait.
        () = stop_requested() => {}
    }
    Ok(end)
}

/// Returns the path of the template: beside the executable, as in an archive that `make dist` made,
/// or in the current directory, where `make` starts the program.
fn template_path(directory: &Path) -> Result<PathBuf, String> {
    [directory.join(TEMPLATE), TEMPLATE.into()]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            format!(
                "there is no {TEMPLATE} here or beside the program: start it in the directory of \
                 the repository, as `make run` does"
            )
        })
}

/// Replaces what could control the terminal.
fn printable(line: &str) -> String {
    line.replace(
        |character: char| character.is_control() && character != '\t',
        "\u{fffd}",
    )
}

/// Formats a request as one line, such as `12:03:04 GET /users/bob 400 UserNotFound 4 ms`.
fn request_line(served: &Served, colored: bool) -> String {
    let time = jiff::ZonedDateTime::now().strftime("%H:%M:%S");
    let Served {
        method,
        path,
        status,
        code,
        duration,
        message,
    } = served;
    let outcome = match code {
        Some(code) => format!("{status} {code}"),
        None => status.to_string(),
    };
    let outcome = match status {
        _ if !colored => outcome,
        ..400 => format!("\x1b[32m{outcome}\x1b[0m"),
        400..500 => format!("\x1b[33m{outcome}\x1b[0m"),
        500.. => format!("\x1b[31m{outcome}\x1b[0m"),
    };
    let message = message
        .as_ref()
        .map(|message| format!(" ({message})"))
        .unwrap_or_default();
    format!(
        "{time} {method} {path} {outcome} {} ms{message}",
        duration.as_millis()
    )
}

/// Raises the limit on open files, if the system allows it. The service also works without that.
fn raise_open_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum,
            },
        );
    }
}

/// Returns this machine's name.
fn hostname() -> Option<String> {
    let output = Command::new("uname").arg("-n").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let served = Served {
            method: "GET".to_owned(),
            path: "/users/bob".to_owned(),
            status: 400,
            code: Some("UserNotFound".to_owned()),
            duration: Duration::from_millis(4),
            message: Some("no such user".to_owned()),
        };
        let line = request_line(&served, false);
        let (time, rest) = line.split_once(' ').expect("it begins with the time");
        assert_eq!(time.split(':').map(str::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert_eq!(rest, "GET /users/bob 400 UserNotFound 4 ms (no such user)");
        let line = request_line(&served, true);
        assert!(
            line.contains("GET /users/bob \x1b[33m400 UserNotFound\x1b[0m 4 ms"),
            "{line}"
        );
    }
}
