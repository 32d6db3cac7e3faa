//! One look as a trace holds it: short names, maps where neighbours in time differ little, no arguments and no
//! names that people gave.
//!
//! Everything that is at its default is left out. A new kind of fact gets a field here, optional, so that older traces
//! stay readable.

use super::{Look, TraceContext, redacted_names};
use crate::cloudcli::sessions::SessionList;
use crate::idle::facts::{AgentObservation, Facts, Marks, SessionStatus, Sockets};
use crate::idle::process_kinds::programs::{agent_of, is_helper, is_starter, says_it_watches};
use crate::os::processes::Process;
use ebbtide_api::Agent;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What stands in a trace for why something cannot be read.
const UNREADABLE: &str = "it cannot be read";

/// A look, without its moment.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    #[serde(skip_serializing_if = "is_default")]
    ready: bool,
    #[serde(skip_serializing_if = "is_default")]
    user: Option<u32>,
    /// `processes`, `terminals`: what cannot be read.
    #[serde(skip_serializing_if = "is_default")]
    unreadable: BTreeSet<String>,
    /// By `{pid}/{started}`.
    #[serde(skip_serializing_if = "is_default")]
    processes: BTreeMap<String, Row>,
    #[serde(skip_serializing_if = "is_default")]
    servers: BTreeSet<u32>,
    #[serde(skip_serializing_if = "is_default")]
    watchers: BTreeSet<u32>,
    /// Absent where the machine has no terminals.
    #[serde(skip_serializing_if = "is_default")]
    terminals: Option<Marks>,
    #[serde(skip_serializing_if = "is_default")]
    people: u64,
    /// By `{pid}/{started}`.
    #[serde(rename = "sights", skip_serializing_if = "is_default")]
    observations: BTreeMap<String, ObservationRow>,
    #[serde(skip_serializing_if = "is_default")]
    cloudcli: SessionList,
    #[serde(rename = "scenery", skip_serializing_if = "is_default")]
    context: TraceContext,
}

/// A process.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    #[serde(rename = "p")]
    parent: u32,
    #[serde(rename = "c")]
    comm: String,
    #[serde(rename = "u", default, skip_serializing_if = "is_default")]
    uid: u32,
    #[serde(rename = "t", default, skip_serializing_if = "is_default")]
    has_terminal: bool,
    #[serde(rename = "k", default, skip_serializing_if = "is_default")]
    ticks: u64,
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    storage_bytes: Option<u64>,
    /// The agent that it is by its arguments, which stand for themselves nowhere.
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    agent: Option<String>,
    /// Whether its arguments say that an agent talks to it.
    #[serde(rename = "h", default, skip_serializing_if = "is_default")]
    is_helper: bool,
    /// Whether its arguments say that it watches files and ends never.
    #[serde(rename = "w", default, skip_serializing_if = "is_default")]
    is_watcher: bool,
    /// Whether its script does nothing but start others and wait for them.
    #[serde(rename = "s", default, skip_serializing_if = "is_default")]
    is_starter: bool,
}

/// What vouches for an agent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ObservationRow {
    #[serde(default, skip_serializing_if = "is_default")]
    sockets: Option<Sockets>,
    grown: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    status: Option<SessionStatus>,
}

impl Frame {
    /// Writes a look down.
    pub fn new(facts: &Facts, context: TraceContext) -> Self {
        let mut frame = Self {
            ready: facts.ready,
            user: facts.user,
            servers: facts.servers.clone(),
            watchers: facts.watchers.clone(),
            people: facts.people,
            cloudcli: facts.cloudcli.clone(),
            context,
            ..Self::default()
        };
        match &facts.processes {
            Ok(processes) => {
                let row = |process: &Process| (key((process.pid, process.started)), Row::new(process));
                frame.processes = processes.iter().map(row).collect();
            }
            Err(_) => _ = frame.unreadable.insert("processes".to_owned()),
        }
        match &facts.terminals {
            Ok(marks) => frame.terminals.clone_from(marks),
            Err(_) => _ = frame.unreadable.insert("terminals".to_owned()),
        }
        let row = |observation: &AgentObservation| {
            let AgentObservation { process, sockets, grown, status } = *observation;
            (key(process), ObservationRow { sockets, grown, status })
        };
        frame.observations = facts.observations.iter().map(row).collect();
        frame
    }

    /// The look that was written down.
    pub fn look(self) -> Look {
        let processes = if self.unreadable.contains("processes") {
            Err(UNREADABLE.to_owned())
        } else {
            let process = |(text, row): (String, Row)| Some(row.process(parse_key(&text)?));
            Ok(self.processes.into_iter().filter_map(process).collect())
        };
        let terminals = if self.unreadable.contains("terminals") {
            Err(UNREADABLE.to_owned())
        } else {
            Ok(self.terminals)
        };
        let observation = |(text, row): (String, ObservationRow)| {
            let ObservationRow { sockets, grown, status } = row;
            Some(AgentObservation { process: parse_key(&text)?, sockets, grown, status })
        };
        let facts = Facts {
            ready: self.ready,
            user: self.user,
            processes,
            servers: self.servers,
            watchers: self.watchers,
            terminals,
            people: self.people,
            observations: self.observations.into_iter().filter_map(observation).collect(),
            cloudcli: self.cloudcli,
        };
        Look { facts, context: self.context }
    }
}

impl Row {
    fn new(process: &Process) -> Self {
        let agent = agent_of(process);
        Self {
            parent: process.parent,
            comm: redacted_names::kept(&process.comm, agent.map(Agent::as_str)),
            uid: process.uid,
            has_terminal: process.has_terminal,
            ticks: process.ticks,
            storage_bytes: process.storage_bytes,
            agent: agent.map(|agent| agent.as_str().to_owned()),
            is_helper: is_helper(process),
            is_watcher: says_it_watches(process),
            is_starter: is_starter(process),
        }
    }

    fn process(self, (pid, started): (u32, u64)) -> Process {
        let script = self.is_starter.then(|| ["node", "concurrently"].map(str::to_owned));
        let arguments = self.agent.into_iter().chain(script.into_iter().flatten());
        let arguments = arguments.chain(self.is_helper.then(|| "--stdio".to_owned()));
        Process {
            pid,
            parent: self.parent,
            comm: self.comm,
            uid: self.uid,
            has_terminal: self.has_terminal,
            started,
            ticks: self.ticks,
            storage_bytes: self.storage_bytes,
            arguments: arguments.chain(self.is_watcher.then(|| "--watch".to_owned())).collect(),
        }
    }
}

fn key((pid, started): (u32, u64)) -> String {
    format!("{pid}/{started}")
}

fn parse_key(text: &str) -> Option<(u32, u64)> {
    let (pid, started) = text.split_once('/')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
