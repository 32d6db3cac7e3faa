//! Writing the contents of a snapshot's files, one pack after another.
//!
//! The library's own way holds up to 20 packs and all that is in them at once (more than 1 GB was measured) and panics when
//! a disk is full. Here each of a few threads fetches one pack, writes what the snapshot needs of it, and lets it go. Every
//! piece is checked against its name before it is written. Metadata but the modification time is not set here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind as IoErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustic_core::repofile::{BlobType, Node, PackId};
use rustic_core::{BlobId, IndexedFullStatus, Repository};
use rustix::fs::{AtFlags, CWD, OFlags, Timespec, Timestamps};
use sha2::{Digest, Sha256};

use super::backend::Backend;
use super::events::Events;
use super::failure::{Failure, show_path};
use crate::os::mutex::lock;

/// Packs in work at once: enough to hide the way to the store, and little memory.
const AT_ONCE: usize = 3;
/// Needed pieces that lie closer together than this are fetched as one.
const GAP: u32 = 1 << 20;
/// No fetch is larger than this, save a single piece.
const FETCH: u32 = 12 << 20;

/// Pieces and files that are planned before they are written: 30 MB of memory. Written in the order of the snapshot, in
/// which packs were filled, so that few packs are fetched for two portions.
pub const PORTION: usize = 100_000;

/// Files of a damaged pack that are named.
const NAMED: usize = 5;

/// A place in a file where a blob goes.
#[derive(Debug, Clone, Copy)]
struct Place {
    file: usize,
    at: u64,
}

#[derive(Debug)]
struct Piece {
    offset: u32,
    length: u32,
    blob: BlobId,
    places: Vec<Place>,
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    size: u64,
    mtime: Option<(i64, i64)>,
}

/// What has to be written where, by pack and offset: a portion of it at a time.
#[derive(Debug, Default)]
pub struct Contents {
    files: Vec<Target>,
    packs: BTreeMap<PackId, BTreeMap<u32, Piece>>,
    linked: HashSet<(u64, u64)>,
    planned: usize,
}

impl Contents {
    /// Notes one entry: makes a directory at once, plans a file that is not there yet. Files that stand already were found
    /// to be as they should be.
    ///
    /// # Errors
    /// `Local` when the directory cannot be made; `Incomplete` when the index lacks a piece of the file.
    pub fn plan(
        &mut self,
        repository: &Repository<IndexedFullStatus>,
        path: &Path,
        node: &Node,
    ) -> Result<(), Failure> {
        if node.is_dir() {
            return match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() != IoErrorKind::AlreadyExists => {
                    Err(Failure::local("create", path, error))
                }
                _ => Ok(()),
            };
        }
        // The other names of a file are made when the metadata is set.
        if !node.is_file() || !is_first_name(node, &mut self.linked) || path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let file = self.files.len();
        let mut at = 0;
        for blob in node.content.iter().flatten() {
            let entry = repository.get_index_entry(blob).map_err(|error| Failure::Incomplete {
                what: "the repository",
                detail: error.display_log(),
            })?;
            let (offset, length) = (entry.location.offset, entry.location.length);
            let piece = self.packs.entry(entry.pack).or_default().entry(offset).or_insert_with(|| Piece {
                offset,
                length,
                blob: BlobId::from(**blob),
                places: Vec::new(),
            });
            piece.places.push(Place { file, at });
            at += u64::from(entry.data_length());
            self.planned += 1;
        }
        self.files.push(Target { path: path.to_path_buf(), size: at, mtime: modified(node) });
        self.planned += 1;
        Ok(())
    }

    /// Pieces and files that are planned and not written.
    pub fn planned(&self) -> usize {
        self.planned
    }

    /// Writes everything that was planned since the last time.
    ///
    /// # Errors
    /// What the store says; `Damaged` names the pack; `Local` the file that could not be written.
    pub fn write(
        &mut self,
        repository: &Repository<IndexedFullStatus>,
        backend: &Backend,
        events: &Events,
    ) -> Result<(), Failure> {
        self.planned = 0;
        let (files, packs) = (std::mem::take(&mut self.files), std::mem::take(&mut self.packs));
        for file in files.iter().filter(|file| file.size == 0) {
            file.open()?;
        }
        let writer = Writer { repository, backend, events, files: &files };
        let waiting = Mutex::new(packs.into_iter());
        let failed: Mutex<Option<Failure>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    while lock(&failed).is_none() {
                        let next = lock(&waiting).next();
                        let Some((pack, pieces)) = next else { break };
                        if let Err(failure) = writer.pack(pack, pieces) {
                            lock(&failed).get_or_insert(failure);
                        }
                    }
                });
            }
        });
        if let Some(failure) = lock(&failed).take() {
            return Err(failure);
        }
        // Last, for it is what tells a finished file from one that an interruption left.
        files.iter().try_for_each(Target::set_time)
    }
}

/// Whether a file is met for the first time, by none of its other names.
pub fn is_first_name(node: &Node, linked: &mut HashSet<(u64, u64)>) -> bool {
    let has_others = node.meta.links > 1 && node.meta.inode != 0 && node.meta.device_id != 0;
    !has_others || linked.insert((node.meta.device_id, node.meta.inode))
}

/// The modification time of an entry, as the system counts: the fraction forwards, also before 1970.
pub fn modified(node: &Node) -> Option<(i64, i64)> {
    node.meta.mtime.map(|time| seconds_and_nanos(time.as_second(), time.subsec_nanosecond()))
}

/// A time as the library counts it, with the sign of both parts alike, as the system counts it.
pub fn seconds_and_nanos(second: i64, nanos: i32) -> (i64, i64) {
    let nanos = i64::from(nanos);
    if nanos < 0 { (second - 1, nanos + 1_000_000_000) } else { (second, nanos) }
}

struct Writer<'a> {
    repository: &'a Repository<IndexedFullStatus>,
    backend: &'a Backend,
    events: &'a Events,
    files: &'a [Target],
}

impl Writer<'_> {
    fn pack(&self, pack: PackId, pieces: BTreeMap<u32, Piece>) -> Result<(), Failure> {
        let places = pieces.values().flat_map(|piece| &piece.places);
        let files: BTreeSet<usize> = places.map(|place| place.file).collect();
        self.pieces(pack, pieces).map_err(|failure| match failure {
            Failure::Damaged { object, detail } => Failure::Damaged {
                object,
                detail: format!("{detail}; it holds parts of {}", self.named(&files)),
            },
            failure => failure,
        })
    }

    /// The first of some files by name.
    fn named(&self, files: &BTreeSet<usize>) -> String {
        let paths = files.iter().filter_map(|file| self.files.get(*file));
        let named: Vec<String> = paths.take(NAMED).map(|file| show_path(&file.path)).collect();
        let more = files.len().saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", named.join(", "))
    }

    fn pieces(&self, pack: PackId, pieces: BTreeMap<u32, Piece>) -> Result<(), Failure> {
        let mut run: Vec<Piece> = Vec::new();
        for piece in pieces.into_values() {
            let begin = run.first().map_or(piece.offset, |first| first.offset);
            let end = run.last().map_or(piece.offset, |last| last.offset + last.length);
            let apart = piece.offset.saturating_sub(end) > GAP;
            let large = piece.offset + piece.length - begin > FETCH;
            if apart || (large && !run.is_empty()) {
                self.run(pack, &std::mem::take(&mut run))?;
            }
            run.push(piece);
        }
        self.run(pack, &run)
    }

    /// Fetches a stretch of a pack and writes its pieces.
    fn run(&self, pack: PackId, run: &[Piece]) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let length = last.offset + last.length - first.offset;
        let _window = self.backend.open_window(&pack, first.offset, length)?;
        for piece in run {
            let damaged = |detail: String| Failure::Damaged {
                object: format!("data/{}", pack.to_hex().as_str()),
                detail,
            };
            let content = self.repository.get_blob_cached(&piece.blob, BlobType::Data).map_err(|error| {
                match self.backend.rest().fatal().or_else(|| self.backend.damage()) {
                    Some(failure) => failure,
                    None => damaged(error.display_log()),
                }
            })?;
            if hex::encode(Sha256::digest(&content)) != piece.blob.to_hex().as_str() {
                return Err(damaged(format!("the piece at {} is not what its name says", piece.offset)));
            }
            let hole = content.iter().all(|byte| *byte == 0);
            for place in &piece.places {
                let Some(file) = self.files.get(place.file) else { continue };
                file.write(place.at, if hole { &[] } else { &content })?;
                self.events.bytes(content.len() as u64);
            }
        }
        Ok(())
    }
}

impl Target {
    /// Opens the file, or makes it. Nobody else may look into it yet.
    fn open(&self) -> Result<std::fs::File, Failure> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&self.path)
            .map_err(|error| Failure::local("write", &self.path, error))
    }

    /// Writes one piece. A file of several is brought to its full length each time: what is not written stays a hole.
    fn write(&self, at: u64, content: &[u8]) -> Result<(), Failure> {
        let file = self.open()?;
        let whole = content.len() as u64 == self.size;
        let sized = if whole { Ok(()) } else { file.set_len(self.size) };
        sized
            .and_then(|()| file.write_all_at(content, at))
            .map_err(|error| Failure::local("write", &self.path, error))
    }

    fn set_time(&self) -> Result<(), Failure> {
        let Some((seconds, nanos)) = self.mtime else { return Ok(()) };
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, &self.path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Failure::local("set the time of", &self.path, error))
    }
}
