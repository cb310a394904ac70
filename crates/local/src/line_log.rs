//! Writes lines to standard output from a separate thread. The service continues even if nobody
//! reads them, for example because Ctrl-S paused the terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines may wait to be written.
const CAPACITY: usize = 1024;
/// The maximum size of a line, in bytes. Longer lines are cut.
const MAX_LINE: usize = 16 * 1024;

/// A log. Its clones write to the same output.
#[derive(Clone)]
pub(crate) struct LineLog {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

enum Line {
    Text(String),
    /// Notifies the sender once everything before it is written.
    Flush(SyncSender<()>),
}

impl LineLog {
    /// Starts a log that writes to standard output.
    pub(crate) fn to_stdout() -> Self {
        Self::start(io::stdout())
    }

    fn start(output: impl Write + Send + 'static) -> Self {
        let (lines, receiver) = sync_channel(CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Self {
            lines,
            dropped: Arc::clone(&dropped),
        };
        thread::spawn(move || write(output, &receiver, &dropped));
        log
    }

    /// Queues a line, or drops it if too many are waiting.
    pub(crate) fn line(&self, mut line: String) {
        if line.len() > MAX_LINE {
            line.truncate(line.floor_char_boundary(MAX_LINE));
            line.push('…');
        }
        if self.lines.try_send(Line::Text(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until the lines so far are written, but at most for `patience`.
    pub(crate) fn flush(&self, patience: Duration) {
        let (sender, written) = sync_channel(1);
        if self.lines.try_send(Line::Flush(sender)).is_ok() {
            let _ = written.recv_timeout(patience);
        }
    }
}

/// Writes lines until the log is dropped. Ignores errors: the reader may be gone.
fn write(mut output: impl Write, lines: &Receiver<Line>, dropped: &AtomicU64) {
    while let Ok(line) = lines.recv() {
        match line {
            Line::Text(text) => {
                let _ = writeln!(output, "{text}");
            }
            Line::Flush(written) => {
                let _ = output.flush();
                let _ = written.try_send(());
            }
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(
                output,
                "({count} lines were dropped because nobody read them)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, pipe};

    use super::*;

    #[test]
    fn a_reader_that_stops_blocks_nobody_and_learns_how_many_lines_it_missed() {
        let (reader, writer) = pipe().expect("there are pipes");
        let log = LineLog::start(writer);
        let text = "x".repeat(1000);
        let total = 3000;
        for _ in 0..total {
            log.line(text.clone());
        }
        // The reader resumes.
        let (mut read, mut dropped) = (0, 0);
        for line in BufReader::new(reader).lines() {
            let line = line.expect("the lines are text");
            if line == text {
                read += 1;
            } else {
                let count = line.trim_start_matches('(').split(' ').next();
                dropped += count
                    .and_then(|count| count.parse::<i32>().ok())
                    .expect(&line);
            }
            if read + dropped == total {
                break;
            }
        }
        assert!(dropped > 0, "the pipe and the queue hold fewer lines");
    }

    #[test]
    fn a_flushed_log_has_written_its_lines() {
        let (reader, writer) = pipe().expect("there are pipes");
        let log = LineLog::start(writer);
        log.line("first".to_owned());
        log.line("y".repeat(MAX_LINE + 1));
        log.flush(Duration::from_secs(10));
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("first"));
        let second = lines
            .next()
            .and_then(Result::ok)
            .expect("there is a second line");
        assert!(second.ends_with('…') && second.len() < MAX_LINE + 10);
    }
}
