//! CloudCLI's own list of the sessions that run in it, asked for with a token that we mint: [`SessionsClient`] reads, [`Sessions`]
//! compares with the look before and is pure.
//!
//! The boot step that starts CloudCLI hands it the secret as `JWT_SECRET`. A CloudCLI with another secret is somebody
//! else's: it says nothing to us and is not asked for more. Nobody but root and the workspace's user is given a token. A
//! run whose `lastSeq` stands still is believed for `agent_silence`, and one that cannot be asked about is unclear for
//! `unknown_grace`, never over and never going on for ever.

use crate::idle::judge::verdict::Reading;
use crate::os::atomic_file;
use crate::ports::diag::Diag;
use ebbtide_api::vm::{CLOUDCLI_PORT, VmPolicy};
use jwt_simple::prelude::{Claims, Duration as TokenLife, HS256Key, MACLike as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long it may take to answer: the watch waits.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a token is good for; a new one is made for each question.
const TOKEN_SECS: u64 = 60;
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
    /// Where [`announce`] leaves its mark, and the last one seen.
    mark: PathBuf,
    announced: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Who {
    user_id: u32,
    username: String,
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

/// Says that ours knows our tokens from now on: before its user was registered it refused them, and was left alone for it.
///
/// # Errors
/// What the system says about the file.
pub fn announce(state: &Path) -> std::io::Result<()> {
    atomic_file::write(&mark(state), b"", 0o600)
}

fn mark(state: &Path) -> PathBuf {
    state.join("cloudcli-registered")
}

/// The secret by which CloudCLI knows our tokens; only root reads it.
///
/// # Errors
/// What the system says about its file.
pub fn secret(state: &Path) -> std::io::Result<String> {
    let file = state.join("cloudcli-secret.json");
    if let Some(secret) = atomic_file::read_json::<String>(&file) {
        return Ok(secret);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let secret = hex::encode(bytes);
    atomic_file::write_json(&file, &secret, 0o600)?;
    Ok(secret)
}

/// A token for CloudCLI's first user, who is the workspace's.
fn token(key: &HS256Key) -> Option<String> {
    let who = Who { user_id: 1, username: super::start::USER.to_owned() };
    key.authenticate(Claims::with_custom_claims(who, TokenLife::from_secs(TOKEN_SECS))).ok()
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

/// The sessions of the look before.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    /// By number: how many events there were, and how long there have been no more.
    known: BTreeMap<u64, (u64, u64)>,
    /// For how long it has not answered or not been there.
    gone_ms: u64,
}

impl Sessions {
    /// What a look says, where it says anything.
    pub fn compare(&mut self, passed: Duration, list: &SessionList, policy: &VmPolicy) -> Option<Reading> {
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if let SessionList::Running(_) = list {
            self.gone_ms = 0;
        } else {
            self.gone_ms = self.gone_ms.saturating_add(passed_ms);
            // It died with its sessions, and will not tell of them any more.
            if self.gone_ms > policy.unknown_grace_secs.saturating_mul(1000) {
                self.known.clear();
                return None;
            }
        }
        match list {
            SessionList::Absent if self.known.is_empty() => None,
            SessionList::Absent => {
                Some(Reading::Unreadable("CloudCLI, in which a session ran, is gone".to_owned()))
            }
            SessionList::Unreadable => Some(Reading::Unreadable("CloudCLI does not answer".to_owned())),
            SessionList::Running(running) => {
                let silent = |(number, seq): (&u64, &u64)| {
                    let silent_ms = match self.known.get(number) {
                        Some((before, silent_ms)) if before == seq => silent_ms.saturating_add(passed_ms),
                        Some(_) | None => 0,
                    };
                    (*number, (*seq, silent_ms))
                };
                self.known = running.iter().map(silent).collect();
                let silence_ms = policy.agent_silence_secs.saturating_mul(1000);
                let least_ms = self.known.values().map(|(_, silent_ms)| *silent_ms).min()?;
                let shown = ebbtide_api::text::seconds(least_ms / 1000);
                Some(if least_ms < silence_ms {
                    Reading::Active(format!("a session in CloudCLI runs, silent for {shown}"))
                } else {
                    Reading::Quiet(format!("a session in CloudCLI has shown nothing for {shown}"))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: VmPolicy = VmPolicy {
        heartbeat_secs: 15,
        idle_timeout_secs: 1800,
        unknown_grace_secs: 600,
        waiting_for_human_secs: 7200,
        agent_silence_secs: 1800,
        background_secs: 7200,
        snapshot_every_secs: 900,
    };

    fn served(answers: Vec<(u16, &'static str)>) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
        let port = server.server_addr().to_ip().unwrap().port();
        let told = std::thread::spawn(move || {
            let answer = |(status, text): (u16, &'static str)| {
                let request = server.recv().unwrap();
                let named = |header: &&tiny_http::Header| header.field.equiv("authorization");
                let said = request.headers().iter().find(named).map(|header| header.value.to_string());
                request.respond(tiny_http::Response::from_string(text).with_status_code(status)).unwrap();
                said.unwrap_or_default()
            };
            answers.into_iter().map(answer).collect()
        });
        (port, told)
    }

    /// Of whoever runs this test.
    fn user() -> Option<u32> {
        Some(rustix::process::getuid().as_raw())
    }

    #[test]
    fn running_sessions_are_read_with_a_token_that_the_secret_vouches_for() {
        let state = tempfile::tempdir().unwrap();
        let key = HS256Key::from_bytes(secret(state.path()).unwrap().as_bytes());
        assert_eq!(secret(state.path()).unwrap(), secret(state.path()).unwrap(), "it is made once");
        let list = r#"{"success":true,"data":{"sessions":[{"sessionId":"a","provider":"claude","startedAt":1,"lastSeq":7}]}}"#;
        let (port, told) = served(vec![(200, list), (503, "restarts"), (401, "{}"), (200, "<html>")]);
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
        let tokens = told.join().unwrap();
        let claims = key.verify_token::<Who>(tokens[0].trim_start_matches("Bearer "), None).unwrap();
        assert_eq!(claims.custom.user_id, 1);
        assert_eq!(SessionsClient::at(1, Some(key)).look(user()), SessionList::Absent, "refused");
    }

    #[test]
    fn one_that_refused_before_its_user_was_registered_is_asked_again_at_once() {
        let state = tempfile::tempdir().unwrap();
        let empty = r#"{"data":{"sessions":[]}}"#;
        let (port, told) = served(vec![(401, "{}"), (200, empty)]);
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
        let (port, told) = served(vec![(503, "down")]);
        let mut asker = SessionsClient::at(port, Some(HS256Key::generate()));
        assert_eq!((asker.look(user()), asker.pause), (SessionList::Absent, PAUSE_LOOKS));
        told.join().unwrap();
    }

    #[test]
    fn nobody_elses_server_is_given_a_token() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        let Some(owners) = whose(port) else {
            eprintln!("skipped: this kernel has no socket diagnosis");
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

    #[test]
    fn one_that_died_with_its_sessions_is_forgotten_once_the_grace_is_over() {
        let mut sessions = Sessions::default();
        let mut look = |secs, list| sessions.compare(Duration::from_secs(secs), &list, &POLICY);
        look(10, SessionList::Running(BTreeMap::from([(5, 1)])));
        assert!(matches!(look(600, SessionList::Absent), Some(Reading::Unreadable(_))));
        assert_eq!(look(10, SessionList::Absent), None);
        assert_eq!(look(10, SessionList::Absent), None);
    }

    #[test]
    fn a_run_counts_while_it_has_events_and_for_the_silence_of_an_agent_after_the_last() {
        let look = |sessions: &mut Sessions, secs: u64, seq: u64| {
            let list = SessionList::Running(BTreeMap::from([(5, seq)]));
            sessions.compare(Duration::from_secs(secs), &list, &POLICY)
        };
        let mut sessions = Sessions::default();
        assert!(matches!(look(&mut sessions, 10, 1), Some(Reading::Active(_))));
        assert!(matches!(look(&mut sessions, 1790, 1), Some(Reading::Active(_))));
        assert!(matches!(look(&mut sessions, 10, 1), Some(Reading::Quiet(_))), "stuck");
        assert!(matches!(look(&mut sessions, 10, 2), Some(Reading::Active(_))));
        let mut compare = |list| sessions.compare(Duration::from_secs(10), &list, &POLICY);
        assert!(matches!(compare(SessionList::Unreadable), Some(Reading::Unreadable(_))));
        assert!(matches!(compare(SessionList::Absent), Some(Reading::Unreadable(_))), "it restarts");
        assert_eq!(compare(SessionList::Running(BTreeMap::new())), None);
        assert_eq!(compare(SessionList::Absent), None, "nothing ran in it");
    }
}
