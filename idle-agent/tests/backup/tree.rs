//! A workspace with everything that backups tend to lose, and a comparison that misses none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Fills `root` as if it were `/` of a machine.
pub fn plant(root: &Path) {
    let home = root.join("home/ebb");
    let app = root.join("workspaces/app");
    fs::create_dir_all(home.join(".cache/pip")).unwrap();
    fs::create_dir_all(app.join("src/deep/er")).unwrap();
    fs::create_dir_all(app.join("empty")).unwrap();
    fs::create_dir_all(app.join("node_modules/left-pad")).unwrap();
    fs::write(home.join(".cache/pip/wheel"), "rebuilt from the network").unwrap();
    fs::write(home.join(".bash_history"), "make\n").unwrap();
    fs::write(app.join("node_modules/left-pad/index.js"), "module.exports = 1\n").unwrap();
    fs::write(app.join("src/deep/er/none"), "").unwrap();
    fs::write(app.join("src/noise"), noise(5 << 20)).unwrap();

    let tool = app.join("src/tool.sh");
    fs::write(&tool, "#!/bin/sh\n").unwrap();
    mode(&tool, 0o755);
    let secret = app.join(".env");
    fs::write(&secret, "TOKEN=not-committed\n").unwrap();
    mode(&secret, 0o600);
    fs::create_dir(app.join("shared")).unwrap();
    mode(&app.join("shared"), 0o2775);

    symlink("src/tool.sh", app.join("tool")).unwrap();
    symlink("/nowhere/at/all", app.join("dangling")).unwrap();
    fs::hard_link(&tool, app.join("other-name.sh")).unwrap();
    fs::hard_link(&tool, home.join("third-name.sh")).unwrap();

    let attributed = app.join("src/attributed");
    fs::write(&attributed, "with a note\n").unwrap();
    xattr::set(&attributed, "user.note", b"kept \x00 whole").unwrap();

    fs::write(app.join(OsStr::from_bytes(b"caf\xe9")), "latin 1\n").unwrap();
    fs::create_dir(app.join(OsStr::from_bytes(b"dir-\xff"))).unwrap();
    fs::write(app.join(OsStr::from_bytes(b"dir-\xff/in\nside")), "newline\n").unwrap();
    fs::write(app.join("quote\"back\\slash"), "escapes\n").unwrap();
    fs::write(app.join("na\u{ef}ve \u{1f30a}"), "unicode\n").unwrap();

    let holes = fs::File::create(app.join("sparse")).unwrap();
    holes.set_len(24 << 20).unwrap();
    std::os::unix::fs::FileExt::write_at(&holes, b"end", (24 << 20) - 3).unwrap();
    drop(holes);

    drop(UnixListener::bind(app.join("socket")).unwrap());
    run("mkfifo", &[app.join("fifo").to_str().unwrap()], root);
    middle_of_a_merge(&app.join("repo"));

    if fs::metadata(root).unwrap().uid() == 0 {
        std::os::unix::fs::chown(&secret, Some(1234), Some(4321)).unwrap();
        std::os::unix::fs::lchown(app.join("tool"), Some(1234), Some(4321)).unwrap();
    }
    let old = SystemTime::UNIX_EPOCH + Duration::new(927_000_000, 123_456_789);
    touch(&app.join("src/noise"), old);
    touch(&app.join("empty"), old);
    mode(&root.join("home"), 0o711);
    mode(&home, 0o750);
}

/// A repository with an unresolved conflict, an ignored file and an untracked one.
fn middle_of_a_merge(repo: &Path) {
    fs::create_dir(repo).unwrap();
    let git = |args: &[&str]| {
        let base = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
        Command::new("git").args(base).args(args).current_dir(repo).output().unwrap().status.success()
    };
    assert!(git(&["init", "-q"]));
    fs::write(repo.join(".gitignore"), ".env\n").unwrap();
    fs::write(repo.join("a"), "base\n").unwrap();
    assert!(git(&["add", "."]) && git(&["commit", "-qm", "base"]) && git(&["checkout", "-qb", "side"]));
    fs::write(repo.join("a"), "side\n").unwrap();
    assert!(git(&["commit", "-qam", "side"]) && git(&["checkout", "-q", "main"]));
    fs::write(repo.join("a"), "main\n").unwrap();
    assert!(git(&["commit", "-qam", "main"]));
    assert!(!git(&["merge", "side"]), "the merge must stop at a conflict");
    assert!(repo.join(".git/MERGE_HEAD").exists());
    fs::write(repo.join(".env"), "IGNORED=1\n").unwrap();
    fs::write(repo.join("untracked"), "not added\n").unwrap();
}

/// Everything about one entry that must survive.
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    target: Option<PathBuf>,
    content: Option<String>,
    xattrs: BTreeMap<String, Vec<u8>>,
    same_file_as: BTreeSet<PathBuf>,
}

/// Describes all entries below `root`, by path; what is excluded from backups is left out.
pub fn describe(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<u64, BTreeSet<PathBuf>> = BTreeMap::new();
    for top in ["home", "workspaces"] {
        collect(root, &root.join(top), &mut found, &mut names);
    }
    for (path, (inode, facts)) in &mut found {
        facts.same_file_as = names[inode].iter().filter(|other| *other != path).cloned().collect();
    }
    found.into_iter().map(|(path, (_, facts))| (path, facts)).collect()
}

fn collect(
    root: &Path,
    at: &Path,
    found: &mut BTreeMap<PathBuf, (u64, Facts)>,
    names: &mut BTreeMap<u64, BTreeSet<PathBuf>>,
) {
    let relative = at.strip_prefix(root).unwrap().to_path_buf();
    if relative == Path::new("home/ebb/.cache/pip") {
        return;
    }
    let meta = fs::symlink_metadata(at).unwrap();
    let kind = meta.file_type();
    let (letter, content) = if kind.is_dir() {
        ('d', None)
    } else if kind.is_file() {
        let content = fs::read(at).unwrap();
        (
            'f',
            Some(format!(
                "{} bytes, {}",
                content.len(),
                hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&content))
            )),
        )
    } else if kind.is_symlink() {
        ('l', None)
    } else if kind.is_fifo() {
        ('p', None)
    } else if kind.is_socket() {
        ('s', None)
    } else {
        ('?', None)
    };
    let xattrs = xattr::list(at)
        .map(|names| {
            names
                .map(|name| (name.to_string_lossy().into_owned(), xattr::get(at, &name).unwrap().unwrap()))
                .collect()
        })
        .unwrap_or_default();
    let facts = Facts {
        kind: letter,
        mode: if letter == 'l' { 0 } else { meta.mode() & 0o7777 },
        owner: (meta.uid(), meta.gid()),
        mtime: (meta.mtime(), meta.mtime_nsec()),
        target: fs::read_link(at).ok(),
        content,
        xattrs,
        same_file_as: BTreeSet::new(),
    };
    names.entry(meta.ino()).or_default().insert(relative.clone());
    found.insert(relative, (meta.ino(), facts));
    if letter == 'd' {
        for entry in fs::read_dir(at).unwrap() {
            collect(root, &entry.unwrap().path(), found, names);
        }
    }
}

/// Compares two trees and names the first differences.
pub fn assert_same(one: &Path, other: &Path) {
    assert_same_but(one, other, |_| false);
}

/// As [`assert_same`], without entries of the kinds that `ignored` accepts.
pub fn assert_same_but(one: &Path, other: &Path, ignored: impl Fn(char) -> bool) {
    let mut left = describe(one);
    let mut right = describe(other);
    left.retain(|_, facts| !ignored(facts.kind));
    right.retain(|_, facts| !ignored(facts.kind));
    assert!(left.len() > 40, "the workspace was not planted");
    let paths: BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing: Vec<_> = paths
        .into_iter()
        .filter(|path| left.get(*path) != right.get(*path))
        .map(|path| format!("{path:?}:\n  {:?}\n  {:?}", left.get(path), right.get(path)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Bytes that do not compress and do not repeat, the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

pub fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn touch(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

pub fn run(program: &str, args: &[&str], at: &Path) {
    assert!(
        Command::new(program).args(args).current_dir(at).status().unwrap().success(),
        "{program} {args:?}"
    );
}
