//! The model behind sockets: HTTP in, persistence and machines out.
//!
//! One lock holds the cloud. Under it a call is answered, the state written and the effects queued, in this
//! order, so that whatever a client was told survives a kill and happens to machines in the order it was decided.
//! Everything slow (machines, late answers) happens outside the lock. Never listens but where it is told to.

mod cron;
mod journal;
mod machinery;
mod provider;
mod server;
mod sim;
mod store;
#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::Notify;

pub use cron::Cron;
pub use server::serve;

use crate::{
    edge::Resolver,
    machines::Machines,
    model::{Cloud, Config, Effect},
};
use journal::Journal;
use machinery::Machinery;
use store::Store;

/// Why the local cloud does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data directory {path} cannot be used")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("another cloud-sim uses the data directory {path}")]
    InUse { path: PathBuf },
    #[error("{path} holds no state of this local cloud; move it away to start with an empty one")]
    State { path: PathBuf, source: serde_json::Error },
}

/// What becomes of machines when the local cloud is ended on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnExit {
    /// Machines and their disks go, and their servers with them.
    Destroy,
    /// Machines are switched off; the next start on the same data directory boots them again.
    Keep,
}

/// A running local cloud.
pub struct Facade {
    cloud: Mutex<Cloud>,
    store: Store,
    journal: Mutex<Journal>,
    machinery: Machinery,
    /// Rung when something may be due earlier than was thought.
    moved: Arc<Notify>,
}

impl Facade {
    /// Takes up the state in `data_dir`, or starts empty, and boots what was running.
    ///
    /// # Errors
    /// [`StartError`] where the directory or the state in it cannot be used.
    pub fn start(
        config: Config,
        data_dir: PathBuf,
        machines: Arc<dyn Machines>,
    ) -> Result<Arc<Self>, StartError> {
        let store = Store::open(data_dir)?;
        let cloud = match store.load()? {
            Some(state) => Cloud::restore(config, &state)
                .map_err(|source| StartError::State { path: store.path().to_owned(), source })?,
            None => Cloud::new(config),
        };
        let facade = Arc::new(Self {
            cloud: Mutex::new(cloud),
            store,
            journal: Mutex::new(Journal::default()),
            machinery: Machinery::new(machines),
            moved: Arc::default(),
        });
        facade.machinery.attach(&facade);
        facade.machinery.recover(&facade.cloud());
        tokio::spawn(run_clock(Arc::downgrade(&facade), facade.moved.clone()));
        Ok(facade)
    }

    /// Answers which server a host name leads to.
    pub fn resolver(self: &Arc<Self>) -> Resolver {
        let facade = self.clone();
        Arc::new(move |host| facade.cloud().resolve_server(host))
    }

    pub fn zone_id(&self) -> String {
        self.cloud().zone_id()
    }

    /// Ends all machines; with [`OnExit::Destroy`] their servers end too. Call it last.
    pub async fn stop(&self, on_exit: OnExit) {
        let servers: Vec<u64> = self.cloud().servers().map(|server| server.id).collect();
        self.machinery.stop(&servers, on_exit).await;
        if on_exit == OnExit::Destroy {
            self.change(|cloud, now| {
                cloud.end_all_servers(now);
                ((), Vec::new())
            });
        }
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the cloud: persisted and queued before anybody hears of it.
    fn change<T>(&self, work: impl FnOnce(&mut Cloud, i64) -> (T, Vec<Effect>)) -> T {
        let mut cloud = self.cloud();
        let before = cloud.version();
        let (outcome, effects) = work(&mut cloud, now_ms());
        if cloud.version() != before {
            self.store.save(&cloud);
            self.moved.notify_one();
        }
        for effect in effects {
            self.machinery.queue(&cloud, &effect);
        }
        outcome
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Completes what is due, for as long as the façade lives. Keeps it alive only while working.
async fn run_clock(facade: Weak<Facade>, moved: Arc<Notify>) {
    /// Longest sleep, so that the loop notices when the façade is gone.
    const LONGEST: Duration = Duration::from_secs(1);
    loop {
        let Some(due) = facade.upgrade().map(|facade| facade.cloud().next_due_ms()) else { return };
        let wait = due.map_or(LONGEST, |due| {
            Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0)).min(LONGEST)
        });
        if !wait.is_zero() {
            let _ = tokio::time::timeout(wait, moved.notified()).await;
        }
        let Some(facade) = facade.upgrade() else { return };
        facade.change(|cloud, now| ((), cloud.advance(now)));
    }
}
