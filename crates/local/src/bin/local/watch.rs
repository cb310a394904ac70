//! Builds again when a source file changes. The running service starts the new functions by itself;
//! a new local service, or a new template, needs a restart.

use std::ffi::OsStr;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use std::{env, fs, io};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::line_log::LineLog;

/// What is compiled, beside the template. Cargo finds out what a change affects.
const SOURCES: &str = "crates";
/// Further files of the repository's directory that affect the build or the service.
const FILES: [&str; 4] = ["Cargo.lock", "Cargo.toml", "openapi.yaml", "template.yaml"];
/// How long no file must change before a build, in case an editor saves several.
const QUIET: Duration = Duration::from_millis(200);

/// Watches the repository in the current directory.
pub(crate) struct Watch {
    /// Reports each change.
    changes: UnboundedReceiver<()>,
    /// Files that make a restart necessary, and when they were modified.
    started_with: Vec<(PathBuf, Option<SystemTime>)>,
    log: LineLog,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Starts to watch the sources of `executable`, which runs with this template.
    pub(crate) fn start(executable: &Path, template: &Path, log: LineLog) -> Result<Self, String> {
        let (sender, changes) = unbounded_channel();
        let report = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_relevant(&event)) {
                let _ = sender.send(());
            }
        };
        let watch = || {
            let mut watcher = notify::recommended_watcher(report)?;
            watcher.watch(Path::new(SOURCES), RecursiveMode::Recursive)?;
            // Editors replace a file, so its directory is watched.
            watcher.watch(Path::new("."), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        };
        let watcher = watch().map_err(|error: notify::Error| {
            format!("cannot watch {SOURCES}: {error}; WATCH=1 works only in the repository")
        })?;
        let started_with = [executable, template].map(|path| (path.to_owned(), modified(path)));
        Ok(Self {
            changes,
            started_with: started_with.into(),
            log,
            _watcher: watcher,
        })
    }

    /// Builds after each change, until the service must restart and `check` finds no reason not to.
    async fn restart_needed(&mut self, check: impl Fn() -> Result<(), String>) {
        while self.changes.recv().await.is_some() {
            while timeout(QUIET, self.changes.recv()).await.is_ok() {}
            self.log.line("cargo | building".to_owned());
            match self.build().await {
                Ok(true) if self.must_restart() => {
                    if let Err(problem) = check() {
                        self.log
                            .line(format!("cargo | done; not restarted: {problem}"));
                        continue;
                    }
                    self.log
                        .line("cargo | done; the service restarts".to_owned());
                    return;
                }
                Ok(true) => self.log.line("cargo | done".to_owned()),
                Ok(false) => self
                    .log
                    .line("cargo | failed; the last build still runs".to_owned()),
                Err(error) => self.log.line(format!("cargo | cannot be started: {error}")),
            }
        }
    }

    /// Builds everything, and writes what Cargo says to the log. Returns whether the build succeeded.
    async fn build(&self) -> io::Result<bool> {
        let output = Command::new(
            env::var_os("CARGO")
                .as_deref()
                .unwrap_or(OsStr::new("cargo")),
        )
        .args(["build", "--workspace", "--bins", "--quiet"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            self.log.line(format!("cargo | {line}"));
        }
        Ok(output.status.success())
    }

    fn must_restart(&self) -> bool {
        let mut files = self.started_with.iter();
        files.any(|(path, time)| modified(path) != *time)
    }
}

/// Waits until the service must restart, if anything is watched. `check` says why it cannot.
pub(crate) async fn restart_needed(watch: Option<Watch>, check: impl Fn() -> Result<(), String>) {
    match watch {
        Some(mut watch) => watch.restart_needed(check).await,
        None => pending().await,
    }
}

/// Returns whether an event changes a source file.
fn is_relevant(event: &Event) -> bool {
    let is_source = |path: &PathBuf| {
        let is_in_sources = path.components().any(|part| part.as_os_str() == SOURCES);
        let has = |names: &[&str]| {
            let name = path.file_name().and_then(OsStr::to_str);
            name.is_some_and(|name| names.contains(&name))
        };
        has(&FILES) || is_in_sources && path.extension() == Some(OsStr::new("rs"))
    };
    !event.kind.is_access() && event.paths.iter().any(is_source)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}
