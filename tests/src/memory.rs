//! Measures the memory of a function.

use std::fs;
use std::path::Path;

/// Returns the peak memory, in bytes, of the process that runs `executable` with the DynamoDB at
/// `endpoint`, if the system provides it.
#[must_use]
pub fn peak_memory(executable: &str, endpoint: &str) -> Option<u64> {
    let variable = format!("DYNAMO_ENDPOINT={endpoint}");
    for process in fs::read_dir("/proc").ok()? {
        let process = process.ok()?.path();
        let is_function = fs::read_link(process.join("exe"))
            .is_ok_and(|path| path.file_name() == Path::new(executable).file_name());
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        if is_function && variables.any(|other| other == variable.as_bytes()) {
            let status = fs::read_to_string(process.join("status")).ok()?;
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
            return Some(kilobytes * 1024);
        }
    }
    None
}
