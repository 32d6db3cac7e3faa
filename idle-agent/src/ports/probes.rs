//! Ports that are asked, so many at once: a program that opens hundreds and answers slowly costs no thread each.

use super::probe::Answer;
use super::table::Listener;
use crate::os::mutex::spawn;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Most ports that are asked at once.
const AT_ONCE: usize = 16;

/// Asks one.
type Ask = dyn Fn(&Listener) -> Answer + Send + Sync;

/// Ports that are being asked, and those that wait for it.
pub struct Probes {
    ask: Arc<Ask>,
    answers: Sender<(Listener, Answer)>,
    running: usize,
    waiting: VecDeque<Listener>,
}

impl Probes {
    /// Nothing is asked yet. Each answer that is received is to be told by [`Self::answered`].
    pub fn new(
        ask: impl Fn(&Listener) -> Answer + Send + Sync + 'static,
    ) -> (Self, Receiver<(Listener, Answer)>) {
        let (answers, received) = channel();
        (Self { ask: Arc::new(ask), answers, running: 0, waiting: VecDeque::new() }, received)
    }

    /// Asks a port, or lets it wait.
    pub fn ask(&mut self, listener: Listener) {
        self.waiting.push_back(listener);
        self.go_on();
    }

    /// One answer was received: there is room for the next.
    pub fn answered(&mut self) {
        self.running = self.running.saturating_sub(1);
        self.go_on();
    }

    /// Forgets whoever waits and is not there any more.
    pub fn keep(&mut self, is_there: impl Fn(&Listener) -> bool) {
        self.waiting.retain(is_there);
    }

    fn go_on(&mut self) {
        while self.running < AT_ONCE
            && let Some(listener) = self.waiting.pop_front()
        {
            self.running += 1;
            let (ask, answers) = (Arc::clone(&self.ask), self.answers.clone());
            let asked = spawn("probe", move || {
                // The agent ends when nobody hears the answer any more.
                let _ = answers.send((listener, ask(&listener)));
            });
            if let Err(error) = asked {
                tracing::warn!(%error, "cannot ask a port; it is asked again");
                let _ = self.answers.send((listener, Answer::Nothing));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::mutex::lock;
    use std::collections::BTreeSet;
    use std::sync::{Mutex, mpsc};

    fn listener(port: u16) -> Listener {
        Listener { port, address: "127.0.0.1".parse().unwrap(), inode: port.into() }
    }

    #[test]
    fn so_many_are_asked_at_once_and_the_others_after_them() {
        let (begun, begins) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Mutex::new(gate);
        let (mut probes, answers) = Probes::new(move |listener| {
            begun.send(listener.port).unwrap();
            lock(&gate).recv().unwrap();
            Answer::Http
        });
        for port in 1..=40 {
            probes.ask(listener(port));
        }
        let first: BTreeSet<u16> = (0..AT_ONCE).map(|_| begins.recv().unwrap()).collect();
        assert_eq!(first, (1..=16).collect());
        probes.keep(|listener| listener.port != 17);
        for next in 18..=40 {
            assert!(begins.try_recv().is_err(), "no more than that");
            go.send(()).unwrap();
            answers.recv().unwrap();
            probes.answered();
            assert_eq!(begins.recv().unwrap(), next);
        }
        (0..AT_ONCE).for_each(|_| go.send(()).unwrap());
        assert_eq!(answers.iter().take(AT_ONCE).count(), AT_ONCE);
        assert!(answers.try_recv().is_err());
    }
}
