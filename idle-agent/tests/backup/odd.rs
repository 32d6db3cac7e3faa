//! What file systems hold besides plain files, and files that are written to while they are read: kept exactly, or named.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::Bench;
use super::tree::{self, assert_same, assert_same_but, noise};
use crate::skip::skip;

/// An access list that lets user 4242 read: version 2, then owner, user 4242, group, mask and others.
const ACCESS_LIST: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 146, 16, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
    16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

/// Adds what `plant` leaves out because few trees hold it.
fn plant_odd(root: &Path) {
    let odd = root.join("workspaces/odd");
    fs::create_dir(&odd).unwrap();
    let write = |name: &str, content: &str| {
        fs::write(odd.join(name), content).unwrap();
        odd.join(name)
    };
    tree::mode(&write("closed", "nobody may read this\n"), 0o000);
    tree::mode(&write("setuid", "#!/bin/sh\n"), 0o4755);
    tree::mode(&write("setgid", "#!/bin/sh\n"), 0o2755);
    fs::create_dir(odd.join("sticky")).unwrap();
    tree::mode(&odd.join("sticky"), 0o1777);
    symlink("loop-b", odd.join("loop-a")).unwrap();
    symlink("loop-a", odd.join("loop-b")).unwrap();
    symlink(".", odd.join("itself")).unwrap();
    fs::write(odd.join("empty"), "").unwrap();
    fs::write(odd.join(OsStr::from_bytes(b"\x01\x1b[31m\xc3")), "a name for no terminal\n").unwrap();
    fs::write(odd.join("n".repeat(255)), "the longest name\n").unwrap();

    let early = SystemTime::UNIX_EPOCH - Duration::new(2_000_000_000, 500_000_000);
    let late = SystemTime::UNIX_EPOCH + Duration::new(7_000_000_000, 999_999_999);
    fs::File::open(write("early", "1906\n")).unwrap().set_modified(early).unwrap();
    fs::File::open(write("late", "2191\n")).unwrap().set_modified(late).unwrap();

    let listed = write("listed", "with an access list\n");
    // Not every file system takes them; what was taken is compared.
    let _ = xattr::set(&listed, "system.posix_acl_access", &ACCESS_LIST);
    let _ = xattr::set(odd.join("sticky"), "user.on-a-directory", b"\xff\x00");
    for name in ["security.ebbtide", "trusted.ebbtide"] {
        let _ = xattr::set(&listed, name, b"only root");
    }
    for number in 0..20 {
        fs::hard_link(&listed, odd.join(format!("link-{number}"))).unwrap();
    }
    if fs::metadata(root).unwrap().uid() == 0 {
        // As root in a container this may be refused; then there is none to keep.
        let _ = Command::new("mknod").arg(odd.join("device")).args(["c", "1", "3"]).output();
        std::os::unix::fs::chown(odd.join("setuid"), Some(4_000_000_000), Some(65_534)).unwrap();
        tree::mode(&odd.join("setuid"), 0o4755);
    }
    holes(&odd.join("holes"));
    in_the_middle_of_a_rebase(&odd);
}

/// A file of 32 MiB with two islands.
fn holes(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(32 << 20).unwrap();
    file.write_at(&noise(5_000), 10 << 20).unwrap();
    file.write_at(b"end", (32 << 20) - 3).unwrap();
}

/// A bare repository with two worktrees, one of them in the middle of a rebase.
fn in_the_middle_of_a_rebase(odd: &Path) {
    let script = "set -e
        export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@example.org GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@example.org
        git -c init.defaultBranch=main init -q --bare bare.git
        git -C bare.git worktree add -q --orphan -b main ../one 2>/dev/null || git clone -q bare.git one
        cd one; echo base > a; git add a; git commit -qm base
        git checkout -qb side; echo side > a; git commit -qam side
        git checkout -q main 2>/dev/null || git checkout -qb main; echo main > a; git commit -qam main
        git checkout -q side; git rebase -q main >/dev/null 2>&1 || true
        echo stashed > b; echo '*.secret' > .gitignore; echo x > y.secret";
    let done = Command::new("sh").args(["-c", script]).current_dir(odd).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn named(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect()
}

#[test]
fn everything_odd_comes_back_as_it_was_by_us_and_by_stock_restic() {
    let bench = Bench::planted();
    plant_odd(&bench.root());
    let done = bench.backup().done();
    if fs::metadata(bench.root()).unwrap().uid() == 0 {
        assert_eq!(done["unreadable"], json!([]), "{done}");
    } else {
        assert_eq!(named(&done["unreadable"]), ["/workspaces/odd/closed"], "{done}");
        fs::remove_file(bench.root().join("workspaces/odd/closed")).unwrap();
    }
    let target = bench.path("restored");
    let restored = bench.restore_to(&target).done();
    assert_eq!(restored["differs"], json!([]), "{restored}");
    assert_same(&bench.root(), &target);
    let odd = target.join("workspaces/odd");
    let blocks = fs::metadata(odd.join("holes")).unwrap().blocks();
    assert!(blocks * 512 < 28 << 20, "the holes were filled: {blocks} blocks");
    assert_eq!(fs::metadata(odd.join("listed")).unwrap().nlink(), 21);
    assert!(odd.join("bare.git/worktrees/one/rebase-merge").exists(), "a rebase has stopped in the middle");
    // Again over what stands there.
    bench.restore_to(&target).done();
    assert_same(&bench.root(), &target);

    let by_restic = bench.path("by-restic");
    bench.restic(&["restore", "latest", "--target", by_restic.to_str().unwrap()]);
    assert_same_but(&bench.root(), &by_restic, |kind| kind == 's');
}

#[test]
fn an_attribute_that_cannot_be_kept_is_named_and_the_others_are_kept() {
    let bench = Bench::new();
    let app = bench.root().join("workspaces/app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("noted"), "with notes\n").unwrap();
    xattr::set(app.join("noted"), "user.note", b"kept").unwrap();
    xattr::set(app.join("noted"), OsStr::from_bytes(b"user.caf\xe9"), b"not").unwrap();
    let done = bench.backup().done();
    assert_eq!((&done["partial"], &done["files"]), (&true.into(), &1.into()), "{done}");
    assert_eq!(named(&done["unreadable"]), ["/workspaces/app/noted"]);
    let reason = done["unreadable"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("user.caf\\xe9") && !reason.contains("user.note"), "{reason}");
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    let restored = target.join("workspaces/app/noted");
    assert_eq!(fs::read(&restored).unwrap(), b"with notes\n");
    assert_eq!(xattr::get(&restored, "user.note").unwrap().as_deref(), Some(b"kept".as_slice()));
    // Once it is gone the next backup is whole, although no content changed.
    xattr::remove(app.join("noted"), OsStr::from_bytes(b"user.caf\xe9")).unwrap();
    assert_eq!(bench.backup().done()["partial"], false);
}

#[test]
fn a_snapshot_of_what_was_restored_is_the_same_tree_again_and_again() {
    let bench = Bench::planted();
    plant_odd(&bench.root());
    // restic 0.14 spoils such a target.
    let target = OsStr::from_bytes(b"not-\xff-utf8\n");
    symlink(target, bench.root().join("workspaces/odd/odd-target")).unwrap();
    let first = bench.backup().done();
    let mut machine = bench.root();
    for wake in 1..=3 {
        let next = bench.path(&format!("machine-{wake}"));
        bench.restore_to(&next).done();
        assert_same(&machine, &next);
        let mut again = bench.command("run");
        again.args(["--tag", "g4", "--host", "w1", "--include", "/home/ebb", "--include", "/workspaces"]);
        let done = super::ended(again.arg("--root").arg(&next)).done();
        for count in ["files", "dirs", "bytes_total"] {
            assert_eq!(done[count], first[count], "{count} after wake {wake}");
        }
        machine = next;
    }
}

/// Does something to a file again and again until the backup has ended.
fn while_written(bench: &Bench, mut disturb: impl FnMut(u64) + Send) -> Value {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                disturb(round);
            }
        });
        let run = bench.backup();
        ended.store(true, Ordering::SeqCst);
        run.done()
    })
}

fn workspace(bench: &Bench) -> std::path::PathBuf {
    let app = bench.root().join("workspaces/app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("still"), "as it was\n").unwrap();
    app
}

#[test]
fn a_database_that_is_written_without_pause_is_of_one_moment_or_makes_the_receipt_partial_by_name() {
    for size in [64 << 10, 6 << 20] {
        let bench = Bench::new();
        let database = workspace(&bench).join("db");
        fs::write(&database, noise(size)).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
        let done = while_written(&bench, |round| {
            // Pages at both ends change together: a copy with one of them is no state of it.
            file.write_at(&round.to_le_bytes(), 0).unwrap();
            file.write_at(&round.to_le_bytes(), size as u64 - 8).unwrap();
        });
        assert_eq!(bench.server.names("snapshots"), [done["snapshot"].as_str().unwrap()]);
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        if done["partial"] == true {
            assert_eq!(named(&done["unreadable"]), ["/workspaces/app/db"]);
        } else {
            let kept = fs::read(target.join("workspaces/app/db")).unwrap();
            let page = |at: usize| u64::from_le_bytes(kept[at..at + 8].try_into().unwrap());
            assert!(page(0).wrapping_sub(page(size - 8)) <= 1, "{} and {}", page(0), page(size - 8));
        }
        assert_eq!(fs::read_to_string(target.join("workspaces/app/still")).unwrap(), "as it was\n");
        // Once it stands still the next backup is whole.
        assert_eq!(bench.backup().done()["partial"], false);
        bench.restore_to(&target).done();
        assert!(fs::read(target.join("workspaces/app/db")).unwrap() == fs::read(&database).unwrap());
    }
}

#[test]
fn a_log_that_grows_without_pause_is_kept_up_to_where_it_was() {
    for size in [1_000, 4 << 20] {
        let bench = Bench::new();
        let log = workspace(&bench).join("log");
        fs::write(&log, noise(size)).unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        let done = while_written(&bench, |round| {
            writeln!(file, "line {round}").unwrap();
            std::thread::sleep(Duration::from_millis(1));
        });
        assert_eq!((&done["partial"], &done["unreadable"]), (&false.into(), &json!([])), "{done}");
        // On a busy machine the writer may pause just long enough for the file to have stood still.
        let unsteady = &done["unsteady"];
        assert!(*unsteady == json!(["/workspaces/app/log"]) || *unsteady == json!([]), "{done}");
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        let (kept, now) = (fs::read(target.join("workspaces/app/log")).unwrap(), fs::read(&log).unwrap());
        assert!(kept.len() >= size && now.starts_with(&kept), "{} of {} bytes", kept.len(), now.len());
    }
}

#[test]
fn files_that_come_go_and_are_replaced_without_pause_cost_no_other_file() {
    let bench = Bench::new();
    let app = workspace(&bench);
    for number in 0..200 {
        fs::write(app.join(format!("file-{number}")), format!("{number}\n")).unwrap();
    }
    let done = while_written(&bench, |round| {
        let (one, other) = (app.join(format!("passing-{}", round % 50)), app.join("other"));
        fs::write(&one, "passing\n").unwrap();
        fs::write(&other, format!("whole {round:09}\n")).unwrap();
        fs::rename(&other, app.join("replaced")).unwrap();
        fs::remove_file(&one).unwrap();
    });
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    let app = target.join("workspaces/app");
    for number in 0..200 {
        assert_eq!(fs::read_to_string(app.join(format!("file-{number}"))).unwrap(), format!("{number}\n"));
    }
    let replaced = fs::read_to_string(app.join("replaced")).unwrap_or_default();
    let named_or_whole = named(&done["unreadable"]).contains(&"/workspaces/app/replaced")
        || done["vanished"].to_string().contains("replaced")
        || (replaced.starts_with("whole ") && replaced.len() == 16);
    assert!(named_or_whole, "{replaced:?} {done}");
}

#[test]
fn a_change_in_the_same_instant_as_the_listing_is_in_the_next_snapshot() {
    let bench = Bench::new();
    let file = workspace(&bench).join("file");
    // Same length and, by hand, same modification time: only the time of change tells the two apart.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for round in 0..4 {
        fs::write(&file, format!("round {round}\n")).unwrap();
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
        bench.backup().done();
        let target = bench.path(&format!("restored-{round}"));
        bench.restore_to(&target).done();
        let kept = fs::read_to_string(target.join("workspaces/app/file")).unwrap();
        assert_eq!(kept, format!("round {round}\n"));
    }
}

#[test]
fn the_owners_rules_leave_out_what_they_say_and_the_result_names_it() {
    let bench = Bench::planted();
    let app = bench.root().join("workspaces/app");
    fs::write(app.join(".ebbignore"), "node_modules/\n/src/noise\n").unwrap();
    fs::write(bench.root().join("home/ebb/.ebbignore"), "!.cache/\n").unwrap();
    let done = bench.backup().done();
    assert_eq!(done["partial"], false);
    assert_eq!(done["excluded"]["paths"], 2);
    assert_eq!(done["excluded"]["files"], 2);
    assert!(done["excluded"]["bytes"].as_u64().unwrap() > 5 << 20, "{done}");
    assert_eq!(
        named(&done["excluded"]["first"]),
        ["/workspaces/app/node_modules", "/workspaces/app/src/noise"]
    );
    assert_eq!(done["skipped"], json!([]), "the owner has brought the cache back");
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert!(target.join("workspaces/app/.ebbignore").exists());
    assert!(target.join("home/ebb/.cache/pip/wheel").exists());
    assert!(!target.join("workspaces/app/node_modules").exists());
    assert!(!target.join("workspaces/app/src/noise").exists());

    let preview = Command::new(env!("CARGO_BIN_EXE_ebb-agent"))
        .args([
            "snapshot",
            "--dry-run",
            "--json",
            "--include",
            "/home/ebb",
            "--include",
            "/workspaces",
            "--root",
        ])
        .arg(bench.root())
        .output()
        .unwrap();
    let preview: Value = serde_json::from_slice(&preview.stdout).unwrap();
    assert_eq!(preview["excluded_files"], done["excluded"]["files"]);
    assert_eq!(preview["excluded_bytes"], done["excluded"]["bytes"]);
    assert_eq!(named(&preview["excluded"]), ["/workspaces/app/src/noise", "/workspaces/app/node_modules"]);
}

#[test]
fn named_volumes_are_kept_where_there_are_any() {
    let bench = Bench::planted();
    let volumes = bench.root().join("var/lib/docker/volumes");
    let run = || {
        let mut command = bench.backup_command();
        super::ended(command.args(["--optional", "/var/lib/docker/volumes"])).done()
    };
    let without = run();
    assert!(!without["skipped"].to_string().contains("docker"), "{without}");
    fs::create_dir_all(volumes.join("db/_data")).unwrap();
    fs::write(volumes.join("db/_data/rows"), "precious\n").unwrap();
    let with = run();
    assert_eq!(with["files"], without["files"].as_u64().unwrap() + 1);
    let target = bench.path("restored");
    let mut restore = bench.command("restore");
    restore.args(["--include", "/var/lib/docker/volumes"]).arg("--target").arg(&target);
    super::ended(&mut restore).done();
    let kept = target.join("var/lib/docker/volumes/db/_data/rows");
    assert_eq!(fs::read_to_string(kept).unwrap(), "precious\n");
    assert!(fs::symlink_metadata(target.join("home")).is_err());
}

mod as_root {
    use super::*;

    #[test]
    fn a_device_is_kept_as_a_device_and_never_read() {
        let bench = Bench::new();
        let app = workspace(&bench);
        let made = Command::new("mknod").arg(app.join("zero")).args(["c", "1", "5"]).output().unwrap();
        if !made.status.success() {
            skip("no device can be made here");
            return;
        }
        bench.backup().done();
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        let zero = fs::symlink_metadata(target.join("workspaces/app/zero")).unwrap();
        assert!(zero.file_type().is_char_device());
        assert_eq!(zero.rdev(), fs::symlink_metadata(app.join("zero")).unwrap().rdev());
    }

    #[test]
    fn an_immutable_file_is_kept_without_its_flag_and_one_in_the_way_is_named() {
        let bench = Bench::new();
        let file = workspace(&bench).join("fixed");
        fs::write(&file, "cannot be changed\n").unwrap();
        let Some(immutable) = Immutable::make(&file) else { return };
        assert_eq!(bench.backup().done()["partial"], false);
        drop(immutable);
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        let restored = target.join("workspaces/app/fixed");
        fs::write(&restored, "something else, and in the way\n").unwrap();
        let in_the_way = Immutable::make(&restored).unwrap();
        let message = bench.restore_to(&target).failed("local", 48);
        assert!(message.contains("workspaces/app/fixed"), "{message}");
        drop(in_the_way);
        bench.restore_to(&target).done();
        assert_eq!(fs::read_to_string(&restored).unwrap(), "cannot be changed\n");
    }
}

/// A file with the flag that lets nobody change it, root neither; without it again when this goes.
struct Immutable(std::path::PathBuf);

impl Immutable {
    fn make(path: &Path) -> Option<Self> {
        let made = Command::new("chattr").arg("+i").arg(path).output();
        if made.is_ok_and(|output| output.status.success()) {
            return Some(Self(path.to_path_buf()));
        }
        skip("no file can be made immutable here");
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(&self.0).status();
    }
}
