//! `GET /servers/{id}/metrics`: is a silent machine alive?

use super::wire::time;
use super::{Answer, Hetzner, Lookup, ServerId};
use crate::http::Http;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A group of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Series `cpu`: percent, 100 for each core.
    Cpu,
    /// Series `network.0.bandwidth.in`, `….out` (bytes a second) and `network.0.pps.in`, `….out`.
    Network,
    /// Series `disk.0.iops.read`, `disk.0.bandwidth.read`, `….write`.
    Disk,
}

/// Measured series.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServerMetrics {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
    /// Seconds between two points.
    pub step_secs: f64,
    /// By name.
    pub series: BTreeMap<String, Vec<Point>>,
}

/// One measured value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Unix seconds.
    pub at: f64,
    pub value: f64,
}

impl ServerMetrics {
    /// The highest value of all series whose name starts with `prefix`; `None` where nothing was measured, which is
    /// not the same as 0.
    pub fn highest(&self, prefix: &str) -> Option<f64> {
        self.series
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .flat_map(|(_, points)| points.iter().map(|point| point.value))
            .filter(|value| value.is_finite())
            .fold(None, |highest: Option<f64>, value| Some(highest.map_or(value, |other| other.max(value))))
    }
}

impl<H: Http> Hetzner<H> {
    /// Reads what the provider measured from outside between two moments.
    pub async fn server_metrics(
        &self,
        id: ServerId,
        kinds: &[MetricKind],
        start: Timestamp,
        end: Timestamp,
    ) -> Answer<Lookup<ServerMetrics>> {
        let (start, end) = (start.to_string(), end.to_string());
        let mut pairs: Vec<(&str, &str)> = kinds.iter().map(|kind| ("type", kind.as_str())).collect();
        pairs.extend([("start", start.as_str()), ("end", end.as_str())]);
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.look_up(&format!("/servers/{id}/metrics?{query}"), |one: One| one.metrics.into()).await
    }
}

impl MetricKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }
}

#[derive(Deserialize)]
struct One {
    metrics: WireMetrics,
}

#[derive(Deserialize)]
struct WireMetrics {
    start: Option<String>,
    end: Option<String>,
    step: Option<f64>,
    #[serde(default)]
    time_series: BTreeMap<String, WireSeries>,
}

#[derive(Deserialize)]
struct WireSeries {
    /// Pairs of a time and a number written as text.
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl From<WireMetrics> for ServerMetrics {
    fn from(wire: WireMetrics) -> Self {
        let points = |series: WireSeries| {
            series
                .values
                .into_iter()
                .filter_map(|(at, text)| text.parse().ok().map(|value| Point { at, value }))
                .collect()
        };
        Self {
            start: time(wire.start),
            end: time(wire.end),
            step_secs: wire.step.unwrap_or_default(),
            series: wire.time_series.into_iter().map(|(name, series)| (name, points(series))).collect(),
        }
    }
}
