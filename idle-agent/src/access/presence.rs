//! Whether a person made a request: navigations and acts count, polls and pings do not.
//!
//! A tab that is left open keeps talking: Vite pings once a second, dashboards poll, analytics post. What comes at a
//! steady rhythm is a machine's doing; people are irregular.

use super::decide::Request;
use crate::os::clock::Moment;
use std::collections::BTreeMap;

/// Segments of a path that only machines ask for: whole ones, or people could not go to `/shopping`.
const MACHINE_PATHS: [&str; 21] = [
    "__ping",
    "_health",
    "_ping",
    "beacon",
    "health",
    "health-check",
    "healthcheck",
    "healthz",
    "heartbeat",
    "keep-alive",
    "keepalive",
    "live",
    "livez",
    "metrics",
    "ping",
    "poll",
    "polling",
    "readyz",
    "socket.io",
    "sockjs-node",
    "telemetry",
];
/// So many evenly spaced requests in a row are a rhythm.
const RHYTHM: usize = 4;
/// How many different requests are remembered.
const REMEMBERED: usize = 64;

/// Requests seen lately, to find rhythms in.
#[derive(Debug, Default)]
pub struct Visits {
    seen: BTreeMap<(u16, String, String), Vec<Moment>>,
}

impl Visits {
    /// Whether a person made this request.
    pub fn is_human(&mut self, request: &Request, port: u16, now: Moment) -> bool {
        if !request.upgrade.is_empty() || request.websocket_protocol == "vite-ping" {
            return false;
        }
        let path = request.path().to_ascii_lowercase();
        let is_act = !matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let is_page = request.method == "GET" && request.is_navigation();
        // A browser says that somebody clicked or typed: then it was somebody, wherever they went.
        let is_asked_for = is_page && request.fetch_user == "?1";
        let is_machines = || path.split('/').any(|segment| MACHINE_PATHS.contains(&segment));
        (is_asked_for || ((is_act || is_page) && !is_machines()))
            && !self.has_rhythm((port, request.method.clone(), path), now)
    }

    fn has_rhythm(&mut self, key: (u16, String, String), now: Moment) -> bool {
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&key) {
            let oldest =
                self.seen.iter().min_by_key(|(_, times)| times.last().copied()).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.seen.remove(&oldest));
        }
        let times = self.seen.entry(key).or_default();
        times.push(now);
        if times.len() > RHYTHM + 1 {
            times.remove(0);
        }
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect();
        let (least, most) =
            (gaps.iter().min().copied().unwrap_or(0), gaps.iter().max().copied().unwrap_or(0));
        // Half a second of jitter beside a tenth of the period; bursts within a second are a page at work, not a rhythm.
        gaps.len() == RHYTHM && least >= 1000 && most - least <= 500 + most / 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, mode: &str) -> Request {
        Request { method: method.into(), uri: uri.into(), fetch_mode: mode.into(), ..Request::default() }
    }

    #[test]
    fn navigations_and_acts_are_human_and_what_pages_fetch_is_not() {
        let mut visits = Visits::default();
        let mut human = |request: &Request| visits.is_human(request, 3000, Moment(5));
        assert!(human(&request("GET", "/", "navigate")));
        assert!(human(&request("POST", "/todo", "cors")));
        assert!(human(&request("DELETE", "/todo/1", "")));
        assert!(!human(&request("GET", "/src/main.js", "cors")));
        assert!(!human(&request("GET", "/api/state", "cors")));
        assert!(!human(&request("POST", "/api/heartbeat", "cors")));
        assert!(!human(&request("GET", "/healthz", "navigate")));
        assert!(!human(&request("GET", "/api/health?probe=1", "navigate")));
        for path in ["/shopping/cart", "/mapping", "/healthcare", "/apollo", "/typing-test", "/polls/3"] {
            assert!(human(&request("GET", path, "navigate")), "{path}");
            assert!(human(&request("POST", path, "cors")), "{path}");
        }
        let clicked = Request { fetch_user: "?1".into(), ..request("GET", "/metrics", "navigate") };
        assert!(human(&clicked), "somebody looks at the metrics");
        let ping = Request {
            upgrade: "websocket".into(),
            websocket_protocol: "vite-ping".into(),
            ..request("GET", "/", "")
        };
        assert!(!human(&ping));
    }

    #[test]
    fn a_rhythm_is_a_machine_and_irregular_acts_are_a_person() {
        let mut visits = Visits::default();
        let post = request("POST", "/rpc", "cors");
        let steady: Vec<bool> =
            (0..20).map(|n| visits.is_human(&post, 1, Moment(n * 5000 + n % 3 * 100))).collect();
        assert!(steady[RHYTHM..].iter().all(|human| !human), "{steady:?}");
        let mut at = 200_000;
        for gap in [3000, 9000, 1500, 40_000, 2000, 7000, 300, 12_000] {
            at += gap;
            assert!(visits.is_human(&post, 1, Moment(at)), "after {gap} ms");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut visits = Visits::default();
        for n in 0..10_000 {
            visits.is_human(&request("POST", &format!("/{n}"), ""), 1, Moment(n));
        }
        assert!(visits.seen.len() <= REMEMBERED);
    }
}
