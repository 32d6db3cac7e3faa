//! The machine's log on its way into storage: a row for what comes within ten seconds, however many heartbeats bring it.

use super::{Inner, now};
use ebbtide_control::record::Record;
use std::rc::Rc;
use worker::{Delay, Result};

/// Lines are written so often at most, and a full repository's row as often.
const WRITE_EVERY_SECS: i64 = 10;
/// So much is written at once, however short the time; a row holds 2 MB.
const BATCH_BYTES: usize = 256 << 10;
/// What a line takes besides its text.
const LINE_BYTES: usize = 32;

/// Lines that are not written yet.
#[derive(Debug, Default)]
pub(super) struct LogLines {
    lines: Vec<String>,
    bytes: usize,
    dropped: u64,
    /// When lines were last written, in seconds since 1970.
    written_at: i64,
}

impl LogLines {
    /// Takes lines in. While a machine has to wait, what is beyond a batch is dropped and counted, the oldest first.
    fn push(&mut self, lines: Vec<String>, has_to_wait: bool) {
        self.bytes += lines.iter().map(|line| weight(line)).sum::<usize>();
        self.lines.extend(lines);
        if !has_to_wait || self.bytes <= BATCH_BYTES {
            return;
        }
        let mut over = self.bytes - BATCH_BYTES;
        let goes = self.lines.iter().take_while(|line| {
            let is_over = over > 0;
            over = over.saturating_sub(weight(line));
            is_over
        });
        let goes = goes.count();
        self.dropped += goes as u64;
        self.bytes -= self.lines.drain(..goes).map(|line| weight(&line)).sum::<usize>();
    }

    fn is_due(&self, now_secs: i64) -> bool {
        let waits = !self.lines.is_empty();
        waits
            && (self.bytes > BATCH_BYTES
                || now_secs.abs_diff(self.written_at) >= WRITE_EVERY_SECS.unsigned_abs())
    }

    fn take(&mut self, now_secs: i64) -> Vec<String> {
        let dropped = std::mem::take(&mut self.dropped);
        let note =
            (dropped > 0).then(|| format!("[{dropped} lines are missing: this machine writes too much]"));
        (self.bytes, self.written_at) = (0, now_secs);
        note.into_iter().chain(std::mem::take(&mut self.lines)).collect()
    }
}

/// Bytes that a line takes, of its own and of what holds it: an empty one is not free.
fn weight(line: &str) -> usize {
    line.len().saturating_add(LINE_BYTES)
}

impl Inner {
    /// Takes in lines of the machine's log.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn add_log(&self, lines: Vec<String>, record: &Record) -> Result<()> {
        let has_to_wait = self.row_wait_secs(record)?.is_some();
        self.log_lines.borrow_mut().push(lines, has_to_wait);
        let is_due = self.log_lines.borrow().is_due(now().as_second());
        if is_due && !has_to_wait { self.write_log() } else { Ok(()) }
    }

    /// Writes the lines that wait.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn write_log(&self) -> Result<()> {
        let lines = self.log_lines.borrow_mut().take(now().as_second());
        let written = self.store()?.add_log(&lines);
        if written.is_err() {
            // The next batch says that they are missing.
            let mut kept = self.log_lines.borrow_mut();
            kept.dropped = kept.dropped.saturating_add(lines.len() as u64);
        }
        written
    }

    /// Forgets lines of a machine that is gone.
    pub(super) fn forget_log_lines(&self) {
        *self.log_lines.borrow_mut() = LogLines::default();
    }

    /// Writes what memory alone holds once nothing more has come for a while; until then the object stays awake.
    pub(super) fn settle_later(self: &Rc<Self>) {
        let Ok(store) = self.store() else { return };
        let waits = !self.log_lines.borrow().lines.is_empty() || store.unsettled_stock().is_some();
        if !waits || self.settling.replace(true) {
            return;
        }
        let inner = Rc::clone(self);
        self.state.wait_until(async move {
            let settled = inner.settle().await;
            inner.settling.set(false);
            if let Err(error) = settled {
                let fields = [("error", &*error.to_string())];
                crate::log::write(crate::log::Level::Warn, "what memory held was not written", &fields);
            }
        });
    }

    async fn settle(&self) -> Result<()> {
        loop {
            let before = self.store()?.unsettled_stock();
            Delay::from(std::time::Duration::from_secs(WRITE_EVERY_SECS.unsigned_abs())).await;
            let (store, Some(stored)) = (self.store()?, self.load()?) else { return Ok(()) };
            if self.row_wait_secs(&stored.record)?.is_none() {
                self.write_log()?;
            }
            let stock = store.unsettled_stock();
            if stock == before {
                if let Some(stock) = stock {
                    store.settle_stock(stock)?;
                }
                return self.charge_rows(&stored.record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, bytes: usize) -> Vec<String> {
        (0..count).map(|_| "x".repeat(bytes)).collect()
    }

    #[test]
    fn lines_of_ten_seconds_are_written_together_and_a_full_batch_at_once() {
        let mut log = LogLines::default();
        assert!(!log.is_due(100));
        log.push(lines(1, 10), false);
        assert!(log.is_due(100), "the first, which nothing says how long to wait for");
        assert_eq!(log.take(100).len(), 1);
        log.push(lines(2, 10), false);
        assert!(!log.is_due(109));
        assert!(log.is_due(110));
        log.push(lines(1, BATCH_BYTES), false);
        assert!(log.is_due(101));
        assert_eq!(log.take(101).len(), 3);
    }

    #[test]
    fn who_has_to_wait_is_not_remembered_without_end() {
        let mut log = LogLines::default();
        for _ in 0..100 {
            log.push(lines(10, 1_000), true);
        }
        assert!(log.bytes <= BATCH_BYTES);
        let written = log.take(0);
        assert_eq!(written.len(), 1 + BATCH_BYTES / (1_000 + LINE_BYTES));
        assert_eq!(written[0], "[746 lines are missing: this machine writes too much]");
        for _ in 0..100 {
            log.push(lines(10_000, 0), true);
        }
        assert!(log.take(0).len() <= 1 + BATCH_BYTES / LINE_BYTES, "empty lines take memory too");
    }
}
