//! Writes lines to standard output from a separate thread. The service continues even if nobody
//! reads them, for example because Ctrl-S paused the terminal.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines may wait to be written. Further ones are dropped.
const CAPACITY: usize = 1024;

/// A log. Its clones write to the same output.
#[derive(Clone)]
pub(crate) struct LineLog(SyncSender<Line>);

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
        thread::spawn(move || write(output, &receiver));
        Self(lines)
    }

    /// Queues a line, unless too many are waiting.
    pub(crate) fn line(&self, line: String) {
        let _ = self.0.try_send(Line::Text(line));
    }

    /// Waits until the lines so far are written, but at most for `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        let (sender, written) = sync_channel(1);
        if self.0.try_send(Line::Flush(sender)).is_ok() {
            let _ = written.recv_timeout(timeout);
        }
    }
}

/// Writes lines until the log is dropped. Ignores errors: the reader may be gone.
fn write(mut output: impl Write, lines: &Receiver<Line>) {
    while let Ok(line) = lines.recv() {
        let _ = match line {
            Line::Text(text) => writeln!(output, "{text}"),
            Line::Flush(written) => output.flush().map(|()| _ = written.try_send(())),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, pipe};

    use super::*;

    #[test]
    fn a_reader_that_stops_blocks_nobody() {
        let (reader, writer) = pipe().expect("there are pipes");
        let log = LineLog::start(writer);
        // The pipe and the queue hold fewer lines.
        for i in 0..3000 {
            log.line(format!("{i:01000}"));
        }
        log.flush(Duration::ZERO);
        let lines = BufReader::new(reader).lines();
        let first: Vec<_> = lines.map_while(Result::ok).take(100).collect();
        assert_eq!(first.last(), Some(&format!("{:01000}", 99)));
    }

    #[test]
    fn a_flushed_log_has_written_its_lines() {
        let (reader, writer) = pipe().expect("there are pipes");
        let log = LineLog::start(writer);
        log.line("first".to_owned());
        log.flush(Duration::from_secs(10));
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().and_then(Result::ok).as_deref(), Some("first"));
    }
}
