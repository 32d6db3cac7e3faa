//! A small restic REST server, version 2, with the control plane's rules and switches for bad days.
//!
//! Writes are create-only and need a length; who comes with a Bearer token deletes nothing. Who comes with Basic (stock
//! restic) may delete, for its locks. One thread a connection, one request a connection. In memory, but for large objects
//! where a test wants those on disk.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What happens to a request that a fault applies to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// The connection ends without an answer; nothing was stored.
    Cut,
    /// Half of the answer's body, then the connection ends.
    CutBody,
    /// This status; nothing was stored.
    Status(u16),
    /// Status 429 and a pause to keep, in seconds; nothing was stored.
    Busy(u64),
    /// Stored, but the answer is 500.
    LandedThen500,
    /// Stored, but the connection ends without an answer.
    LandedThenCut,
    /// One bit of the answer's body is wrong; listings are spared.
    Flip,
    /// No answer until the client is gone.
    Hang,
    /// The token ends with this request: from now on another one is good.
    Expire,
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub method: &'static str,
    /// The path begins with this.
    pub path: &'static str,
    pub action: Action,
    pub times: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub status: u16,
}

/// What an object holds, or where that is.
enum Content {
    Held(Vec<u8>),
    OnDisk(PathBuf, usize),
}

impl Content {
    fn len(&self) -> usize {
        match self {
            Self::Held(content) => content.len(),
            Self::OnDisk(_, length) => *length,
        }
    }

    fn read(&self) -> Vec<u8> {
        match self {
            Self::Held(content) => content.clone(),
            Self::OnDisk(path, _) => std::fs::read(path).unwrap_or_default(),
        }
    }
}

/// Objects at least this large are kept on disk, where a directory for them was named.
const LARGE: usize = 4 << 20;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Content>,
    disk: Option<PathBuf>,
    forgets: bool,
    token: String,
    faults: Vec<Fault>,
    seen: Vec<Seen>,
    tidies: bool,
}

pub struct Server {
    port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Server {
    pub fn start(token: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared =
            Arc::new((Mutex::new(State { token: token.to_owned(), ..State::default() }), Condvar::new()));
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { port, shared }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1/vm/backup/", self.port)
    }

    /// The address as stock restic takes it.
    pub fn restic_url(&self) -> String {
        format!("rest:http://owner:token@127.0.0.1:{}/v1/vm/backup/", self.port)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    pub fn fault(&self, method: &'static str, path: &'static str, action: Action, times: usize) {
        self.state().faults.push(Fault { method, path, action, times });
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Lets whoever comes with a Bearer token delete, as a machine that tidies may.
    pub fn let_tidy(&self) {
        self.state().tidies = true;
    }

    /// The token that is good now.
    pub fn token(&self) -> String {
        self.state().token.clone()
    }

    pub fn set_token(&self, token: &str) {
        self.state().token = token.to_owned();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    pub fn forget_seen(&self) {
        self.state().seen.clear();
    }

    pub fn names(&self, kind: &str) -> Vec<String> {
        let prefix = format!("{kind}/");
        self.state().objects.keys().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
    }

    pub fn object(&self, name: &str) -> Vec<u8> {
        self.state().objects[name].read()
    }

    pub fn put(&self, name: &str, content: Vec<u8>) {
        self.state().objects.insert(name.to_owned(), Content::Held(content));
    }

    /// Keeps large objects there from now on.
    pub fn keep_large_in(&self, directory: PathBuf) {
        std::fs::create_dir(&directory).unwrap();
        self.state().disk = Some(directory);
    }

    /// Gives each large object away once: for a restore that has no room beside the whole store.
    pub fn forget_large_once_read(&self) {
        self.state().forgets = true;
    }

    /// Waits until a request was answered that `wanted` accepts; panics after a minute.
    pub fn wait_for(&self, wanted: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut state = self.state();
        while !state.seen.iter().any(&wanted) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the request did not come; seen: {:?}", state.seen);
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

fn serve(mut stream: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let Some(request) = parse(&stream) else { return };
    let fault = take_fault(&mut shared.0.lock().unwrap(), &request);
    let (status, mut body) = match fault {
        Some(Action::Cut | Action::Hang) => (0, Vec::new()),
        Some(Action::Status(410)) => {
            let said = r#"{"code":"stale_generation","message":"Over.","hint":"Stop.","request_id":"r"}"#;
            (410, said.into())
        }
        Some(Action::Status(status)) => (status, b"as the test wants it".to_vec()),
        Some(Action::Busy(_)) => (429, b"later".to_vec()),
        Some(Action::LandedThen500) => {
            answer(&mut shared.0.lock().unwrap(), &request);
            (500, b"landed".to_vec())
        }
        Some(Action::LandedThenCut) => {
            answer(&mut shared.0.lock().unwrap(), &request);
            (0, Vec::new())
        }
        Some(Action::Expire) => {
            let mut state = shared.0.lock().unwrap();
            state.token.push('+');
            answer(&mut state, &request)
        }
        None | Some(Action::CutBody | Action::Flip) => answer(&mut shared.0.lock().unwrap(), &request),
    };
    shared.0.lock().unwrap().seen.push(Seen {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        status,
    });
    shared.1.notify_all();
    if fault == Some(Action::Hang) {
        let _ = stream.read(&mut [0; 1]);
        return;
    }
    if status == 0 {
        let _ = stream.shutdown(Shutdown::Both);
        return;
    }
    if fault == Some(Action::Flip)
        && let Some(byte) = body.first_mut()
    {
        *byte ^= 1;
    }
    let kind = if request.path.ends_with('/') {
        "application/vnd.x.restic.rest.v2"
    } else {
        "application/octet-stream"
    };
    let pause = if let Some(Action::Busy(secs)) = fault { secs } else { 0 };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\ncontent-type: {kind}\r\nconnection: close\r\nretry-after: {pause}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    if request.method != "HEAD" {
        let end = if fault == Some(Action::CutBody) { body.len() / 2 } else { body.len() };
        let _ = stream.write_all(&body[..end]);
    }
    let _ = stream.flush();
    let _ = stream.shutdown(Shutdown::Both);
}

fn take_fault(state: &mut State, request: &Request) -> Option<Action> {
    let fault = state
        .faults
        .iter_mut()
        .find(|fault| {
            fault.times > 0 && fault.method == request.method && request.path.starts_with(fault.path)
        })
        .filter(|fault| fault.action != Action::Flip || !request.path.ends_with('/'))?;
    fault.times -= 1;
    Some(fault.action)
}

fn parse(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    let target = words.next()?.strip_prefix("/v1/vm/backup/")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, query, headers, body })
}

fn answer(state: &mut State, request: &Request) -> (u16, Vec<u8>) {
    let authorization = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
    let owner = authorization.starts_with("Basic ");
    if !owner && authorization != format!("Bearer {}", state.token) {
        return (401, b"who is there?".to_vec());
    }
    let name = request.path.as_str();
    match request.method.as_str() {
        "POST" if !request.headers.contains_key("content-length") => (411, Vec::new()),
        "POST" if request.query.contains("create=true") => (200, Vec::new()),
        "POST" if state.objects.contains_key(name) => (403, b"it exists".to_vec()),
        "POST" if name.starts_with("keys/") && !owner && state.objects.contains_key("config") => {
            (403, b"closed".to_vec())
        }
        "POST" => {
            let content = match &state.disk {
                Some(disk) if request.body.len() >= LARGE => {
                    let path = disk.join(name.replace('/', "-"));
                    std::fs::write(&path, &request.body).unwrap();
                    Content::OnDisk(path, request.body.len())
                }
                _ => Content::Held(request.body.clone()),
            };
            state.objects.insert(name.to_owned(), content);
            (200, Vec::new())
        }
        "DELETE" if owner || state.tidies => {
            (if state.objects.remove(name).is_some() { 200 } else { 404 }, Vec::new())
        }
        "DELETE" => (403, b"machines delete nothing".to_vec()),
        "GET" if name.ends_with('/') => {
            let listed: Vec<_> = state
                .objects
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(name)?, value.len())))
                .map(|(name, size)| serde_json::json!({ "name": name, "size": size }))
                .collect();
            (200, serde_json::to_vec(&listed).unwrap())
        }
        "GET" | "HEAD" => match state.objects.get(name) {
            None => (404, Vec::new()),
            Some(content) => {
                let (answer, end) = range(request, &content.read());
                // Pieces are asked for in their order, and the list of pieces at the end not at all.
                if let (true, Content::OnDisk(path, length)) = (state.forgets, content)
                    && end + 4096 > *length
                {
                    let _ = std::fs::remove_file(path);
                }
                answer
            }
        },
        _ => (405, Vec::new()),
    }
}

/// The answer, and where in the object it ends.
fn range(request: &Request, content: &[u8]) -> ((u16, Vec<u8>), usize) {
    let asked = request.headers.get("range").and_then(|value| value.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = asked else { return ((200, content.to_vec()), content.len()) };
    let first: usize = first.parse().unwrap();
    let last: usize = last.parse().unwrap_or(content.len());
    if first >= content.len() {
        return ((416, Vec::new()), 0);
    }
    let end = content.len().min(last + 1);
    ((206, content[first..end].to_vec()), end)
}
