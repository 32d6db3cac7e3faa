//! Who may come in: Caddy asks here about every request before it passes it on to a port.
//!
//! Caddy's own configuration never changes while ports come and go, because a reload of Caddy 2.6 closes every open
//! WebSocket (a hot-reload page would reload itself whenever any port opens). The answer to the question carries the
//! upstream instead. The parts: `decide` (pure), `token` (what a credential is worth), `presence` (whether a person
//! made the request), `page` (what is shown when not let in).

pub mod caddy;
mod decide;
mod page;
mod presence;
mod token;

pub use decide::{Door, Outcome, Request, decide, url_of};
pub use presence::Visits;

use crate::os::clock::Moment;
use crate::os::mutex::{lock, spawn};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tiny_http::{Header, Response, Server, StatusCode};

/// Threads that answer. Each answer takes well under a millisecond; a second thread hides the odd slow one.
const THREADS: usize = 2;

/// The door and what passed through it, shared with the rest of the agent.
#[derive(Debug, Default)]
pub struct Access {
    /// What decides.
    pub door: Mutex<Door>,
    visits: Mutex<Visits>,
    people: AtomicU64,
}

impl Access {
    /// Requests that a person made, so far.
    pub fn people(&self) -> u64 {
        self.people.load(Ordering::Relaxed)
    }

    /// Answers Caddy's questions on a Unix socket from now on.
    ///
    /// # Errors
    /// What the system says about the socket.
    pub fn serve(self: &Arc<Self>, socket: &Path) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let _ = std::fs::remove_file(socket);
        let server = Arc::new(Server::http_unix(socket).map_err(std::io::Error::other)?);
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
        caddy::hand_over(socket)?;
        for _ in 0..THREADS {
            let (server, access) = (Arc::clone(&server), Arc::clone(self));
            spawn("access", move || {
                loop {
                    match server.recv() {
                        Ok(question) => {
                            let answer = access.answer(&question);
                            // Caddy is gone or the visitor is: nobody is left to tell.
                            let _ = question.respond(answer);
                        }
                        Err(error) => tracing::warn!(%error, "a question of Caddy was lost"),
                    }
                }
            })?;
        }
        Ok(())
    }

    fn answer(&self, question: &tiny_http::Request) -> Response<std::io::Cursor<Vec<u8>>> {
        let request = Request::from_headers(|name| {
            let found = question
                .headers()
                .iter()
                .find(|header| header.field.as_str().as_str().eq_ignore_ascii_case(name));
            found.map(|header| header.value.as_str())
        });
        let outcome = decide(&lock(&self.door), &request, Moment::now());
        if let Outcome::Pass { port, .. } | Outcome::Enter { port, .. } = &outcome
            && lock(&self.visits).is_human(&request, *port, Moment::now())
        {
            self.people.fetch_add(1, Ordering::Relaxed);
        }
        respond(&outcome)
    }
}

fn respond(outcome: &Outcome) -> Response<std::io::Cursor<Vec<u8>>> {
    let (status, body, headers) = match outcome {
        Outcome::Pass { port, upstream, strip, origin } => {
            let mut headers = vec![
                ("X-Ebb-Upstream", upstream.to_string()),
                ("X-Ebb-App-Host", format!("localhost:{port}")),
            ];
            headers.extend(strip.as_ref().map(|strip| ("X-Ebb-Strip", strip.clone())));
            // Never empty: Caddy would otherwise replace the empty text between any two characters.
            headers
                .push(("X-Ebb-Origin", origin.clone().unwrap_or_else(|| "no-origin-to-replace".to_owned())));
            (200, String::new(), headers)
        }
        Outcome::Enter { location, cookie, .. } => {
            (303, String::new(), vec![("Location", location.clone()), ("Set-Cookie", cookie.clone())])
        }
        Outcome::Refuse(refusal) => (
            refusal.status(),
            page::refusal(refusal),
            vec![("Content-Type", "text/html; charset=utf-8".into())],
        ),
    };
    let mut response = Response::from_data(body.into_bytes()).with_status_code(StatusCode(status));
    let fixed = [("Cache-Control", "no-store".to_owned()), ("Referrer-Policy", "no-referrer".to_owned())];
    let fixed = fixed.into_iter().filter(|_| status != 200);
    for (name, value) in headers.into_iter().chain(fixed) {
        if let Ok(header) = Header::from_bytes(name.as_bytes(), value.as_bytes()) {
            response.add_header(header);
        }
    }
    response
}
