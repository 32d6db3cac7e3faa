//! What is known about ports between two looks at the table: pure, with `now` passed in.

use super::fragile::is_fragile;
use super::owner::Owner;
use super::probe::Answer;
use super::table::Listener;
use crate::os::clock::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a port that answers nothing is asked again, each time after twice the wait; the last after 17 minutes.
const ASKED_AGAIN: u32 = 10;
/// How often an owner is looked for: a socket may pass from one process to another just then.
const SOUGHT: u32 = 4;

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its socket.
    pub listener: Listener,
    /// Who holds it.
    pub owner: Owner,
    /// What it answered; `None` while it is being asked, or nobody knows yet whose it is.
    pub answer: Option<Answer>,
    asked: u32,
    ask_at: Option<Moment>,
    sought: u32,
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
    /// Whether a port has come or gone.
    pub news: bool,
    /// Whose owners are to be found and given by [`Watch::found`].
    pub seek: Vec<Listener>,
    /// These are to be asked again whether they speak HTTP.
    pub ask: Vec<Listener>,
}

/// What follows from knowing who holds a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Whether there is something to tell.
    pub news: bool,
    /// Whether it is to be asked now whether it speaks HTTP.
    pub ask: bool,
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
        let mut seen = Seen { news: self.known.len() < before, ..Seen::default() };
        for (port, listener) in listeners {
            match self.known.get_mut(&port) {
                None => {
                    let known = Known {
                        listener,
                        owner: Owner::default(),
                        answer: None,
                        asked: 0,
                        ask_at: None,
                        sought: 0,
                    };
                    self.known.insert(port, known);
                    seen.news = true;
                }
                Some(known) if known.ask_at.is_some_and(|at| now >= at) => {
                    known.ask_at = None;
                    known.asked += 1;
                    seen.ask.push(listener);
                }
                Some(_) => {}
            }
        }
        for known in
            self.known.values_mut().filter(|known| known.owner.pids.is_empty() && known.sought < SOUGHT)
        {
            known.sought += 1;
            seen.seek.push(known.listener);
        }
        seen
    }

    /// Notes who holds a socket. It is asked once that is known, for some must not be; what nobody here holds belongs to
    /// whoever runs the machine, and is not asked at all.
    pub fn found(&mut self, listener: &Listener, owner: Owner) -> Found {
        let known = self.known.get_mut(&listener.port).filter(|known| known.listener == *listener);
        let Some(known) = known else { return Found { news: false, ask: false } };
        let news = std::mem::replace(&mut known.owner, owner) != known.owner;
        let is_due = known.asked == 0 && known.answer.is_none() && !known.owner.pids.is_empty();
        if !is_due {
            return Found { news, ask: false };
        }
        if is_fragile(listener.port, &known.owner.name, &known.owner.arguments) {
            known.answer = Some(Answer::NotAsked);
            return Found { news: true, ask: false };
        }
        known.asked = 1;
        Found { news, ask: true }
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

    fn owner() -> Owner {
        Owner { pids: vec![7], name: "node".into(), arguments: vec![] }
    }

    #[test]
    fn a_port_appears_once_and_vanishes_once_and_reserved_ones_never() {
        let mut watch = Watch::new([22, 80]);
        let all = [listener(22, 1), listener(80, 2), listener(3000, 3)];
        let seen = watch.see(&all, Moment(0));
        assert_eq!(seen, Seen { news: true, seek: vec![listener(3000, 3)], ask: vec![] });
        assert_eq!(watch.found(&listener(3000, 3), owner()), Found { news: true, ask: true });
        assert_eq!(watch.found(&listener(3000, 3), owner()), Found { news: false, ask: false }, "asked once");
        assert_eq!(watch.see(&all, Moment(300)), Seen::default());
        assert!(watch.answered(&listener(3000, 3), Answer::Http, Moment(301)));
        assert!(!watch.answered(&listener(3000, 3), Answer::Http, Moment(302)));
        let gone = watch.see(&all[..2], Moment(600));
        assert!(gone.news && gone.ask.is_empty());
        assert_eq!(watch.ports().count(), 0);
    }

    #[test]
    fn a_server_that_restarts_between_two_looks_is_a_new_one() {
        let mut watch = Watch::new([]);
        watch.see(&[listener(3000, 3)], Moment(0));
        watch.found(&listener(3000, 3), owner());
        let seen = watch.see(&[listener(3000, 4)], Moment(300));
        assert_eq!((seen.news, seen.seek), (true, vec![listener(3000, 4)]));
        assert!(!watch.found(&listener(3000, 3), owner()).ask);
        assert!(watch.found(&listener(3000, 4), owner()).ask);
        let late = watch.answered(&listener(3000, 3), Answer::Http, Moment(301));
        assert!(!late, "the old one's answer comes too late");
        assert!(watch.ports().all(|known| known.answer.is_none()));
    }

    #[test]
    fn a_debugger_is_never_asked_and_neither_is_what_nobody_here_holds() {
        let mut watch = Watch::new([]);
        let both = [listener(4000, 3), listener(4001, 4)];
        watch.see(&both, Moment(0));
        let dlv = Owner { pids: vec![7], name: "dlv".into(), arguments: vec![] };
        assert_eq!(watch.found(&both[0], dlv), Found { news: true, ask: false });
        assert!(!watch.found(&both[1], Owner::default()).ask);
        let asked = (1..4000).filter(|second| !watch.see(&both, Moment(second * 1000)).ask.is_empty());
        assert_eq!(asked.count(), 0);
        assert_eq!(watch.ports().filter(|known| known.answer == Some(Answer::NotAsked)).count(), 1);
    }

    #[test]
    fn an_owner_that_is_not_found_at_once_is_looked_for_again_and_not_for_ever() {
        let mut watch = Watch::new([]);
        let looks =
            (0..10).filter(|look| !watch.see(&[listener(3000, 3)], Moment(look * 300)).seek.is_empty());
        assert_eq!(looks.count(), 4);
    }

    #[test]
    fn a_silent_port_is_asked_again_ever_more_rarely() {
        let mut watch = Watch::new([]);
        let one = listener(3000, 3);
        let mut asked = Vec::new();
        for second in 0..4000 {
            let again = !watch.see(&[one], Moment(second * 1000)).ask.is_empty();
            if again || watch.found(&one, owner()).ask {
                asked.push(second);
                watch.answered(&one, Answer::Nothing, Moment(second * 1000));
            }
        }
        assert_eq!(asked, [0, 2, 6, 14, 30, 62, 126, 254, 510, 1022]);
    }
}
