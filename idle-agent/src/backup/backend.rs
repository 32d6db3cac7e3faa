//! A workspace's repository behind the control plane, as the backup library sees it: named objects that are written once.
//!
//! Every object but `config` is named after the SHA-256 of its content: what is read whole is checked against its name, and
//! an object that exists already with the right size was written by an earlier attempt. A restore opens windows: stretches
//! of packs that are fetched once and then read piece by piece. The library deletes nothing through it. A few packs
//! are on their way at once (`uploads.rs`); whatever names them is written when they have all arrived.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::rest::{Answer, Attempt, Rest, judge, unanswered};
use super::uploads::Uploads;
use crate::os::mutex::lock;

const LIST_V2: &str = "application/vnd.x.restic.rest.v2";
const ANYTHING: &str = "application/octet-stream";
/// A whole object that does not match its name is read this often before it counts as damaged at rest, not in transit.
const READS_BEFORE_DAMAGED: u32 = 3;

#[derive(Debug, Clone, Deserialize)]
struct Listed {
    name: String,
    size: u64,
}

/// The repository's objects.
pub struct Backend {
    /// Itself, for uploads that outlive the call that began them.
    this: Weak<Self>,
    rest: Rest,
    uploads: Uploads,
    /// `config`, which is written once.
    config: Mutex<Option<Bytes>>,
    /// Lists that cannot change any more, by the directory.
    settled: Mutex<BTreeMap<String, Vec<(Id, u64)>>>,
    written_packs: Mutex<BTreeMap<String, u64>>,
    damage: Mutex<Option<Failure>>,
    windows: Mutex<BTreeMap<Id, (u32, Bytes)>>,
    /// Snapshots that are made and not published: the library sees them, nobody else does.
    drafts: Mutex<BTreeMap<Id, Bytes>>,
}

impl Backend {
    pub fn new(rest: Rest) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            rest,
            uploads: Uploads::default(),
            config: Mutex::default(),
            settled: Mutex::default(),
            written_packs: Mutex::default(),
            damage: Mutex::default(),
            windows: Mutex::default(),
            drafts: Mutex::default(),
        })
    }

    pub fn rest(&self) -> &Rest {
        &self.rest
    }

    /// Packs that this run brought into the store, with their sizes.
    pub fn written_packs(&self) -> BTreeMap<String, u64> {
        lock(&self.written_packs).clone()
    }

    /// Turns the library's error into ours: what the store said counts for more than what the library made of it.
    pub fn explain(&self, error: &RusticError) -> Failure {
        if let Some(failure) = self.rest.fatal().or_else(|| lock(&self.damage).clone()) {
            failure
        } else if error.is_incorrect_password() || error.is_code("C002") {
            Failure::WrongKey
        } else {
            Failure::Library { message: error.display_log() }
        }
    }

    pub fn damage(&self) -> Option<Failure> {
        lock(&self.damage).clone()
    }

    /// Lists objects of one type with their sizes. A type that nothing was stored under yet is empty.
    pub fn list(&self, kind: FileType) -> Result<Vec<(Id, u64)>, Failure> {
        if kind == FileType::Config {
            let config = self.config()?;
            return Ok(config.map(|config| (Id::default(), config.len() as u64)).into_iter().collect());
        }
        let path = format!("{}/", kind.dirname());
        if let Some(listed) = lock(&self.settled).get(&path) {
            return Ok(listed.clone());
        }
        let what = format!("list {}", kind.dirname());
        let mut reads = 0;
        let listed: Result<Vec<Listed>, Failure> = self.rest.persist(&what, |token| {
            let answer = match self.rest.get(token, &path, LIST_V2, None) {
                Ok(answer) => answer,
                Err(error) => return unanswered(&error),
            };
            match answer.status().as_u16() {
                200 => match read_body(answer) {
                    Ok(body) => match serde_json::from_slice(&body) {
                        Ok(listed) => Attempt::Done(listed),
                        Err(error) if reads + 1 < READS_BEFORE_DAMAGED => {
                            reads += 1;
                            Attempt::Again {
                                reason: format!("the listing cannot be read: {error}"),
                                after: None,
                            }
                        }
                        Err(error) => damaged(&format!("the listing of {path}"), &error.to_string()),
                    },
                    Err(error) => Attempt::Again { reason: error.to_string(), after: None },
                },
                404 => Attempt::Done(Vec::new()),
                _ => judge(&what, answer),
            }
        });
        let listed = self.remember(listed)?;
        // Names that are no object names cannot have been written by a backup program: they are nobody's.
        let listed: Vec<(Id, u64)> =
            listed.iter().filter_map(|entry| Some((entry.name.parse::<Id>().ok()?, entry.size))).collect();
        if self.rest.is_settled() {
            lock(&self.settled).insert(path, listed.clone());
        }
        Ok(listed)
    }

    /// Stores a snapshot that was made here; one that is no draft is in the store already.
    pub fn publish(&self, id: Id) -> Result<(), Failure> {
        let draft = lock(&self.drafts).get(&id).cloned();
        match draft {
            Some(draft) => {
                self.write(FileType::Snapshot, &id, &draft.into())?;
                lock(&self.drafts).clear();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// `config`, asked for until it is there; `None` where there is no repository.
    fn config(&self) -> Result<Option<Bytes>, Failure> {
        if let Some(config) = &*lock(&self.config) {
            return Ok(Some(config.clone()));
        }
        let found = self.rest.persist("read config", |token| {
            let answer = match self.rest.get(token, "config", ANYTHING, None) {
                Ok(answer) => answer,
                Err(error) => return unanswered(&error),
            };
            match answer.status().as_u16() {
                200 => match read_body(answer) {
                    Ok(body) => Attempt::Done(Some(Bytes::from(body))),
                    Err(error) => Attempt::Again { reason: error.to_string(), after: None },
                },
                404 => Attempt::Done(None),
                _ => judge("config", answer),
            }
        })?;
        lock(&self.config).clone_from(&found);
        Ok(found)
    }

    fn look_for(&self, token: &str, path: &str) -> Attempt<Option<u64>> {
        match self.rest.head(token, path) {
            Ok(answer) => match answer.status().as_u16() {
                200 => {
                    let length = answer
                        .headers()
                        .get("content-length")
                        .and_then(|value| value.to_str().ok()?.parse().ok());
                    Attempt::Done(Some(length.unwrap_or(0)))
                }
                404 => Attempt::Done(None),
                _ => judge(path, answer),
            },
            Err(error) => unanswered(&error),
        }
    }

    /// Reads a whole object and checks it against its name.
    pub fn read(&self, kind: FileType, id: &Id) -> Result<Bytes, Failure> {
        let path = path_of(kind, id);
        if kind == FileType::Config {
            let missing = || Failure::Damaged { object: path, detail: "it is missing".to_owned() };
            return self.config()?.ok_or_else(missing);
        }
        let mut reads = 0;
        let result = self.rest.persist(&format!("read {path}"), |token| {
            let answer = match self.rest.get(token, &path, ANYTHING, None) {
                Ok(answer) => answer,
                Err(error) => return unanswered(&error),
            };
            match answer.status().as_u16() {
                200 => match read_body(answer) {
                    Ok(body) if hex::encode(Sha256::digest(&body)) == id.to_hex().as_str() => {
                        Attempt::Done(Bytes::from(body))
                    }
                    Ok(_) if reads + 1 < READS_BEFORE_DAMAGED => {
                        reads += 1;
                        Attempt::Again {
                            reason: "the content does not match its name".to_owned(),
                            after: None,
                        }
                    }
                    Ok(_) => damaged(&path, "its content does not match its name"),
                    Err(error) => Attempt::Again { reason: error.to_string(), after: None },
                },
                404 => damaged(&path, "it is missing"),
                _ => judge(&path, answer),
            }
        });
        self.remember(result)
    }

    fn read_range(&self, kind: FileType, id: &Id, offset: u32, length: u32) -> Result<Vec<u8>, Failure> {
        let path = path_of(kind, id);
        let result = self.rest.persist(&format!("read {path}"), |token| {
            let answer = match self.rest.get(token, &path, ANYTHING, Some((offset, length))) {
                Ok(answer) => answer,
                Err(error) => return unanswered(&error),
            };
            match answer.status().as_u16() {
                status @ (200 | 206) => match read_body(answer) {
                    Ok(mut body) => {
                        if status == 200 {
                            body.drain(..body.len().min(offset as usize));
                            body.truncate(length as usize);
                        }
                        if body.len() == length as usize {
                            Attempt::Done(body)
                        } else {
                            damaged(&path, "it ends too early")
                        }
                    }
                    Err(error) => Attempt::Again { reason: error.to_string(), after: None },
                },
                404 => damaged(&path, "it is missing"),
                416 => damaged(&path, "it ends too early"),
                _ => judge(&path, answer),
            }
        });
        self.remember(result)
    }

    /// Fetches a stretch of a pack, from which reads are served until the window is dropped. One window a pack.
    pub fn open_window(&self, id: &Id, offset: u32, length: u32) -> Result<Window<'_>, Failure> {
        let content = self.read_range(FileType::Pack, id, offset, length)?;
        lock(&self.windows).insert(*id, (offset, content.into()));
        Ok(Window { backend: self, id: *id })
    }

    /// Writes an object that must not exist yet; one that exists with the same name and size was written before.
    pub fn write(&self, kind: FileType, id: &Id, content: &BytesList) -> Result<(), Failure> {
        let path = path_of(kind, id);
        let what = format!("write {path}");
        let size = content.size() as u64;
        let mut unsure = false;
        self.rest.persist(&what, |token| {
            if unsure {
                match self.look_for(token, &path) {
                    Attempt::Done(Some(found)) => return compare(kind, &path, found, size),
                    Attempt::Done(None) => unsure = false,
                    Attempt::Again { reason, after } => return Attempt::Again { reason, after },
                    Attempt::Unauthorized => return Attempt::Unauthorized,
                    Attempt::Failed(failure) => return Attempt::Failed(failure),
                }
            }
            let answer = match self.rest.post(token, &path, content) {
                Ok(answer) => answer,
                Err(error) => {
                    unsure = true;
                    return unanswered(&error);
                }
            };
            match answer.status().as_u16() {
                200 | 201 | 204 => {
                    self.rest.count_sent(size);
                    Attempt::Done(())
                }
                403 | 409 => match self.look_for(token, &path) {
                    Attempt::Done(Some(found)) => compare(kind, &path, found, size),
                    Attempt::Done(None) => judge(&what, answer),
                    Attempt::Again { reason, after } => Attempt::Again { reason, after },
                    Attempt::Unauthorized => Attempt::Unauthorized,
                    Attempt::Failed(failure) => Attempt::Failed(failure),
                },
                status => {
                    unsure = status >= 500;
                    judge(&what, answer)
                }
            }
        })?;
        if kind == FileType::Pack {
            lock(&self.written_packs).insert(id.to_hex().as_str().to_owned(), size);
        }
        Ok(())
    }

    /// Removes an object; one that is not there is removed. Granted to a machine that tidies, refused to every other.
    pub fn remove_object(&self, kind: FileType, id: &Id) -> Result<(), Failure> {
        let path = path_of(kind, id);
        let what = format!("remove {path}");
        self.rest.persist(&what, |token| match self.rest.delete(token, &path) {
            Ok(answer) => match answer.status().as_u16() {
                200 | 204 | 404 => Attempt::Done(()),
                _ => judge(&what, answer),
            },
            Err(error) => unanswered(&error),
        })
    }

    /// Writes an index that stands for another, which is still there: readers are shown it where they were shown that one.
    pub fn replace_index(&self, old: &Id, id: &Id, content: &BytesList) -> Result<(), Failure> {
        let path = format!("{}?replaces={}", path_of(FileType::Index, id), old.to_hex().as_str());
        self.rest.persist("replace an index", |token| match self.rest.post(token, &path, content) {
            Ok(answer) => match answer.status().as_u16() {
                200 | 201 | 204 => Attempt::Done(()),
                _ => judge("replace an index", answer),
            },
            Err(error) => unanswered(&error),
        })
    }

    /// Tells the store that a repository begins here. Repeatable.
    pub fn begin(&self) -> Result<(), Failure> {
        self.rest.persist("create the repository", |token| {
            match self.rest.post(token, "?create=true", &BytesList::default()) {
                Ok(answer) => match answer.status().as_u16() {
                    200 | 201 | 204 | 403 | 409 => Attempt::Done(()),
                    _ => judge("create the repository", answer),
                },
                Err(error) => unanswered(&error),
            }
        })
    }

    fn remember<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Err(failure @ Failure::Damaged { .. }) = &result {
            lock(&self.damage).get_or_insert_with(|| failure.clone());
        }
        result
    }
}

fn path_of(kind: FileType, id: &Id) -> String {
    match kind {
        FileType::Config => "config".to_owned(),
        _ => format!("{}/{}", kind.dirname(), id.to_hex().as_str()),
    }
}

fn damaged<T>(object: &str, detail: &str) -> Attempt<T> {
    Attempt::Failed(Failure::Damaged { object: object.to_owned(), detail: detail.to_owned() })
}

/// An object of the same name is ours when it is as long as ours; a HEAD answer without a length tells nothing more.
/// A `config` that exists is the repository's, whoever wrote it: it is opened next, with the key.
fn compare(kind: FileType, path: &str, found: u64, size: u64) -> Attempt<()> {
    if found == size || found == 0 || kind == FileType::Config {
        Attempt::Done(())
    } else {
        damaged(path, &format!("the stored object has {found} bytes, this one {size}"))
    }
}

fn read_body(answer: Answer) -> std::io::Result<Vec<u8>> {
    let expected = answer.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = Vec::with_capacity(expected.unwrap_or(0).min(64 << 20));
    answer.into_body().into_reader().read_to_end(&mut body)?;
    match expected {
        Some(expected) if body.len() != expected => {
            let reason = format!("{} of {expected} bytes arrived", body.len());
            Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, reason))
        }
        _ => Ok(body),
    }
}

fn library(failure: &Failure) -> Box<RusticError> {
    RusticError::new(ErrorKind::Backend, failure.to_string())
}

impl ReadBackend for Backend {
    fn location(&self) -> String {
        self.rest.base().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let mut listed = self.list(kind).map_err(|failure| library(&failure))?;
        if kind == FileType::Snapshot {
            listed.extend(lock(&self.drafts).iter().map(|(id, draft)| (*id, draft.len() as u64)));
        }
        Ok(listed.into_iter().map(|(id, size)| (id, u32::try_from(size).unwrap_or(u32::MAX))).collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        if kind == FileType::Snapshot
            && let Some(draft) = lock(&self.drafts).get(id)
        {
            return Ok(draft.clone());
        }
        self.read(kind, id).map_err(|failure| library(&failure))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        if kind == FileType::Pack
            && let Some((begin, held)) = lock(&self.windows).get(id)
            && let Some(start) = offset.checked_sub(*begin)
            && start as usize + length as usize <= held.len()
        {
            return Ok(held.slice(start as usize..start as usize + length as usize));
        }
        self.read_range(kind, id, offset, length).map(Bytes::from).map_err(|failure| library(&failure))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path_of(kind, id)
    }
}

impl WriteBackend for Backend {
    fn create(&self) -> RusticResult<()> {
        self.begin().map_err(|failure| library(&failure))
    }

    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let written = match (kind, self.this.upgrade()) {
            (FileType::Pack, Some(backend)) => {
                let id = *id;
                self.uploads.begin(move || backend.write(FileType::Pack, &id, &content))
            }
            (FileType::Snapshot, _) => self.uploads.all_done().map(|()| {
                let whole: Vec<u8> = content.slice().iter().flat_map(|part| part.iter().copied()).collect();
                lock(&self.drafts).insert(*id, whole.into());
            }),
            // An index that names a pack which is not stored yet would be a promise.
            _ => self.uploads.all_done().and_then(|()| self.write(kind, id, &content)),
        };
        written.map_err(|failure| library(&failure))
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        Err(RusticError::new(
            ErrorKind::AppendOnly,
            format!("a machine deletes nothing: {}", path_of(kind, id)),
        ))
    }
}

/// A stretch of a pack that is in memory until this is dropped.
pub struct Window<'a> {
    backend: &'a Backend,
    id: Id,
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        lock(&self.backend.windows).remove(&self.id);
    }
}
