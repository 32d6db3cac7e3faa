//! Packs on their way to the store: a few at once, so that a line with a long way is filled, and little is in memory.
//!
//! Whoever writes something that names packs waits first until all of them have arrived. A failure of one is told to the
//! next who asks, and to everybody after: nothing may be built on a pack that is not stored.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::failure::Failure;
use crate::os::mutex::lock;

/// Packs on their way at once: one upload alone leaves the line and the store idle half of the time.
const AT_ONCE: usize = 4;

#[derive(Debug, Default)]
struct State {
    running: usize,
    failed: Option<Failure>,
}

/// The uploads of one store.
#[derive(Debug, Default)]
pub struct Uploads {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Uploads {
    /// Begins an upload as soon as there is room for one.
    ///
    /// # Errors
    /// That of an upload before, or of this one where it cannot run beside.
    pub fn begin(
        &self,
        upload: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        self.wait_until(|state| state.running < AT_ONCE, |state| state.running += 1)?;
        let shared = Arc::clone(&self.state);
        let work = move || {
            let ended = upload();
            let (state, changed) = &*shared;
            let mut state = lock(state);
            state.running -= 1;
            if let Err(failure) = ended {
                state.failed.get_or_insert(failure);
            }
            drop(state);
            changed.notify_all();
        };
        let thread = std::thread::Builder::new().name("upload".to_owned()).spawn(work);
        thread.map(drop).map_err(|error| self.not_started(&error))
    }

    /// What was to be uploaded is nowhere: nobody may wait for it, or build on it.
    fn not_started(&self, error: &std::io::Error) -> Failure {
        let message = format!("no thread could be started for an upload: {error}");
        let failure = Failure::Library { message };
        let (state, changed) = &*self.state;
        let mut state = lock(state);
        state.running -= 1;
        state.failed.get_or_insert_with(|| failure.clone());
        drop(state);
        changed.notify_all();
        failure
    }

    /// Waits until nothing is on its way.
    ///
    /// # Errors
    /// That of an upload.
    pub fn all_done(&self) -> Result<(), Failure> {
        self.wait_until(|state| state.running == 0, |_| ())
    }

    fn wait_until(
        &self,
        wish: impl Fn(&State) -> bool,
        then: impl FnOnce(&mut State),
    ) -> Result<(), Failure> {
        let (state, changed) = &*self.state;
        let waits = |state: &mut State| state.failed.is_none() && !wish(state);
        let mut state = changed.wait_while(lock(state), waits).unwrap_or_else(PoisonError::into_inner);
        match &state.failed {
            Some(failure) => Err(failure.clone()),
            None => {
                then(&mut state);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn failure() -> Failure {
        Failure::Library { message: "gone".to_owned() }
    }

    #[test]
    fn what_names_packs_waits_for_all_of_them() {
        let uploads = Uploads::default();
        let (told, hears) = channel::<()>();
        let hears = Arc::new(Mutex::new(hears));
        for _ in 0..AT_ONCE {
            let hears = Arc::clone(&hears);
            uploads.begin(move || lock(&hears).recv().map_err(|_| failure())).unwrap();
        }
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| uploads.all_done());
            (1..AT_ONCE).for_each(|_| told.send(()).unwrap());
            assert!(!waits.is_finished(), "one is still on its way");
            told.send(()).unwrap();
            waits.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_failed_upload_is_told_to_everybody_after_it() {
        let uploads = Uploads::default();
        uploads.begin(|| Err(failure())).unwrap();
        assert!(uploads.all_done().is_err());
        assert!(uploads.begin(|| Ok(())).is_err());
        assert!(uploads.all_done().is_err());
    }

    #[test]
    fn an_upload_that_could_not_start_is_waited_for_by_nobody() {
        let uploads = Uploads::default();
        uploads.wait_until(|_| true, |state| state.running += 1).unwrap();
        uploads.not_started(&std::io::Error::other("no threads"));
        assert!(uploads.all_done().is_err());
        assert_eq!(lock(&uploads.state.0).running, 0);
    }

    #[test]
    fn no_more_than_a_few_are_on_their_way() {
        let uploads = Uploads::default();
        let now = Arc::new(Mutex::new((0_usize, 0_usize)));
        for _ in 0..20 {
            let now = Arc::clone(&now);
            uploads
                .begin(move || {
                    let mut counts = lock(&now);
                    counts.0 += 1;
                    counts.1 = counts.1.max(counts.0);
                    drop(counts);
                    std::thread::yield_now();
                    lock(&now).0 -= 1;
                    Ok(())
                })
                .unwrap();
        }
        uploads.all_done().unwrap();
        assert!(lock(&now).1 <= AT_ONCE);
    }
}
