//! What the process of a function has taken of its machine, from Linux's `/proc`
//! (<https://man7.org/linux/man-pages/man5/proc.5.html>).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process of a function.
#[derive(Debug)]
pub struct Process(PathBuf);

impl Process {
    /// Finds the process that runs `executable` and has this value in its environment, such as the
    /// URL of its DynamoDB or the name of its table. `None` on a system without `/proc`.
    #[must_use]
    pub fn find(executable: &str, value: &str) -> Option<Self> {
        fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let process = process.path();
            let path = fs::read_link(process.join("exe")).ok()?;
            let environment = fs::read(process.join("environ")).ok()?;
            let mut variables = environment.split(|byte| *byte == 0);
            let is_own = path.file_name() == Path::new(executable).file_name()
                && variables.any(|variable| {
                    let variable = String::from_utf8_lossy(variable);
                    variable.split_once('=').is_some_and(|(_, own)| own == value)
                });
            is_own.then_some(Self(process))
        })
    }

    /// Returns the time that its threads have run on a processor, in steps of 10 ms. `None` if it
    /// has ended.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        // The kernel counts in hundredths of a second on all machines that Lambda has.
        const TICK: Duration = Duration::from_millis(10);
        let stat = fs::read_to_string(self.0.join("stat")).ok()?;
        // What follows the executable's name begins with the third field.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let mut ticks = || fields.next()?.parse::<u32>().ok();
        Some(TICK * (ticks()? + ticks()?))
    }

    /// Returns its memory that no file backs, in bytes. `None` if it has ended.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.status("RssAnon:")
    }

    /// Returns the most memory that it has had, in bytes. `None` if it has ended.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    }
}
