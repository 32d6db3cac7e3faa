//! Who may come in: Caddy asks here about every request before it passes it on to a port.
//!
//! Caddy's own configuration never changes while ports come and go, because a reload of Caddy 2.6 closes every open
//! WebSocket (a hot-reload page would reload itself whenever any port opens). The answer to the question carries the
//! upstream instead. The parts: `decide` (pure), `token` (what a credential is worth), `presence` (whether a person
//! made the request), `page` (what is shown when not let in), `question` (how Caddy asks).
//!
//! Anybody on the internet makes Caddy ask. So nothing here grows with how many do: Caddy comes with a fixed number of
//! connections, each has a thread of its own, and an answer costs a bounded number of signature checks.

pub mod caddy;
mod decide;
mod page;
mod presence;
mod question;
mod token;

pub use decide::{Door, Outcome, Request, Scheme, Upstream, decide, url_of};
pub use presence::Visits;

use crate::os::clock::Moment;
use crate::os::listener;
use crate::os::mutex::{lock, read};
use ebbtide_api::vm::TERMINAL_PORT;
use question::{Answer, Question};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// Threads that answer: one for each connection that Caddy may have, and two for what is left of a Caddy before it.
const THREADS: usize = caddy::QUESTIONERS + 2;

/// Stands for an origin where none is to be replaced. Never empty: Caddy would replace the empty text between any two
/// characters.
const NO_ORIGIN: &str = "no-origin-to-replace";

/// The door and what passed through it, shared with the rest of the agent.
#[derive(Debug, Default)]
pub struct Access {
    /// What decides.
    pub door: RwLock<Door>,
    visits: Mutex<Visits>,
    people: AtomicU64,
    /// Where Caddy's process id is, once it is served.
    run: OnceLock<PathBuf>,
    /// The terminal's socket, once it is served.
    terminal: OnceLock<PathBuf>,
}

impl Access {
    /// Requests that a person made, so far.
    pub fn people(&self) -> u64 {
        self.people.load(Ordering::Relaxed)
    }

    /// Where the terminal answers, from now on.
    pub fn set_terminal(&self, socket: PathBuf) {
        let _ = self.terminal.set(socket);
    }

    /// Answers Caddy's questions on a Unix socket from now on.
    ///
    /// # Errors
    /// What the system says about the socket.
    pub fn serve(self: &Arc<Self>, socket: &Path) -> std::io::Result<()> {
        let listener = listener::bind(socket)?;
        // Its own directory is Caddy's too.
        let _ = self.run.set(socket.parent().unwrap_or(Path::new("/")).to_path_buf());
        caddy::hand_over(socket)?;
        let access = Arc::clone(self);
        listener::serve(listener, "access", THREADS, move |caller| {
            question::converse(caller, |question| access.answer(question))
        })
    }

    /// The directory where Caddy's process id is, once it is served.
    pub fn run(&self) -> Option<&Path> {
        self.run.get().map(PathBuf::as_path)
    }

    fn answer(&self, question: &Question) -> Answer {
        let request = Request::from_headers(|name| question.header(name));
        let (outcome, ports_url) = {
            let door = read(&self.door);
            // With the number of the port as Caddy's expression finds it in an answer.
            (decide(&door, &request, Moment::now()), door.port_url_template.replace("{port}", "${1}"))
        };
        let port = match &outcome {
            Outcome::Pass { port, .. } | Outcome::Enter { port, .. } => Some(*port),
            Outcome::Terminal => Some(TERMINAL_PORT),
            Outcome::Refuse(_) => None,
        };
        if port.is_some_and(|port| lock(&self.visits).is_human(&request, port, Moment::now())) {
            self.people.fetch_add(1, Ordering::Relaxed);
        }
        respond(outcome, ports_url, self.terminal.get())
    }
}

fn respond(outcome: Outcome, ports_url: String, terminal: Option<&PathBuf>) -> Answer {
    let unkept = [("Cache-Control", "no-store".to_owned()), ("Referrer-Policy", "no-referrer".to_owned())];
    match outcome {
        Outcome::Pass { port, upstream, strip, origin } => {
            let mut headers = vec![
                ("X-Ebb-Upstream", upstream.address.to_string()),
                ("X-Ebb-Scheme", upstream.scheme.words().to_owned()),
                ("X-Ebb-App-Host", format!("localhost:{port}")),
                ("X-Ebb-Ports-Url", ports_url),
                ("X-Ebb-Origin", origin.unwrap_or_else(|| NO_ORIGIN.to_owned())),
            ];
            headers.extend(strip.map(|strip| ("X-Ebb-Strip", strip)));
            Answer { status: 200, headers, body: String::new() }
        }
        Outcome::Terminal => {
            let Some(socket) = terminal else { return Answer { status: 503, ..Answer::default() } };
            let headers = vec![
                ("X-Ebb-Upstream", format!("unix/{}", socket.display())),
                ("X-Ebb-Scheme", Scheme::Http.words().to_owned()),
                ("X-Ebb-App-Host", "localhost".to_owned()),
                ("X-Ebb-Ports-Url", ports_url),
                ("X-Ebb-Origin", NO_ORIGIN.to_owned()),
            ];
            Answer { status: 200, headers, body: String::new() }
        }
        Outcome::Enter { location, cookie, .. } => {
            let mut headers = vec![("Location", location), ("Set-Cookie", cookie)];
            headers.extend(unkept);
            Answer { status: 303, headers, body: String::new() }
        }
        Outcome::Refuse(refusal) => {
            let mut headers = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
            headers.extend(unkept);
            Answer { status: refusal.status(), headers, body: page::refusal(&refusal) }
        }
    }
}
