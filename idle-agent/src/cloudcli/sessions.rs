//! CloudCLI's own list of the sessions that run in it, asked for with a token that we mint. What it means for the idle
//! verdict is judged in `idle::judge::cloudcli_sessions`.
//!
//! The boot step that starts CloudCLI hands it the secret as `JWT_SECRET`. A CloudCLI with another secret is somebody
//! else's: it says nothing to us and is not asked for more. Nobody but root and the workspace's user is given a token.

use super::account::{mark, secret, token};
use crate::ports::diag::Diag;
use ebbtide_api::vm::CLOUDCLI_PORT;
use jwt_simple::prelude::HS256Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long it may take to answer: the watch waits.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// After how many looks one that is not ours is asked again: it may be somebody's own server, with a log of its own.
const PAUSE_LOOKS: u32 = 60;
/// Longest answer that is read, and most sessions of it.
const ANSWER_BYTES: u64 = 256 << 10;
const SESSIONS: usize = 200;

/// What one look shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionList {
    /// There is none, or none of ours.
    #[default]
    Absent,
    /// These sessions run: a number for each, and how many events it has had.
    Running(BTreeMap<u64, u64>),
    /// It is there, was ours, and does not answer.
    Unreadable,
}

/// Asks the CloudCLI of this machine.
#[derive(Debug)]
pub struct SessionsClient {
    key: Option<HS256Key>,
    agent: ureq::Agent,
    address: String,
    port: u16,
    is_ours: bool,
    /// Looks for which it is left alone.
    pause: u32,
    /// Where `account::announce` leaves its mark, and the last one seen.
    mark: PathBuf,
    announced: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    sessions: Vec<Session>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    session_id: String,
    #[serde(default)]
    last_seq: u64,
}

impl SessionsClient {
    /// With the machine's secret, which is made where there is none yet.
    pub fn new(state: &Path) -> Self {
        let key = secret(state).map(|secret| HS256Key::from_bytes(secret.as_bytes()));
        if let Err(error) = &key {
            tracing::warn!(%error, "CloudCLI cannot be asked");
        }
        Self { mark: mark(state), ..Self::at(CLOUDCLI_PORT, key.ok()) }
    }

    fn at(port: u16, key: Option<HS256Key>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER_TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0);
        let address = format!("http://127.0.0.1:{port}");
        let agent = config.build().into();
        Self { key, agent, address, port, is_ours: false, pause: 0, mark: PathBuf::new(), announced: None }
    }

    /// Looks once; `user` is the workspace's.
    pub fn look(&mut self, user: Option<u32>) -> SessionList {
        let announced = std::fs::metadata(&self.mark).and_then(|file| file.modified()).ok();
        if self.announced != announced {
            (self.announced, self.pause) = (announced, 0);
        }
        if let Some(left) = self.pause.checked_sub(1) {
            self.pause = left;
            return SessionList::Absent;
        }
        match whose(self.port) {
            Some(owners) if owners.is_empty() => return SessionList::Absent,
            Some(owners) if owners.iter().any(|owner| *owner != 0 && Some(*owner) != user) => {
                return self.leave_alone();
            }
            // A kernel that does not say: the token goes to whoever listens, as to every other server.
            Some(_) | None => {}
        }
        let Some(token) = self.key.as_ref().and_then(token) else { return SessionList::Absent };
        let asked = self
            .agent
            .get(format!("{}/api/providers/sessions/running", self.address))
            .header("authorization", format!("Bearer {token}"))
            .call();
        match asked {
            Ok(mut answer) if answer.status() == 200 => {
                let text = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_string();
                match text.ok().and_then(|text| parse(&text)) {
                    Some(running) => {
                        self.is_ours = true;
                        SessionList::Running(running)
                    }
                    None => self.leave_alone(),
                }
            }
            // Whatever else listens there, or a CloudCLI that somebody started with a secret of their own.
            Ok(answer) if answer.status().is_client_error() || answer.status().is_redirection() => {
                self.leave_alone()
            }
            Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                SessionList::Absent
            }
            Ok(_) | Err(_) => self.no_answer(),
        }
    }

    fn leave_alone(&mut self) -> SessionList {
        (self.is_ours, self.pause) = (false, PAUSE_LOOKS);
        SessionList::Absent
    }

    /// The watch waits for an answer: one that never gave any is not asked at every look.
    fn no_answer(&mut self) -> SessionList {
        if self.is_ours { SessionList::Unreadable } else { self.leave_alone() }
    }
}

/// Who listens on a port; `None` where the kernel does not tell.
fn whose(port: u16) -> Option<Vec<u32>> {
    Diag::open().and_then(|mut diag| diag.owners(port)).ok()
}

/// Whether what listens on a port is this user's, as far as the kernel tells.
pub fn is_of(port: u16, user: u32) -> bool {
    whose(port).is_none_or(|owners| owners.iter().all(|owner| [0, user].contains(owner)))
}

fn parse(text: &str) -> Option<BTreeMap<u64, u64>> {
    let answer: Answer = serde_json::from_str(text).ok()?;
    let numbered = |session: Session| {
        let mut hasher = DefaultHasher::new();
        session.session_id.hash(&mut hasher);
        // Few enough digits for every reader of JSON.
        (hasher.finish() >> 32, session.last_seq)
    };
    Some(answer.data.sessions.into_iter().take(SESSIONS).map(numbered).collect())
}

#[cfg(test)]
mod tests {
    use super::super::account::{Who, announce};
    use super::super::played::play;
    use super::*;
    use jwt_simple::prelude::MACLike as _;
    use std::os::unix::fs::PermissionsExt as _;

    /// Of whoever runs this test.
    fn user() -> Option<u32> {
        Some(rustix::process::getuid().as_raw())
    }

    #[test]
    fn running_sessions_are_read_with_a_token_that_the_secret_vouches_for() {
        let state = tempfile::tempdir().unwrap();
        let key = HS256Key::from_bytes(secret(state.path()).unwrap().as_bytes());
        assert_eq!(secret(state.path()).unwrap(), secret(state.path()).unwrap(), "it is made once");
        let other_machine = tempfile::tempdir().unwrap();
        assert_ne!(secret(state.path()).unwrap(), secret(other_machine.path()).unwrap());
        let mode = std::fs::metadata(state.path().join("cloudcli-secret.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "root alone reads it");
        let list = r#"{"success":true,"data":{"sessions":[{"sessionId":"a","provider":"claude","startedAt":1,"lastSeq":7}]}}"#;
        let (port, told) = play(vec![(200, list), (503, "restarts"), (401, "{}"), (200, "<html>")]);
        let mut asker = SessionsClient::at(port, Some(key.clone()));
        let SessionList::Running(running) = asker.look(user()) else { panic!("it answered") };
        assert_eq!(running.into_values().collect::<Vec<_>>(), [7]);
        assert_eq!(asker.look(user()), SessionList::Unreadable, "it was ours");
        // Somebody else's now: it is asked once, and left alone.
        assert!((0..PAUSE_LOOKS).all(|_| asker.look(user()) == SessionList::Absent));
        assert_eq!(
            SessionsClient::at(port, Some(key.clone())).look(user()),
            SessionList::Absent,
            "no CloudCLI at all"
        );
        let asked = told.join().unwrap();
        let token = asked[0].authorization.trim_start_matches("Bearer ");
        let claims = key.verify_token::<Who>(token, None).unwrap();
        assert_eq!(claims.custom.user_id, 1);
        assert_eq!(SessionsClient::at(1, Some(key)).look(user()), SessionList::Absent, "refused");
    }

    #[test]
    fn one_that_refused_before_its_user_was_registered_is_asked_again_at_once() {
        let state = tempfile::tempdir().unwrap();
        let empty = r#"{"data":{"sessions":[]}}"#;
        let (port, told) = play(vec![(401, "{}"), (200, empty)]);
        let mut asker = SessionsClient {
            mark: mark(state.path()),
            ..SessionsClient::at(port, Some(HS256Key::generate()))
        };
        assert_eq!(asker.look(user()), SessionList::Absent);
        assert_eq!(asker.look(user()), SessionList::Absent, "it is left alone");
        announce(state.path()).unwrap();
        assert_eq!(asker.look(user()), SessionList::Running(BTreeMap::new()));
        told.join().unwrap();
    }

    #[test]
    fn a_server_that_never_answered_is_not_asked_at_every_look() {
        let (port, told) = play(vec![(503, "down")]);
        let mut asker = SessionsClient::at(port, Some(HS256Key::generate()));
        assert_eq!((asker.look(user()), asker.pause), (SessionList::Absent, PAUSE_LOOKS));
        told.join().unwrap();
    }

    #[test]
    fn nobody_elses_server_is_given_a_token() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let Some(owners) = whose(port) else {
            crate::skip::skip("this kernel has no socket diagnosis");
            return;
        };
        assert_eq!(owners, [user().unwrap()]);
        if user() == Some(0) {
            return;
        }
        silent.set_nonblocking(true).unwrap();
        let mut asker = SessionsClient::at(port, Some(HS256Key::generate()));
        assert_eq!((asker.look(Some(4_000_000)), asker.pause), (SessionList::Absent, PAUSE_LOOKS));
        assert!(silent.accept().is_err(), "it was not even called");
    }
}
