//! The state on disk: one JSON file, replaced whole by a rename, readable by its owner only.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::StartError;
use crate::model::Cloud;

pub(super) struct Store {
    path: PathBuf,
    /// Held for as long as the store lives: two clouds on one directory would destroy each other's machines.
    _lock: File,
}

impl Store {
    pub fn open(data_dir: PathBuf) -> Result<Self, StartError> {
        let opened = fs::create_dir_all(&data_dir).and_then(|()| File::create(data_dir.join("lock")));
        let lock = match opened {
            Ok(lock) => lock,
            Err(source) => return Err(StartError::DataDir { path: data_dir, source }),
        };
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: data_dir.join("state.json"), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse { path: data_dir }),
            Err(TryLockError::Error(source)) => Err(StartError::DataDir { path: data_dir, source }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn load(&self) -> Result<Option<Vec<u8>>, StartError> {
        match fs::read(&self.path) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StartError::DataDir { path: self.path.clone(), source }),
        }
    }

    /// Replaces the state. A kill at any moment leaves the old state or the new one.
    pub fn save(&self, cloud: &Cloud) {
        let written = serde_json::to_vec(cloud).map_err(io::Error::from).and_then(|state| {
            let next = self.path.with_extension("json.next");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
            file.write_all(&state)?;
            fs::rename(&next, &self.path)
        });
        if let Err(error) = written {
            tracing::error!(%error, path = %self.path.display(), "the state was not written; a restart will miss this change");
        }
    }
}
