//! What takes long, in threads of its own: backups and the delivery of receipts. Each ends in an event.

use super::Event;
use crate::board::{Board, Urgency};
use crate::child::{Children, News, Order, receipt, remarks};
use crate::session::{CallError, Session};
use crate::sync::spawn;
use ebbtide_api::vm::{DeliverReceipt, Receipt, ReceiptAnswer, ReceiptStatus};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How often a receipt that is still being checked is asked about, and how often in all: about two minutes.
const CHECK_EVERY: Duration = Duration::from_secs(2);
const CHECKS: u32 = 60;

/// The jobs.
pub struct Jobs {
    session: Arc<Session>,
    children: Arc<Children>,
    board: Arc<Board>,
    include: Vec<PathBuf>,
    events: Sender<Event>,
    number: u64,
}

impl Jobs {
    pub fn new(
        session: Arc<Session>,
        children: Arc<Children>,
        board: Arc<Board>,
        include: Vec<PathBuf>,
        events: Sender<Event>,
    ) -> Self {
        Self { session, children, board, include, events, number: 0 }
    }

    /// Starts a backup and numbers it.
    pub fn back_up(&mut self) -> u64 {
        self.number += 1;
        let number = self.number;
        let (children, board, include) =
            (Arc::clone(&self.children), Arc::clone(&self.board), self.include.clone());
        self.run("backup", move || {
            let result = children.run(&Order::Run { include }, &mut |news| tell(&board, news));
            board.update(Urgency::Now, |facts| facts.backup = None);
            if let Ok(result) = &result {
                remark(&board, remarks(result));
            }
            Event::BackedUp(number, result.and_then(receipt).map(Box::new))
        });
        number
    }

    /// Looks at what a backup would hold; what changed since then counts as new.
    pub fn survey(&self, since: Option<i64>) {
        let (children, include) = (Arc::clone(&self.children), self.include.clone());
        self.run("survey", move || {
            let found = children.survey(&include, since);
            if let Err(error) = &found {
                tracing::warn!(%error, "no estimate of the next backup");
            }
            Event::Surveyed(found.ok())
        });
    }

    /// Ends the backup that runs.
    pub fn stop(&self) {
        self.children.stop();
    }

    /// Delivers the receipt of the last backup, once.
    pub fn deliver_last(&self, receipt: Box<Receipt>) {
        let session = Arc::clone(&self.session);
        self.run("deliver", move || Event::Answered(deliver(&session, "/v1/vm/drained", &receipt)));
    }

    /// Delivers a receipt while work goes on, until the control plane has checked it.
    pub fn deliver(&self, receipt: Box<Receipt>) {
        let session = Arc::clone(&self.session);
        self.run("deliver", move || {
            let mut answer = deliver(&session, "/v1/vm/receipts", &receipt);
            for _ in 0..CHECKS {
                let again = match &answer {
                    Ok(answer) => answer.status == ReceiptStatus::Checking,
                    Err(error) => error.may_pass(),
                };
                if !again {
                    break;
                }
                std::thread::sleep(CHECK_EVERY);
                answer = deliver(&session, "/v1/vm/receipts", &receipt);
            }
            Event::Delivered(receipt, answer)
        });
    }

    /// Notes the packs of a verified receipt: the next one names only those beyond them.
    pub fn remember_packs(&self, receipt: &Receipt) {
        let names: String = receipt.packs_new.iter().map(|pack| format!("{}\n", pack.name)).collect();
        let noted = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.children.known_packs())
            .and_then(|mut file| file.write_all(names.as_bytes()));
        if let Err(error) = noted {
            tracing::warn!(%error, "cannot note the packs of a receipt; the next one repeats them");
        }
    }

    fn run(&self, name: &str, job: impl FnOnce() -> Event + Send + 'static) {
        let events = self.events.clone();
        let started = spawn(name, move || {
            // The loop is gone only when the whole agent ends.
            let _ = events.send(job());
        });
        if let Err(error) = started {
            tracing::error!(%error, name, "cannot start a thread");
        }
    }
}

fn deliver(session: &Session, path: &str, receipt: &Receipt) -> Result<ReceiptAnswer, CallError> {
    session.post(path, &DeliverReceipt { generation: session.generation(), receipt: receipt.clone() })
}

/// Says what a backup had to remark, once until it is something else.
fn remark(board: &Board, remarks: Vec<String>) {
    if board.read(|facts| facts.backup_remarks == remarks) {
        return;
    }
    for line in &remarks {
        board.log(&format!("backup: {line}"));
    }
    board.update(Urgency::Whenever, |facts| facts.backup_remarks = remarks);
}

fn tell(board: &Board, news: News) {
    match news {
        News::Progress(progress) => board.update(Urgency::Soon, |facts| {
            facts.backup_progress += u64::from(facts.backup.as_ref() != Some(&progress));
            facts.backup = Some(progress);
        }),
        News::Trouble(text) => board.log(&format!("backup: {text}")),
    }
}
