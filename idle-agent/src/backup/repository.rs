//! Opening and creating the restic repository of a workspace.
//!
//! The repository's key is a random secret of at least 32 characters, so its master key is derived from it: a creation that
//! was cut short can be repeated, and opening costs no key stretching. The key file that stock restic needs is written all
//! the same, before `config`, as restic does. Repositories made by stock restic open through their key files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustic_core::repofile::MasterKey;
use rustic_core::{
    BytesList, ConfigOptions, Credentials, ErrorKind, FileType, Id, KeyOptions, OpenStatus, ReadBackend,
    Repository, RepositoryBackends, RepositoryOptions, RusticError, RusticResult, WriteBackend,
};
use sha2::{Digest, Sha512};

use super::backend::Backend;
use super::events::Bars;
use super::failure::Failure;
use crate::os::mutex::lock;

/// A repository key shorter than this could be guessed, and its master key is derived without stretching.
const LEAST_KEY: usize = 32;
/// Half of restic's own size. A broken line costs little, and ten packs are in memory while four are on their way
/// (docs/decisions/0003). 1 GB makes 128 objects.
const PACK_SIZE: &str = "8MiB";

/// Opens the repository behind `backend`; `cache` keeps index and trees between runs.
///
/// # Errors
/// `NoRepository` without a `config`; `WrongKey`; what the store says.
pub fn open(
    backend: &Arc<Backend>,
    key: &str,
    cache: &Path,
    bars: Bars,
) -> Result<Repository<OpenStatus>, Failure> {
    if backend.list(FileType::Config)?.is_empty() {
        return Err(Failure::NoRepository);
    }
    let attempt = |credentials: &Credentials| {
        let options = RepositoryOptions::default().cache_dir(cache);
        let backends = RepositoryBackends::new(Arc::<Backend>::clone(backend), None);
        Repository::new_with_progress(&options, &backends, bars.clone()).and_then(|it| it.open(credentials))
    };
    if key.len() >= LEAST_KEY
        && let Ok(repository) = attempt(&Credentials::Masterkey(master_key(key)?))
    {
        return Ok(repository);
    }
    attempt(&Credentials::password(key)).map_err(|error| {
        // The key files opened, or there would be another error: what cannot be decrypted now is `config`. The library
        // wraps the error with this code into one without.
        if error.display_log().contains("C001") {
            let detail = "it cannot be decrypted, and without it nothing here can be read; bring it back from a copy \
                          of the bucket, or from the bucket's own versions";
            return Failure::Damaged { object: "config".to_owned(), detail: detail.to_owned() };
        }
        backend.explain(&error)
    })
}

/// Creates the repository when there is none. Repeatable, also after it was cut short at any point.
///
/// # Errors
/// `WeakKey` for a key that is too short; what the store says.
pub fn ensure(backend: &Arc<Backend>, key: &str) -> Result<bool, Failure> {
    if !backend.list(FileType::Config)?.is_empty() {
        return Ok(false);
    }
    if key.len() < LEAST_KEY {
        return Err(Failure::WeakKey { length: key.len(), least: LEAST_KEY });
    }
    let drafted = draft(key).map_err(|error| backend.explain(&error))?;
    backend.begin()?;
    for kind in [FileType::Key, FileType::Config] {
        for ((_, id), content) in
            drafted.range((rank(kind), Id::default())..).take_while(|((of, _), _)| *of == rank(kind))
        {
            backend.write(kind, id, &BytesList::from(content.clone()))?;
        }
    }
    Ok(true)
}

/// Makes key file and `config` in memory, so that they can be sent in the right order.
fn draft(key: &str) -> RusticResult<BTreeMap<(u8, Id), Bytes>> {
    let memory = Arc::new(Memory::default());
    let options = RepositoryOptions::default().no_cache(true);
    let backends = RepositoryBackends::new(Arc::<Memory>::clone(&memory), None);
    let mut config = ConfigOptions::default();
    config.set_datapack_size = PACK_SIZE.parse().ok();
    // Otherwise packs grow with the repository, and with them the memory that a backup takes.
    config.set_datapack_growfactor = Some(0);
    let master = master_key(key).map_err(|error| RusticError::new(ErrorKind::Key, error.to_string()))?;
    let repository = Repository::new(&options, &backends)?.init(
        &Credentials::Masterkey(master),
        &KeyOptions::default(),
        &config,
    )?;
    repository.add_key(key, &KeyOptions::default())?;
    let objects = lock(&memory.objects).clone();
    Ok(objects)
}

/// Derives the master key: 32 bytes for AES, 16 for the MAC's key, 16 for its multiplier with the bits that Poly1305 clears.
fn master_key(key: &str) -> Result<MasterKey, Failure> {
    use base64::Engine as _;
    let digest = Sha512::new().chain_update(b"ebbtide restic master key 1\0").chain_update(key).finalize();
    let (encrypt, rest) = digest.split_at(32);
    let (k, r) = rest.split_at(16);
    let masks = [255, 255, 255, 15, 252, 255, 255, 15, 252, 255, 255, 15, 252, 255, 255, 15];
    let r: Vec<u8> = r.iter().zip(masks).map(|(byte, mask): (&u8, u8)| byte & mask).collect();
    let base64 = base64::engine::general_purpose::STANDARD;
    serde_json::from_value(serde_json::json!({
        "mac": { "k": base64.encode(k), "r": base64.encode(r) },
        "encrypt": base64.encode(encrypt),
    }))
    .map_err(|error| Failure::Library {
        message: format!("the master key has not the form it takes: {error}"),
    })
}

fn rank(kind: FileType) -> u8 {
    match kind {
        FileType::Config => 0,
        FileType::Index => 1,
        FileType::Key => 2,
        FileType::Snapshot => 3,
        FileType::Pack => 4,
    }
}

#[derive(Debug, Default)]
struct Memory {
    objects: Mutex<BTreeMap<(u8, Id), Bytes>>,
}

impl ReadBackend for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let objects = lock(&self.objects);
        let listed = objects.iter().filter(|((of, _), _)| *of == rank(kind));
        Ok(listed.map(|((_, id), content)| (*id, u32::try_from(content.len()).unwrap_or(u32::MAX))).collect())
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let objects = lock(&self.objects);
        objects
            .get(&(rank(kind), *id))
            .cloned()
            .ok_or_else(|| RusticError::new(ErrorKind::Backend, "there is no such object"))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let whole = self.read_full(kind, id)?;
        let (start, end) = (offset as usize, offset as usize + length as usize);
        if end > whole.len() {
            return Err(RusticError::new(ErrorKind::Backend, "the object ends too early"));
        }
        Ok(whole.slice(start..end))
    }

    fn warmup_path(&self, _kind: FileType, _id: &Id) -> String {
        String::new()
    }
}

impl WriteBackend for Memory {
    fn write_bytes(&self, kind: FileType, id: &Id, _cacheable: bool, content: BytesList) -> RusticResult<()> {
        let whole: Vec<u8> = content.slice().iter().flat_map(|part| part.iter().copied()).collect();
        lock(&self.objects).insert((rank(kind), *id), whole.into());
        Ok(())
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        lock(&self.objects).remove(&(rank(kind), *id));
        Ok(())
    }
}
