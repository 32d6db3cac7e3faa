//! What takes long, in threads of its own: backups and the delivery of receipts. Each ends in an event, also where the
//! system refuses the thread or the job breaks off: who waits for it tries again, and would wait for ever otherwise.

use super::{Event, receipt_parts};
use crate::backup::Outcome;
use crate::control_plane::api_client::{ApiClient, CallError};
use crate::control_plane::status::{Status, Urgency};
use crate::control_socket::Reply;
use crate::os::clock::Moment;
use crate::os::mutex::{lock, spawn};
use crate::os::users::User;
use crate::sleep::backup_process::{BackupProcessError, BackupProcesses, News, Order, result_of};
use crate::user_settings::Settings;
use ebbtide_api::ErrorCode;
use ebbtide_api::vm::{
    AskGitCredential, DeliverReceipt, GitCredential, Receipt, ReceiptAnswer, ReceiptStatus, UserSettings,
};
use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a receipt that is still being checked is asked about, and how often in all: about two minutes, and longer
/// where it names many packs.
const CHECK_EVERY: Duration = Duration::from_secs(2);
const CHECKS: usize = 60;
/// Within which time secrets that were not renewed are not asked for again: every instruction would, several a second.
const RENEW_AGAIN: Duration = Duration::from_secs(5);
/// Git's questions that are carried on within a minute: heartbeats share the control plane's patience with them, and any
/// program may ask.
const CREDENTIALS_A_MINUTE: u32 = 120;
/// Git's questions that wait at once: fewer than the local socket has threads, so that a hook finds one.
const CREDENTIALS_AT_ONCE: usize = 6;
/// Why a job has no end of its own.
const NOT_RUN: &str = "the system had no thread for it, or it broke off";
/// Packs that are checked between two questions, at the least.
const CHECKED: usize = 15;

/// The jobs.
pub struct Jobs {
    api_client: Arc<ApiClient>,
    backup_processes: Arc<BackupProcesses>,
    status: Arc<Status>,
    include: Vec<PathBuf>,
    events: Sender<Event>,
    number: u64,
    /// Counts deliveries: one that waits gives way to the next, or the two would undo each other's check.
    deliveries: Arc<AtomicU64>,
    /// Packs of parts that were verified in this life: a disk that is full must not have them delivered for ever.
    parts: Arc<Mutex<HashSet<String>>>,
    credentials: Credentials,
}

impl Jobs {
    pub fn new(
        api_client: Arc<ApiClient>,
        backup_processes: Arc<BackupProcesses>,
        status: Arc<Status>,
        include: Vec<PathBuf>,
        events: Sender<Event>,
    ) -> Self {
        Self {
            api_client,
            backup_processes,
            status,
            include,
            events,
            number: 0,
            deliveries: Arc::default(),
            parts: Arc::default(),
            credentials: Credentials::default(),
        }
    }

    /// Starts a backup and numbers it.
    pub fn back_up(&mut self) -> u64 {
        self.number += 1;
        let number = self.number;
        let (backup_processes, status, include) =
            (Arc::clone(&self.backup_processes), Arc::clone(&self.status), self.include.clone());
        let failed = move || Event::BackedUp(number, Err(BackupProcessError::Vanished(NOT_RUN.to_owned())));
        self.run("backup", failed, move || {
            let result = backup_processes.run(&Order::Run { include }, &mut |news| tell(&status, news));
            let result = result.and_then(result_of::<Outcome>);
            status.update(Urgency::Now, |facts| facts.backup = None);
            if let Ok(outcome) = &result {
                remark(&status, outcome.remarks());
            }
            Event::BackedUp(number, result.map(|outcome| Box::new(outcome.into_receipt())))
        });
        number
    }

    /// Looks at what a backup would hold; what changed since then counts as new.
    pub fn survey(&self, since: Option<i64>) {
        let (backup_processes, include) = (Arc::clone(&self.backup_processes), self.include.clone());
        self.run(
            "survey",
            || Event::SurveyEnded(None),
            move || {
                let found = backup_processes.survey(&include, since);
                if let Err(error) = &found {
                    tracing::warn!(%error, "no estimate of the next backup");
                }
                Event::SurveyEnded(found.ok())
            },
        );
    }

    /// Fetches what the workspace's user works with, and writes it.
    pub fn fetch_settings(&self, settings: Arc<Settings>, user: User) {
        let (api_client, status) = (Arc::clone(&self.api_client), Arc::clone(&self.status));
        self.run(
            "settings",
            || Event::SettingsFetched,
            move || {
                let fetched = api_client.post::<_, UserSettings>("/v1/vm/settings", &serde_json::json!({}));
                let written = fetched
                    .map_err(|error| error.to_string())
                    .and_then(|next| settings.replace(next, &user).map_err(|error| error.to_string()));
                match written {
                    Ok(()) => status.log("variables, files and keys of secrets were renewed"),
                    Err(error) => {
                        tracing::warn!(%error, "secrets are not renewed; they are tried again");
                        std::thread::sleep(RENEW_AGAIN);
                    }
                }
                Event::SettingsFetched
            },
        );
    }

    /// Asks what git signs in with at a host; the answer goes to who waits for it, and is kept nowhere.
    pub fn git_credential(&mut self, protocol: String, host: String, reply: Sender<Reply>) {
        let Some(turn) = self.credentials.turn(Moment::now()) else {
            // Git may have given up waiting.
            let _ = reply.send(Reply::Error("git asks too often how to sign in; wait a minute".to_owned()));
            return;
        };
        let (api_client, status) = (Arc::clone(&self.api_client), Arc::clone(&self.status));
        let asked = spawn("git-credential", move || {
            let ask = AskGitCredential { protocol, host };
            let _turn = lock(&turn);
            let answer = match api_client.post::<_, GitCredential>("/v1/vm/git-credential", &ask) {
                Ok(found) => {
                    status.keep_secret([found.password.as_str()]);
                    Reply::GitCredential(Some(found))
                }
                Err(CallError::Refused { code: Some(ErrorCode::NotFound), .. }) => Reply::GitCredential(None),
                Err(error) => Reply::Error(error.to_string()),
            };
            // Git may have given up waiting.
            let _ = reply.send(answer);
        });
        if let Err(error) = asked {
            tracing::error!(%error, "cannot start a thread; git is told nothing");
        }
    }

    /// Ends the backup that runs.
    pub fn stop(&self) {
        self.backup_processes.stop();
    }

    /// Delivers the receipt of the last backup, or its next part, once.
    pub fn deliver_last(&self, receipt: Box<Receipt>) {
        let desk = self.desk();
        self.deliveries.fetch_add(1, Ordering::SeqCst);
        let failed = || Event::Answered(Err(CallError::NotMade(NOT_RUN.to_owned())));
        self.run("deliver", failed, move || Event::Answered(desk.deliver("/v1/vm/drained", &receipt)));
    }

    /// Delivers a receipt while work goes on, until the control plane has checked it.
    pub fn deliver(&self, receipt: Box<Receipt>, asked: u64) {
        let desk = self.desk();
        let deliveries = Arc::clone(&self.deliveries);
        let mine = deliveries.fetch_add(1, Ordering::SeqCst) + 1;
        let same = receipt.clone();
        let failed = move || Event::Delivered(same, asked, Err(CallError::NotMade(NOT_RUN.to_owned())));
        self.run("deliver", failed, move || {
            let mut answer = desk.deliver("/v1/vm/receipts", &receipt);
            for _ in 0..CHECKS + receipt.packs_new.len() / CHECKED {
                let again = match &answer {
                    Ok(answer) => answer.status == ReceiptStatus::Checking,
                    Err(error) => error.may_pass(),
                };
                if !again {
                    break;
                }
                std::thread::sleep(CHECK_EVERY);
                if deliveries.load(Ordering::SeqCst) != mine {
                    break;
                }
                answer = desk.deliver("/v1/vm/receipts", &receipt);
            }
            Event::Delivered(receipt, asked, answer)
        });
    }

    /// Notes the packs of a verified receipt: the next one names only those beyond them.
    pub fn remember_packs(&self, receipt: &Receipt) {
        note_packs(&self.backup_processes.known_packs(), receipt);
    }

    /// How many packs one delivery names at most.
    pub fn receipt_packs(&self) -> usize {
        self.backup_processes.receipt_packs()
    }

    fn desk(&self) -> Desk {
        Desk {
            most: self.receipt_packs(),
            api_client: Arc::clone(&self.api_client),
            known_packs: self.backup_processes.known_packs(),
            parts: Arc::clone(&self.parts),
        }
    }

    fn run(
        &self,
        name: &str,
        failed: impl FnOnce() -> Event + Send + 'static,
        job: impl FnOnce() -> Event + Send + 'static,
    ) {
        let ending = Ending { events: self.events.clone(), failed: Some(Box::new(failed)) };
        run(|body| spawn(name, body), ending, name, job);
    }
}

/// Which of git's questions are carried on: one at a time, few in line, so many a minute.
#[derive(Default)]
struct Credentials {
    /// When the minute began, and how many were carried on in it.
    minute: Option<(Moment, u32)>,
    /// Whoever is in line holds one of these.
    line: Arc<Mutex<()>>,
}

impl Credentials {
    /// A place in the line, to be locked for the question; `None` for one too many.
    fn turn(&mut self, now: Moment) -> Option<Arc<Mutex<()>>> {
        let current = self.minute.filter(|(begun, _)| now.since(*begun) < Duration::from_secs(60));
        let (begun, carried) = current.unwrap_or((now, 0));
        // One is our own.
        if carried >= CREDENTIALS_A_MINUTE || Arc::strong_count(&self.line) > CREDENTIALS_AT_ONCE {
            return None;
        }
        self.minute = Some((begun, carried + 1));
        Some(Arc::clone(&self.line))
    }
}

/// Runs a job in a thread that `start` starts; `ending` sees to it that it ends in an event.
fn run(
    start: impl FnOnce(Box<dyn FnOnce() + Send>) -> std::io::Result<()>,
    ending: Ending,
    name: &str,
    job: impl FnOnce() -> Event + Send + 'static,
) {
    // A thread that is refused drops what it was to run, and the ending with it.
    let started = start(Box::new(move || ending.with(job())));
    if let Err(error) = started {
        tracing::error!(%error, name, "cannot start a thread; it is tried again");
    }
}

/// Says how a job ended, exactly once: where it is dropped without having been told, the job has failed.
struct Ending {
    events: Sender<Event>,
    failed: Option<Box<dyn FnOnce() -> Event + Send>>,
}

impl Ending {
    fn with(mut self, event: Event) {
        self.failed = None;
        // The loop is gone only when the whole agent ends.
        let _ = self.events.send(event);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(failed) = self.failed.take() {
            let _ = self.events.send(failed());
        }
    }
}

/// Where receipts are delivered from.
struct Desk {
    most: usize,
    api_client: Arc<ApiClient>,
    known_packs: PathBuf,
    parts: Arc<Mutex<HashSet<String>>>,
}

impl Desk {
    /// Delivers a receipt, or the next part of one that is too large for one delivery: then it is still being checked.
    fn deliver(&self, path: &str, receipt: &Receipt) -> Result<ReceiptAnswer, CallError> {
        let generation = self.api_client.generation();
        let part = receipt_parts::next(receipt, &lock(&self.parts), self.most);
        let deliver = DeliverReceipt { generation, receipt: part };
        if deliver.receipt.packs_to_come == 0 {
            return self.api_client.post(path, &deliver);
        }
        let answer: ReceiptAnswer = self.api_client.post("/v1/vm/receipts", &deliver)?;
        if answer.status != ReceiptStatus::Verified {
            return Ok(answer);
        }
        lock(&self.parts).extend(deliver.receipt.packs_new.iter().map(|pack| pack.name.clone()));
        note_packs(&self.known_packs, &deliver.receipt);
        Ok(ReceiptAnswer { status: ReceiptStatus::Checking, problem: None })
    }
}

fn note_packs(known_packs: &Path, receipt: &Receipt) {
    let names: String = receipt.packs_new.iter().map(|pack| format!("{}\n", pack.name)).collect();
    let noted = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(known_packs)
        .and_then(|mut file| file.write_all(names.as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(%error, "cannot note the packs of a receipt; the next one repeats them");
    }
}

/// Says what a backup had to remark, once until it is something else.
fn remark(status: &Status, remarks: Vec<String>) {
    if status.read(|facts| facts.backup_remarks == remarks) {
        return;
    }
    for line in &remarks {
        status.log(&format!("backup: {line}"));
    }
    status.update(Urgency::Whenever, |facts| facts.backup_remarks = remarks);
}

fn tell(status: &Status, news: News) {
    match news {
        News::Progress(progress) => status.update(Urgency::Soon, |facts| {
            facts.backup_progress += u64::from(facts.backup.as_ref() != Some(&progress));
            facts.backup = Some(progress);
        }),
        News::Trouble(text) => status.log(&format!("backup: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn git_s_questions_leave_room_for_heartbeats_and_for_others_on_the_socket() {
        let (mut credentials, now) = (Credentials::default(), Moment::now());
        let line: Vec<_> = std::iter::from_fn(|| credentials.turn(now)).take(1000).collect();
        assert_eq!(line.len(), CREDENTIALS_AT_ONCE);
        drop(line);
        let carried = (0..1000).filter(|_| credentials.turn(now).is_some()).count();
        assert_eq!(carried + CREDENTIALS_AT_ONCE, CREDENTIALS_A_MINUTE as usize);
        assert!(credentials.turn(now.plus(Duration::from_secs(60))).is_some(), "a minute later");
    }

    #[test]
    fn a_job_ends_in_one_event_whether_it_runs_is_refused_its_thread_or_breaks_off() {
        type Start = fn(Box<dyn FnOnce() + Send>) -> std::io::Result<()>;
        let starts: [(Start, bool, bool); 3] = [
            (|body| spawn("t", body), false, true),
            (|_| Err(std::io::ErrorKind::WouldBlock.into()), false, false),
            (|body| spawn("t", body), true, false),
        ];
        for (start, breaks, well) in starts {
            let (events, heard) = channel();
            let failed: Box<dyn FnOnce() -> Event + Send> = Box::new(|| Event::SurveyEnded(None));
            let ending = Ending { events, failed: Some(failed) };
            run(start, ending, "t", move || {
                assert!(!breaks, "as the test wants it");
                Event::Fenced
            });
            let event = heard.recv_timeout(Duration::from_secs(60)).unwrap();
            assert_eq!(matches!(event, Event::Fenced), well, "{event:?}");
            assert!(
                heard.recv_timeout(Duration::from_secs(60)).is_err(),
                "one event, and nobody holds the line"
            );
        }
    }
}
