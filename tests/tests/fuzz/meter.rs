//! Measures what cases cost the processes of functions, except on systems without `/proc`.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tests::{Api, Operation, Process};
use tokio::runtime::Runtime;

/// The maximum CPU time that a function may take for a case.
const CPU_LIMIT: Duration = Duration::from_secs(1);

/// The maximum memory that a function may take, in bytes.
const MEMORY_LIMIT: u64 = 64 * 1024 * 1024;

/// A meter of what cases cost some functions of one service.
pub(crate) struct Meter {
    watched: Vec<Watched>,
    figures: Figures,
}

struct Watched {
    executable: &'static str,
    process: Process,
    cpu: Duration,
}

/// The totals and the maxima of what cases cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    cases: u32,
    cpu: Duration,
    most_cpu: Duration,
    peak_memory: u64,
}

impl Meter {
    /// Starts the functions of these operations in a service, and measures their processes. `value`
    /// identifies them, because only their environment contains it: the name of their table or the
    /// URL of their DynamoDB.
    pub(crate) fn start(
        runtime: &Runtime,
        api: &Api,
        operations: impl IntoIterator<Item = &'static Operation>,
        value: &str,
    ) -> Self {
        let mut watched = Vec::new();
        for Operation {
            function,
            executable,
            ..
        } in operations
        {
            runtime
                .block_on(api.invoke(function, "[]"))
                .expect("a function that starts");
            let process = Process::find(executable, value);
            assert_eq!(
                process.is_some(),
                cfg!(target_os = "linux"),
                "the process of {executable}"
            );
            watched.extend(process.map(|process| Watched {
                executable,
                cpu: process.cpu().unwrap_or_default(),
                process,
            }));
        }
        Self {
            watched,
            figures: Figures::default(),
        }
    }

    /// Counts a case, and checks what it cost.
    pub(crate) fn finish_case(&mut self) -> Result<(), TestCaseError> {
        let figures = &mut self.figures;
        figures.cases += 1;
        for Watched {
            executable,
            process,
            cpu: before,
            ..
        } in &mut self.watched
        {
            let (Some(cpu), Some(peak)) = (process.cpu(), process.peak_memory()) else {
                return Err(TestCaseError::fail(format!(
                    "the process of {executable} exited"
                )));
            };
            let spent = cpu.saturating_sub(*before);
            *before = cpu;
            prop_assert!(
                spent <= CPU_LIMIT,
                "{executable} took {spent:?} of CPU for one case"
            );
            prop_assert!(peak <= MEMORY_LIMIT, "{executable} took {peak} bytes");
            figures.cpu += spent;
            figures.most_cpu = figures.most_cpu.max(spent);
            figures.peak_memory = figures.peak_memory.max(peak);
        }
        Ok(())
    }

    pub(crate) fn figures(&self) -> Figures {
        self.figures
    }
}

impl Figures {
    /// Prints the figures of several threads as one line.
    pub(crate) fn print(kind: &str, elapsed: Duration, threads: &[Self]) {
        let cases: u32 = threads.iter().map(|thread| thread.cases).sum();
        let cpu: Duration = threads.iter().map(|thread| thread.cpu).sum();
        let most_cpu = threads.iter().map(|thread| thread.most_cpu).max();
        let peak = threads.iter().map(|thread| thread.peak_memory).max();
        println!(
            "{kind}: {cases} cases in {elapsed:.0?}; CPU of a case: {:.1?} on average, {:.0?} at \
             most; memory of a function: {} MB at most",
            cpu / cases.max(1),
            most_cpu.unwrap_or_default(),
            peak.unwrap_or_default().div_ceil(1024 * 1024),
        );
    }
}
