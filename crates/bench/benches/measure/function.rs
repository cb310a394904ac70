//! A function's process, started and invoked as on Lambda.

use std::error::Error;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use local::{Invocation, RuntimeApi};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::cpu_share::CpuShare;

/// How long API Gateway waits for a function, less a second.
const TIMEOUT: Duration = Duration::from_secs(28);

/// How long init, an invocation or the exit may take. Valgrind makes them many times slower.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running function. If this is dropped without [`end`](Self::end), the process is killed.
pub(crate) struct Function {
    process: Child,
    /// Dropped after the process, which would otherwise log that the API is unreachable.
    api: RuntimeApi,
    init: Duration,
    share: Option<CpuShare>,
}

impl Function {
    /// Starts a function and waits until it asks for its first invocation. From then on, if
    /// `memory` is given, the function has the share of a CPU that Lambda gives for that many
    /// megabytes.
    ///
    /// # Errors
    ///
    /// If the process cannot be started, exits, or takes more than two minutes.
    pub(crate) async fn start(
        command: &mut Command,
        memory: Option<u32>,
    ) -> Result<Self, Box<dyn Error>> {
        let arn = "arn:aws:lambda:us-east-1:123456789012:function:bench";
        let api = RuntimeApi::start(arn.to_owned()).await?;
        let share = memory.map(CpuShare::new).transpose()?;
        command
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let start = Instant::now();
        let mut process = command.spawn()?;
        unless_ended(&mut process, api.initialised()).await??;
        let init = start.elapsed();
        if let Some(share) = &share {
            share.throttle(process.id().ok_or("the function exited")?)?;
        }
        Ok(Self {
            process,
            api,
            init,
            share,
        })
    }

    /// Returns the time from the start of the process until it asked for its first invocation.
    pub(crate) fn init(&self) -> Duration {
        self.init
    }

    /// Invokes the function, and returns how long it took to respond.
    ///
    /// # Errors
    ///
    /// If the process exits, takes more than two minutes, or returns a status other than 200.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Result<Duration, Box<dyn Error>> {
        let invocation = Invocation {
            event: event.to_string().into(),
            request_id: "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned(),
            trace_id: "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700".to_owned(),
        };
        let start = Instant::now();
        let response = self.api.offer(&invocation, SystemTime::now() + TIMEOUT);
        let response = unless_ended(&mut self.process, response).await???;
        let took = start.elapsed();
        let response: Value = serde_json::from_slice(&response)?;
        if response["statusCode"] != 200 {
            return Err(format!("the function returned {response}").into());
        }
        Ok(took)
    }

    /// Returns the peak resident memory of the process, in bytes.
    ///
    /// # Errors
    ///
    /// If `/proc` does not report it.
    pub(crate) fn peak_memory(&self) -> Result<u64, Box<dyn Error>> {
        let id = self.process.id().ok_or("the function exited")?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let kibibytes: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .ok_or("no VmHWM")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kibibytes * 1024)
    }

    /// Kills the process, so that its control group can be removed.
    ///
    /// # Errors
    ///
    /// If the process cannot be killed.
    pub(crate) async fn end(mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill().await?;
        drop(self.share);
        Ok(())
    }

    /// Stops the Runtime API, which makes the process exit by itself.
    ///
    /// # Errors
    ///
    /// If the process does not exit within two minutes.
    pub(crate) async fn exit(mut self) -> Result<(), Box<dyn Error>> {
        drop(self.api);
        timeout(PATIENCE, self.process.wait()).await??;
        Ok(())
    }
}

/// Waits for `work`, unless the process exits or `PATIENCE` elapses first.
async fn unless_ended<T>(
    process: &mut Child,
    work: impl Future<Output = T>,
) -> Result<T, Box<dyn Error>> {
    tokio::select! {
        result = work => Ok(result),
        status = process.wait() => Err(format!("the function exited: {}", status?).into()),
        () = sleep(PATIENCE) => Err("the function took too long".into()),
    }
}
