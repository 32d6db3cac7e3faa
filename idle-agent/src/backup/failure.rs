//! Why a backup or a restore ended without its result: one variant per outcome that the daemon can act on.
//!
//! `code` and `exit_code` are a contract with the daemon and with people's scripts: they are pinned by a test and never
//! reused for something else. Must never carry a token, a key or file contents.

use std::path::Path;

/// The end of a command that did not reach its result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error(
        "the control plane answered 410: another generation of this workspace is live, this machine stops here"
    )]
    StaleGeneration,
    #[error("the store takes no more data (status {status}): {detail}")]
    Quota { status: u16, detail: String },
    #[error("the machine token was refused for {} and was not renewed", ebbtide_api::text::seconds(*.waited_secs))]
    Unauthorized { waited_secs: u64 },
    #[error("no object was transferred for {}; the last attempt ({what}) ended with: {reason}", ebbtide_api::text::seconds(*.stalled_secs))]
    Stalled { stalled_secs: u64, what: String, reason: String },
    #[error("{object} is damaged: {detail}")]
    Damaged { object: String, detail: String },
    #[error("the repository key opens none of the repository's key files")]
    WrongKey,
    #[error("the repository key has {length} characters; a new repository needs at least {least}")]
    WeakKey { length: usize, least: usize },
    #[error("there is no repository at this address")]
    NoRepository,
    #[error("there is no snapshot {wanted}")]
    NoSnapshot { wanted: String },
    #[error("{action} {path}: {reason}")]
    Local { action: &'static str, path: String, reason: String },
    #[error("the store refused {what} with status {status}: {detail}")]
    Refused { what: String, status: u16, detail: String },
    #[error("{what} is incomplete: {detail}")]
    Incomplete { what: &'static str, detail: String },
    #[error("the backup library failed: {message}")]
    Library { message: String },
}

impl Failure {
    /// Names the outcome, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::StaleGeneration => "stale_generation",
            Self::Quota { .. } => "quota",
            Self::Unauthorized { .. } => "unauthorized",
            Self::Stalled { .. } => "stalled",
            Self::Damaged { .. } => "damaged",
            Self::WrongKey => "wrong_key",
            Self::WeakKey { .. } => "weak_key",
            Self::NoRepository => "no_repository",
            Self::NoSnapshot { .. } => "no_snapshot",
            Self::Local { .. } => "local",
            Self::Refused { .. } => "refused",
            Self::Incomplete { .. } => "incomplete",
            Self::Library { .. } => "library",
        }
    }

    /// Names the outcome, as the exit code of the process (1 and 2 are left to crashes and wrong usage).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::StaleGeneration => 41,
            Self::Quota { .. } => 42,
            Self::Unauthorized { .. } => 43,
            Self::Stalled { .. } => 44,
            Self::Damaged { .. } => 45,
            Self::WrongKey | Self::WeakKey { .. } => 46,
            Self::NoRepository | Self::NoSnapshot { .. } => 47,
            Self::Local { .. } => 48,
            Self::Refused { .. } => 49,
            Self::Incomplete { .. } => 50,
            Self::Library { .. } => 51,
        }
    }

    /// A failure of this machine's own files.
    pub fn local(action: &'static str, path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Local { action, path: show_path(path), reason: reason.to_string() }
    }
}

/// Writes a path so that every byte of it can be told: bytes that are not UTF-8 appear as `\xNN`.
pub fn show_path(path: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut shown = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn exit_codes_are_pinned() {
        let text = String::new;
        let table = [
            (Failure::StaleGeneration, "stale_generation", 41),
            (Failure::Quota { status: 507, detail: text() }, "quota", 42),
            (Failure::Unauthorized { waited_secs: 1 }, "unauthorized", 43),
            (Failure::Stalled { stalled_secs: 1, what: text(), reason: text() }, "stalled", 44),
            (Failure::Damaged { object: text(), detail: text() }, "damaged", 45),
            (Failure::WrongKey, "wrong_key", 46),
            (Failure::WeakKey { length: 1, least: 32 }, "weak_key", 46),
            (Failure::NoRepository, "no_repository", 47),
            (Failure::NoSnapshot { wanted: text() }, "no_snapshot", 47),
            (Failure::local("read", Path::new("/x"), "no"), "local", 48),
            (Failure::Refused { what: text(), status: 403, detail: text() }, "refused", 49),
            (Failure::Incomplete { what: "receipt", detail: text() }, "incomplete", 50),
            (Failure::Library { message: text() }, "library", 51),
        ];
        for (failure, code, exit) in table {
            assert_eq!((failure.code(), failure.exit_code()), (code, exit));
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_is_shown_byte_by_byte() {
        assert_eq!(show_path(Path::new(OsStr::from_bytes(b"/w/caf\xe9/\xc3\xa9"))), "/w/caf\\xe9/\u{e9}");
    }
}
