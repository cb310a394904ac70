//! The resources that a function's process uses, from Linux's `/proc`
//! (<https://man7.org/linux/man-pages/man5/proc.5.html>).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::executables;

/// The maximum memory that a function may take, in bytes: 64 MB, of which the pages of its
/// executable are 4. They are several times larger in a debug build.
const LIMIT: u64 = 60 * 1024 * 1024;

/// Asserts that a function has stayed within its memory. The process is found as by
/// [`Process::find`].
#[track_caller]
pub fn assert_small(executable: &str, value: &str, case: &str) {
    let process = Process::find(executable, value);
    assert_eq!(
        process.is_some(),
        cfg!(target_os = "linux"),
        "{executable} runs"
    );
    if let Some(process) = process {
        process.assert_small(case);
    }
}

/// A process of a function.
#[derive(Debug)]
pub struct Process(PathBuf);

impl Process {
    /// Finds the process that runs `executable` and has this value in its environment, such as the
    /// URL of its DynamoDB or the name of its table. Returns `None` on a system without `/proc`.
    pub fn find(executable: &str, value: &str) -> Option<Self> {
        let is_own = |process: &Self| {
            let path = process.executable();
            path.is_some_and(|path| path.file_name() == Path::new(executable).file_name())
        };
        Self::all(value).into_iter().find(is_own)
    }

    /// Returns the process with this id.
    pub fn of(id: u32) -> Self {
        Self(Path::new("/proc").join(id.to_string()))
    }

    /// Finds the processes of all functions that have this value in their environment. Finds none
    /// on a system without `/proc`.
    pub fn all(value: &str) -> Vec<Self> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = processes.map(|process| Self(process.path()));
        processes
            .filter(|process| process.is_function() && process.has(value))
            .collect()
    }

    fn executable(&self) -> Option<PathBuf> {
        fs::read_link(self.0.join("exe")).ok()
    }

    fn is_function(&self) -> bool {
        self.executable()
            .is_some_and(|path| path.parent() == Some(executables()))
    }

    /// Returns whether a variable in its environment has this value.
    fn has(&self, value: &str) -> bool {
        let environment = fs::read(self.0.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| {
            let variable = String::from_utf8_lossy(variable);
            variable
                .split_once('=')
                .is_some_and(|(_, own)| own == value)
        })
    }

    /// Returns the id of the process.
    pub fn id(&self) -> Pid {
        let name = self
            .0
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        name.and_then(Pid::from_raw).expect("the id of a process")
    }

    /// Kills the process, unless it has exited.
    pub fn kill(&self) {
        let _ = kill_process(self.id(), Signal::KILL);
    }

    /// Returns how many file descriptors it has open, or `None` if it has exited.
    pub fn descriptors(&self) -> Option<usize> {
        Some(fs::read_dir(self.0.join("fd")).ok()?.count())
    }

    /// Returns the CPU time that its threads have used, in steps of 10 ms, or `None` if it has
    /// exited.
    pub fn cpu(&self) -> Option<Duration> {
        // The kernel counts in hundredths of a second on all architectures that Lambda has.
        const TICK: Duration = Duration::from_millis(10);
        let stat = fs::read_to_string(self.0.join("stat")).ok()?;
        // The text after the executable's name begins with the third field.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        Some(TICK * (ticks()? + ticks()?))
    }

    /// Returns its anonymous resident memory in bytes, or `None` if it has exited.
    pub fn memory(&self) -> Option<u64> {
        self.status("RssAnon:")
    }

    /// Returns its peak resident memory in bytes, or `None` if it has exited.
    pub fn peak_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    /// Asserts that it has stayed within the memory of a function.
    #[track_caller]
    pub fn assert_small(&self, case: &str) {
        let own = self.peak_memory().zip(self.status("RssFile:"));
        let own = own.map(|(peak, file)| peak - file);
        let is_small = own.map_or(!cfg!(target_os = "linux"), |bytes| bytes <= LIMIT);
        assert!(
            is_small,
            "{case}: {:?} took {own:?} bytes",
            self.executable()
        );
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }
}
