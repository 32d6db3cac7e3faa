//! The extended attributes of an entry, each kept or named.
//!
//! The library drops all attributes of an entry with a log line where it cannot read one of them. Here the others are kept
//! and what is lost comes back with its reason, for the warnings. Must never follow a link, and never lose one in silence.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use base64::Engine as _;
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use super::failure::show_path;

/// How often a list or a value that grows while it is read is read again.
const TRIES: u32 = 5;

/// What an entry has, in the library's form, and what could not be kept, as reasons.
#[derive(Debug)]
pub struct Attributes<A> {
    pub kept: Vec<A>,
    pub lost: Vec<String>,
}

/// Reads the attributes of the entry itself, not of what it may point to.
pub fn read<A: DeserializeOwned>(path: &Path) -> Attributes<A> {
    gather(
        || whole(|| rustix::fs::llistxattr_query(path), |room| rustix::fs::llistxattr(path, room)),
        |name| {
            whole(|| rustix::fs::lgetxattr_query(path, name), |room| rustix::fs::lgetxattr(path, name, room))
        },
    )
}

/// Reads something whose length has to be asked for first, and may be another by then.
fn whole(
    length: impl Fn() -> Result<usize, Errno>,
    read: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<Vec<u8>, Errno> {
    let mut tries = 0;
    loop {
        let mut content = vec![0; length()?];
        if content.is_empty() {
            return Ok(content);
        }
        tries += 1;
        match read(&mut content) {
            Ok(length) => {
                content.truncate(length);
                return Ok(content);
            }
            Err(Errno::RANGE) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

fn gather<A: DeserializeOwned>(
    list: impl Fn() -> Result<Vec<u8>, Errno>,
    value: impl Fn(&[u8]) -> Result<Vec<u8>, Errno>,
) -> Attributes<A> {
    let mut attributes = Attributes { kept: Vec::new(), lost: Vec::new() };
    let names = match list() {
        Ok(names) => names,
        // An entry that is gone is told when it is read.
        Err(Errno::NOENT) => return attributes,
        Err(error) if has_none(error) => return attributes,
        Err(error) => {
            attributes.lost.push(format!("its extended attributes cannot be listed: {error}"));
            return attributes;
        }
    };
    for bytes in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let shown = show_path(Path::new(OsStr::from_bytes(bytes)));
        let kept = match (std::str::from_utf8(bytes), value(bytes)) {
            // Removed since it was listed, or the whole entry was.
            (_, Err(Errno::NODATA | Errno::NOENT)) => continue,
            (_, Err(error)) if has_none(error) => continue,
            (_, Err(error)) => Err(error.to_string()),
            (Err(_), Ok(_)) => Err("its name is not UTF-8, which the format cannot hold".to_owned()),
            (Ok(name), Ok(value)) => attribute(name, &value).map_err(|error| error.to_string()),
        };
        match kept {
            Ok(attribute) => attributes.kept.push(attribute),
            Err(reason) => {
                attributes.lost.push(format!("its extended attribute {shown} is not kept: {reason}"));
            }
        }
    }
    attributes
}

/// Whether the file system has no such thing, so that nobody can read it and nobody can have written it.
fn has_none(error: Errno) -> bool {
    matches!(error, Errno::NOTSUP | Errno::NOSYS)
}

/// The library's type cannot be named outside of it; this is how it is written in a snapshot.
fn attribute<A: DeserializeOwned>(name: &str, value: &[u8]) -> serde_json::Result<A> {
    let value = base64::engine::general_purpose::STANDARD.encode(value);
    serde_json::from_value(serde_json::json!({ "name": name, "value": value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::cell::Cell;

    const LISTED: &[u8] = b"user.a\0user.\xff\0user.b\0user.gone\0user.none\0";

    fn value(name: &[u8]) -> Result<Vec<u8>, Errno> {
        match name {
            b"user.a" => Err(Errno::ACCESS),
            b"user.gone" => Err(Errno::NODATA),
            b"user.none" => Err(Errno::NOTSUP),
            _ => Ok(b"\x00x".to_vec()),
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
        let found: Attributes<Value> = gather(|| Ok(LISTED.to_vec()), value);
        assert_eq!(found.kept, [json!({ "name": "user.b", "value": "AHg=" })]);
        let [first, second] = found.lost.as_slice() else { panic!("{:?}", found.lost) };
        assert!(first.contains("user.a") && first.contains("ermission denied"), "{first}");
        assert!(second.contains("user.\\xff") && second.contains("UTF-8"), "{second}");
    }

    #[test]
    fn a_file_system_without_attributes_has_lost_none() {
        for (error, lost) in [
            (Errno::NOTSUP, 0),
            (Errno::NOSYS, 0),
            (Errno::NOENT, 0),
            (Errno::IO, 1),
            (Errno::ACCESS, 1),
            (Errno::TOOBIG, 1),
        ] {
            let found: Attributes<Value> = gather(|| Err(error), value);
            assert_eq!((found.kept.len(), found.lost.len()), (0, lost), "{error}");
        }
    }

    #[test]
    fn one_that_grows_while_it_is_read_is_read_again() {
        let length = Cell::new(1);
        let grows = || Ok(length.replace(length.get() + 1));
        let read = |room: &mut [u8]| {
            if room.len() < 3 {
                return Err(Errno::RANGE);
            }
            room.fill(7);
            Ok(2)
        };
        assert_eq!(whole(grows, read).unwrap(), [7, 7]);
        let always = whole(|| Ok(1), |_| Err(Errno::RANGE));
        assert_eq!(always, Err(Errno::RANGE));
    }
}
