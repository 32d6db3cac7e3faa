//! A machine with the real Caddy in front, somebody who asks through it, and a program that answers.

use crate::control::Control;
use crate::machine::{Machine, WORKSPACE, machine_bin};
use crate::skip::skip;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::vm::StepAction;
use jwt_simple::prelude::{Claims, Duration as Span, Ed25519KeyPair, EdDSAKeyPairLike as _};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Held by the tests that load this machine, and by those that measure on it.
pub static ALONE: Mutex<()> = Mutex::new(());

/// A machine with Caddy in front, and the key that signs access tokens.
pub struct House {
    pub machine: Machine,
    pub key: Ed25519KeyPair,
}

/// `None` where the real Caddy is not to be had.
pub fn house() -> Option<House> {
    if !machine_bin().join("caddy").exists() {
        skip(&format!("there is no caddy in {}", machine_bin().display()));
        return None;
    }
    let key = Ed25519KeyPair::generate().with_key_id("k1");
    let mut machine = Machine::new(|_| vec![StepAction::StartCaddy]);
    let public = STANDARD.encode(key.public_key().to_bytes());
    machine.control.state().enrolled.ingress.access_keys.insert("k1".into(), public);
    machine.boot();
    Some(House { machine, key })
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Scope {
    workspace: String,
    port: Option<u16>,
    level: String,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl House {
    pub fn token(&self, port: u16) -> String {
        let scope = Scope { workspace: WORKSPACE.into(), port: Some(port), level: "owner".into() };
        self.key
            .sign(Claims::with_custom_claims(scope, Span::from_secs(600)).with_audience("access"))
            .unwrap()
    }

    pub fn host(&self, port: u16) -> String {
        format!("{port}.demo-{WORKSPACE}.ebb.localhost:{}", self.machine.listen_port)
    }

    pub fn ask(&self, port: u16, request_line: &str, headers: &str) -> Answer {
        self.ask_within(port, request_line, headers, Duration::from_secs(10))
    }

    fn ask_within(&self, port: u16, request_line: &str, headers: &str, patience: Duration) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.machine.listen_port)).unwrap();
        stream.set_read_timeout(Some(patience)).unwrap();
        let host = self.host(port);
        write!(stream, "{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A person asks, and waits.
    pub fn ask_patiently(&self, port: u16, patience: Duration) -> Answer {
        let signed = format!("X-Ebbtide-Access: {}\r\n", self.token(port));
        self.ask_within(port, "GET /", &signed, patience)
    }

    pub fn ask_signed(&self, port: u16) -> u16 {
        self.ask(port, "GET /", &format!("X-Ebbtide-Access: {}\r\n", self.token(port))).status
    }
}

/// A server that answers every request with what it was sent; a WebSocket is echoed; `/events` streams.
pub struct App {
    pub port: u16,
    stop: Arc<AtomicBool>,
}

impl App {
    pub fn start(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { port, stop }
    }

    pub fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ =
            TcpStream::connect(("127.0.0.1", self.port)).or_else(|_| TcpStream::connect(("::1", self.port)));
    }
}

fn serve(mut stream: TcpStream) {
    let mut peeked = [0; 4096];
    let read = stream.peek(&mut peeked).unwrap_or(0);
    if String::from_utf8_lossy(&peeked[..read]).to_lowercase().contains("upgrade: websocket") {
        let Ok(mut socket) = tungstenite::accept_hdr(stream, with_a_cookie) else { return };
        while let Ok(message) = socket.read() {
            if message.is_text() && socket.send(message).is_err() {
                return;
            }
        }
        return;
    }
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
    if head.starts_with("GET /events") {
        let start = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: first\n\n";
        let _ = stream.write_all(start.as_bytes());
        // Held open until the client goes: the first event must not wait for the end.
        let _ = reader.read(&mut [0; 1]);
        return;
    }
    let more = match head.split(' ').nth(1) {
        Some("/cookies") => COOKIES.to_owned(),
        Some(path) => path.split_once("?go=").map_or(String::new(), |(_, to)| format!("Location: {to}\r\n")),
        None => String::new(),
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nSet-Cookie: a=1; Domain=ebb.localhost; Path=/\r\n{more}Connection: close\r\n\r\n{head}",
        head.len()
    );
    let _ = stream.write_all(answer.as_bytes());
}

/// Ways to say `Domain` that browsers understand.
const COOKIES: &str = "Set-Cookie: b=2; Domain =ebb.localhost; Path=/b\r\n\
    Set-Cookie: c=3;\tdOmAiN\t=\t.ebb.localhost;Domain=ebb.localhost\r\n\
    set-cookie: d=4;;Domain=;Domain;; Domain = ebb.localhost ;HttpOnly\r\n\
    Set-Cookie: Domain=5;\r\n\
    Set-Cookie: f=6;\rDomain\r=ebb.localhost\r\n";

#[expect(clippy::result_large_err, reason = "the library's own")]
fn with_a_cookie(
    request: &tungstenite::handshake::server::Request,
    mut response: tungstenite::handshake::server::Response,
) -> Result<tungstenite::handshake::server::Response, tungstenite::handshake::server::ErrorResponse> {
    let cookie = if request.uri().path() == "/hmr" { "w=1; Path=/" } else { "w=1; dOmain =ebb.localhost" };
    response.headers_mut().append("set-cookie", cookie.parse().unwrap());
    Ok(response)
}

pub fn heard_port(control: &Control, port: u16) {
    control.heard("the port", |heartbeat| heartbeat.ports.iter().any(|one| one.port == port && one.http));
}
