//! Looks for what vouches for an agent: its connections, its transcripts' growth, its session file. Reads sizes and
//! small files only; never what is in a transcript, and nothing where no agent is there. `judge::agent_activity`
//! compares.

use crate::idle::facts::{AgentObservation, SessionStatus, Sockets};
use crate::idle::process_kinds::RunningAgent;
use crate::ports::diag::{Connection, Diag};
use ebbtide_api::agents::Transcripts;
use rustix::fs::OFlags;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Most files that one look goes through.
const FILES: usize = 2000;
/// Most names that one look reads, in all directories together.
const NAMES: usize = 20_000;
/// How deep transcripts lie: Codex has year, month and day.
const DEPTH: usize = 5;
/// What transcripts end in; logs do not count.
const TRANSCRIPTS: [&str; 6] = [".jsonl", ".json", ".zst", ".db", ".db-wal", ".md"];
/// Longest session file that is read.
const STATUS_BYTES: u64 = 64 << 10;

/// Looks at all agents, and at the connections of `jobs`. `home` says where a user's files are, `transcript` where a session's are known to be.
pub fn look<'a>(
    agents: &[RunningAgent],
    jobs: &[(u32, u64)],
    home: impl Fn(u32) -> Option<PathBuf>,
    transcript: impl Fn((u32, u64)) -> Option<&'a Path>,
) -> Vec<AgentObservation> {
    if agents.is_empty() && jobs.is_empty() {
        return Vec::new();
    }
    let connections = connections();
    let observation = |agent: &RunningAgent| {
        let process = (agent.pid, agent.started);
        let own = connections.as_ref().and_then(|all| of_processes(Path::new("/proc"), &agent.own, all));
        let (home, told) = (home(agent.uid), transcript(process));
        AgentObservation {
            process,
            sockets: own.as_deref().map(sum),
            grown: mark(&places(agent, home.as_deref(), told)),
            status: status(agent, home.as_deref(), told),
        }
    };
    let of_job = |process: &(u32, u64)| {
        let all = connections.as_ref()?;
        let own = of_processes(Path::new("/proc"), &[process.0], all).filter(|own| !own.is_empty())?;
        Some(AgentObservation { process: *process, sockets: Some(sum(&own)), grown: 0, status: None })
    };
    agents.iter().map(observation).chain(jobs.iter().filter_map(of_job)).collect()
}

/// All connections, and the ports on which something listens.
struct Table {
    all: Vec<Connection>,
    served: BTreeSet<u16>,
}

fn connections() -> Option<Table> {
    let asked = Diag::open().and_then(|mut diag| Ok((diag.listeners()?, diag.connections()?)));
    match asked {
        Ok((listeners, all)) => {
            let served = listeners.into_iter().map(|listener| listener.port).collect();
            Some(Table { all, served })
        }
        Err(error) => {
            tracing::debug!(%error, "connections cannot be read");
            None
        }
    }
}

/// Those that some processes opened; `None` where these cannot be looked at.
fn of_processes(proc: &Path, processes: &[u32], table: &Table) -> Option<Vec<Connection>> {
    let mut inodes = BTreeSet::new();
    let mut is_readable = false;
    for pid in processes {
        let Ok(descriptors) = std::fs::read_dir(proc.join(pid.to_string()).join("fd")) else { continue };
        is_readable = true;
        inodes.extend(descriptors.filter_map(|descriptor| {
            let link = std::fs::read_link(descriptor.ok()?.path()).ok()?;
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
        }));
    }
    let own: Vec<Connection> = table.all.iter().filter(|one| inodes.contains(&one.inode)).copied().collect();
    is_readable.then(|| opened(&own, &table.served))
}

/// Of the connections of some processes those that they opened to somebody else: not what somebody opened to a server of
/// theirs, and not what they have with themselves, as Codex with its own server.
fn opened(own: &[Connection], served: &BTreeSet<u16>) -> Vec<Connection> {
    let to_itself = |one: &Connection| {
        own.iter().any(|other| (other.local_port, other.remote_port) == (one.remote_port, one.local_port))
    };
    own.iter().filter(|one| !served.contains(&one.local_port) && !to_itself(one)).copied().collect()
}

fn sum(own: &[Connection]) -> Sockets {
    Sockets {
        open: u32::try_from(own.len()).unwrap_or(u32::MAX),
        is_asked: own.iter().any(|one| one.is_asked),
        received_bytes: own.iter().map(|one| one.received_bytes).sum(),
        sent_bytes: own.iter().map(|one| one.sent_bytes).sum(),
    }
}

/// Where an agent's transcripts grow.
fn places(agent: &RunningAgent, home: Option<&Path>, told: Option<&Path>) -> Vec<PathBuf> {
    if let Some(transcript) = told {
        // Sub-agents write below a directory of the session's name.
        return vec![transcript.to_owned(), transcript.with_extension("")];
    }
    match agent.name.profile().transcripts {
        Transcripts::BelowHome(path) => home.map(|home| home.join(path)).into_iter().collect(),
        Transcripts::WhereStarted(file) => vec![PathBuf::from(format!("/proc/{}/cwd/{file}", agent.pid))],
    }
}

/// A number that changes when one of the files grows.
fn mark(places: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut left = Budget { files: FILES, names: NAMES };
    for place in places {
        add(place, DEPTH, &mut left, &mut hasher);
    }
    hasher.finish()
}

/// What is left to one look. Anybody may have put any number of files there.
struct Budget {
    files: usize,
    names: usize,
}

/// Goes through a directory's files before what lies below: a database's log comes before its snapshots. Of agents whose
/// files have no time in their names, not all are seen where there are more than the budget.
fn add(path: &Path, depth: usize, left: &mut Budget, hasher: &mut DefaultHasher) {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    if metadata.is_file() {
        let name = path.as_os_str().as_encoded_bytes();
        if TRANSCRIPTS.iter().any(|ending| name.ends_with(ending.as_bytes())) {
            (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(hasher);
        }
    } else if metadata.is_dir() && depth > 0 {
        let names = last_names(path, left);
        let (files, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|(is_file, _)| *is_file);
        for (_, name) in files.into_iter().chain(rest) {
            let Some(rest) = left.files.checked_sub(1) else { return };
            left.files = rest;
            add(&path.join(name), depth - 1, left, hasher);
        }
    }
}

/// Names of a directory, the last first, which are the newest where they begin with a time; and whether each is a file.
fn last_names(directory: &Path, left: &mut Budget) -> Vec<(bool, OsString)> {
    let mut last = BTreeSet::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten().take(left.names) {
        left.names -= 1;
        last.insert((entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_file())));
        if last.len() > left.files {
            last.pop_first();
        }
    }
    last.into_iter().rev().map(|(name, is_file)| (is_file, name)).collect()
}

/// `sessions/{pid}.json`; what else is in it changes from version to version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusFile {
    proc_start: Option<String>,
    status: Option<String>,
}

/// What Claude Code says of the session of a process. The file of an earlier process with the same id does not count.
fn status(agent: &RunningAgent, home: Option<&Path>, told: Option<&Path>) -> Option<SessionStatus> {
    let usual = agent.name.profile().configuration?;
    // `{configuration}/projects/{directory}/{session}.jsonl`
    let configuration = told.and_then(|path| path.ancestors().nth(3)).map(Path::to_owned);
    let configuration = configuration.or_else(|| home.map(|home| home.join(usual)))?;
    agent.own.iter().find_map(|pid| {
        let file = open_file(&configuration.join(format!("sessions/{pid}.json")))?;
        let mut text = String::new();
        file.take(STATUS_BYTES).read_to_string(&mut text).ok()?;
        parse_status(&text, (*pid == agent.pid).then_some(agent.started))
    })
}

/// Opens a file that its user may have put anything in the place of: a pipe would keep the whole watch waiting, and a link
/// may lead to a device.
fn open_file(path: &Path) -> Option<std::fs::File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

fn parse_status(text: &str, started: Option<u64>) -> Option<SessionStatus> {
    let file: StatusFile = serde_json::from_str(text).ok()?;
    let told = file.proc_start.and_then(|start| start.parse::<u64>().ok());
    if let (Some(told), Some(started)) = (told, started)
        && told != started
    {
        return None;
    }
    match file.status?.as_str() {
        "busy" => Some(SessionStatus::Busy),
        "shell" => Some(SessionStatus::Shell),
        "idle" => Some(SessionStatus::Idle),
        "waiting" => Some(SessionStatus::Waiting),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn agent(name: &'static str) -> RunningAgent {
        RunningAgent {
            pid: std::process::id(),
            started: 7,
            uid: 0,
            name: ebbtide_api::Agent::parse(name).unwrap(),
            works: false,
            only_stirs: false,
            is_lasting: false,
            uses: String::new(),
            own: vec![std::process::id()],
            children: vec![],
        }
    }

    #[test]
    fn a_session_file_counts_for_its_own_process_only() {
        let text = r#"{"pid":13197,"sessionId":"e","procStart":"1412368","kind":"interactive","status":"busy","updatedAt":1}"#;
        assert_eq!(parse_status(text, Some(1_412_368)), Some(SessionStatus::Busy));
        assert_eq!(parse_status(text, Some(9)), None, "an earlier process had this id");
        assert_eq!(parse_status(r#"{"status":"shell"}"#, Some(9)), Some(SessionStatus::Shell));
        assert_eq!(parse_status(r#"{"status":"dreaming"}"#, None), None);
        assert_eq!(parse_status(r#"{"status":"bu"#, None), None, "torn");
    }

    #[test]
    fn a_pipe_in_the_place_of_a_session_file_keeps_nobody_waiting() {
        let home = tempfile::tempdir().unwrap();
        let sessions = home.path().join(".claude/sessions");
        std::fs::create_dir_all(&sessions).unwrap();
        let file = sessions.join(format!("{}.json", std::process::id()));
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(status(&agent("claude"), Some(home.path()), None), None);
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, r#"{"status":"idle"}"#).unwrap();
        assert_eq!(status(&agent("claude"), Some(home.path()), None), Some(SessionStatus::Idle));
    }

    #[test]
    fn a_transcript_that_grows_is_seen_by_its_size_wherever_it_lies() {
        let home = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("claude", ".claude/projects/-w/s/subagents/agent-1.jsonl"),
            ("codex", ".codex/sessions/2026/11/21/rollout-1.jsonl"),
            ("gemini", ".gemini/tmp/hash/chats/session-1.json"),
            ("opencode", ".local/share/opencode/opencode.db-wal"),
        ] {
            let path = home.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "one\n").unwrap();
            let agent = agent(name);
            let look = || mark(&places(&agent, Some(home.path()), None));
            let before = look();
            assert_eq!(look(), before, "{name}");
            std::fs::write(path.with_file_name("debug.log"), "noise").unwrap();
            assert_eq!(look(), before, "{name}: a log is no transcript");
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
            assert_ne!(look(), before, "{name}");
        }
    }

    #[test]
    fn of_a_directory_without_end_the_newest_names_are_looked_at_and_no_more_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(directory.path().join(format!("session-{number:03}.json")), "x").unwrap();
        }
        let of = |files, names| {
            let mut left = Budget { files, names };
            (last_names(directory.path(), &mut left), left.names)
        };
        let expected = [49, 48, 47].map(|number| (true, OsString::from(format!("session-{number:03}.json"))));
        assert_eq!(of(3, 1000), (expected.to_vec(), 950));
        assert_eq!(of(0, 10), (vec![], 0));
        assert_eq!(of(3, 0).0, [], "other directories had it all");
    }

    #[test]
    fn files_come_before_directories_however_many_lie_in_these() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join(".local/share/opencode");
        for number in 0..FILES {
            let below = place.join(format!("snapshot/{}", number % 3));
            std::fs::create_dir_all(&below).unwrap();
            std::fs::write(below.join(format!("{number}.json")), "x").unwrap();
        }
        std::fs::write(place.join("opencode.db-wal"), "one").unwrap();
        let look = || mark(&places(&agent("opencode"), Some(home.path()), None));
        let before = look();
        std::fs::write(place.join("opencode.db-wal"), "one, two").unwrap();
        assert_ne!(look(), before);
    }

    #[test]
    fn a_link_in_the_place_of_a_session_file_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        std::fs::write(&file, "{}").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open_file(&file).is_some() && open_file(&link).is_none());
    }

    #[test]
    fn an_open_connection_of_this_process_to_its_own_server_is_with_nobody() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let _served = server.accept().unwrap();
        let Some(table) = connections() else {
            crate::skip::skip("this kernel has no socket diagnosis");
            return;
        };
        let (port, remote) = (client.local_addr().unwrap().port(), server.local_addr().unwrap().port());
        let both = |one: &&Connection| (one.local_port, one.remote_port) == (port, remote);
        let one = table.all.iter().find(both).expect("the kernel tells of it");
        assert_eq!(
            opened(&[*one], &table.served),
            [*one],
            "where the other end is another's, it is a question"
        );
        let own = of_processes(Path::new("/proc"), &[std::process::id()], &table).unwrap();
        assert!(own.iter().all(|one| ![port, remote].contains(&one.local_port)), "{own:?}");
    }
}
