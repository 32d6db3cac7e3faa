//! Backups and restores by the real program, against a restic REST server on loopback and against stock restic.

mod docker;
mod faults;
mod large;
mod noise_file;
mod odd;
mod server;
#[path = "../common/skip.rs"]
mod skip;
mod tidy;
mod tree;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use server::{Action, Server};
use tree::{assert_same, assert_same_but, plant};

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// One server, one machine with a planted workspace, and room for restores.
struct Bench {
    server: Server,
    dir: tempfile::TempDir,
}

/// How a run of the program ended.
struct Ended {
    code: i32,
    last: Value,
    lines: Vec<Value>,
    stderr: String,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { server: Server::start("t1"), dir: tempfile::tempdir().unwrap() };
        tree::mode(bench.dir.path(), 0o755);
        fs::create_dir(bench.root()).unwrap();
        fs::write(bench.path("token"), "t1\n").unwrap();
        fs::write(bench.path("key"), format!("{KEY}\n")).unwrap();
        bench
    }

    fn planted() -> Self {
        let bench = Self::new();
        plant(&bench.root());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("machine")
    }

    fn command(&self, what: &str) -> Command {
        let program = std::env::var_os("EBB_AGENT").unwrap_or(env!("CARGO_BIN_EXE_ebb-agent").into());
        let mut command = Command::new(program);
        command.args(["backup", what, "--url", &self.server.url()]);
        command.arg("--token-file").arg(self.path("token")).arg("--password-file").arg(self.path("key"));
        command.env_clear().env("TMPDIR", self.dir.path());
        command
    }

    /// A command that needs no store.
    fn command_plain(&self, what: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ebb-agent"));
        command.args(["backup", what]);
        command.env_clear();
        command
    }

    fn backup_command(&self) -> Command {
        let mut command = self.command("run");
        command.args([
            "--tag",
            "g3",
            "--host",
            "w1",
            "--init",
            "--include",
            "/home/ebb",
            "--include",
            "/workspaces",
        ]);
        command.arg("--root").arg(self.root());
        command
    }

    fn backup(&self) -> Ended {
        ended(&mut self.backup_command())
    }

    fn restore_to(&self, target: &Path) -> Ended {
        ended(self.command("restore").arg("--target").arg(target))
    }

    fn restic(&self, args: &[&str]) -> String {
        let output = Command::new("restic")
            .args(["-r", &self.server.restic_url(), "--no-cache", "--password-file"])
            .arg(self.path("key"))
            .args(args)
            .output()
            .expect("restic is installed");
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "restic {args:?}: {text}");
        text
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    Ended {
        code: output.status.code().unwrap_or(-1),
        last: lines.last().cloned().unwrap_or_default(),
        lines,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    #[track_caller]
    fn done(self) -> Value {
        assert_eq!(
            (self.code, &self.last["event"]),
            (0, &Value::from("done")),
            "{}\n{}",
            self.last,
            self.stderr
        );
        self.last
    }

    #[track_caller]
    fn failed(self, code: &str, exit: i32) -> String {
        assert_eq!(
            (self.code, &self.last["event"], &self.last["code"]),
            (exit, &Value::from("failed"), &Value::from(code)),
            "{}\n{}",
            self.last,
            self.stderr
        );
        self.last["message"].as_str().unwrap().to_owned()
    }
}

#[test]
fn what_is_mounted_from_elsewhere_is_left_out_by_name_and_never_looked_at() {
    let bench = Bench::planted();
    // Nothing is mounted there: what the kernel lists is believed, and not looked up.
    let mount = bench.root().join("workspaces/remote");
    std::fs::create_dir_all(mount.join("deep")).unwrap();
    std::fs::write(mount.join("deep/file"), "elsewhere").unwrap();
    std::fs::write(mount.join(".ebbignore"), "*\n").unwrap();
    let list = bench.path("mountinfo");
    let line = format!("36 35 0:51 / {} rw - fuse.sshfs host: rw\n", mount.canonicalize().unwrap().display());
    std::fs::write(&list, line).unwrap();
    let done = ended(bench.backup_command().arg("--mounts").arg(&list)).done();
    assert_eq!(done["partial"], false, "{done}");
    let reason = "a mount (fuse.sshfs) whose files are not on this machine";
    let skipped = done["skipped"].as_array().unwrap();
    assert!(
        skipped.contains(&serde_json::json!({ "path": "/workspaces/remote", "reason": reason })),
        "{skipped:?}"
    );
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert!(target.join("workspaces").exists() && !target.join("workspaces/remote").exists());
}

#[test]
fn work_in_a_worktree_among_temporary_files_comes_back_to_its_place() {
    let bench = Bench::planted();
    let write = |path: &str, text: &str| {
        let path = bench.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("workspaces/app/.git/worktrees/phase4/gitdir", "/tmp/phase4/.git\n");
    write("tmp/phase4/.git", "gitdir: /workspaces/app/.git/worktrees/phase4\n");
    write("tmp/phase4/README", "not committed");
    write("tmp/phase4/node_modules/left/index.js", "");
    write("tmp/other", "not kept");
    let shown = ended(bench.command_plain("survey").arg("--root").arg(bench.root()).args([
        "--include",
        "/home/ebb",
        "--include",
        "/workspaces",
    ]))
    .done();
    assert!(shown.to_string().contains("/tmp/phase4"), "{shown}");
    let done = bench.backup().done();
    assert!(done["skipped"].to_string().contains("/tmp/phase4/node_modules"), "{done}");
    // As the daemon restores: the includes, and where worktrees may lie.
    let target = bench.path("restored");
    let mut restore = bench.command("restore");
    restore.args([
        "--include",
        "/home/ebb",
        "--include",
        "/workspaces",
        "--include",
        "/tmp",
        "--include",
        "/var/tmp",
    ]);
    ended(restore.arg("--target").arg(&target)).done();
    assert_eq!(fs::read_to_string(target.join("tmp/phase4/README")).unwrap(), "not committed");
    assert!(target.join("tmp/phase4/.git").exists() && target.join("workspaces/app/.git").exists());
    assert!(!target.join("tmp/other").exists() && !target.join("tmp/phase4/node_modules").exists());
    let parent = bench.backup().done();
    assert_eq!(parent["changed"], false, "the snapshot before is its parent: {parent}");
}

#[test]
fn a_workspace_comes_back_byte_for_byte() {
    let bench = Bench::planted();
    let run = bench.backup();
    assert!(
        run.lines.iter().any(|line| line["event"] == "progress" && line["phase"] == "verify"),
        "{:?}",
        run.lines
    );
    let done = run.done();
    assert_eq!(done["changed"], true);
    assert_eq!(done["partial"], false);
    assert_eq!(done["unreadable"], serde_json::json!([]));
    assert_eq!(done["warnings"], serde_json::json!([]));
    assert_eq!(
        done["skipped"],
        serde_json::json!([{ "path": "/home/ebb/.cache/pip", "reason": "/home/*/.cache/pip/" }])
    );
    assert_eq!(done["packs_new"].as_array().unwrap().len(), bench.server.names("data").len());
    for pack in done["packs_new"].as_array().unwrap() {
        let stored = bench.server.object(&format!("data/{}", pack["name"].as_str().unwrap()));
        assert_eq!(pack["size"], stored.len());
    }

    let target = bench.path("restored");
    let restored = bench.restore_to(&target).done();
    assert_eq!(restored["differs"], serde_json::json!([]));
    assert_eq!(restored["files"], done["files"]);
    assert_eq!(restored["bytes_total"], done["bytes_total"]);
    assert_same(&bench.root(), &target);
    let blocks = fs::metadata(target.join("workspaces/app/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 20 << 20, "the sparse file was filled: {blocks} blocks");

    assert!(bench.server.seen().iter().all(|seen| seen.method != "DELETE"));
}

#[test]
fn a_restore_in_small_portions_is_the_same_and_so_is_its_repetition() {
    let bench = Bench::planted();
    let done = bench.backup().done();
    let target = bench.path("restored");
    for portion in ["1", "3", "7"] {
        let mut restore = bench.command("restore");
        let run = ended(restore.args(["--portion", portion]).arg("--target").arg(&target));
        assert_eq!(run.done()["bytes_total"], done["bytes_total"]);
        assert_same(&bench.root(), &target);
    }
}

#[test]
fn nothing_changed_gives_the_parent_and_sends_nothing() {
    let bench = Bench::planted();
    let first = bench.backup().done();
    let second = bench.backup().done();
    assert_eq!(second["changed"], false);
    assert_eq!(second["snapshot"], first["snapshot"]);
    assert_eq!(second["tree"], first["tree"]);
    assert_eq!(second["bytes_sent"], 0);
    assert_eq!(second["packs_new"], serde_json::json!([]));
    assert_eq!(second["packs_total"], first["packs_total"]);

    fs::write(bench.root().join("workspaces/app/new"), "one more\n").unwrap();
    let third = bench.backup().done();
    assert_eq!(third["changed"], true);
    assert_eq!(third["files"], first["files"].as_u64().unwrap() + 1);
    let listed = ended(&mut bench.command("snapshots"));
    let listed = listed.last.as_array().unwrap().clone();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["id"], third["snapshot"]);
    assert_eq!(listed[1]["parent"], first["snapshot"]);
    assert_eq!(listed[1]["tags"], serde_json::json!(["g3"]));
    assert_eq!(listed[1]["paths"], serde_json::json!(["/home/ebb", "/workspaces"]));
    assert_eq!(listed[1]["host"], "w1");
}

#[test]
fn packs_that_are_known_are_not_new() {
    let bench = Bench::planted();
    let first = bench.backup().done();
    let names: Vec<&str> =
        first["packs_new"].as_array().unwrap().iter().map(|pack| pack["name"].as_str().unwrap()).collect();
    fs::write(bench.path("known"), names[1..].join("\n")).unwrap();
    let second = ended(bench.backup_command().arg("--since-packs").arg(bench.path("known"))).done();
    assert_eq!(second["packs_new"].as_array().unwrap().len(), 1);
    assert_eq!(second["packs_new"][0]["name"], names[0]);
    // A new machine knows them from its restore.
    let mut restore = bench.command("restore");
    restore.arg("--target").arg(bench.path("restored")).arg("--note-packs").arg(bench.path("noted"));
    ended(&mut restore).done();
    let third = ended(bench.backup_command().arg("--since-packs").arg(bench.path("noted"))).done();
    assert_eq!(third["packs_new"], serde_json::json!([]));
}

#[test]
fn stock_restic_restores_and_checks_our_repository() {
    let bench = Bench::planted();
    bench.backup().done();
    fs::write(bench.root().join("workspaces/app/later"), "second snapshot\n").unwrap();
    bench.backup().done();
    let checked = bench.restic(&["check", "--read-data"]);
    assert!(checked.contains("no errors were found"), "{checked}");
    let target = bench.path("by-restic");
    bench.restic(&["restore", "latest", "--target", target.to_str().unwrap()]);
    // restic restores no sockets.
    assert_same_but(&bench.root(), &target, |kind| kind == 's');
}

#[test]
fn we_restore_what_stock_restic_saved() {
    let bench = Bench::planted();
    bench.restic(&["init"]);
    // Snapshots name absolute paths: restic is shown the machine as `/` by saving relative paths from within it.
    let saved = Command::new("restic")
        .args(["-r", &bench.server.restic_url(), "--no-cache", "-q", "--password-file"])
        .arg(bench.path("key"))
        .args(["backup", "home", "workspaces", "--exclude", "home/ebb/.cache/pip"])
        .current_dir(bench.root())
        .output()
        .unwrap();
    assert!(saved.status.success(), "{}", String::from_utf8_lossy(&saved.stderr));
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    // restic saves no sockets.
    assert_same_but(&bench.root(), &target, |kind| kind == 's');
}

#[test]
fn bad_days_of_the_store_cost_time_and_nothing_else() {
    let cases = [
        ("POST", "data/", Action::Cut, 2),
        ("POST", "data/", Action::Status(500), 2),
        ("POST", "data/", Action::LandedThen500, 1),
        ("POST", "data/", Action::LandedThenCut, 1),
        ("POST", "data/", Action::Status(429), 3),
        ("POST", "config", Action::LandedThen500, 1),
        ("POST", "keys/", Action::LandedThenCut, 1),
        ("POST", "index/", Action::LandedThen500, 1),
        ("POST", "snapshots/", Action::LandedThenCut, 1),
        ("GET", "config", Action::Status(503), 2),
        ("GET", "data/", Action::CutBody, 3),
        ("GET", "index/", Action::Cut, 2),
        ("GET", "index/", Action::Flip, 1),
        ("GET", "snapshots/", Action::Flip, 1),
    ];
    let bench = Bench::planted();
    for (round, (method, path, action, times)) in cases.into_iter().enumerate() {
        let bench =
            Bench { server: Server::start("t1"), dir: tempfile::tempdir_in(bench.dir.path()).unwrap() };
        fs::write(bench.path("token"), "t1").unwrap();
        fs::write(bench.path("key"), KEY).unwrap();
        fs::create_dir_all(bench.root().join("workspaces")).unwrap();
        fs::write(bench.root().join("workspaces/noise"), tree::noise(300_000 + round)).unwrap();
        bench.server.fault(method, path, action, times);
        let done = bench.backup().done();
        assert_eq!(
            (&done["files"], &done["partial"]),
            (&1.into(), &false.into()),
            "{method} {path} {action:?}"
        );
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        let (saved, restored) = (bench.root().join("workspaces/noise"), target.join("workspaces/noise"));
        assert!(fs::read(saved).unwrap() == fs::read(restored).unwrap(), "{method} {path} {action:?}");
        let hit = bench.server.seen().iter().any(|seen| {
            seen.method == method && seen.path.starts_with(path) && !matches!(seen.status, 200 | 206 | 404)
        });
        assert!(
            hit || matches!(action, Action::CutBody | Action::Flip),
            "the fault {method} {path} {action:?} never struck"
        );
    }
}

#[test]
fn a_restore_survives_cut_answers() {
    let bench = Bench::planted();
    bench.backup().done();
    bench.server.fault("GET", "data/", Action::CutBody, 4);
    bench.server.fault("GET", "index/", Action::Status(500), 1);
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert_same(&bench.root(), &target);
}

#[test]
fn a_token_that_is_renewed_in_the_middle_is_read_again() {
    let bench = Bench::planted();
    bench.server.set_token("t2");
    std::thread::scope(|scope| {
        let run = scope.spawn(|| bench.backup());
        bench.server.wait_for(|seen| seen.status == 401);
        fs::write(bench.path("token.new"), "t2\n").unwrap();
        fs::rename(bench.path("token.new"), bench.path("token")).unwrap();
        run.join().unwrap().done();
    });
}

#[test]
fn a_token_that_nobody_renews_ends_the_run() {
    let bench = Bench::planted();
    bench.server.set_token("t2");
    ended(bench.backup_command().args(["--renewal-secs", "1"])).failed("unauthorized", 43);
}

#[test]
fn a_stale_generation_stops_at_once() {
    let bench = Bench::planted();
    bench.server.fault("POST", "data/", Action::Status(410), usize::MAX);
    bench.backup().failed("stale_generation", 41);
    let after = bench
        .server
        .seen()
        .iter()
        .skip_while(|seen| seen.status != 410)
        .filter(|seen| seen.status != 410)
        .count();
    assert_eq!(after, 0, "{:?}", bench.server.seen());
    assert!(bench.server.names("snapshots").is_empty());
}

#[test]
fn a_full_store_is_told_from_a_broken_one() {
    let bench = Bench::planted();
    for status in [507, 413] {
        bench.server.heal();
        bench.server.fault("POST", "data/", Action::Status(status), usize::MAX);
        let message = bench.backup().failed("quota", 42);
        assert!(message.contains(&status.to_string()), "{message}");
    }
    assert!(bench.server.names("snapshots").is_empty());
}

#[test]
fn patience_ends_when_nothing_moves() {
    let bench = Bench::planted();
    bench.server.fault("POST", "data/", Action::Cut, usize::MAX);
    ended(bench.backup_command().args(["--stall-secs", "1"])).failed("stalled", 44);
    assert!(bench.server.names("snapshots").is_empty());
}

#[test]
fn a_damaged_byte_is_refused_by_name() {
    let bench = Bench::planted();
    bench.backup().done();
    for kind in ["data", "index", "snapshots"] {
        let names = bench.server.names(kind);
        // The largest object of the kind: among packs, one that holds file contents.
        let name =
            names.iter().max_by_key(|name| bench.server.object(&format!("{kind}/{name}")).len()).unwrap();
        let object = format!("{kind}/{name}");
        let whole = bench.server.object(&object);
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 0x10;
        bench.server.put(&object, flipped);
        let message = bench.restore_to(&bench.path(&format!("broken-{kind}"))).failed("damaged", 45);
        assert!(message.contains(&object), "{message}");
        bench.server.put(&object, whole);
    }
    bench.restore_to(&bench.path("whole")).done();
}

#[test]
fn a_truncated_pack_gets_no_receipt_and_no_restore() {
    let bench = Bench::planted();
    bench.backup().done();
    let names = bench.server.names("data");
    let name = names.iter().max_by_key(|name| bench.server.object(&format!("data/{name}")).len()).unwrap();
    let object = format!("data/{name}");
    let mut cut = bench.server.object(&object);
    cut.truncate(cut.len() / 2);
    bench.server.put(&object, cut);
    let message = bench.backup().failed("damaged", 45);
    assert!(message.contains(&object), "{message}");
    let message = bench.restore_to(&bench.path("restored")).failed("damaged", 45);
    assert!(message.contains(&object), "{message}");
}

#[test]
fn a_wrong_key_a_weak_key_and_no_repository_are_told_apart() {
    let bench = Bench::planted();
    bench.restore_to(&bench.path("restored")).failed("no_repository", 47);
    fs::write(bench.path("key"), "short").unwrap();
    bench.backup().failed("weak_key", 46);
    assert!(bench.server.names("keys").is_empty());
    fs::write(bench.path("key"), KEY).unwrap();
    bench.backup().done();
    ended(bench.command("restore").args(["--snapshot", "0123abcd", "--target", "/nonexistent"]))
        .failed("no_snapshot", 47);
    fs::write(bench.path("key"), KEY.replace('0', "z")).unwrap();
    bench.restore_to(&bench.path("restored")).failed("wrong_key", 46);
}

#[test]
fn a_creation_that_was_cut_short_is_repeated() {
    let bench = Bench::planted();
    bench.server.fault("POST", "config", Action::Status(410), 1);
    bench.backup().failed("stale_generation", 41);
    assert_eq!(bench.server.names("keys").len(), 1);
    bench.backup().done();
    assert_eq!(bench.server.names("keys").len(), 2);
    bench.restic(&["check"]);
}

#[test]
fn a_run_killed_in_the_middle_leaves_a_repository_that_goes_on() {
    let bench = Bench::planted();
    bench.server.fault("POST", "index/", Action::Hang, 1);
    let mut child = bench.backup_command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    bench.server.wait_for(|seen| seen.method == "POST" && seen.path.starts_with("index/"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(bench.server.names("snapshots").is_empty());
    bench.backup().done();
    bench.restic(&["check", "--read-data"]);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_saved() {
    let bench = Bench::new();
    let app = bench.root().join("workspaces");
    fs::create_dir_all(app.join("closed")).unwrap();
    fs::write(app.join("closed/inside"), "unseen\n").unwrap();
    fs::write(app.join("secret"), "unreadable\n").unwrap();
    fs::write(app.join("open"), "readable\n").unwrap();
    tree::mode(&app.join("secret"), 0);
    tree::mode(&app.join("closed"), 0);
    let mut command = bench.backup_command();
    if fs::metadata(bench.root()).unwrap().uid() == 0 {
        command.uid(65534).gid(65534).env("TMPDIR", "/tmp");
        for name in ["token", "key"] {
            tree::mode(&bench.path(name), 0o644);
        }
    }
    let done = ended(&mut command).done();
    assert_eq!(done["partial"], true);
    let named: Vec<_> =
        done["unreadable"].as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap()).collect();
    assert_eq!(named, ["/workspaces/closed", "/workspaces/secret"]);
    assert!(done["unreadable"][1]["reason"].as_str().unwrap().contains("denied"), "{done}");
    assert_eq!(done["files"], 1);
    // `/home/ebb` does not exist: said, not passed over.
    assert_eq!(done["skipped"], serde_json::json!([{ "path": "/home/ebb", "reason": "absent" }]));
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert_eq!(fs::read_to_string(target.join("workspaces/open")).unwrap(), "readable\n");
    assert!(!target.join("workspaces/secret").exists());
}

#[test]
fn an_empty_machine_is_no_backup() {
    let bench = Bench::new();
    bench.backup().failed("local", 48);
    assert!(bench.server.names("snapshots").is_empty());
}

#[test]
fn a_restore_over_a_half_restored_machine_gives_the_same_bytes() {
    let bench = Bench::planted();
    bench.backup().done();
    let target = bench.path("restored");
    // What a new machine's home directory has before, and what an interrupted restore may leave.
    let (home, app) = (target.join("home/ebb"), target.join("workspaces/app"));
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(&app).unwrap();
    fs::write(home.join(".bash_history"), "mine\n").unwrap();
    fs::write(app.join("sparse"), vec![7; 24 << 20]).unwrap();
    symlink("/etc/hostname", app.join(".env")).unwrap();
    fs::create_dir(app.join("tool")).unwrap();
    fs::write(app.join("src"), "a file where a directory belongs").unwrap();
    let hostname = fs::read("/etc/hostname").ok();
    bench.restore_to(&target).done();
    assert_same(&bench.root(), &target);
    bench.restore_to(&target).done();
    assert_same(&bench.root(), &target);
    assert_eq!(fs::read("/etc/hostname").ok(), hostname);

    fs::write(target.join("home/theirs"), "not in the snapshot").unwrap();
    bench.restore_to(&target).done();
    assert_eq!(fs::read_to_string(target.join("home/theirs")).unwrap(), "not in the snapshot");
}

#[test]
fn a_part_of_a_snapshot_can_be_restored() {
    let bench = Bench::planted();
    bench.backup().done();
    let target = bench.path("restored");
    ended(bench.command("restore").args(["--include", "/workspaces/app/src"]).arg("--target").arg(&target))
        .done();
    assert!(target.join("workspaces/app/src/noise").exists());
    assert!(!target.join("workspaces/app/.env").exists());
    assert!(!target.join("home").exists());
}

#[test]
fn a_target_that_cannot_be_written_is_a_local_failure() {
    let bench = Bench::planted();
    bench.backup().done();
    fs::write(bench.path("a-file"), "").unwrap();
    bench.restore_to(&bench.path("a-file/below")).failed("local", 48);
}

#[test]
fn reads_as_of_a_receipt_say_so_and_writes_never_do() {
    let bench = Bench::planted();
    let done = bench.backup().done();
    // The fresh reader proves what a wake will be shown: it reads as of its own snapshot, and nobody writes so.
    let snapshot = done["snapshot"].as_str().unwrap();
    let (proving, others): (Vec<_>, Vec<_>) =
        bench.server.seen().into_iter().partition(|seen| seen.query == format!("as-of={snapshot}"));
    assert!(proving.iter().any(|seen| seen.path.contains("index/")), "{proving:?}");
    assert!(proving.iter().all(|seen| matches!(seen.method.as_str(), "GET" | "HEAD")), "{proving:?}");
    assert!(others.iter().all(|seen| !seen.query.contains("as-of")), "{others:?}");
    bench.server.forget_seen();
    let target = bench.path("restored");
    ended(bench.command("restore").args(["--as-of", "r 1&x"]).arg("--target").arg(&target)).done();
    let seen = bench.server.seen();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.query == "as-of=r+1%26x"), "{seen:?}");
}

#[test]
fn a_kept_cache_spares_the_trees_of_the_parent() {
    let bench = Bench::planted();
    let cached = || ended(bench.backup_command().arg("--cache-dir").arg(bench.path("cache"))).done();
    cached();
    bench.server.forget_seen();
    cached();
    let kept = bench.server.seen().iter().filter(|seen| seen.method == "GET").count();
    bench.server.forget_seen();
    bench.backup().done();
    let passing = bench.server.seen().iter().filter(|seen| seen.method == "GET").count();
    assert!(kept < passing, "{kept} GETs with a cache, {passing} without");
}

#[test]
fn neither_token_nor_key_is_ever_printed() {
    let bench = Bench::planted();
    bench.server.fault("POST", "data/", Action::Status(500), 2);
    let run = bench.backup();
    let text = format!("{:?}{}", run.lines, run.stderr);
    assert!(!text.contains(KEY) && !text.contains("Bearer"), "{text}");
    fs::write(bench.path("key"), "another-key-that-is-long-enough-to-try").unwrap();
    let run = bench.restore_to(&bench.path("x"));
    let text = format!("{:?}{}", run.lines, run.stderr);
    assert!(!text.contains("another-key"), "{text}");
    assert_eq!(fs::metadata(bench.path("token")).unwrap().permissions().mode() & 0o777, 0o644);
}
