//! Somebody without a credential asks, thousands of times at once: a person is still let in, and the daemon keeps the
//! files that it needs.

use crate::house::{ALONE, App, House, heard_port, house};
use crate::machine::WORKSPACE;
use jwt_simple::prelude::{Claims, Duration as Span, Ed25519KeyPair, EdDSAKeyPairLike as _};
use rustix::process::{Pid, Resource, Rlimit};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Connections at once; `EBB_FLOOD` says another number, to measure with.
const CONNECTIONS: usize = 1_500;
/// Threads that keep them busy.
const FLOODERS: usize = 16;
/// How often a person asks meanwhile.
const VISITS: usize = 6;
/// Files that the daemon may have open: fewer than there are connections.
const FILES: u64 = 256;
/// For a machine at a tenth of this one's speed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Connections that ask without end.
struct Flood {
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    flooders: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    /// Opens all connections and sends the first request on each, before it returns.
    fn start(house: &House, port: u16, connections: usize) -> Self {
        let text = request(house, port);
        let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let listen_port = house.machine.listen_port;
        let flooders = (0..FLOODERS)
            .map(|_| {
                let mut streams: Vec<_> =
                    (0..connections / FLOODERS).filter_map(|_| open(listen_port, &text)).collect();
                let (text, stop, refused) = (text.clone(), Arc::clone(&stop), Arc::clone(&refused));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        for stream in &mut streams {
                            let is_refused = read_answer(stream) == Some(401);
                            refused.fetch_add(usize::from(is_refused), Ordering::SeqCst);
                            if stop.load(Ordering::SeqCst) || stream.write_all(text.as_bytes()).is_err() {
                                break;
                            }
                        }
                    }
                })
            })
            .collect();
        Self { stop, refused, flooders }
    }

    /// How many requests were refused.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for flooder in self.flooders {
            flooder.join().unwrap();
        }
        self.refused.load(Ordering::SeqCst)
    }
}

fn open(listen_port: u16, text: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", listen_port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    Some(stream)
}

/// A request that is as dear to refuse as one can be: its tokens say all the right things and are signed by somebody else.
fn request(house: &House, port: u16) -> String {
    let forger = Ed25519KeyPair::generate().with_key_id("k1");
    let scope = serde_json::json!({ "workspace": WORKSPACE, "port": port, "level": "owner" });
    let forged =
        forger.sign(Claims::with_custom_claims(scope, Span::from_secs(600)).with_audience("access")).unwrap();
    let cookies = vec![format!("ebb_access={forged}"); 8].join("; ");
    format!("GET / HTTP/1.1\r\nHost: {}\r\nCookie: {cookies}\r\n\r\n", house.host(port))
}

/// Reads one answer; its status, if it is whole.
fn read_answer(stream: &mut TcpStream) -> Option<u16> {
    let (mut read, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
        if body.len() >= length.parse().ok()? {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}

fn open_files(pid: u32) -> u64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// As many files as this machine allows: each connection is one.
fn allow_files() {
    let most = rustix::process::getrlimit(Resource::Nofile).maximum;
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}

#[test]
fn a_person_is_let_in_while_thousands_are_refused_and_the_daemon_keeps_its_files() {
    let Some(house) = house() else { return };
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    allow_files();
    let connections = std::env::var("EBB_FLOOD").ok().map_or(CONNECTIONS, |number| number.parse().unwrap());
    let app = App::start("127.0.0.1:0");
    heard_port(&house.machine.control, app.port);
    let agent = house.machine.pid();
    let pid = Pid::from_raw(agent.try_into().unwrap());
    let few = Rlimit { current: Some(FILES), ..rustix::process::getrlimit(Resource::Nofile) };
    rustix::process::prlimit(pid, Resource::Nofile, few).unwrap();

    let flood = Flood::start(&house, app.port, connections);
    let (mut slowest, mut files) = (Duration::ZERO, 0);
    let begun = Instant::now();
    for _ in 0..VISITS {
        let asked = Instant::now();
        assert_eq!(house.ask_patiently(app.port, PATIENCE).status, 200, "a person is let in");
        slowest = slowest.max(asked.elapsed());
        files = files.max(open_files(agent));
    }
    let took = begun.elapsed();
    let refused = flood.end();
    eprintln!(
        "{connections} connections, {refused} requests with 8 bad tokens each in {took:?}; a person waited {slowest:?} at \
         most; the daemon had {files} files open"
    );
    assert!(refused > 0, "nothing was refused");
    assert!(files < FILES / 2, "{files} files were open");
    assert_eq!(house.ask_signed(app.port), 200, "nor afterwards");
    app.end();
}
