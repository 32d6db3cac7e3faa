//! What is known about ports between two looks at the table: pure, with `now` passed in.

use super::owner::Owner;
use super::probe::Answer;
use super::table::Listener;
use crate::clock::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a port that answers nothing is asked again, each time after twice the wait; the last after 17 minutes.
const ASKED_AGAIN: u32 = 10;

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its socket.
    pub listener: Listener,
    /// Who holds it.
    pub owner: Owner,
    /// What it answered; `None` while it is being asked.
    pub answer: Option<Answer>,
    asked: u32,
    ask_at: Option<Moment>,
}

/// All ports.
#[derive(Debug, Default)]
pub struct Watch {
    reserved: BTreeSet<u16>,
    known: BTreeMap<u16, Known>,
}

/// What one look at the table brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// These listen newly; their owners are to be found and given by [`Watch::found`].
    pub appeared: Vec<Listener>,
    /// Whether a port has gone.
    pub vanished: bool,
    /// These are to be asked whether they speak HTTP.
    pub ask: Vec<Listener>,
}

impl Watch {
    /// Watches all ports but the reserved ones.
    pub fn new(reserved: impl IntoIterator<Item = u16>) -> Self {
        Self { reserved: reserved.into_iter().collect(), known: BTreeMap::new() }
    }

    /// Takes in what listens now, one listener a port.
    pub fn see(&mut self, listeners: &[Listener], now: Moment) -> Seen {
        let listeners: BTreeMap<u16, Listener> = listeners
            .iter()
            .filter(|listener| !self.reserved.contains(&listener.port) && !is_resolver(listener))
            .map(|listener| (listener.port, *listener))
            .collect();
        let before = self.known.len();
        self.known.retain(|port, known| listeners.get(port) == Some(&known.listener));
        let mut seen = Seen { vanished: self.known.len() < before, ..Seen::default() };
        for (port, listener) in listeners {
            match self.known.get_mut(&port) {
                None => {
                    let known =
                        Known { listener, owner: Owner::default(), answer: None, asked: 1, ask_at: None };
                    self.known.insert(port, known);
                    seen.appeared.push(listener);
                    seen.ask.push(listener);
                }
                Some(known) if known.ask_at.is_some_and(|at| now >= at) => {
                    known.ask_at = None;
                    known.asked += 1;
                    seen.ask.push(listener);
                }
                Some(_) => {}
            }
        }
        seen
    }

    /// Notes who holds a socket.
    pub fn found(&mut self, listener: &Listener, owner: Owner) {
        if let Some(known) = self.known.get_mut(&listener.port).filter(|known| known.listener == *listener) {
            known.owner = owner;
        }
    }

    /// Notes what a port answered; true where that is news.
    pub fn answered(&mut self, listener: &Listener, answer: Answer, now: Moment) -> bool {
        let Some(known) = self.known.get_mut(&listener.port).filter(|known| known.listener == *listener)
        else {
            return false;
        };
        if answer == Answer::Nothing && known.asked < ASKED_AGAIN {
            known.ask_at = Some(now.plus(Duration::from_secs(1 << known.asked)));
        }
        known.answer.replace(answer) != Some(answer)
    }

    /// All ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &Known> {
        self.known.values()
    }
}

/// systemd-resolved's own addresses, which no workspace uses.
fn is_resolver(listener: &Listener) -> bool {
    matches!(listener.address, std::net::IpAddr::V4(address) if matches!(address.octets(), [127, 0, 0, 53 | 54]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(port: u16, inode: u64) -> Listener {
        Listener { port, address: "127.0.0.1".parse().unwrap(), inode }
    }

    #[test]
    fn a_port_appears_once_and_vanishes_once_and_reserved_ones_never() {
        let mut watch = Watch::new([22, 80]);
        let all = [listener(22, 1), listener(80, 2), listener(3000, 3)];
        let seen = watch.see(&all, Moment(0));
        assert_eq!(
            seen,
            Seen { appeared: vec![listener(3000, 3)], vanished: false, ask: vec![listener(3000, 3)] }
        );
        assert_eq!(watch.see(&all, Moment(300)), Seen::default());
        assert!(watch.answered(&listener(3000, 3), Answer::Http, Moment(301)));
        assert!(!watch.answered(&listener(3000, 3), Answer::Http, Moment(302)));
        let gone = watch.see(&all[..2], Moment(600));
        assert!(gone.vanished && gone.appeared.is_empty());
        assert_eq!(watch.ports().count(), 0);
    }

    #[test]
    fn a_server_that_restarts_between_two_looks_is_a_new_one() {
        let mut watch = Watch::new([]);
        watch.see(&[listener(3000, 3)], Moment(0));
        let seen = watch.see(&[listener(3000, 4)], Moment(300));
        assert!(seen.vanished);
        assert_eq!(seen.appeared, [listener(3000, 4)]);
        assert!(
            !watch.answered(&listener(3000, 3), Answer::Http, Moment(301)),
            "the old one's answer comes too late"
        );
        assert!(watch.ports().all(|known| known.answer.is_none()));
    }

    #[test]
    fn a_silent_port_is_asked_again_ever_more_rarely() {
        let mut watch = Watch::new([]);
        let one = listener(3000, 3);
        let mut asked = Vec::new();
        for second in 0..4000 {
            if !watch.see(&[one], Moment(second * 1000)).ask.is_empty() {
                asked.push(second);
                watch.answered(&one, Answer::Nothing, Moment(second * 1000));
            }
        }
        assert_eq!(asked, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022]);
    }
}
