//! Prometheus' text format 0.0.4: one block for each metric, with help, type and samples.
//!
//! Names, help and label values are ours and hold nothing that needs escaping.

use std::fmt::Write as _;

/// What a metric's value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only rises.
    Counter,
}

/// One value, with its labels.
pub type Sample<'a> = (Vec<(&'a str, &'a str)>, String);

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Adds a metric; one without samples is left out.
    pub fn metric(&mut self, kind: Kind, name: &str, help: &str, samples: &[Sample<'_>]) {
        if samples.is_empty() {
            return;
        }
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let text = &mut self.0;
        // Writing to a text does not fail.
        let _ = writeln!(text, "# HELP ebbtide_{name} {help}\n# TYPE ebbtide_{name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "ebbtide_{name}{labels} {value}");
        }
    }

    /// Adds a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, samples: &[Sample<'_>]) {
        self.metric(Kind::Gauge, name, help, samples);
    }

    /// Adds a gauge with one value and no label; none where there is no value.
    pub fn one(&mut self, name: &str, help: &str, value: Option<u64>) {
        let samples: Vec<Sample<'_>> =
            value.map(|value| (Vec::new(), value.to_string())).into_iter().collect();
        self.gauge(name, help, &samples);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }
}
