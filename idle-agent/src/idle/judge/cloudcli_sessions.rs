//! What CloudCLI's list of running sessions says of the workspace, compared with the look before. Pure.
//!
//! A run whose `lastSeq` stands still is believed for `agent_silence`, and one that cannot be asked about is unclear for
//! `unknown_grace`, never over and never going on for ever.

use super::verdict::Reading;
use crate::cloudcli::sessions::SessionList;
use ebbtide_api::vm::VmPolicy;
use std::collections::BTreeMap;
use std::time::Duration;

/// The sessions of the look before.
#[derive(Debug, Clone, Default)]
pub struct CloudCliSessions {
    /// By number: how many events there were, and how long there have been no more.
    known: BTreeMap<u64, (u64, u64)>,
    /// For how long it has not answered or not been there.
    gone_ms: u64,
}

impl CloudCliSessions {
    /// What a look says, where it says anything.
    pub fn compare(&mut self, passed: Duration, list: &SessionList, policy: &VmPolicy) -> Option<Reading> {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if let SessionList::Running(_) = list {
            self.gone_ms = 0;
        } else {
            self.gone_ms = self.gone_ms.saturating_add(passed_ms);
            // It died with its sessions, and will not tell of them any more.
            if self.gone_ms > policy.unknown_grace_secs.saturating_mul(1000) {
                self.known.clear();
                return None;
            }
        }
        match list {
            SessionList::Absent if self.known.is_empty() => None,
            SessionList::Absent => {
                Some(Reading::Unreadable("CloudCLI, in which a session ran, is gone".to_owned()))
            }
            SessionList::Unreadable => Some(Reading::Unreadable("CloudCLI does not answer".to_owned())),
            SessionList::Running(running) => {
                let silent = |(number, seq): (&u64, &u64)| {
                    let silent_ms = match self.known.get(number) {
                        Some((before, silent_ms)) if before == seq => silent_ms.saturating_add(passed_ms),
                        Some(_) | None => 0,
                    };
                    (*number, (*seq, silent_ms))
                };
                self.known = running.iter().map(silent).collect();
                let silence_ms = policy.agent_silence_secs.saturating_mul(1000);
                let least_ms = self.known.values().map(|(_, silent_ms)| *silent_ms).min()?;
                let shown = ebbtide_api::text::seconds(least_ms / 1000);
                Some(if least_ms < silence_ms {
                    Reading::Active(format!("a session in CloudCLI runs, silent for {shown}"))
                } else {
                    Reading::Quiet(format!("a session in CloudCLI has shown nothing for {shown}"))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: VmPolicy = VmPolicy {
        heartbeat_secs: 15,
        idle_timeout_secs: 1800,
        unknown_grace_secs: 600,
        waiting_for_human_secs: 7200,
        agent_silence_secs: 1800,
        background_secs: 7200,
        snapshot_every_secs: 900,
    };

    #[test]
    fn one_that_died_with_its_sessions_is_forgotten_once_the_grace_is_over() {
        let mut sessions = CloudCliSessions::default();
        let mut look = |secs, list| sessions.compare(Duration::from_secs(secs), &list, &POLICY);
        look(10, SessionList::Running(BTreeMap::from([(5, 1)])));
        assert!(matches!(look(600, SessionList::Absent), Some(Reading::Unreadable(_))));
        assert_eq!(look(10, SessionList::Absent), None);
        assert_eq!(look(10, SessionList::Absent), None);
    }

    #[test]
    fn a_run_counts_while_it_has_events_and_for_the_silence_of_an_agent_after_the_last() {
        let look = |sessions: &mut CloudCliSessions, secs: u64, seq: u64| {
            let list = SessionList::Running(BTreeMap::from([(5, seq)]));
            sessions.compare(Duration::from_secs(secs), &list, &POLICY)
        };
        let mut sessions = CloudCliSessions::default();
        assert!(matches!(look(&mut sessions, 10, 1), Some(Reading::Active(_))));
        assert!(matches!(look(&mut sessions, 1790, 1), Some(Reading::Active(_))));
        assert!(matches!(look(&mut sessions, 10, 1), Some(Reading::Quiet(_))), "stuck");
        assert!(matches!(look(&mut sessions, 10, 2), Some(Reading::Active(_))));
        let mut compare = |list| sessions.compare(Duration::from_secs(10), &list, &POLICY);
        assert!(matches!(compare(SessionList::Unreadable), Some(Reading::Unreadable(_))));
        assert!(matches!(compare(SessionList::Absent), Some(Reading::Unreadable(_))), "it restarts");
        assert_eq!(compare(SessionList::Running(BTreeMap::new())), None);
        assert_eq!(compare(SessionList::Absent), None, "nothing ran in it");
    }
}
