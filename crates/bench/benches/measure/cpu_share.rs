//! The share of a CPU that Lambda gives a function, set with a control group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The period of the quota, in microseconds.
const PERIOD: u32 = 20_000;

/// The memory size, in megabytes, for which Lambda gives a function one CPU
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
const ONE_CPU: u32 = 1769;

/// The control group of one process. Dropping this removes the group, so the process must have
/// exited before.
pub(crate) struct CpuShare {
    directory: PathBuf,
}

impl CpuShare {
    /// Creates an empty control group for a function with `memory` megabytes.
    ///
    /// # Errors
    ///
    /// If the system is not Linux, or the user is not root.
    pub(crate) fn new(memory: u32) -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let quota = PERIOD * memory / ONE_CPU;
        let name = format!(
            "users-bench-{}-{}",
            process::id(),
            NUMBER.fetch_add(1, Relaxed)
        );
        let version_1 = Path::new("/sys/fs/cgroup/cpu");
        let version_2 = Path::new("/sys/fs/cgroup");
        let (root, settings) = if version_1.is_dir() {
            let period = ("cpu.cfs_period_us", PERIOD.to_string());
            (
                version_1,
                vec![period, ("cpu.cfs_quota_us", quota.to_string())],
            )
        } else {
            fs::write(version_2.join("cgroup.subtree_control"), "+cpu")?;
            (version_2, vec![("cpu.max", format!("{quota} {PERIOD}"))])
        };
        let share = Self {
            directory: root.join(name),
        };
        fs::create_dir(&share.directory)?;
        for (file, value) in settings {
            fs::write(share.directory.join(file), value)?;
        }
        Ok(share)
    }

    /// Moves a process, with all of its threads, into the group.
    ///
    /// # Errors
    ///
    /// If the process has exited.
    pub(crate) fn throttle(&self, pid: u32) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for CpuShare {
    fn drop(&mut self) {
        // If this fails, it only leaves an empty group behind.
        let _ = fs::remove_dir(&self.directory);
    }
}
