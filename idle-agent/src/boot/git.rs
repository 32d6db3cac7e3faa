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

/// Words by which git, curl and ssh name each failure; the first that fits counts.
const WORDS: [(&str, CloneFailure); 25] = [
    ("Remote branch ", CloneFailure::NoBranch),
    ("No space left on device", CloneFailure::DiskFull),
    ("transport '", CloneFailure::Protocol),
    ("Unsupported protocol", CloneFailure::Protocol),
    ("Unable to find remote helper", CloneFailure::Protocol),
    ("could not read Username", CloneFailure::Credentials),
    ("could not read Password", CloneFailure::Credentials),
    ("terminal prompts disabled", CloneFailure::Credentials),
    ("Authentication failed", CloneFailure::Credentials),
    ("Permission denied", CloneFailure::Credentials),
    ("returned error: 401", CloneFailure::Credentials),
    ("returned error: 403", CloneFailure::Credentials),
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
        matches!(self, Self::Unreachable | Self::Other)
    }

    /// The reason and the way out.
    pub fn words(self, branch: Option<&str>, tail: &[String]) -> String {
        let said = tail.iter().rev().find(|line| is_verdict(line)).map_or("git said nothing", String::as_str);
        let said = said.chars().take(300).collect::<String>();
        match self {
            Self::Credentials => format!(
                "the repository wants credentials, or does not exist ({said}); check the URL, or make the repository \
                 readable without signing in"
            ),
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

fn is_verdict(line: &str) -> bool {
    ["fatal:", "error:", "ssh:", "remote: Repository not found", "Host key", "git@"]
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
            ("git@h: Permission denied (publickey).", CloneFailure::Credentials),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 403",
                CloneFailure::Credentials,
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
            assert!(failure.words(Some("b"), &tail).len() < 600);
        }
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
            prop_assert!(CloneFailure::read(&tail).words(Some("b"), &tail).chars().count() < 600);
        }
    }
}
