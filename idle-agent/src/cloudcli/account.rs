//! The account by which we and CloudCLI know each other: its one user, that user's password, the secret behind our
//! tokens.
//!
//! Whoever has the secret is that user: only root reads it, and CloudCLI gets it in its environment. Root writes nothing
//! into a directory that is not root's: the password is made by its user.

use crate::os::atomic_file;
use crate::os::command::{RunError, command_as, run};
use crate::os::users::User;
use jwt_simple::prelude::{Claims, Duration as TokenLife, HS256Key, MACLike as _};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Its user, whom our tokens name too.
pub const USER: &str = "ebbtide";
/// Where that user's password is, below the home directory, which is backed up together with CloudCLI's own list of users.
pub const PASSWORD: &str = ".cloudcli/ebbtide-password";
/// How long a token is good for; a new one is made for each question.
const TOKEN_SECS: u64 = 60;

/// Makes the password where there is none, and says it; whoever runs it owns the file.
const MAKE_PASSWORD: &str = "umask 077; mkdir -p \"${1%/*}\"; \
     [ -s \"$1\" ] || { head -c 18 /dev/urandom | base64 >\"$1.new\" && mv \"$1.new\" \"$1\"; }; cat \"$1\"";

/// Whom a token names.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Who {
    /// Its id; the first user has 1.
    pub user_id: u32,
    /// Its name.
    pub username: String,
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Its user may not write it, or has no room for it.
    #[error("{PASSWORD} cannot be written")]
    NotWritten,
    /// The shell that makes it did not run.
    #[error(transparent)]
    Shell(#[from] RunError),
}

/// The password, made and kept by its user: root writes nothing into a directory that is not root's.
///
/// # Errors
/// Why there is none.
pub fn password(user: &User) -> Result<String, PasswordError> {
    let mut command = command_as("sh", Some(user));
    command.args(["-c", MAKE_PASSWORD, "sh"]).arg(Path::new(&user.home).join(PASSWORD));
    let mut said = String::new();
    let ended = run(command, Duration::from_secs(10), &mut |line| said = line.to_owned())?;
    if ended.status.success() && said.len() >= 6 { Ok(said) } else { Err(PasswordError::NotWritten) }
}

/// Says that ours knows our tokens from now on: before its user was registered it refused them, and was left alone for it.
///
/// # Errors
/// What the system says about the file.
pub fn announce(state: &Path) -> std::io::Result<()> {
    atomic_file::write(&mark(state), b"", 0o600)
}

/// Where [`announce`] leaves its mark.
pub fn mark(state: &Path) -> PathBuf {
    state.join("cloudcli-registered")
}

/// The secret by which CloudCLI knows our tokens; only root reads it.
///
/// # Errors
/// What the system says about its file.
pub fn secret(state: &Path) -> std::io::Result<String> {
    let file = state.join("cloudcli-secret.json");
    if let Some(secret) = atomic_file::read_json::<String>(&file) {
        return Ok(secret);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let secret = hex::encode(bytes);
    atomic_file::write_json(&file, &secret, 0o600)?;
    Ok(secret)
}

/// A token for CloudCLI's first user, who is the workspace's.
pub fn token(key: &HS256Key) -> Option<String> {
    let who = Who { user_id: 1, username: USER.to_owned() };
    key.authenticate(Claims::with_custom_claims(who, TokenLife::from_secs(TOKEN_SECS))).ok()
}
