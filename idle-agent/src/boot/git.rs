//! What git says while it clones, as a percentage and, where it fails, as a reason with a way out. Pure.

/// Stages of a clone and the share of the whole at which each begins and ends, from how long they take in practice.
const STAGES: [(&str, u64, u64); 6] = [
    ("remote: Enumerating objects", 0, 1),
    ("remote: Counting objects", 1, 3),
    ("remote: Compressing objects", 3, 10),
    ("Receiving objects", 10, 75),
    ("Resolving deltas", 75, 90),
    ("Updating files", 90, 100),
];

/// How much of a clone is done after this line of `git clone --progress`.
pub fn percent(line: &str) -> Option<u8> {
    let (_, from, to) = STAGES.iter().find(|(stage, ..)| line.starts_with(stage))?;
    let before = line.split_once('%')?.0;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    let done: u64 = digits.parse().ok().filter(|done| *done <= 100)?;
    u8::try_from(from + (to - from) * done / 100).ok()
}

/// Whether a line only moves a meter and is not worth logging.
pub fn is_meter(line: &str) -> bool {
    STAGES.iter().any(|(stage, ..)| line.starts_with(stage)) && !line.contains("done.")
}

/// Why a clone failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloneFailure {
    /// It wants to know who asks, or does not exist: servers do not say which.
    Credentials,
    /// It knows who asks, and does not let them in.
    Refused,
    /// Ssh was not let in.
    SshKey,
    /// The control plane did not say who asks.
    NoAnswer,
    /// No way to the host.
    Unreachable,
    /// There is no such branch or tag.
    NoBranch,
    /// There is no such repository.
    NotFound,
    /// Neither http, https nor ssh.
    Protocol,
    /// The disk is full.
    DiskFull,
    /// Something else.
    Other,
}

/// What `ebb git-credential` says where the control plane gives no answer.
pub const NO_ANSWER: &str = "ebb: no answer about a git credential";

/// Words by which git, curl and ssh name each failure; the first that fits counts.
const WORDS: [(&str, CloneFailure); 27] = [
    (NO_ANSWER, CloneFailure::NoAnswer),
    ("Remote branch ", CloneFailure::NoBranch),
    ("No space left on device", CloneFailure::DiskFull),
    ("transport '", CloneFailure::Protocol),
    ("Unsupported protocol", CloneFailure::Protocol),
    ("Unable to find remote helper", CloneFailure::Protocol),
    ("could not read Username", CloneFailure::Credentials),
    ("could not read Password", CloneFailure::Credentials),
    ("terminal prompts disabled", CloneFailure::Credentials),
    ("Authentication failed", CloneFailure::Refused),
    ("Permission denied (publickey", CloneFailure::SshKey),
    ("Permission denied", CloneFailure::Refused),
    ("returned error: 401", CloneFailure::Credentials),
    ("returned error: 403", CloneFailure::Refused),
    ("Host key verification failed", CloneFailure::Credentials),
    ("not found", CloneFailure::NotFound),
    ("does not appear to be a git repository", CloneFailure::NotFound),
    ("not valid: is this a git repository", CloneFailure::NotFound),
    ("returned error: 404", CloneFailure::NotFound),
    ("Could not resolve host", CloneFailure::Unreachable),
    ("Failed to connect", CloneFailure::Unreachable),
    ("Couldn't connect", CloneFailure::Unreachable),
    ("Connection refused", CloneFailure::Unreachable),
    ("timed out", CloneFailure::Unreachable),
    ("No route to host", CloneFailure::Unreachable),
    ("Network is unreachable", CloneFailure::Unreachable),
    ("Empty reply from server", CloneFailure::Unreachable),
];

impl CloneFailure {
    /// Reads the reason from git's last lines.
    pub fn read(tail: &[String]) -> Self {
        // A branch that does not exist is said before the general "not found"; look for the words in their order.
        WORDS
            .iter()
            .find(|(words, _)| tail.iter().any(|line| is_verdict(line) && line.contains(words)))
            .map_or(Self::Other, |(_, failure)| *failure)
    }

    /// Whether trying again may help.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unreachable | Self::NoAnswer | Self::Other)
    }

    /// The reason and the way out.
    pub fn words(self, url: &str, branch: Option<&str>, tail: &[String]) -> String {
        let said = tail.iter().rev().find(|line| is_verdict(line)).map_or("git said nothing", String::as_str);
        let said = said.chars().take(LONGEST_SAID).collect::<String>();
        let host = credential_host(url);
        match self {
            Self::Credentials => format!(
                "{host} wants to know who asks, or has no such repository ({said}); check the URL, or add a git \
                 credential for {host} {WAY_TO_ADD}"
            ),
            Self::Refused => format!(
                "{host} did not take the git credential of this workspace ({said}); it may have ended, or may not read \
                 this repository: write another {WAY_TO_ADD}"
            ),
            Self::SshKey => format!(
                "{host} knows no key of this workspace ({said}); give {host} the public half of an SSH key, and add the key \
                 itself {WAY_TO_ADD}"
            ),
            Self::NoAnswer => format!("the control plane did not say how to sign in at {host}"),
            Self::Unreachable => {
                format!(
                    "the repository's host cannot be reached ({said}); check the URL and whether the host is up"
                )
            }
            Self::NoBranch => format!(
                "the repository has no branch or tag {:?}; create the workspace with one that exists",
                branch.unwrap_or("")
            ),
            Self::NotFound => format!("there is no git repository at this URL ({said}); check the URL"),
            Self::Protocol => "only http, https and ssh URLs can be cloned; use one of them".to_owned(),
            Self::DiskFull => "the disk is full; choose a larger size".to_owned(),
            Self::Other => format!("git clone failed: {said}"),
        }
    }
}

/// So many characters of git's own words are told.
const LONGEST_SAID: usize = 200;
/// So many characters of a host are told; real ones are shorter.
const LONGEST_HOST: usize = 100;
/// Where a secret is written, for a person and for a program.
const WAY_TO_ADD: &str = "under Secrets on the dashboard or with PUT /v1/secrets/{name}, let this workspace have it, and try again";

/// The host of a URL as a secret names it.
fn credential_host(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match scheme {
        "http" | "https" => host,
        _ => host.split(':').next().unwrap_or_default(),
    };
    let host: String = host.to_ascii_lowercase().chars().take(LONGEST_HOST).collect();
    if scheme == "http" { format!("http://{host}") } else { host }
}

fn is_verdict(line: &str) -> bool {
    ["ebb:", "fatal:", "error:", "ssh:", "remote: Repository not found", "Host key", "git@"]
        .iter()
        .any(|start| line.starts_with(start))
        || line.contains("Permission denied")
        || line.contains("No space left on device")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentage_rises_through_the_stages() {
        let table = [
            ("Cloning into '/workspaces/.demo.cloning'...", None),
            ("remote: Counting objects: 100% (12/12), done.", Some(3)),
            ("remote: Compressing objects:  50% (5/10)", Some(6)),
            ("Receiving objects:   0% (1/1000)", Some(10)),
            ("Receiving objects:  45% (450/1000), 1.20 MiB | 1.00 MiB/s", Some(39)),
            ("Resolving deltas: 100% (10/10), done.", Some(90)),
            ("Updating files:  7% (1/14)", Some(90)),
            ("Updating files: 100% (14/14), done.", Some(100)),
            ("Receiving objects: 999%", None),
            ("Receiving obje", None),
        ];
        for (line, expected) in table {
            assert_eq!(percent(line), expected, "{line}");
        }
    }

    #[test]
    fn failures_are_told_apart_by_what_git_says() {
        let table = [
            (
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                CloneFailure::Credentials,
            ),
            ("git@h: Permission denied (publickey).", CloneFailure::SshKey),
            ("fatal: Authentication failed for 'https://h/x/'", CloneFailure::Refused),
            ("ebb: no answer about a git credential: x", CloneFailure::NoAnswer),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 403",
                CloneFailure::Refused,
            ),
            ("fatal: unable to access 'http://h/': Could not resolve host: h", CloneFailure::Unreachable),
            (
                "fatal: unable to access 'http://h/': Failed to connect to h port 80: Connection refused",
                CloneFailure::Unreachable,
            ),
            ("ssh: connect to host h port 22: Connection timed out", CloneFailure::Unreachable),
            ("fatal: Remote branch $(id) not found in upstream origin", CloneFailure::NoBranch),
            ("fatal: repository 'http://h/x/' not found", CloneFailure::NotFound),
            ("fatal: transport 'file' not allowed", CloneFailure::Protocol),
            ("fatal: write error: No space left on device", CloneFailure::DiskFull),
            ("fatal: early EOF", CloneFailure::Other),
        ];
        for (line, expected) in table {
            let tail = ["Cloning into 'not found'...".to_owned(), line.to_owned()];
            let failure = CloneFailure::read(&tail);
            assert_eq!(failure, expected, "{line}");
            assert!(failure.words("https://h/x", Some("b"), &tail).len() < 600);
        }
    }
}

#[cfg(test)]
mod ways_out {
    use super::*;

    #[test]
    fn a_refusal_names_the_host_as_a_secret_does() {
        for (url, host) in [
            ("https://GitHub.com/a/b.git", "github.com"),
            ("https://git.example.org:8443/a", "git.example.org:8443"),
            ("http://git.local/a", "http://git.local"),
            ("git@github.com:a/b.git", "github.com"),
            ("ssh://git@h:2222/a", "h"),
        ] {
            assert_eq!(credential_host(url), host, "{url}");
        }
        let words = |said: &str, url: &str| {
            let tail = [said.to_owned()];
            CloneFailure::read(&tail).words(url, None, &tail)
        };
        assert_eq!(
            words("fatal: could not read Username for 'https://h': terminal prompts disabled", "https://h/a"),
            "h wants to know who asks, or has no such repository (fatal: could not read Username for 'https://h': terminal \
             prompts disabled); check the URL, or add a git credential for h under Secrets on the dashboard or with PUT \
             /v1/secrets/{name}, let this workspace have it, and try again"
        );
        let refused = words("fatal: Authentication failed for 'https://h/a/'", "https://h/a");
        assert!(
            refused.contains("may have ended") && refused.contains("write another under Secrets"),
            "{refused}"
        );
        let ssh = words("git@h: Permission denied (publickey).", "git@h:a");
        assert!(ssh.contains("h knows no key") && ssh.contains("add the key itself under Secrets"), "{ssh}");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const LINES: &[&str] = &[
        "Receiving objects:  45% (450/1000), 1.20 MiB | 1.00 MiB/s",
        "fatal: Remote branch x not found in upstream origin",
        "git@h: Permission denied (publickey).",
    ];

    proptest! {
        #[test]
        fn whatever_git_says_is_a_share_or_a_reason(line in text_like(LINES)) {
            prop_assert!(percent(&line).is_none_or(|percent| percent <= 100));
            let tail = [line];
            let words = CloneFailure::read(&tail).words(&tail[0], Some("b"), &tail);
            // A host may stand there three times, and what git says once.
            prop_assert!(words.chars().count() < 3 * LONGEST_HOST + LONGEST_SAID + 300, "{words}");
        }
    }
}
