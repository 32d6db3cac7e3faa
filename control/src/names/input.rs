//! What people type: workspace names, repository URLs, branches.
//!
//! Everything accepted here is later an *argument* of a program, never shell text; what is refused is what could be
//! taken for an option, what git would run as a command, and what would store a credential in clear. Each refusal
//! says what is wrong (`Display`) and what to do (`hint`), and never repeats the text it refuses: it may hold a secret.

use ebbtide_vm_init::public_address::is_public;
use url::{Host, Url};

/// Longest workspace name. `{name}-{id}--{port}` is one DNS label: 40 + 1 + 10 + 2 + 5 = 58 of 63 characters.
pub const NAME_MAX: usize = 40;
/// Longest repository URL, in bytes.
pub const REPO_URL_MAX: usize = 2048;
/// Longest branch name, in bytes: a reference is a file name, which has at most 255.
pub const BRANCH_MAX: usize = 244;

/// Why a text is no workspace name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("the name is empty")]
    Empty,
    #[error("the name has more than {NAME_MAX} characters")]
    TooLong,
    #[error("the name holds something other than lower-case letters, digits and dashes")]
    BadCharacter,
    #[error("the name starts or ends with a dash")]
    DashAtEdge,
    #[error("the name holds two dashes in a row")]
    DoubleDash,
}

impl NameError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "Leave `name` out to have one made from the repository, or give one.",
            Self::TooLong => "It becomes part of a host name: choose one of at most 40 characters.",
            Self::BadCharacter => "It becomes part of a host name: use a-z, 0-9 and single dashes.",
            Self::DashAtEdge => "Start and end it with a letter or a digit.",
            Self::DoubleDash => "Use single dashes: two separate a name from its port.",
        }
    }
}

/// Checks a workspace's name.
///
/// # Errors
/// It cannot be part of a host name.
pub fn validate_workspace_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > NAME_MAX {
        return Err(NameError::TooLong);
    }
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return Err(NameError::BadCharacter);
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err(NameError::DashAtEdge);
    }
    if name.contains("--") {
        return Err(NameError::DoubleDash);
    }
    Ok(())
}

/// Makes a workspace name from a repository's URL: its last part in allowed characters. Always valid.
pub fn default_name(repo_url: &str) -> String {
    let path = repo_url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last);
    let mut name = String::new();
    for character in last.chars() {
        match character.to_ascii_lowercase() {
            kept @ ('a'..='z' | '0'..='9') => name.push(kept),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
        if name.len() == NAME_MAX {
            break;
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "workspace".to_owned() } else { name.to_owned() }
}

/// Why a text is no repository URL that a machine may clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepoUrlError {
    #[error("the repository URL is empty")]
    Empty,
    #[error("the repository URL has more than {REPO_URL_MAX} bytes")]
    TooLong,
    #[error("the repository URL holds blanks or control characters")]
    BadCharacter,
    #[error("the repository URL starts with a dash")]
    LooksLikeOption,
    #[error("the repository URL names a transport that runs commands or reads local files")]
    ForbiddenTransport,
    #[error("the repository URL has a scheme other than http, https and ssh")]
    UnsupportedScheme,
    #[error("the repository URL holds credentials")]
    Credentials,
    #[error("the repository URL has no usable host")]
    BadHost,
    #[error(
        "the repository URL names a host that no machine reaches: loopback, link-local or a private network"
    )]
    UnreachableHost,
    #[error("the repository URL names no repository on its host")]
    NoPath,
    #[error("the text is no repository URL")]
    NotAUrl,
}

impl RepoUrlError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::NotAUrl => {
                "Give a URL such as https://github.com/owner/name.git or git@github.com:owner/name.git."
            }
            Self::TooLong => "Give the repository's clone URL; it has at most 2048 bytes.",
            Self::BadCharacter => "Percent-encode blanks; control characters have no place in it.",
            Self::LooksLikeOption => "Give a URL; options for git cannot be passed.",
            Self::ForbiddenTransport => {
                "The repository has to be on a server: use http, https or ssh. Push a local one somewhere first."
            }
            Self::UnsupportedScheme => "Use the repository's http, https or ssh URL.",
            Self::Credentials => {
                "Give the URL without user and password or token: it is shown and stored in clear. Private \
                 repositories cannot be cloned yet."
            }
            Self::BadHost => "Check the host: letters, digits, dots and dashes, or an address.",
            Self::UnreachableHost => {
                "The machine clones it from the internet: give a public host name or address, or push the repository \
                 to a server that has one."
            }
            Self::NoPath => "Add the repository's path, such as /owner/name.git.",
        }
    }
}

/// Checks a repository's URL: `http`, `https`, `ssh`, or the short ssh form `user@host:path`.
///
/// # Errors
/// A machine cannot or must not clone it. Whether the repository exists shows only there.
pub fn validate_repo_url(text: &str) -> Result<(), RepoUrlError> {
    if text.is_empty() {
        return Err(RepoUrlError::Empty);
    }
    if text.len() > REPO_URL_MAX {
        return Err(RepoUrlError::TooLong);
    }
    if text.chars().any(|character| character.is_control() || character.is_whitespace())
        || hides_control(text)
    {
        return Err(RepoUrlError::BadCharacter);
    }
    if text.starts_with('-') {
        return Err(RepoUrlError::LooksLikeOption);
    }
    if names_helper(text) {
        return Err(RepoUrlError::ForbiddenTransport);
    }
    match text.split_once("://") {
        Some((scheme, _)) => validate_url(&scheme.to_ascii_lowercase(), text),
        None => validate_short_ssh(text),
    }
}

/// Whether a percent-encoded control character is in the text; git's credential helpers have fallen for those.
fn hides_control(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    lower.split('%').skip(1).any(|rest| {
        let code = rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        code.is_some_and(|byte| byte.is_ascii_control())
    })
}

/// Whether git would run a remote helper (`ext::sh -c …`) or read local files.
fn names_helper(text: &str) -> bool {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))
        .unwrap_or(text.len());
    let (scheme, rest) = (text.get(..end).unwrap_or_default(), text.get(end..).unwrap_or_default());
    let scheme = scheme.to_ascii_lowercase();
    rest.starts_with("::") || (rest.starts_with(':') && matches!(scheme.as_str(), "file" | "ext" | "fd"))
}

fn validate_url(scheme: &str, text: &str) -> Result<(), RepoUrlError> {
    if !matches!(scheme, "http" | "https" | "ssh") {
        return Err(RepoUrlError::UnsupportedScheme);
    }
    let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, host_and_port) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    match user {
        Some(_) if scheme != "ssh" => return Err(RepoUrlError::Credentials),
        Some(user) if user.contains(':') => return Err(RepoUrlError::Credentials),
        Some(user) if !is_user(user) => return Err(RepoUrlError::BadHost),
        Some(_) | None => {}
    }
    if !is_host_and_port(host_and_port) {
        return Err(RepoUrlError::BadHost);
    }
    // The library has the last word on ports and addresses.
    let url = Url::parse(text).map_err(|_| RepoUrlError::BadHost)?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(RepoUrlError::BadHost)?;
    if is_unreachable(host) {
        return Err(RepoUrlError::UnreachableHost);
    }
    if url.path().trim_matches('/').is_empty() {
        return Err(RepoUrlError::NoPath);
    }
    Ok(())
}

/// `user@host:path`.
fn validate_short_ssh(text: &str) -> Result<(), RepoUrlError> {
    let (user, rest) = text.split_once('@').ok_or(RepoUrlError::NotAUrl)?;
    let (host, path) = rest.split_once(':').ok_or(RepoUrlError::NotAUrl)?;
    if user.contains(':') {
        return Err(RepoUrlError::Credentials);
    }
    if !is_user(user) || user.contains('/') {
        return Err(RepoUrlError::NotAUrl);
    }
    if !is_host(host) {
        return Err(RepoUrlError::BadHost);
    }
    if is_unreachable(host) {
        return Err(RepoUrlError::UnreachableHost);
    }
    if path.trim_matches('/').is_empty() {
        return Err(RepoUrlError::NoPath);
    }
    if path.starts_with('-') {
        return Err(RepoUrlError::LooksLikeOption);
    }
    Ok(())
}

fn is_user(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(inside)
}

fn is_host(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 253 && !text.starts_with(['-', '.']) && text.bytes().all(inside)
}

fn is_host_and_port(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

/// Whether a host can only be the machine itself, its provider's metadata service or somebody's private network.
/// Addresses are read as a browser reads them, so that `0x7f.1` and `2852039166` count as what they are. Where a *name*
/// leads shows only on the machine, which asks the same before it clones.
fn is_unreachable(host: &str) -> bool {
    match Host::parse(host) {
        Ok(Host::Ipv4(address)) => !is_public(address.into()),
        Ok(Host::Ipv6(address)) => !is_public(address.into()),
        Ok(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        // `host_str` gives an IPv6 address in its brackets, and the parser takes it so; the rest is `BadHost`'s.
        Err(_) => false,
    }
}

/// Why a text is no branch that git would take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BranchError {
    #[error("the branch is empty")]
    Empty,
    #[error("the branch has more than {BRANCH_MAX} bytes")]
    TooLong,
    #[error("the branch starts with a dash")]
    LooksLikeOption,
    #[error("the branch holds blanks, control characters or one of ~ ^ : ? * [ \\")]
    BadCharacter,
    #[error("the branch holds .. or @{{, or is a single @")]
    BadSequence,
    #[error("a part of the branch is empty, starts with a dot, or ends with a dot or .lock")]
    BadPart,
    #[error("HEAD is no branch")]
    Head,
}

impl BranchError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty | Self::Head => "Leave `branch` out to get the repository's default branch.",
            Self::TooLong => "No git server takes a branch name that long: check the request.",
            Self::LooksLikeOption => "Give a branch or tag; options for git cannot be passed.",
            Self::BadCharacter | Self::BadSequence | Self::BadPart => {
                "Give a branch or tag as `git branch --all` shows it, without `refs/` or the remote's name."
            }
        }
    }
}

/// Checks a branch or tag by the rules of `git check-ref-format --branch`. What git takes is taken, `$(id)` included:
/// it is an argument.
///
/// # Errors
/// git would refuse it.
pub fn validate_branch(branch: &str) -> Result<(), BranchError> {
    if branch.is_empty() {
        return Err(BranchError::Empty);
    }
    if branch.len() > BRANCH_MAX {
        return Err(BranchError::TooLong);
    }
    if branch.starts_with('-') {
        return Err(BranchError::LooksLikeOption);
    }
    let refused = |byte: u8| {
        byte.is_ascii_control() || matches!(byte, b' ' | b'~' | b'^' | b':' | b'?' | b'*' | b'[' | b'\\')
    };
    if branch.bytes().any(refused) {
        return Err(BranchError::BadCharacter);
    }
    if branch.contains("..") || branch.contains("@{") || branch == "@" {
        return Err(BranchError::BadSequence);
    }
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    if branch.split('/').any(bad_part) || branch.ends_with('.') {
        return Err(BranchError::BadPart);
    }
    if branch == "HEAD" {
        return Err(BranchError::Head);
    }
    Ok(())
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const URLS: &[&str] = &[
        "https://github.com/owner/name.git",
        "ssh://git@git.example.org:2222/a/b.git",
        "git@github.com:owner/name.git",
        "http://[2a01:4f8::1]:8080/demo.git",
        "http://169.254.169.254/a",
        "http://0x7f.1/a",
        "http://[::ffff:10.0.0.1]/a",
        "ext::sh -c id",
    ];
    const BRANCHES: &[&str] = &["main", "feature/x", "a.lock/b", "@{-1}", "--upload-pack=x"];

    proptest! {
        #[test]
        fn a_repository_that_is_taken_is_no_option_and_on_the_internet(url in text_like(URLS)) {
            prop_assert_eq!(validate_workspace_name(&default_name(&url)), Ok(()));
            if validate_repo_url(&url).is_ok() {
                prop_assert!(!url.starts_with('-') && url.len() <= REPO_URL_MAX);
                // What git hands to a helper: letters, digits and `+-.` up to the first `::`.
                let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
                prop_assert!(!url.split_once("::").is_some_and(|(before, _)| is_scheme(before)), "{}", url);
                prop_assert!(!url.contains(|c: char| c.is_control() || c.is_whitespace()));
                // As git and curl cut it, without the library that checked it.
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let authority = rest.split('/').next().unwrap_or_default();
                let host = authority.rsplit('@').next().unwrap_or_default();
                let v6 = host.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(inside, _)| inside);
                let plain = v6.unwrap_or_else(|| host.split(':').next().unwrap_or_default());
                prop_assert!(!plain.starts_with('-'), "{}", url);
                prop_assert!(plain.parse().is_ok_and(is_public) || plain.parse::<std::net::IpAddr>().is_err(), "{}", url);
            }
        }

        #[test]
        fn a_branch_that_is_taken_is_no_option(branch in text_like(BRANCHES)) {
            if validate_branch(&branch).is_ok() {
                prop_assert!(!branch.starts_with('-') && !branch.contains("..") && branch.len() <= BRANCH_MAX);
                prop_assert!(!branch.contains(|c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c)));
            }
        }
    }
}
