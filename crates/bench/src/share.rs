//! The share of a CPU that Lambda gives a function: a cgroup with a quota.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What Lambda gives a function of 128 MB once it has started: 1,769 MB are one CPU
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
pub const SHARE: f64 = 128.0 / 1769.0;

/// How often the quota is renewed, in microseconds.
const PERIOD: u32 = 20_000;

/// Where systems have their control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Whether processes can have a share.
///
/// # Errors
///
/// If the system has no control groups, or this process may not make one.
pub fn check() -> io::Result<()> {
    Share::new().map(drop)
}

/// A control group of a process of its own, that gives it [`SHARE`] of a CPU. It is removed when it is dropped, by when the
/// process has to be over.
#[derive(Debug)]
pub(crate) struct Share {
    directory: PathBuf,
}

impl Share {
    /// Makes the control group, without its process.
    pub(crate) fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (version_1, version_2) = (Path::new(CGROUPS).join("cpu"), Path::new(CGROUPS));
        let (root, unified) =
            if version_1.is_dir() { (version_1.as_path(), false) } else { (version_2, true) };
        if unified {
            fs::write(root.join("cgroup.subtree_control"), "+cpu")?;
        }
        let name = format!("users-bench-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let share = Self { directory: root.join(name) };
        fs::create_dir(&share.directory)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fraction of the period"
        )]
        let quota = (f64::from(PERIOD) * SHARE) as u32;
        if unified {
            fs::write(share.directory.join("cpu.max"), format!("{quota} {PERIOD}"))?;
        } else {
            fs::write(share.directory.join("cpu.cfs_period_us"), PERIOD.to_string())?;
            fs::write(share.directory.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
        Ok(share)
    }

    /// Moves a process, with all of its threads, to the group.
    pub(crate) fn limit(&self, pid: u32) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.procs"), pid.to_string())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // What is left behind is an empty group.
        let _ = fs::remove_dir(&self.directory);
    }
}
