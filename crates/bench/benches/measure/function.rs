//! A function's process, started and invoked as on Lambda.

use std::error::Error;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use local::{Invocation, RuntimeApi};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::time::sleep;

use crate::cpu_share::CpuShare;

/// How long API Gateway waits for a function, less a second.
const TIMEOUT: Duration = Duration::from_secs(28);

/// How long init or an invocation may take. Valgrind makes them many times slower.
const PATIENCE: Duration = Duration::from_mins(2);

/// A running function. Its process is killed when this is dropped.
pub(crate) struct Function {
    process: Process,
    /// Dropped after the process, which would otherwise log that the API is unreachable.
    api: RuntimeApi,
    init: Duration,
    /// The size of the last response's body, in bytes.
    response_bytes: usize,
    log: NamedTempFile,
    /// Dropped after the process, because only an empty control group can be removed.
    _share: Option<CpuShare>,
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
        command.env("AWS_LAMBDA_RUNTIME_API", api.address().to_string());
        let log = NamedTempFile::new()?;
        command.stdin(Stdio::null()).stdout(log.reopen()?);
        let start = Instant::now();
        let mut process = Process(command.spawn()?);
        process.unless_ended(api.initialised()).await??;
        let init = start.elapsed();
        if let Some(share) = &share {
            share.throttle(process.0.id())?;
        }
        Ok(Self {
            api,
            process,
            init,
            response_bytes: 0,
            log,
            _share: share,
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
        let response = self.process.unless_ended(response).await???;
        let took = start.elapsed();
        let response: Value = serde_json::from_slice(&response)?;
        if response["statusCode"] != 200 {
            return Err(format!("the function returned {response}").into());
        }
        self.response_bytes = response["body"].as_str().map_or(0, str::len);
        Ok(took)
    }

    /// Returns the size of the last response's body, in bytes.
    pub(crate) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Returns the last line of the function's log.
    ///
    /// # Errors
    ///
    /// If the log is empty.
    pub(crate) fn last_log_line(&self) -> Result<String, Box<dyn Error>> {
        let log = fs::read_to_string(&self.log)?;
        Ok(log
            .lines()
            .next_back()
            .ok_or("the function has logged nothing")?
            .to_owned())
    }

    /// Returns the peak resident memory of the process, in bytes.
    ///
    /// # Errors
    ///
    /// If `/proc` does not report it.
    pub(crate) fn peak_memory(&self) -> Result<u64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes: u64 = peak
            .ok_or("no VmHWM")?
            .trim()
            .trim_end_matches(" kB")
            .parse()?;
        Ok(kibibytes * 1024)
    }

    /// Stops the Runtime API, which makes the process exit, and waits until it has exited.
    ///
    /// # Errors
    ///
    /// If the process does not exit within two minutes.
    pub(crate) async fn end(self) -> Result<(), Box<dyn Error>> {
        let Self {
            api, mut process, ..
        } = self;
        drop(api);
        let end = Instant::now() + PATIENCE;
        while process.0.try_wait()?.is_none() {
            if Instant::now() > end {
                return Err("the function does not exit".into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Process {
    /// Waits for `work`, unless the process exits or `PATIENCE` elapses first.
    async fn unless_ended<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Box<dyn Error>> {
        let ended = async {
            let end = Instant::now() + PATIENCE;
            loop {
                sleep(Duration::from_millis(100)).await;
                match self.0.try_wait() {
                    Ok(Some(status)) => return format!("the function exited: {status}"),
                    Err(error) => return error.to_string(),
                    Ok(None) if Instant::now() > end => {
                        return "the function took too long".to_owned();
                    }
                    Ok(None) => {}
                }
            }
        };
        tokio::select! {
            result = work => Ok(result),
            problem = ended => Err(problem.into()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
