//! What comes after the end of a trace whose last segment must sleep: that segment again and again, all of it, counters
//! going on as they went. So a workspace that is kept can be watched for as long as any bound allows. Whatever
//! happened once in it happens once a round; what ended in it or began in it did so for good.

use super::case::Case;
use ebbtide_idle_agent::idle::facts::AgentObservation;
use ebbtide_idle_agent::idle::trace::{Entry, Look};
use ebbtide_idle_agent::os::clock::Moment;
use ebbtide_idle_agent::os::processes::Process;

/// The stretch.
#[derive(Debug, Clone)]
pub struct Tail<'a> {
    window: Vec<(Moment, &'a Look)>,
    round: u64,
    at: usize,
}

impl<'a> Tail<'a> {
    /// The looks of a segment that begins then. Absent where there are fewer than two.
    pub fn of(case: &'a Case, from: Moment) -> Option<Self> {
        let look = |(at, entry): &'a (Moment, Entry)| match entry {
            // What was seen in the moment itself was seen before the label.
            Entry::Look(look) if *at > from => Some((*at, &**look)),
            _ => None,
        };
        let window: Vec<(Moment, &Look)> = case.entries.iter().filter_map(look).collect();
        (window.len() > 1).then_some(Self { window, round: 1, at: 0 })
    }
}

impl Iterator for Tail<'_> {
    /// A look, and how many milliseconds after the one before.
    type Item = (u64, Look);

    fn next(&mut self) -> Option<Self::Item> {
        let (first, last) = (self.window.first()?, self.window.last()?);
        self.at += 1;
        if self.at >= self.window.len() {
            (self.at, self.round) = (1, self.round + 1);
        }
        let (before, now) = (self.window.get(self.at - 1)?, self.window.get(self.at)?);
        let look = later(now.1, first.1, last.1, self.round);
        Some((now.0.since(before.0).as_millis() as u64, look))
    }
}

/// A look of the window some rounds later.
fn later(look: &Look, first: &Look, last: &Look, rounds: u64) -> Look {
    let mut look = look.clone();
    let grown = |now: u64, first: u64, last: u64| now + rounds * last.saturating_sub(first);
    if let (Ok(now), Ok(first), Ok(last)) =
        (&mut look.facts.processes, &first.facts.processes, &last.facts.processes)
    {
        // The end of what ended is no news a second time, and neither is the begin of what stayed.
        now.retain(|process| {
            let key = (process.pid, process.started);
            find(last, key).is_some() == find(first, key).is_some()
        });
        now.extend(last.iter().filter(|one| find(first, (one.pid, one.started)).is_none()).cloned());
        for process in now {
            let key = (process.pid, process.started);
            if let (Some(first), Some(last)) = (find(first, key), find(last, key)) {
                process.ticks = grown(process.ticks, first.ticks, last.ticks);
                let bytes = |process: &Process| process.storage_bytes.unwrap_or(0);
                process.storage_bytes =
                    process.storage_bytes.map(|now| grown(now, bytes(first), bytes(last)));
            }
        }
    }
    let of_the_last = |observation: &AgentObservation| {
        last.facts.observations.iter().find(|other| other.process == observation.process).cloned()
    };
    look.facts.observations.retain(|observation| of_the_last(observation).is_some());
    for observation in &mut look.facts.observations {
        // What an agent says of itself and whether it has asked is as it was in the end.
        if let Some(last) = of_the_last(observation) {
            observation.status = last.status;
            if let (Some(now), Some(last)) = (&mut observation.sockets, last.sockets) {
                (now.open, now.is_asked) = (last.open, last.is_asked);
            }
        }
        let same = |all: &Look| {
            all.facts.observations.iter().find(|other| other.process == observation.process).cloned()
        };
        if let (Some(first), Some(last)) = (same(first), same(last)) {
            if first.grown != last.grown {
                observation.grown = observation.grown.wrapping_add(rounds);
            }
            if let (Some(now), Some(first), Some(last)) =
                (&mut observation.sockets, first.sockets, last.sockets)
            {
                now.received_bytes = grown(now.received_bytes, first.received_bytes, last.received_bytes);
                now.sent_bytes = grown(now.sent_bytes, first.sent_bytes, last.sent_bytes);
            }
        }
    }
    look.facts.people = grown(look.facts.people, first.facts.people, last.facts.people);
    if let (Some(now), Some(first), Some(last)) =
        (look.context.newest_file_secs, first.context.newest_file_secs, last.context.newest_file_secs)
    {
        look.context.newest_file_secs = Some(grown(now, first, last));
    }
    look
}

fn find(all: &[Process], key: (u32, u64)) -> Option<&Process> {
    all.iter().find(|process| (process.pid, process.started) == key)
}
