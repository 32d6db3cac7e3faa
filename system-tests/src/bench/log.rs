//! The Worker's log as it grows: every answered request with its calls, stamped when its line arrived.
//!
//! Lines carry no time of their own; the stamp is late by what `wrangler` and a look every 5 ms take.

use super::clock::{now_ms, pause};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// One line of the log that is a JSON object.
#[derive(Debug, Clone)]
pub struct Line {
    /// When it was seen.
    pub at_ms: f64,
    /// Its fields.
    pub fields: Value,
}

impl Line {
    fn text(&self, name: &str) -> &str {
        self.fields[name].as_str().unwrap_or_default()
    }

    /// Whether it is the answer to such a request; the path by its beginning.
    pub fn answers(&self, method: &str, path: &str) -> bool {
        self.text("message") == "answered"
            && self.text("method") == method
            && self.text("path").starts_with(path)
    }

    /// Whether any request was answered whose path begins so.
    pub fn is_about(&self, path: &str) -> bool {
        self.text("message") == "answered" && self.text("path").starts_with(path)
    }

    /// Which kind of invocation it is, with ids left out, and how often it called each binding.
    pub fn invocation(&self) -> Option<(String, Calls)> {
        let calls = Calls::parse(self.text("calls"))?;
        let name = match self.text("message") {
            "answered" => format!("{} {}", self.text("method"), shape(self.text("path"))),
            "the cron has run" => "cron".to_owned(),
            other => other.to_owned(),
        };
        Some((name, calls))
    }
}

/// Follows a log file from its beginning until dropped.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    end: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Log {
    /// Begins to follow.
    pub fn follow(file: &Path) -> Self {
        let (lines, end) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (file, kept, ended) = (file.to_owned(), Arc::clone(&lines), Arc::clone(&end));
        let reader = std::thread::spawn(move || {
            let Ok(mut file) = std::fs::File::open(file) else { return };
            let mut rest = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                if file.read_to_end(&mut rest).is_err() {
                    return;
                }
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                let text = String::from_utf8_lossy(&rest[..whole]).into_owned();
                rest.drain(..whole);
                let at_ms = now_ms();
                let parsed = text.lines().filter_map(|line| {
                    let fields: Value = serde_json::from_str(line.get(line.find('{')?..)?).ok()?;
                    Some(Line { at_ms, fields })
                });
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend(parsed);
                pause(Duration::from_millis(5));
            }
        });
        Self { lines, end, reader: Some(reader) }
    }

    /// All lines since a moment.
    pub fn since(&self, at_ms: f64) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.at_ms >= at_ms).cloned().collect()
    }

    /// For each kind of invocation: how many there were, and the most calls of one.
    pub fn invocations(&self) -> BTreeMap<String, (usize, Calls)> {
        let mut kinds: BTreeMap<String, (usize, Calls)> = BTreeMap::new();
        for (name, calls) in self.since(0.0).iter().filter_map(Line::invocation) {
            let kind = kinds.entry(name).or_default();
            kind.0 += 1;
            if calls.total() > kind.1.total() {
                kind.1 = calls;
            }
        }
        kinds
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// What one invocation asked of its bindings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Requests to providers.
    pub fetch: u32,
    /// Statements.
    pub d1: u32,
    /// Bucket operations.
    pub r2: u32,
    /// Calls to objects.
    pub object: u32,
}

impl Calls {
    /// Reads the form of `x-ebbtide-calls`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut calls = Self::default();
        for part in text.split(',') {
            let (name, count) = part.split_once('=')?;
            let count = count.parse().ok()?;
            match name {
                "fetch" => calls.fetch = count,
                "d1" => calls.d1 = count,
                "r2" => calls.r2 = count,
                "object" => calls.object = count,
                _ => return None,
            }
        }
        Some(calls)
    }

    /// All of them.
    pub fn total(self) -> u32 {
        self.fetch + self.d1 + self.r2 + self.object
    }
}

/// A path without what differs between workspaces: ids, hashes, numbers.
fn shape(path: &str) -> String {
    let segment = |part: &str| {
        let letters = |part: &str| part.bytes().any(|byte| byte.is_ascii_alphabetic());
        let digits = part.bytes().any(|byte| byte.is_ascii_digit());
        let id = part.len() == 10 && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let is_hash = part.len() >= 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_number = digits && !letters(part);
        if is_hash {
            "{hash}".to_owned()
        } else if (id && part != "workspaces") || is_number {
            "{id}".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('?').next().unwrap_or_default().split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_kind_look_alike() {
        let hash = "ab".repeat(32);
        assert_eq!(shape("/v1/workspaces/k3v7q2mzab/ports/3000/link"), "/v1/workspaces/{id}/ports/{id}/link");
        assert_eq!(shape(&format!("/v1/vm/backup/data/{hash}")), "/v1/vm/backup/data/{hash}");
        assert_eq!(shape("/v1/workspaces?cursor=1"), "/v1/workspaces");
    }

    #[test]
    fn calls_are_read_in_the_form_that_the_worker_sends() {
        let calls = Calls::parse("fetch=1,d1=2,r2=0,object=3");
        assert_eq!(calls, Some(Calls { fetch: 1, d1: 2, r2: 0, object: 3 }));
        assert_eq!(calls.map(Calls::total), Some(6));
        assert_eq!(Calls::parse("queue=1"), None);
    }
}
