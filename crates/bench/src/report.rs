//! What was measured, for people: a page and a chart.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::chart::chart;

/// Where in the page a report stands.
const MARKS: (&str, &str) = ("<!-- written by make bench -->\n", "<!-- to here -->");

/// Measured times of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds a measurement.
    pub fn add(&mut self, time: Duration) {
        let at = self.0.partition_point(|other| *other <= time);
        self.0.insert(at, time);
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> Duration {
        self.at(self.0.len() / 2)
    }

    /// What 99 of 100 measurements are not above.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.at((self.0.len() * 99).div_ceil(100).saturating_sub(1))
    }

    fn at(&self, index: usize) -> Duration {
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// What one function costs.
#[derive(Clone, Debug)]
pub struct Row {
    /// The function's name.
    pub name: String,
    /// From the start of the process until it asked for its first invocation.
    pub init: Times,
    /// The first invocation.
    pub first: Times,
    /// Later invocations.
    pub warm: Times,
    /// The bytes of the zip file, of an executable.
    pub zip: Option<u64>,
    /// The most bytes of memory that the process had.
    pub peak_memory: Option<u64>,
}

impl Row {
    /// What the caller of a cold start waits for: init and first invocation.
    #[must_use]
    pub fn cold(&self) -> Duration {
        self.init.median() + self.first.median()
    }
}

/// What work on many users costs.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// Deleting [`Bulk::DELETED`] users with this project.
    pub delete_all_rust: Duration,
    /// The same with Python, if it is there.
    pub delete_all_python: Option<Duration>,
    /// Deleting [`Bulk::MANY`] users where each request to DynamoDB takes 5 ms.
    pub delete_many: Duration,
    /// The most bytes of memory that this took.
    pub delete_many_memory: Option<u64>,
    /// Listing [`Bulk::LISTED`] users twice with one process: one page after another, and then in segments.
    pub lists: [List; 2],
    /// The same with the share of a CPU that Lambda gives.
    pub lists_with_share: Option<[List; 2]>,
}

/// What listing many users costs.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// The bytes of the response.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// The most bytes of memory that the process has had.
    pub memory: Option<u64>,
}

impl Bulk {
    /// How many users are deleted for the comparison with Python.
    pub const DELETED: usize = 3000;
    /// How many users are deleted where each request takes 5 ms.
    pub const MANY: usize = 100_000;
    /// How many users are listed: as many as fit a response.
    pub const LISTED: usize = 22_600;
}

/// All that was measured.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it was measured on and with.
    pub conditions: Vec<String>,
    /// The functions.
    pub rows: Vec<Row>,
    /// What work on many users costs, if it was measured.
    pub bulk: Option<Bulk>,
}

impl Report {
    /// The row with this name.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Writes it to the page and the chart in this directory.
    ///
    /// # Errors
    ///
    /// If they cannot be written, or the page has no place for it.
    pub fn save(&self, directory: &Path) -> io::Result<()> {
        let page = directory.join("benchmarks.md");
        let text = fs::read_to_string(&page)?;
        let parts = text
            .split_once(MARKS.0)
            .and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
        let (before, after) =
            parts.ok_or_else(|| io::Error::other("the page has no place for the report"))?;
        fs::write(&page, [before, MARKS.0, &self.markdown(), MARKS.1, after].concat())?;
        fs::write(directory.join("benchmarks.svg"), chart(self))
    }

    /// The tables.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("\n");
        for condition in &self.conditions {
            let _ = writeln!(text, "- {condition}");
        }
        if !self.rows.is_empty() {
            text.push_str(
                "\n| function | init | first | init + first | ÷ floor | warm | p99 | first ÷ warm | zip | peak memory |\n\
                 | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n",
            );
        }
        let floor = self.row("floor").map(Row::cold);
        for row in &self.rows {
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {:.1} | {} | {} |",
                row.name,
                shown(row.init.median()),
                shown(row.first.median()),
                shown(row.cold()),
                floor.map_or_else(String::new, |floor| format!("{:.1}", ratio(row.cold(), floor))),
                shown(row.warm.median()),
                shown(row.warm.p99()),
                ratio(row.first.median(), row.warm.median()),
                row.zip.map_or_else(String::new, megabytes),
                row.peak_memory.map_or_else(String::new, megabytes),
            );
        }
        if let (Some(python), Some(get)) = (self.row("python"), self.row("get")) {
            let _ = writeln!(
                text,
                "\nA cold start of `get` is {:.0} times as fast as Python's.",
                ratio(python.cold(), get.cold())
            );
        }
        if let Some(bulk) = &self.bulk {
            bulk.write(&mut text);
        }
        text + "\n"
    }
}

impl Bulk {
    fn write(&self, text: &mut String) {
        text.push_str("\n| work on many users | time | peak memory |\n| --- | --: | --: |\n");
        let mut line = |work: String, time: Duration, memory: Option<u64>| {
            let memory = memory.map_or_else(String::new, megabytes);
            let _ = writeln!(text, "| {work} | {} | {memory} |", shown(time));
        };
        line(
            format!("`DELETE /users` of {} users", thousands(Self::DELETED)),
            self.delete_all_rust,
            None,
        );
        if let Some(python) = self.delete_all_python {
            line("the same in Python, one `DeleteItem` after another".to_owned(), python, None);
        }
        line(
            format!(
                "`DELETE /users` of {} users where each DynamoDB call takes 5 ms{}",
                thousands(Self::MANY),
                if self.lists_with_share.is_some() { ", with Lambda's CPU share" } else { "" }
            ),
            self.delete_many,
            self.delete_many_memory,
        );
        let lists = [(Some(self.lists), ""), (self.lists_with_share, ", with Lambda's CPU share")];
        for ([first, again], share) in
            lists.iter().filter_map(|(lists, share)| Some(((*lists)?, share)))
        {
            let users = thousands(Self::LISTED);
            let work = format!(
                "`GET /users` of {users} users, a response of {}{share}",
                megabytes(first.bytes)
            );
            line(work, first.took, first.memory);
            line("the same again, in segments".to_owned(), again.took, again.memory);
        }
        if let Some(python) = self.delete_all_python {
            let _ = writeln!(
                text,
                "\n`DELETE /users` is {:.0} times as fast as Python, on the same engine, both with a whole CPU.",
                ratio(python, self.delete_all_rust)
            );
        }
    }
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// A time in milliseconds or seconds, with two digits at least.
pub(crate) fn shown(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        milliseconds @ ..9.95 => format!("{milliseconds:.2} ms"),
        milliseconds @ ..999.5 => format!("{milliseconds:.0} ms"),
        milliseconds => format!("{:.1} s", milliseconds / 1000.0),
    }
}

/// A number of thousands, with a comma.
fn thousands(number: usize) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}

/// A size in millions of bytes.
fn megabytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let megabytes = bytes as f64 / 1e6;
    format!("{megabytes:.2} MB")
}
