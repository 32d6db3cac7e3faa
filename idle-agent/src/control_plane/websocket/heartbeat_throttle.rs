//! When the next heartbeat is due: pure, from moments handed in.

use crate::control_plane::status::Urgency;
use crate::os::clock::Moment;
use std::time::Duration;

/// Shortest time between two heartbeats, however urgent: several changes of one event travel together, and 240 a minute
/// stay below the 300 that the control plane takes.
const AT_ONCE: Duration = Duration::from_millis(250);
/// Shortest time between two heartbeats that only show progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// Heartbeats that may stay unanswered before the connection is given up.
const UNANSWERED: u32 = 3;

/// The rhythm of heartbeats.
#[derive(Debug)]
pub struct HeartbeatThrottle {
    every: Duration,
    last: Option<Moment>,
    /// When the oldest heartbeat was sent that has no answer yet.
    waiting_since: Option<Moment>,
}

impl HeartbeatThrottle {
    /// One heartbeat every so often; never more often than once a second.
    pub fn new(every: Duration) -> Self {
        Self { every: every.max(Duration::from_secs(1)), last: None, waiting_since: None }
    }

    /// Changes the rhythm.
    pub fn set_every(&mut self, every: Duration) {
        self.every = every.max(Duration::from_secs(1));
    }

    /// Makes the next heartbeat due at once: a connection is new.
    pub fn due_now(&mut self) {
        self.last = None;
        self.waiting_since = None;
    }

    /// When the next heartbeat is due.
    pub fn next(&self, urgency: Urgency) -> Moment {
        let least = match urgency {
            Urgency::Whenever => self.every,
            Urgency::Soon => PROGRESS.min(self.every),
            Urgency::Now => AT_ONCE,
        };
        self.last.map_or(Moment(0), |last| last.plus(least))
    }

    /// A heartbeat went out.
    pub fn sent(&mut self, now: Moment) {
        self.last = Some(now);
        self.waiting_since.get_or_insert(now);
    }

    /// An answer came.
    pub fn answered(&mut self) {
        self.waiting_since = None;
    }

    /// A heartbeat got no answer: urgent ones wait as long as ordinary progress, so that trouble is not hammered.
    pub fn failed(&mut self, now: Moment) {
        self.last = Some(now.plus(PROGRESS));
        self.waiting_since = None;
    }

    /// Whether the other side has stopped answering.
    pub fn is_silent(&self, now: Moment) -> bool {
        let longest = (self.every * UNANSWERED).max(Duration::from_secs(10));
        self.waiting_since.is_some_and(|since| now.since(since) > longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_changes_go_at_once_and_progress_once_a_second() {
        let mut throttle = HeartbeatThrottle::new(Duration::from_secs(15));
        assert_eq!(throttle.next(Urgency::Whenever), Moment(0), "the first is due at once");
        throttle.sent(Moment(1000));
        assert_eq!(throttle.next(Urgency::Now), Moment(1250));
        assert_eq!(throttle.next(Urgency::Soon), Moment(2000));
        assert_eq!(throttle.next(Urgency::Whenever), Moment(16_000));
    }

    #[test]
    fn a_control_plane_in_trouble_is_not_hammered() {
        let mut throttle = HeartbeatThrottle::new(Duration::from_secs(15));
        throttle.sent(Moment(1000));
        throttle.failed(Moment(1010));
        assert!(throttle.next(Urgency::Now) >= Moment(2000));
    }

    #[test]
    fn silence_is_counted_from_the_oldest_unanswered_heartbeat() {
        let mut throttle = HeartbeatThrottle::new(Duration::from_secs(15));
        throttle.sent(Moment(0));
        throttle.sent(Moment(44_000));
        assert!(!throttle.is_silent(Moment(45_000)));
        assert!(throttle.is_silent(Moment(45_001)));
        throttle.answered();
        assert!(!throttle.is_silent(Moment(99_000)));
    }
}
