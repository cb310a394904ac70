//! A function's process, and Lambda's Runtime API for it
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>), with the times at which bytes come and go.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::share::Share;

/// How long a function may take for anything.
const PATIENCE: Duration = Duration::from_mins(10);

/// What API Gateway waits for a function, less a second.
const TIMEOUT: Duration = Duration::from_secs(28);

/// How a function is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Whether nobody wants to see what it writes to standard error.
    pub quiet: bool,
    /// All of its environment variables but those that Lambda sets for every function.
    pub environment: Vec<(&'static str, OsString)>,
}

/// A running function. It ends when this is dropped.
#[derive(Debug)]
pub struct Function {
    process: Process,
    _listener: Listener,
    calls: Receiver<Call>,
    /// The connection of the call for the next invocation, which waits for it.
    next: TcpStream,
    init: Duration,
    /// Outlives the process.
    _share: Option<Share>,
}

/// What a function answered to an invocation.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// From the first byte of the event to the last byte of the response.
    pub took: Duration,
    /// How large the response is.
    pub bytes: u64,
}

/// A request that the function sent to the Runtime API.
struct Call {
    received: Instant,
    path: String,
    body: Vec<u8>,
    stream: TcpStream,
}

impl Function {
    /// Starts a function and waits until it asks for its first invocation. From then on it has the share of a CPU that Lambda
    /// gives, if `shares`.
    ///
    /// # Errors
    ///
    /// If it ends, breaks the protocol or takes too long.
    pub fn start(program: &Program, shares: bool) -> io::Result<Self> {
        let (listener, calls) = Listener::start()?;
        let share = shares.then(Share::new).transpose()?;
        let mut command = Command::new(&program.executable);
        command
            .args(&program.arguments)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", listener.address.to_string())
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
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if program.quiet { Stdio::null() } else { Stdio::inherit() });
        let started = Instant::now();
        let mut process = Process(command.spawn()?);
        let call = receive(&mut process, &calls)?;
        let init = call.received - started;
        if !call.path.ends_with("/invocation/next") {
            return Err(unexpected(&call));
        }
        if let Some(share) = &share {
            share.limit(process.0.id())?;
        }
        Ok(Self { process, _listener: listener, calls, next: call.stream, init, _share: share })
    }

    /// From the start of the process until it asked for its first invocation.
    #[must_use]
    pub fn init(&self) -> Duration {
        self.init
    }

    /// Invokes the function with this event.
    ///
    /// # Errors
    ///
    /// If it ends, breaks the protocol, takes too long, or answers anything but a response with status 200.
    pub fn invoke(&mut self, event: &Value) -> io::Result<Answer> {
        let event = event.to_string();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + TIMEOUT;
        let head = format!(
            "HTTP/1.1 200 OK\r\n\
             Content-Type: application/json\r\n\
             Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
             Lambda-Runtime-Deadline-Ms: {}\r\n\
             Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:bench\r\n\
             Lambda-Runtime-Trace-Id: Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700\r\n\
             Content-Length: {}\r\n\r\n",
            deadline.as_millis(),
            event.len()
        );
        let began = Instant::now();
        self.next.write_all((head + &event).as_bytes())?;
        let mut call = receive(&mut self.process, &self.calls)?;
        let took = call.received - began;
        if !call.path.ends_with("/response") {
            return Err(unexpected(&call));
        }
        call.stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
        let next = receive(&mut self.process, &self.calls)?;
        if !next.path.ends_with("/invocation/next") {
            return Err(unexpected(&next));
        }
        self.next = next.stream;
        let response: Value = serde_json::from_slice(&call.body)?;
        if response["statusCode"] != 200 {
            return Err(io::Error::other(format!("the function answered {response}")));
        }
        Ok(Answer { took, bytes: call.body.len() as u64 })
    }

    /// Lets the function end by itself, as it does when it loses the Runtime API.
    ///
    /// # Errors
    ///
    /// If it cannot be waited for.
    pub fn end(mut self) -> io::Result<()> {
        self.next.shutdown(Shutdown::Both)?;
        self.process.0.wait()?;
        Ok(())
    }

    /// The most bytes of memory that the process has had at once, its resident set, where the system tells.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Runtime API's listener, which is closed when this is dropped.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    open: Arc<AtomicBool>,
}

impl Listener {
    /// Listens, and gives the requests that arrive.
    fn start() -> io::Result<(Self, Receiver<Call>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, open) = (listener.local_addr()?, Arc::new(AtomicBool::new(true)));
        let (sender, calls) = channel();
        thread::spawn({
            let open = Arc::clone(&open);
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if !open.load(Relaxed) {
                        return;
                    }
                    let sender = sender.clone();
                    thread::spawn(move || read_calls(&stream, &sender));
                }
            }
        });
        Ok((Self { address, open }, calls))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.open.store(false, Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(self.address);
    }
}

/// Passes on the requests of one connection until it ends.
fn read_calls(stream: &TcpStream, sender: &Sender<Call>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let path = line.split(' ').nth(1)?.to_owned();
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        sender
            .send(Call { received: Instant::now(), path, body, stream: stream.try_clone().ok()? })
            .ok()?;
    }
}

/// The next request of this process.
fn receive(process: &mut Process, calls: &Receiver<Call>) -> io::Result<Call> {
    let began = Instant::now();
    loop {
        match calls.recv_timeout(Duration::from_millis(100)) {
            Ok(call) => return Ok(call),
            Err(_) if began.elapsed() > PATIENCE => {
                return Err(io::Error::other("the function does not go on"));
            }
            Err(_) => {
                if let Some(status) = process.0.try_wait()? {
                    return Err(io::Error::other(format!("the function ended: {status}")));
                }
            }
        }
    }
}

/// The error of a function that calls for something else than is its turn.
fn unexpected(call: &Call) -> io::Error {
    io::Error::other(format!(
        "the function calls {}: {}",
        call.path,
        String::from_utf8_lossy(&call.body)
    ))
}
