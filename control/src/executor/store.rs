//! The control plane's own side of an effect: storage, the index, and what a new machine is told.
//!
//! An error keeps its cause: people read the sentence, the log reads the chain, and nobody chooses by either.

use super::project::Project;
use crate::lifecycle::Peers;
use crate::money::caps::Spending;
use crate::record::Record;
use crate::reservation::Reserved;
use crate::secret::SecretText;
use std::error::Error;

/// Why the control plane's own side cannot do its part now. `Display` is the sentence for a person, without the cause.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    what: String,
    source: Option<Box<dyn Error>>,
}

impl StoreError {
    /// What is not to be had, in a sentence that may be shown.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// The same, with what the log alone may know.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn Error>>) -> Self {
        self.source = Some(cause.into());
        self
    }
}

/// The control plane's own storage and its knowledge of how a machine starts.
#[allow(async_fn_in_trait)] // single-threaded on purpose, as in `Http`
pub trait ControlStore {
    /// Size in bytes of an object of the workspace's repository (`data/…`, `snapshots/…`), `None` where it is absent.
    ///
    /// # Errors
    /// Storage does not answer. Never used for "absent".
    async fn object_size(&self, record: &Record, path: &str) -> Result<Option<u64>, StoreError>;

    /// Deletes the workspace's wrapped key, without which its backups are noise. Repeatable.
    ///
    /// # Errors
    /// Storage does not answer.
    async fn shred(&self, record: &Record) -> Result<(), StoreError>;

    /// The user-data of the machine of this generation, with a fresh enrolment token.
    ///
    /// # Errors
    /// What the installation lacks.
    async fn user_data(&self, record: &Record) -> Result<SecretText, StoreError>;

    /// How the other workspaces of this installation are: silent since about the same time as this one (within
    /// `silent_together_within`), or heard of.
    ///
    /// # Errors
    /// The index does not answer.
    async fn peers(&self, record: &Record) -> Result<Peers, StoreError>;

    /// Reserves what the workspace's next machine costs at worst. Repeatable: what stands is left as it is, and counts as
    /// asked for now. The sweep gives back what nobody has asked for within `reservation_grace`.
    ///
    /// # Errors
    /// The index or the provider's prices are not to be had.
    async fn reserve(&self, record: &Record) -> Result<Reserved, StoreError>;

    /// What is remembered of the provider's project; `None` before the first server.
    ///
    /// # Errors
    /// Storage does not answer.
    async fn project(&self) -> Result<Option<Project>, StoreError>;

    /// Remembers the project, for ever.
    ///
    /// # Errors
    /// Storage does not answer.
    async fn keep_project(&self, project: Project) -> Result<(), StoreError>;

    /// A public key for servers, in OpenSSH's form: the owner's, or one whose private half nobody has.
    ///
    /// # Errors
    /// There is no randomness to make one of.
    async fn ssh_public_key(&self) -> Result<String, StoreError>;

    /// What the workspace's owner has spent; `None` where nobody keeps account.
    ///
    /// # Errors
    /// The index does not answer.
    async fn spending(&self, _record: &Record) -> Result<Option<Spending>, StoreError> {
        Ok(None)
    }
}
