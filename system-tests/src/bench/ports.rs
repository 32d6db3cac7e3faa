//! From `listen()` to the first 200 through the port's URL, port after port.
//!
//! A small server inside says when each port began to listen; a visitor outside, let in beforehand, asks every 5 ms.

use super::Bench;
use super::clock::{now_ms, pause};
use super::report::{Section, percentile, verdict};
use crate::browser::Visitor;
use crate::machine::Machine;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ports that are opened.
pub const PORTS: u16 = 50;
/// The first of them.
const FIRST: u16 = 21_000;
/// Between two requests of the visitor.
const EVERY: Duration = Duration::from_millis(5);
/// How long a port may take before the run fails.
const LIMIT_MS: f64 = 20_000.0;
/// What nineteen of twenty ports may take, in milliseconds.
const P95_MOST: f64 = 1000.0;

/// Opens one port after the other, each at a random moment after the visitor has seen the last one.
const SERVER: &str = r#"
import http.server, random, socketserver, sys, threading, time
seen = threading.Event()
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
        if self.path.startswith("/bench"): seen.set()
    do_HEAD = do_GET
    def log_message(self, *arguments): pass
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True; daemon_threads = True
first, count, out = int(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "w")
for port in range(first, first + count):
    time.sleep(random.uniform(0.1, 0.7)); seen.clear()
    server = Server(("127.0.0.1", port), Page, bind_and_activate=False)
    server.server_bind(); server.server_activate(); listening = time.time()
    print(port, "%.3f" % (listening * 1000), file=out, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen.wait(30)
time.sleep(1)
"#;

/// Measures all ports; milliseconds each.
///
/// # Errors
/// Where a port never answers.
pub fn run(bench: &Bench, id: &str, inside: &Machine) -> Result<Vec<f64>> {
    (bench.say)(&format!("{PORTS} ports"));
    let visitors: Vec<Visitor> = (FIRST..FIRST + PORTS)
        .map(|port| {
            let link = Visitor::link(&bench.stack, id, port)?;
            // Nothing listens yet: the page is none, but the cookie is given.
            Visitor::open(&bench.stack, &link).map(|(visitor, _)| visitor)
        })
        .collect::<Result<_>>()?;
    inside.shell("ebb", &format!("cat > /tmp/ports.py <<'END'\n{SERVER}\nEND\ntrue"))?;
    let start = format!("python3 /tmp/ports.py {FIRST} {PORTS} /tmp/ports.txt >/tmp/ports.log 2>&1 &");
    inside.shell("ebb", &start)?;
    let mut answered = BTreeMap::new();
    for (port, visitor) in (FIRST..).zip(&visitors) {
        let begun = now_ms();
        loop {
            if visitor.get(&bench.stack, "/bench").is_ok_and(|answer| answer.status == 200) {
                answered.insert(port, now_ms());
                break;
            }
            if now_ms() - begun > LIMIT_MS {
                bail!("port {port} never answered");
            }
            pause(EVERY);
        }
    }
    let text = std::fs::read_to_string(inside.path("/tmp/ports.txt")).context("when ports listened")?;
    let listened = text.lines().filter_map(|line| {
        let (port, at) = line.split_once(' ')?;
        Some((port.parse::<u16>().ok()?, at.parse::<f64>().ok()?))
    });
    Ok(listened.filter_map(|(port, at)| Some(answered.get(&port)? - at)).collect())
}

/// The table.
pub fn section(samples: &[f64]) -> Section {
    let mut section = Section::new(
        "From `listen()` to the first 200 through the port's URL",
        &format!(
            "{} ports, one after the other, each opened at a random moment; asked every {} ms through the edge with an access token.",
            samples.len(),
            EVERY.as_millis()
        ),
        &["p50", "p95", "max", "target for p95"],
    );
    let p95 = percentile(samples, 95);
    section.row([
        format!("{:.0} ms", percentile(samples, 50)),
        format!("{p95:.0} ms"),
        format!("{:.0} ms", percentile(samples, 100)),
        verdict(p95.round(), P95_MOST, "ms"),
    ]);
    section
}
