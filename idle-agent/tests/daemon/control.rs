//! A small control plane on loopback: enrolment, the WebSocket, receipts, a git host, and switches for bad days.
//!
//! It knows what the real one promises, not how it works. Backups go on to the restic server beside it.

use crate::repository::Server;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::vm::{
    AskGitCredential, DeliverReceipt, DesiredMachineState, Enrol, Enrolled, GitCredential, Heartbeat,
    Instruction, NamedSecret, ReceiptAnswer, ReceiptStatus, UserSettings,
};
use ed25519_compact::{PublicKey, Signature};
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tungstenite::Message;

/// How the control plane says that a machine's time is over.
pub const STALE: &[u8] = br#"{"code":"stale_generation","message":"Over.","hint":"Stop.","request_id":"r"}"#;

const NOT_FOUND: &[u8] = br#"{"code":"not_found","message":"None.","hint":"Add one.","request_id":"r"}"#;

/// What happens to the next request of a path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The connection ends without an answer; nothing has happened.
    Cut,
    /// It has happened, and the connection ends without an answer.
    LandedThenCut,
    /// This status; nothing has happened.
    Status(u16),
}

pub struct State {
    pub enrolled: Enrolled,
    pub instruction: Instruction,
    /// Rises when the instruction is to be pushed.
    version: u64,
    pub token: String,
    tokens: u64,
    /// The enrolment token that is good, and the machine key that used it.
    pub enrolment_token: String,
    pub machine_key: Option<String>,
    pub heartbeats: Vec<Heartbeat>,
    pub requests: Vec<String>,
    pub drained: Vec<DeliverReceipt>,
    pub receipts: Vec<DeliverReceipt>,
    /// Answers to receipts, the last one for ever.
    pub answers: VecDeque<ReceiptStatus>,
    faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub fenced: bool,
    /// What git is given, by protocol and host.
    pub git_credentials: BTreeMap<String, GitCredential>,
    /// What repositories called `private…` take.
    pub git_password: String,
    /// What the workspace's user works with, as it is by now.
    pub settings: UserSettings,
}

#[derive(Clone)]
pub struct Control {
    pub port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
    repository: Arc<Server>,
    git_root: PathBuf,
}

impl Control {
    pub fn start(enrolled: Enrolled, git_root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            token: enrolled.vm_token.clone(),
            enrolled,
            instruction: Instruction {
                desired: DesiredMachineState::Run,
                vm_token: None,
                policy: None,
                holds: vec![],
                open: true,
                public_ports: vec![],
                snapshots_wanted: 0,
                lifetime_ends_in_secs: None,
                control_time_secs: None,
                access: None,
                settings_revision: None,
            },
            version: 0,
            tokens: 0,
            enrolment_token: "enrol-me".into(),
            machine_key: None,
            heartbeats: vec![],
            requests: vec![],
            drained: vec![],
            receipts: vec![],
            answers: VecDeque::from([ReceiptStatus::Verified]),
            faults: BTreeMap::new(),
            fenced: false,
            git_credentials: BTreeMap::new(),
            git_password: "a-password-of-the-host".into(),
            settings: UserSettings::default(),
        };
        let repository = Arc::new(Server::start(&state.token));
        let control = Self {
            port: listener.local_addr().unwrap().port(),
            shared: Arc::new((Mutex::new(state), Condvar::new())),
            repository,
            git_root,
        };
        let for_thread = control.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let control = for_thread.clone();
                std::thread::spawn(move || control.serve(stream));
            }
        });
        control
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    pub fn fault(&self, path: &'static str, faults: &[Fault]) {
        self.state().faults.entry(path).or_default().extend(faults);
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Changes the instruction and pushes it.
    pub fn instruct(&self, change: impl FnOnce(&mut Instruction)) {
        let mut state = self.state();
        change(&mut state.instruction);
        state.version += 1;
        drop(state);
        self.shared.1.notify_all();
    }

    /// Makes the token that the machine holds worthless, as time does.
    pub fn expire_token(&self) {
        let mut state = self.state();
        state.tokens += 1;
        state.token = format!("vm-token-{}", state.tokens);
        self.repository.set_token(&state.token);
    }

    pub fn repository(&self) -> &Server {
        &self.repository
    }

    /// Waits until the state is as wanted; panics after a minute and a half.
    #[track_caller]
    pub fn wait_for<T>(&self, what: &str, mut wanted: impl FnMut(&mut State) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut state = self.state();
        loop {
            if let Some(found) = wanted(&mut state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not happen; last heard: {:#?}", state.heartbeats.last());
            state = self.shared.1.wait_timeout(state, left.min(Duration::from_millis(100))).unwrap().0;
        }
    }

    /// Waits for a heartbeat from now on (or the last one) that is as wanted.
    #[track_caller]
    pub fn heard(&self, what: &str, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        self.wait_for(what, |state| state.heartbeats.last().filter(|heartbeat| wanted(heartbeat)).cloned())
    }

    /// All log lines that were heard.
    pub fn log(&self) -> String {
        let state = self.state();
        state.heartbeats.iter().flat_map(|heartbeat| heartbeat.log.clone()).collect::<Vec<_>>().join("\n")
    }

    fn serve(&self, stream: TcpStream) {
        let Some(head) = peek_head(&stream) else { return };
        let mut words = head.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_owned());
        let path = target.split('?').next().unwrap_or("").to_owned();
        if path.starts_with("/v1/vm/backup/") {
            return self.pass_on(stream);
        }
        let fault = {
            let mut state = self.state();
            if !path.starts_with("/git/") {
                state.requests.push(format!("{method} {path}"));
            }
            let fault = state.faults.iter_mut().find(|(prefix, _)| path.starts_with(**prefix));
            fault.and_then(|(_, faults)| faults.pop_front())
        };
        self.shared.1.notify_all();
        match fault {
            Some(Fault::Cut) => {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
            Some(Fault::Status(status)) => return answer(stream, status, b"as the test wants it"),
            Some(Fault::LandedThenCut) | None => {}
        }
        if path == "/v1/vm/connect" {
            return self.talk(stream);
        }
        let Some((head, body)) = read_request(&stream) else { return };
        let (status, text) =
            if path.starts_with("/git/") { self.git(&path, &head) } else { self.call(&path, &head, &body) };
        self.shared.1.notify_all();
        if fault == Some(Fault::LandedThenCut) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        answer(stream, status, &text);
    }

    fn call(&self, path: &str, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let mut state = self.state();
        if state.fenced {
            return (410, STALE.to_vec());
        }
        if matches!(path, "/v1/vm/enroll" | "/v1/vm/token") {
            return enrol(&mut state, body);
        }
        if !head.to_lowercase().contains(&format!("authorization: bearer {}\r\n", state.token)) {
            return (401, b"{}".to_vec());
        }
        match path {
            "/v1/vm/heartbeat" => {
                state.heartbeats.push(serde_json::from_slice(body).unwrap());
                (200, serde_json::to_vec(&state.instruction).unwrap())
            }
            "/v1/vm/receipts" | "/v1/vm/drained" => {
                let deliver: DeliverReceipt = serde_json::from_slice(body).unwrap();
                let list = if path.ends_with("drained") { &mut state.drained } else { &mut state.receipts };
                list.push(deliver);
                let status = if state.answers.len() > 1 {
                    state.answers.pop_front()
                } else {
                    state.answers.front().copied()
                };
                let status = status.unwrap_or(ReceiptStatus::Verified);
                let answer = ReceiptAnswer {
                    status,
                    problem: (status == ReceiptStatus::Refused).then(|| "a pack is missing".into()),
                };
                (200, serde_json::to_vec(&answer).unwrap())
            }
            "/v1/vm/settings" => (200, serde_json::to_vec(&state.settings).unwrap()),
            "/v1/vm/git-credential" => {
                let AskGitCredential { protocol, host } = serde_json::from_slice(body).unwrap();
                match state.git_credentials.get(&format!("{protocol}://{host}")) {
                    Some(found) => (200, serde_json::to_vec(found).unwrap()),
                    None => (404, NOT_FOUND.to_vec()),
                }
            }
            _ => (404, b"{}".to_vec()),
        }
    }

    fn talk(&self, stream: TcpStream) {
        let token = self.state().token.clone();
        let fenced = self.state().fenced;
        #[allow(clippy::result_large_err)]
        let check = |request: &tungstenite::handshake::server::Request, response| {
            let sent =
                request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
            let status = if fenced {
                410
            } else if sent != format!("Bearer {token}") {
                401
            } else {
                return Ok(response);
            };
            Err(tungstenite::http::Response::builder().status(status).body(None).unwrap())
        };
        let Ok(mut socket) = tungstenite::accept_hdr(stream, check) else { return };
        socket.get_ref().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut told = self.state().version;
        loop {
            let heard = match socket.read() {
                Ok(Message::Text(text)) => {
                    self.state().heartbeats.push(serde_json::from_str(&text).unwrap());
                    self.shared.1.notify_all();
                    true
                }
                Ok(Message::Close(_)) => return,
                Ok(_) => false,
                Err(tungstenite::Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    false
                }
                Err(_) => return,
            };
            let (version, text, fenced) = {
                let state = self.state();
                (state.version, serde_json::to_string(&state.instruction).unwrap(), state.fenced)
            };
            if fenced {
                let frame = tungstenite::protocol::CloseFrame { code: 4410.into(), reason: "stale".into() };
                let _ = socket.close(Some(frame));
                return;
            }
            if (heard || version != told) && socket.send(Message::text(text)).is_err() {
                return;
            }
            told = version;
        }
    }

    /// A repository over git's plain HTTP protocol, and one that wants credentials.
    fn git(&self, path: &str, head: &str) -> (u16, Vec<u8>) {
        let path = path.trim_start_matches("/git/");
        let known = STANDARD.encode(format!("x-access-token:{}", self.state().git_password));
        let signs_in = head.lines().any(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                name.eq_ignore_ascii_case("authorization") && value == format!("Basic {known}")
            })
        });
        if path.starts_with("private") && !signs_in {
            return (401, b"who are you?".to_vec());
        }
        match std::fs::read(self.git_root.join(path)) {
            Ok(content) if !path.contains("..") => (200, content),
            _ => (404, b"nothing here".to_vec()),
        }
    }

    fn pass_on(&self, mut stream: TcpStream) {
        let url = self.repository.url();
        let address = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let Ok(mut onward) = TcpStream::connect(address) else { return };
        let (mut back, mut from) = (stream.try_clone().unwrap(), onward.try_clone().unwrap());
        let answers = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut stream, &mut onward);
        let _ = onward.shutdown(Shutdown::Both);
        let _ = answers.join();
    }
}

fn enrol(state: &mut State, body: &[u8]) -> (u16, Vec<u8>) {
    let enrol: Enrol = serde_json::from_slice(body).unwrap();
    let message =
        format!("ebbtide-enrol-v1\n{}\n{}\n{}", enrol.workspace, enrol.generation, enrol.enrolment_token);
    let key = PublicKey::from_slice(&STANDARD.decode(&enrol.machine_key).unwrap()).unwrap();
    let signature = Signature::from_slice(&STANDARD.decode(&enrol.signature).unwrap()).unwrap();
    let known = state.machine_key.as_ref() == Some(&enrol.machine_key);
    let first = state.machine_key.is_none() && enrol.enrolment_token == state.enrolment_token;
    if key.verify(message, &signature).is_err() || !(known || first) {
        let refusal =
            r#"{"code":"enrolment_refused","message":"Another key.","hint":"Wake it.","request_id":"r"}"#;
        return (403, refusal.into());
    }
    state.machine_key = Some(enrol.machine_key);
    state.enrolled.vm_token = state.token.clone();
    (200, serde_json::to_vec(&state.enrolled).unwrap())
}

pub fn secret(name: &str, value: &str) -> NamedSecret {
    NamedSecret { name: name.into(), value: value.into() }
}

fn peek_head(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut buffer = [0; 8192];
    for _ in 0..2000 {
        let read = stream.peek(&mut buffer).ok().filter(|read| *read > 0)?;
        let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
        if text.contains("\r\n\r\n") {
            return Some(text);
        }
        std::thread::yield_now();
    }
    None
}

fn read_request(mut stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let mut body = bytes.split_off(end + 4);
            while body.len() < length.unwrap_or(0) {
                let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
                body.extend_from_slice(&buffer[..read]);
            }
            return Some((head, body));
        }
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn answer(mut stream: TcpStream, status: u16, body: &[u8]) {
    let challenge = if status == 401 { "www-authenticate: Basic realm=\"x\"\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{challenge}connection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    let _ = stream.shutdown(Shutdown::Write);
    // Whatever the client still sends is read, so that the answer is not lost to a reset.
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}
