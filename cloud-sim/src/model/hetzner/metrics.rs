//! `GET /servers/{id}/metrics`: CPU and network as time series.
//!
//! The façade records what its machines really do; without records the model shows a working machine as busy and a
//! dead, hung or unpowered one as flat.

use serde_json::{Map, Value, json};

use super::{
    refusal::{Refusal, Reply},
    state::Server,
};
use crate::model::{
    Cloud,
    clock::{parse_rfc3339, rfc3339},
    effect::MachineFault,
    wire::{Call, Response},
};

/// What a machine does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Activity {
    pub cpu_percent: f64,
    pub network_in_bytes_per_sec: f64,
    pub network_out_bytes_per_sec: f64,
}

const BUSY: Activity =
    Activity { cpu_percent: 8.0, network_in_bytes_per_sec: 2_000.0, network_out_bytes_per_sec: 3_000.0 };

/// A series' name and where its values come from.
type Series = (&'static str, fn(&Activity) -> f64);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    at_ms: i64,
    activity: Activity,
}

/// Samples kept per server: an hour at one every four seconds.
const KEPT_SAMPLES: usize = 900;
const MAX_POINTS: i64 = 500;
const USUAL_POINTS: i64 = 200;

impl Cloud {
    /// Records what a machine was seen doing.
    pub fn record_activity(&mut self, server_id: u64, activity: Activity, now_ms: i64) {
        if let Some(server) = self.project.servers.get_mut(&server_id) {
            if server.samples.len() >= KEPT_SAMPLES {
                server.samples.drain(..KEPT_SAMPLES / 4);
            }
            server.samples.push(Sample { at_ms: now_ms, activity });
        }
    }

    pub(super) fn server_metrics(&self, call: &Call<'_>, id: u64) -> Reply {
        let server = self.server_or_refuse(id)?;
        let kinds = call.all("type");
        if kinds.is_empty() {
            return Err(Refusal::invalid("type", "missing data for required field"));
        }
        let time = |field: &str| {
            let text =
                call.one(field).ok_or_else(|| Refusal::invalid(field, "missing data for required field"))?;
            parse_rfc3339(text).ok_or_else(|| Refusal::invalid(field, "is no RFC 3339 time"))
        };
        let (start, end) = (time("start")?, time("end")?);
        if end <= start {
            return Err(Refusal::invalid("end", "must be after start"));
        }
        let seconds = (end - start) / 1000;
        let asked = call.one("step").and_then(|step| step.parse::<i64>().ok());
        let step = asked.unwrap_or(seconds / USUAL_POINTS).max(seconds / MAX_POINTS).max(1);
        // Where machines are measured, nothing is made up for the time before the first sample.
        let known_since = server.samples.first().map_or(server.created_ms, |sample| sample.at_ms);
        let times: Vec<i64> = (0..=seconds / step)
            .map(|n| start + n * step * 1000)
            .filter(|at| *at >= known_since && *at <= call.now_ms)
            .collect();
        let mut series = Map::new();
        for kind in kinds {
            let names: &[Series] = match kind {
                "cpu" => &[("cpu", |a| a.cpu_percent)],
                "network" => &[
                    ("network.0.bandwidth.in", |a| a.network_in_bytes_per_sec),
                    ("network.0.bandwidth.out", |a| a.network_out_bytes_per_sec),
                    ("network.0.pps.in", |a| a.network_in_bytes_per_sec / 500.0),
                    ("network.0.pps.out", |a| a.network_out_bytes_per_sec / 500.0),
                ],
                "disk" => &[],
                _ => return Err(Refusal::invalid("type", "must be cpu, disk or network")),
            };
            for (name, read) in names {
                let values: Vec<Value> = times
                    .iter()
                    .map(|at| json!([at / 1000, format!("{:.4}", read(&activity_at(server, *at)))]))
                    .collect();
                series.insert((*name).to_owned(), json!({"values": values}));
            }
        }
        Ok(Response::of(
            200,
            &json!({"metrics": {"start": rfc3339(start), "end": rfc3339(end), "step": step, "time_series": series}}),
        ))
    }
}

fn activity_at(server: &Server, at_ms: i64) -> Activity {
    let measured = server.samples.partition_point(|sample| sample.at_ms <= at_ms);
    if let Some(sample) = measured.checked_sub(1).and_then(|at| server.samples.get(at)) {
        return sample.activity;
    }
    if at_ms < server.steady_since_ms {
        return BUSY;
    }
    match (server.is_alive(), server.fault) {
        (false, _) => Activity::default(),
        (true, Some(MachineFault::LoseNetwork)) => {
            Activity { cpu_percent: BUSY.cpu_percent, ..Activity::default() }
        }
        (true, _) => BUSY,
    }
}
