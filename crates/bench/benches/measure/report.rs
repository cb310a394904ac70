//! The results, as a table and a chart.

use std::fmt::Write as _;
use std::time::Duration;

use crate::chart::{Bar, Panel, chart};

/// The results for one function. Times are medians.
pub(crate) struct Row {
    pub(crate) name: String,
    /// The time from the start of the process until it asks for its first invocation.
    pub(crate) init: Duration,
    /// The time of the first invocation.
    pub(crate) first: Duration,
    /// The time of a later invocation.
    pub(crate) warm: Duration,
    /// The size of the zip file, in bytes.
    pub(crate) zip: Option<u64>,
    /// The peak memory of the process, in bytes.
    pub(crate) peak_memory: u64,
    /// How many connections to DynamoDB the process opened.
    pub(crate) connections: usize,
}

impl Row {
    /// Returns how long a caller waits for a cold start.
    pub(crate) fn cold(&self) -> Duration {
        self.init + self.first
    }
}

/// The results.
pub(crate) struct Report {
    /// The date, the machine, the software and the share of a CPU.
    pub(crate) conditions: String,
    /// The floor comes first.
    pub(crate) rows: Vec<Row>,
    /// Sentences about the cost of `DELETE /users` with many users.
    pub(crate) delete_all: String,
}

impl Report {
    /// Returns the conditions, the table and the sentences as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "\n{}\n\n\
             | function | init | first | init + first | ÷ floor | warm | zip | peak memory | \
             connections |\n\
             | --- | --: | --: | --: | --: | --: | --: | --: | --: |\n",
            self.conditions
        );
        let floor = self
            .rows
            .first()
            .map(Row::cold)
            .unwrap_or_default()
            .as_secs_f64();
        for row in &self.rows {
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} | {} | {} | {} | {} |",
                row.name,
                time(row.init),
                time(row.first),
                time(row.cold()),
                row.cold().as_secs_f64() / floor,
                time(row.warm),
                row.zip.map_or_else(String::new, megabytes),
                megabytes(row.peak_memory),
                row.connections,
            );
        }
        text + "\n" + &self.delete_all + "\n\n"
    }

    /// Returns the chart of the executables' cold starts. It leaves out Python, beside which their
    /// bars would be too short to see.
    pub(crate) fn chart(&self) -> String {
        let bar = |row: &Row| Bar {
            name: row.name.clone(),
            parts: vec![row.init.as_secs_f64(), row.first.as_secs_f64()],
            label: time(row.cold()),
        };
        let title = "Cold start at 128 MB: what the first caller waits for".to_owned();
        let parts = &[
            "init: until the process asks for its first invocation",
            "first invocation",
        ];
        let bars = self
            .rows
            .iter()
            .filter(|row| row.zip.is_some())
            .map(bar)
            .collect();
        chart("Cold starts", &[Panel { title, parts, bars }])
    }
}

/// Formats a time in milliseconds or seconds, with at least two digits.
pub(crate) fn time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        milliseconds @ ..9.95 => format!("{milliseconds:.2} ms"),
        milliseconds @ ..999.5 => format!("{milliseconds:.0} ms"),
        milliseconds => format!("{:.1} s", milliseconds / 1000.0),
    }
}

/// Formats a size in megabytes, which are a million bytes each.
pub(crate) fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "only two decimals are shown")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.2} MB")
}
