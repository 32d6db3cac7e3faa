//! The steps of a life: their seconds and what was seen, told as they end and kept in `target/vm-timeline/`.

use anyhow::{Context, Result, ensure};
use ebbtide_system_tests::{interrupt, paths};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

/// What became of a step.
struct Row {
    step: String,
    began_secs: f64,
    took_secs: f64,
    seen: String,
}

/// A life's steps so far.
pub struct Timeline {
    name: &'static str,
    begun: Instant,
    rows: Vec<Row>,
    failed: Vec<String>,
}

impl Timeline {
    pub fn new(name: &'static str) -> Self {
        Self { name, begun: Instant::now(), rows: Vec::new(), failed: Vec::new() }
    }

    /// Runs a step, whose answer is what was seen. A failure is kept for the end, and the next step is tried.
    pub fn step(&mut self, step: &str, run: impl FnOnce() -> Result<String>) {
        // Its failure is among those that the end tells.
        let _ = self.must(step, || run().map(|seen| (seen, ())));
    }

    /// Runs a step without which those after it mean nothing.
    ///
    /// # Errors
    /// As the step.
    pub fn must<T>(&mut self, step: &str, run: impl FnOnce() -> Result<(String, T)>) -> Result<T> {
        let began = Instant::now();
        eprintln!("{}: {step} …", self.name);
        let done = interrupt::check().map_err(anyhow::Error::from).and_then(|()| run());
        let took_secs = began.elapsed().as_secs_f64();
        let (seen, value) = match done {
            Ok((seen, value)) => (seen, Ok(value)),
            Err(error) => {
                let told = format!("{error:#}");
                self.failed.push(format!("{step}: {told}"));
                (format!("**failed:** {told}"), Err(error))
            }
        };
        eprintln!("{}: {step}: {took_secs:.1} s; {seen}", self.name);
        let began_secs = (began - self.begun).as_secs_f64();
        self.rows.push(Row { step: step.to_owned(), began_secs, took_secs, seen });
        self.write().context("writing the timeline")?;
        value.with_context(|| step.to_owned())
    }

    /// Ends a life.
    ///
    /// # Errors
    /// Names the steps that failed.
    pub fn end(self) -> Result<()> {
        ensure!(self.failed.is_empty(), "{} steps failed:\n{}", self.failed.len(), self.failed.join("\n"));
        Ok(())
    }

    fn write(&self) -> Result<()> {
        let directory = paths::root().join("target/vm-timeline");
        std::fs::create_dir_all(&directory)?;
        Ok(std::fs::write(directory.join(format!("{}.md", self.name)), self.table())?)
    }

    fn table(&self) -> String {
        let image =
            std::fs::read_link(paths::root().join("target/vm-image")).unwrap_or_else(|_| PathBuf::new());
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut text = format!(
            "# {}\n\nImage {}; load of this computer at the end: {}.\n\n| step | began, s | took, s | seen |\n|---|---|---|---|\n",
            self.name,
            image.file_name().unwrap_or_default().to_string_lossy(),
            load.split(' ').next().unwrap_or_default(),
        );
        for Row { step, began_secs, took_secs, seen } in &self.rows {
            let seen = seen.replace('|', "\\|").replace('\n', "<br>");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {step} | {began_secs:.0} | {took_secs:.1} | {seen} |");
        }
        text
    }
}
