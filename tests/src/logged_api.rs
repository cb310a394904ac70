//! An API whose functions have other environment variables, and its log.

use std::sync::Arc;

use local::Options;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::{Api, executables, template_with_variables};

/// A local service, and the lines that its functions log.
pub struct LoggedApi {
    /// The API.
    pub api: Api,
    log: UnboundedReceiver<String>,
}

impl LoggedApi {
    /// Starts a local service whose functions have these variables.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let template = template_with_variables(variables);
        let (lines, log) = unbounded_channel();
        let options = Options {
            // Sending fails only if the test has ended.
            logs: Arc::new(move |_, line| _ = lines.send(line.to_owned())),
            ..Options::new(template, executables().to_owned())
        };
        Self {
            api: Api::start(options).await,
            log,
        }
    }

    /// Stops the service, so that its log is complete, and returns the lines of the log.
    pub async fn into_log(mut self) -> Vec<String> {
        self.api.stop().await;
        // The channel closes when the output of all functions has been read.
        let mut lines = Vec::new();
        while let Some(line) = self.log.recv().await {
            lines.push(line);
        }
        lines
    }

    /// Stops the service, and returns the lines about requests from its log, which is in JSON.
    ///
    /// # Panics
    ///
    /// If a line is not JSON.
    pub async fn into_request_lines(self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let lines: Vec<Value> = self.into_log().await.iter().map(parse).collect();
        lines
            .into_iter()
            .filter(|line| line["message"] == "request")
            .collect()
    }
}
