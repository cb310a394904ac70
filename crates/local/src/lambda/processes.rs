//! Starts, pools, restarts and stops the function processes, as Lambda does with execution
//! environments.

use std::collections::BTreeMap;
use std::env;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::{Invocation, Logs, RuntimeApi};
use crate::aws::{ACCOUNT_ID, REGION};
use crate::error::Error;
use crate::template::Function;

/// The maximum length of a line of a function's output, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How many new processes may exit before one of them reads the invocation.
const TRIES: usize = 3;
/// How long an executable may be missing or incomplete while it is rebuilt.
const BUILD_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an invocation has no response.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The function's process cannot be started.
    #[error("the function's process cannot be started: {0}")]
    Process(io::Error),
    /// The function reported this error instead of a response. Its process continues.
    #[error("the function failed: {0}")]
    Function(String),
    /// The function's process exited.
    #[error("the function's process exited ({0}) before it responded")]
    Crashed(ExitStatus),
    /// The function exceeded its timeout, and its process was killed.
    #[error("the function did not respond in time")]
    TimedOut,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopped,
}

/// The processes of every function of the service.
pub(crate) struct Processes {
    pools: BTreeMap<String, Arc<Pool>>,
}

impl Processes {
    /// Prepares `functions`, by logical id, whose executables are in `directory`. Their processes
    /// start when needed, and are killed soon after `stop`'s
    /// sender is dropped. They get each variable of `environment` that their function lacks or
    /// leaves empty.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] if an executable is missing.
    pub(crate) fn new(
        functions: &BTreeMap<String, Function>,
        directory: &Path,
        options: &PoolOptions,
        environment: &[(&'static str, String)],
        stop: &watch::Receiver<()>,
    ) -> Result<Self, Error> {
        let pool = |function: &Function| {
            let executable = directory.join(&function.executable);
            if !executable.is_file() {
                return Err(Error::NotBuilt { executable });
            }
            let mut variables = lambda_environment(function, directory);
            variables.extend(function.variables.clone());
            for (name, value) in environment {
                let variable = variables.entry((*name).to_owned()).or_default();
                if variable.is_empty() {
                    variable.clone_from(value);
                }
            }
            Ok(Arc::new(Pool {
                function: function.clone(),
                executable,
                variables,
                options: options.clone(),
                permits: Arc::new(Semaphore::new(options.instances.into())),
                idle: Mutex::default(),
                started: AtomicUsize::new(0),
                stop: stop.clone(),
            }))
        };
        let pools = functions
            .iter()
            .map(|(id, function)| Ok((id.clone(), pool(function)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self { pools })
    }

    /// Invokes the function with this logical id. Waits while all its instances are busy. Dropping
    /// the future ends the wait, but not an invocation that has begun.
    ///
    /// # Panics
    /// If there is no such function.
    pub(crate) async fn invoke(
        &self,
        function: &str,
        invocation: Invocation,
    ) -> Result<Bytes, InvokeError> {
        let pool = Arc::clone(&self.pools[function]);
        let Ok(permit) = Arc::clone(&pool.permits).acquire_owned().await else {
            return Err(InvokeError::Stopped);
        };
        // In a separate task, the process finishes its work even if the client disconnects.
        let invocation = tokio::spawn(async move {
            let response = pool.invoke(&invocation).await;
            drop(permit);
            response
        });
        invocation.await.unwrap_or(Err(InvokeError::Stopped))
    }

    /// Writes a line to the log of the function with this logical id.
    pub(crate) fn log_line(&self, function: &str, line: &str) {
        let pool = &self.pools[function];
        (pool.options.logs)(&pool.function.executable, line);
    }

    /// Returns how many processes have been started.
    pub(crate) fn started(&self) -> usize {
        self.pools
            .values()
            .map(|pool| pool.started.load(Relaxed))
            .sum()
    }

    /// Waits until every process has exited. Drop `stop`'s sender first.
    pub(crate) async fn stop(&self) {
        for pool in self.pools.values() {
            // All permits are free once no instance is busy.
            let _ = pool
                .permits
                .acquire_many(pool.options.instances.into())
                .await;
            let idle = std::mem::take(&mut *pool.idle());
            for mut instance in idle {
                instance.kill().await;
            }
        }
    }
}

/// What is the same for every function.
#[derive(Clone)]
pub(crate) struct PoolOptions {
    /// The maximum number of processes of a function.
    pub(crate) instances: u16,
    /// How long a process may take to ask for its first invocation.
    pub(crate) initialisation_timeout: Duration,
    /// Whether the log tells when a process starts, with its id.
    pub(crate) log_processes: bool,
    /// Where the functions' output goes.
    pub(crate) logs: Logs,
}

/// One function and its instances.
struct Pool {
    function: Function,
    executable: PathBuf,
    variables: BTreeMap<String, String>,
    options: PoolOptions,
    /// One permit for each instance that may work. Waiting invocations are served in order.
    permits: Arc<Semaphore>,
    /// The most recently used one is last.
    idle: Mutex<Vec<Instance>>,
    /// How many processes have been started.
    started: AtomicUsize,
    stop: watch::Receiver<()>,
}

impl Pool {
    async fn invoke(&self, invocation: &Invocation) -> Result<Bytes, InvokeError> {
        let mut tries = 1;
        loop {
            let idle = self.take_idle();
            let is_new = idle.is_none();
            let mut instance = match idle {
                Some(instance) => instance,
                None => self.start().await?,
            };
            match instance.invoke(invocation, self.function.timeout).await {
                // The process exited before it read the invocation, so another can serve it. All
                // idle processes may have exited at once, so only new ones count.
                Err(InvokeError::Crashed(_)) if instance.api.unfetched() && tries < TRIES => {
                    tries += usize::from(is_new);
                }
                response => {
                    // A process that responded itself still runs.
                    if matches!(response, Ok(_) | Err(InvokeError::Function(_))) {
                        self.idle().push(instance);
                    }
                    return response;
                }
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Instance>> {
        self.idle
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Returns the most recently used idle instance that still runs and has the current executable.
    /// Kills those that do not.
    fn take_idle(&self) -> Option<Instance> {
        // The executable may be missing for a moment while it is rebuilt.
        let current = version(&self.executable).ok();
        let mut idle = self.idle();
        while let Some(mut instance) = idle.pop() {
            if matches!(instance.process.try_wait(), Ok(None)) && Some(instance.version) == current
            {
                return Some(instance);
            }
        }
        None
    }

    async fn start(&self) -> Result<Instance, InvokeError> {
        let name = &self.function.name;
        let api = RuntimeApi::start(format!(
            "arn:aws:lambda:{REGION}:{ACCOUNT_ID}:function:{name}"
        ))
        .await
        .map_err(InvokeError::Process)?;
        let (version, mut process) = self.spawn(&api).await.map_err(InvokeError::Process)?;
        self.started.fetch_add(1, Relaxed);
        if let (true, Some(id)) = (self.options.log_processes, process.id()) {
            (self.options.logs)(&self.function.executable, &format!("process {id} starts"));
        }
        if let Some(output) = process.stdout.take() {
            self.forward(output);
        }
        if let Some(output) = process.stderr.take() {
            self.forward(output);
        }
        let mut instance = Instance {
            process,
            version,
            api,
            stop: self.stop.clone(),
        };
        let initialised = instance.api.initialised();
        match instance
            .unless_ended(initialised, self.options.initialisation_timeout)
            .await?
        {
            Ok(()) => Ok(instance),
            Err(error) => Err(InvokeError::Function(error)),
        }
    }

    /// Starts a process, and returns it with the version of its executable. Waits while the
    /// executable is being built.
    async fn spawn(&self, api: &RuntimeApi) -> io::Result<(Version, Child)> {
        let give_up = Instant::now() + BUILD_TIMEOUT;
        loop {
            // If the executable is replaced between these two steps, the process is at worst newer
            // than its version says, and the next request replaces it.
            let spawned = version(&self.executable)
                .and_then(|version| Ok((version, self.command(api).spawn()?)));
            match spawned {
                Err(error) if is_being_built(&error) && Instant::now() < give_up => {
                    sleep(Duration::from_millis(50)).await;
                }
                spawned => return spawned,
            }
        }
    }

    fn command(&self, api: &RuntimeApi) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .env_clear()
            .envs(&self.variables)
            .env("AWS_LAMBDA_RUNTIME_API", api.address().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches a whole process group. The service stops its processes
            // itself.
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Copies the output of a process to the log, until the process closes it.
    fn forward(&self, output: impl AsyncRead + Unpin + Send + 'static) {
        let (name, logs) = (
            self.function.executable.clone(),
            Arc::clone(&self.options.logs),
        );
        tokio::spawn(async move {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            // A longer line becomes several.
            while let Ok(1..) = (&mut output)
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)
                .await
            {
                logs(&name, String::from_utf8_lossy(&line).trim_end_matches('\n'));
                line.clear();
            }
        });
    }
}

/// Returns whether an executable could not be started because it is being written.
fn is_being_built(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ExecutableFileBusy
    )
}

/// Identifies a version of an executable: its inode and when it was modified.
type Version = (u64, SystemTime);

fn version(executable: &Path) -> io::Result<Version> {
    let metadata = executable.metadata()?;
    Ok((metadata.ino(), metadata.modified()?))
}

/// A running process, killed when dropped.
struct Instance {
    process: Child,
    version: Version,
    api: RuntimeApi,
    stop: watch::Receiver<()>,
}

impl Instance {
    async fn invoke(
        &mut self,
        invocation: &Invocation,
        timeout: Duration,
    ) -> Result<Bytes, InvokeError> {
        let outcome = self.api.offer(invocation, SystemTime::now() + timeout);
        let outcome = async {
            match outcome.await {
                Ok(outcome) => outcome,
                // The process disconnected in the middle of its response: it is exiting.
                Err(_) => pending().await,
            }
        };
        self.unless_ended(outcome, timeout)
            .await?
            .map_err(InvokeError::Function)
    }

    /// Returns the result of `work`, unless the process exits, `limit` elapses or the service stops
    /// first. In the latter two cases, kills the process.
    async fn unless_ended<T>(
        &mut self,
        work: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<T, InvokeError> {
        let error = tokio::select! {
            biased;
            result = work => return Ok(result),
            status = self.process.wait() => {
                return Err(status.map_or_else(InvokeError::Process, InvokeError::Crashed));
            }
            () = sleep(limit) => InvokeError::TimedOut,
            _ = self.stop.changed() => InvokeError::Stopped,
        };
        self.kill().await;
        Err(error)
    }

    /// Kills the process, and waits until it has exited.
    async fn kill(&mut self) {
        // This fails only if the process has already exited.
        let _ = self.process.kill().await;
    }
}

/// Returns the variables that Lambda sets
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>),
/// and the caller's variables for logging and trusted certificates.
fn lambda_environment(function: &Function, directory: &Path) -> BTreeMap<String, String> {
    let passed_through = [
        "AWS_LAMBDA_LOG_FORMAT",
        "AWS_LAMBDA_LOG_LEVEL",
        "PATH",
        "RUST_BACKTRACE",
        "SSL_CERT_FILE",
    ]
    .into_iter()
    .filter_map(|name| Some((name, env::var(name).ok()?)))
    .filter(|(_, value)| !value.trim().is_empty());
    let log_level = function
        .log_level
        .clone()
        .map(|level| ("AWS_LAMBDA_LOG_LEVEL", level));
    [
        (
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            function.memory_size.to_string(),
        ),
        ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        (
            "AWS_LAMBDA_LOG_GROUP_NAME",
            format!("/aws/lambda/{}", function.name),
        ),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
        ("LAMBDA_TASK_ROOT", directory.display().to_string()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("TZ", ":UTC".to_owned()),
        ("_HANDLER", function.executable.clone()),
    ]
    .into_iter()
    .chain(log_level)
    .chain(passed_through)
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
