//! What engines of containers keep on this machine's disk: where that is, how a backup treats it, and which of Docker's
//! containers ran at the moment that a backup shows.
//!
//! Read from Docker's own files, so that it needs no engine: a frozen one answers nothing, and one that starts writes
//! over what it finds. Must never write into them, but for one mark of our own.

use crate::os::atomic_file;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Where Docker keeps everything, by default.
pub const DOCKER: &str = "/var/lib/docker";
/// Where engines that run as root keep things. The owners of files there are numbers of their containers: a name that a
/// number has on this machine says nothing.
const ROOTS: [&str; 2] = [DOCKER, "/var/lib/containers"];
/// Says that all of it is kept. It lies within, so that it goes with it: into backups, and onto a rescued disk.
const MARK: &str = ".ebbtide";
/// Below the daemon's state: which containers ran. Where it is, all of the data-root is kept.
pub const RAN: &str = "docker-ran.json";
/// Most containers that are started again.
const MOST: usize = 200;
/// Longest description of a container that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// Whether the owners of a file are numbers of a container's.
pub fn is_numbered(path: &Path) -> bool {
    ROOTS.iter().any(|root| path.starts_with(root))
}

/// Whether a path of Docker's is only a view of what lies elsewhere, mounted while a container runs: its layers in one
/// tree, and its shared memory.
pub fn is_view(path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(DOCKER) else { return false };
    let mut parts = [""; 4];
    let names = below.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str().or(Some("?")),
        _ => None,
    });
    let mut count = 0;
    for name in names {
        let Some(part) = parts.get_mut(count) else { return false };
        (*part, count) = (name, count + 1);
    }
    matches!(parts, ["overlay2", _, "merged", ""] | ["containers", _, "mounts", "shm"])
}

/// The directory in which Docker keeps images, containers, volumes and networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataRoot(PathBuf);

/// A container that ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether Docker removes it when it ends (`--rm`): then it is gone as soon as Docker starts.
    pub removed_at_end: bool,
}

impl DataRoot {
    /// The data-root at a path.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Says that all of it is kept from now on. Repeatable.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn claim(&self) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        // As Docker makes it.
        std::fs::DirBuilder::new().recursive(true).mode(0o710).create(&self.0)?;
        let text = b"Ebbtide keeps this directory over a sleep while this file is here.\n";
        // Whatever a backup brought in its place: it is not written through.
        atomic_file::write(&self.0.join(MARK), text, 0o644)
    }

    /// What of it a backup keeps: all where it was claimed, named volumes otherwise.
    pub fn kept(&self) -> PathBuf {
        let is_marked = self.0.join(MARK).symlink_metadata().is_ok_and(|found| found.is_file());
        if is_marked { self.0.clone() } else { self.0.join("volumes") }
    }

    /// The containers that ran when these files were last written, in the order in which they were started. What cannot be
    /// read is none.
    pub fn that_ran(&self) -> Vec<Container> {
        let entries = std::fs::read_dir(self.0.join("containers")).into_iter().flatten().flatten();
        let mut ran: Vec<(String, Container)> = entries.filter_map(|entry| that_ran(&entry.path())).collect();
        ran.sort_by(|(one, _), (other, _)| one.cmp(other));
        ran.into_iter().map(|(_, container)| container).take(MOST).collect()
    }
}

/// Of Docker's description of a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    name: String,
    state: Stated,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stated {
    #[serde(default)]
    running: bool,
    /// RFC 3339, in UTC: its text sorts by time.
    #[serde(default)]
    started_at: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Hosted {
    auto_remove: bool,
}

/// A container by its directory, with when it was started; `None` where it did not run.
fn that_ran(directory: &Path) -> Option<(String, Container)> {
    let described: Described = read(&directory.join("config.v2.json"))?;
    let Described { id, name, state } = described;
    // It is an argument of `docker` soon.
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !state.running || !is_id {
        return None;
    }
    let hosted: Hosted = read(&directory.join("hostconfig.json")).unwrap_or_default();
    let name = name.trim_start_matches('/').chars().filter(|c| !c.is_control()).take(100).collect();
    Some((state.started_at, Container { id, name, removed_at_end: hosted.auto_remove }))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let found = path.symlink_metadata().ok()?;
    if !found.is_file() || found.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_known_by_their_place_and_nothing_else_is_one() {
        for (path, is) in [
            ("/var/lib/docker/overlay2/3f/merged", true),
            ("/var/lib/docker/containers/3f/mounts/shm", true),
            ("/var/lib/docker/overlay2/3f/diff/merged", false),
            ("/var/lib/docker/overlay2/3f/merged/x", false),
            ("/var/lib/docker/overlay2/merged", false),
            ("/var/lib/docker/volumes/merged/_data/mounts/shm", false),
            ("/var/lib/docker", false),
            ("/home/ebb/overlay2/3f/merged", false),
        ] {
            assert_eq!(is_view(Path::new(path)), is, "{path}");
        }
        assert!(is_numbered(Path::new("/var/lib/docker/volumes/db/_data")));
        assert!(!is_numbered(Path::new("/var/lib/docker-compose")));
    }

    #[test]
    fn named_volumes_are_kept_in_any_case_and_all_of_it_where_that_was_claimed() {
        let directory = tempfile::tempdir().unwrap();
        let root = DataRoot::new(directory.path().join("docker"));
        assert_eq!(root.kept(), root.path().join("volumes"));
        root.claim().unwrap();
        root.claim().unwrap();
        assert_eq!(root.kept(), root.path());
    }

    #[test]
    fn those_that_ran_come_in_the_order_of_their_start() {
        let directory = tempfile::tempdir().unwrap();
        let plant = |letter: &str, config: &str, host: &str| {
            let container = directory.path().join("containers").join(letter.repeat(64));
            std::fs::create_dir_all(&container).unwrap();
            std::fs::write(container.join("config.v2.json"), config.replace('@', &letter.repeat(64)))
                .unwrap();
            std::fs::write(container.join("hostconfig.json"), host).unwrap();
        };
        let state = |running: bool, at: &str| {
            format!(
                r#"{{"ID":"@","Name":"/n-@","State":{{"Running":{running},"Paused":false,"StartedAt":"{at}"}}}}"#
            )
        };
        plant("a", &state(true, "2026-11-30T10:00:02.5Z"), r#"{"AutoRemove":true}"#);
        plant("b", &state(true, "2026-11-30T10:00:01Z"), r#"{"RestartPolicy":{"Name":"always"}}"#);
        plant("c", &state(false, "2026-11-30T09:00:00Z"), "{}");
        plant("d", "torn", "{}");
        plant("e", &state(true, "2026").replace('@', "--privileged"), "{}");
        let ran = DataRoot::new(directory.path().into()).that_ran();
        let ran: Vec<_> = ran.iter().map(|one| (&one.id[..1], &one.name[..3], one.removed_at_end)).collect();
        assert_eq!(ran, [("b", "n-b", false), ("a", "n-a", true)]);
        assert_eq!(DataRoot::new("/nowhere".into()).that_ran(), []);
    }
}
