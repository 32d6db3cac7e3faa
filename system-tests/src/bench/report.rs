//! Tables of figures: collected, printed, and written into `docs/evidence/benchmarks.md` between two marks.

use anyhow::{Context, Result};
use std::path::Path;

/// A part of the document that a run replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// What a whole run measures.
    All,
    /// What `--only sweep` measures.
    Sweep,
    /// What `--only processor` measures.
    Processor,
    /// What `--only backup` measures.
    Backups,
    /// What `--only idle-cost` measures.
    Watching,
}

impl Block {
    /// The lines before and after it.
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("<!-- figures: written by scripts/bench --write -->", "<!-- end of figures -->"),
            Self::Sweep => (
                "<!-- figures of the sweep: written by scripts/bench --only sweep --write -->",
                "<!-- end of the sweep's figures -->",
            ),
            Self::Processor => (
                "<!-- figures of processor time: written by scripts/bench --only processor --write -->",
                "<!-- end of the figures of processor time -->",
            ),
            Self::Backups => (
                "<!-- figures of backups: written by scripts/bench --only backup --write -->",
                "<!-- end of the figures of backups -->",
            ),
            Self::Watching => (
                "<!-- figures of watching: written by scripts/bench --only idle-cost --write -->",
                "<!-- end of the figures of watching -->",
            ),
        }
    }
}

/// A title, what was done, a table, remarks.
#[derive(Debug, Default)]
pub struct Section {
    title: String,
    intro: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    remarks: Vec<String>,
}

impl Section {
    /// An empty table.
    pub fn new(title: &str, intro: &str, head: &[&str]) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self { title: title.into(), intro: intro.into(), head, ..Self::default() }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a sentence below the table.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// As Markdown that can also be read as it is.
    pub fn render(&self) -> String {
        let cells = |row: &[String]| row.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>();
        let rows: Vec<Vec<String>> =
            std::iter::once(&self.head).chain(&self.rows).map(|row| cells(row)).collect();
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |row: &[String]| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let mut text = format!("### {}\n\n", self.title);
        if !self.intro.is_empty() {
            text += &format!("{}\n\n", self.intro);
        }
        for (at, row) in rows.iter().enumerate() {
            text += &line(row);
            if at == 0 {
                let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
                text += &format!("| {} |\n", rule.join(" | "));
            }
        }
        text += "\n";
        for remark in &self.remarks {
            text += &format!("{remark}\n\n");
        }
        text
    }
}

/// What a figure is held to.
pub fn verdict(value: f64, most: f64, unit: &str) -> String {
    let word = if value <= most { "met" } else { "**missed**" };
    format!("≤ {most} {unit}: {word}")
}

/// Figures of several runs under names, in the order in which the names came.
#[derive(Debug, Default)]
pub struct Samples(Vec<(String, Vec<f64>)>);

impl Samples {
    /// Adds a figure.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.to_owned(), vec![value])),
        }
    }

    /// All names with median, smallest and largest.
    pub fn spread(&self) -> impl Iterator<Item = (&str, Spread)> {
        self.0.iter().map(|(name, values)| (name.as_str(), Spread::of(values)))
    }

    /// One name's.
    pub fn of(&self, name: &str) -> Spread {
        self.0.iter().find(|(known, _)| known == name).map(|(_, v)| Spread::of(v)).unwrap_or_default()
    }
}

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread {
    /// The one in the middle; of an even number the lower.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of these; zeros where there are none.
    pub fn of(values: &[f64]) -> Self {
        Self {
            median: percentile(values, 50),
            min: percentile(values, 0),
            max: percentile(values, 100),
            count: values.len(),
        }
    }
}

/// The nearest rank; 0 without values.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Milliseconds as seconds for people.
pub fn secs(ms: f64) -> String {
    format!("{:.2} s", ms / 1000.0)
}

/// Replaces what is between a block's marks in a document; appends the block where there is none.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn write(file: &Path, block: Block, figures: &str) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    std::fs::write(file, placed(&text, block, figures)).with_context(|| format!("writing {}", file.display()))
}

fn placed(text: &str, block: Block, figures: &str) -> String {
    let (begin, end) = block.marks();
    let (before, rest) = text.split_once(begin).unwrap_or((text, ""));
    let after = rest.split_once(end).map_or("\n", |(_, after)| after);
    format!("{}\n\n{begin}\n\n{}\n\n{end}{after}", before.trim_end(), figures.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_can_be_read_as_it_is() {
        let mut section = Section::new("Ports", "Fifty.", &["what", "ms"]);
        section.row(["p50".into(), "12".into()]);
        section.remark("Quick.");
        let text = "### Ports\n\nFifty.\n\n| what | ms |\n| ---- | -- |\n| p50  | 12 |\n\nQuick.\n\n";
        assert_eq!(section.render(), text);
    }

    #[test]
    fn figures_replace_those_of_the_last_run_and_nothing_else() {
        let first = placed("# Benchmarks\n\nHow.\n", Block::All, "one");
        let second = placed(&first, Block::All, "two");
        let (begin, end) = Block::All.marks();
        assert_eq!(second, format!("# Benchmarks\n\nHow.\n\n{begin}\n\ntwo\n\n{end}\n"));
        assert_eq!(placed(&second, Block::All, "two"), second);
        let both = placed(&second, Block::Backups, "three");
        assert!(both.starts_with(&second) && both.contains("three"), "{both}");
        assert_eq!(placed(&both, Block::All, "two"), both);
    }

    #[test]
    fn a_missed_target_says_so() {
        assert_eq!(verdict(2.5, 3.0, "s"), "≤ 3 s: met");
        assert_eq!(verdict(3.1, 3.0, "s"), "≤ 3 s: **missed**");
    }

    #[test]
    fn medians_are_nearest_ranks() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.min, spread.max, spread.count), (2.0, 1.0, 10.0, 4));
        assert_eq!(percentile(&[], 95), 0.0);
    }
}
