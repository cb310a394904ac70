//! Functions with additional environment variables.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use local::Options;
use serde_json::Value;
use tempfile::TempDir;

use crate::{Api, executables, template};

/// An API whose functions have other variables besides those that Lambda sets.
pub struct Functions {
    /// The API.
    pub api: Api,
    log: Arc<Mutex<Vec<String>>>,
    _scripts: TempDir,
}

impl Functions {
    /// Starts a local service whose functions have these variables.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let template = template();
        let scripts = tempfile::tempdir().expect("a directory");
        for function in template.functions.values() {
            let mut assignments = String::new();
            for (name, value) in variables {
                assignments += "export ";
                assignments += name;
                assignments += "='";
                assignments += value;
                assignments += "'\n";
            }
            let executable = executables().join(&function.executable);
            let script = format!("#!/bin/sh\n{assignments}exec {}\n", executable.display());
            let path = scripts.path().join(&function.executable);
            fs::write(&path, script).expect("a script");
            fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("an executable");
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let options = Options {
            logs: Arc::new(move |_, line| lines.lock().expect("a log").push(line.to_owned())),
            ..Options::new(template, scripts.path().to_owned())
        };
        Self { api: Api::start(options).await, log, _scripts: scripts }
    }

    /// Stops the service, so that its log is complete, and returns the lines of the log.
    ///
    /// # Panics
    ///
    /// If a line could not be logged.
    pub async fn into_log(self) -> Vec<String> {
        self.api.stop().await;
        // The service may still be reading the output of functions that have exited.
        while Arc::strong_count(&self.log) > 1 {
            tokio::task::yield_now().await;
        }
        let log = self.log.lock().expect("a log");
        log.clone()
    }

    /// Stops the service, and returns the lines about requests from its log, which is in JSON.
    ///
    /// # Panics
    ///
    /// If a line is not JSON.
    pub async fn into_request_lines(self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let lines: Vec<Value> = self.into_log().await.iter().map(parse).collect();
        lines.into_iter().filter(|line| line["message"] == "request").collect()
    }
}
