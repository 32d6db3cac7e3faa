//! Telling people at the machine's terminals what is about to happen.

use crate::os::users::User;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

/// Writes a line to every terminal of the user; one that does not take it at once is left out.
pub fn tell_terminals(user: Option<&User>, text: &str) {
    let Some(user) = user else { return };
    for entry in std::fs::read_dir("/dev/pts").into_iter().flatten().filter_map(Result::ok) {
        let is_theirs = entry.metadata().is_ok_and(|metadata| metadata.uid() == user.uid);
        if entry.file_name() == "ptmx" || !is_theirs {
            continue;
        }
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(flags.bits()).unwrap_or(0);
        let opened = std::fs::OpenOptions::new().write(true).custom_flags(flags).open(entry.path());
        let written = opened.and_then(|mut terminal| write!(terminal, "\r\n[ebbtide] {text}\r\n"));
        if let Err(error) = written {
            tracing::debug!(%error, path = %entry.path().display(), "a terminal was not told");
        }
    }
}
