//! Bad days in each phase: what was acknowledged stays, what fails says what it was about, and the next run goes on.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::server::Action;
use super::tree::noise;
use super::{Bench, ended};
use crate::skip::skip;

/// Requests of a backup in the order of its phases, and of its fresh reader at the end.
const PHASES: [(&str, &str); 7] = [
    ("GET", "config"),
    ("GET", "snapshots/"),
    ("GET", "index/"),
    ("POST", "data/"),
    ("POST", "index/"),
    ("POST", "snapshots/"),
    ("GET", "data/"),
];

/// A small machine with one backup that was acknowledged, and a change since.
fn acknowledged() -> (Bench, String) {
    let bench = Bench::new();
    let app = bench.root().join("workspaces/app");
    fs::create_dir_all(app.join("deep")).unwrap();
    fs::write(app.join("deep/first"), noise(40_000)).unwrap();
    let done = bench.backup().done();
    fs::write(app.join("second"), noise(50_000)).unwrap();
    (bench, done["snapshot"].as_str().unwrap().to_owned())
}

impl Bench {
    /// What was acknowledged comes back, whatever has happened since.
    #[track_caller]
    fn first_is_whole(&self, snapshot: &str, round: usize) {
        let target = self.path(&format!("first-{round}"));
        ended(self.command("restore").args(["--snapshot", snapshot]).arg("--target").arg(&target)).done();
        let kept = fs::read(target.join("workspaces/app/deep/first")).unwrap();
        assert!(kept == noise(40_000), "round {round}");
        assert!(!target.join("workspaces/app/second").exists());
    }
}

#[test]
fn a_line_that_is_cut_for_good_in_any_phase_costs_no_backup_that_was_acknowledged() {
    let (bench, first) = acknowledged();
    for (round, (method, path)) in PHASES.into_iter().enumerate() {
        // Another change each time: else there would be nothing to send.
        fs::write(bench.root().join("workspaces/app/second"), noise(50_000 + round)).unwrap();
        bench.server.fault(method, path, Action::Cut, usize::MAX);
        let message = ended(bench.backup_command().args(["--stall-secs", "1"])).failed("stalled", 44);
        assert!(message.contains(path.trim_end_matches('/')), "{method} {path}: {message}");
        bench.server.heal();
        bench.first_is_whole(&first, round);
    }
    bench.backup().done();
    bench.restic(&["check", "--read-data"]);
}

#[test]
fn a_backup_that_is_killed_in_any_phase_costs_nothing_and_the_next_goes_on() {
    let (bench, first) = acknowledged();
    for (round, (method, path)) in PHASES.into_iter().enumerate() {
        fs::write(bench.root().join("workspaces/app/second"), noise(50_000 + round)).unwrap();
        bench.server.forget_seen();
        bench.server.fault(method, path, Action::Hang, 1);
        let mut child = bench.backup_command().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        bench
            .server
            .wait_for(|seen| seen.method == method && seen.path.starts_with(path) && seen.status == 0);
        child.kill().unwrap();
        child.wait().unwrap();
        bench.server.heal();
        bench.first_is_whole(&first, round);
    }
    let done = bench.backup().done();
    assert_eq!(done["files"], 2);
    bench.restic(&["check", "--read-data"]);
}

#[test]
fn a_restore_that_is_cut_or_killed_in_any_phase_is_finished_by_the_next() {
    let (bench, first) = acknowledged();
    let target = bench.path("restored");
    let restore = || {
        let mut command = bench.command("restore");
        command.args(["--snapshot", &first, "--stall-secs", "1"]).arg("--target").arg(&target);
        command
    };
    for path in RESTORE_PHASES {
        bench.server.fault("GET", path, Action::Cut, usize::MAX);
        let message = ended(&mut restore()).failed("stalled", 44);
        assert!(message.contains(path.trim_end_matches('/')), "{path}: {message}");
        bench.server.heal();

        bench.server.forget_seen();
        bench.server.fault("GET", path, Action::Hang, 1);
        let mut child = restore().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        bench.server.wait_for(|seen| seen.path.starts_with(path) && seen.status == 0);
        child.kill().unwrap();
        child.wait().unwrap();
        bench.server.heal();
    }
    ended(&mut restore()).done();
    assert!(fs::read(target.join("workspaces/app/deep/first")).unwrap() == noise(40_000));
}

/// Requests of a restore in the order of its phases.
const RESTORE_PHASES: [&str; 4] = ["config", "snapshots/", "index/", "data/"];

#[test]
fn a_store_that_is_busy_in_any_phase_costs_time_and_nothing_else() {
    let (bench, first) = acknowledged();
    let refused = || bench.server.seen().iter().filter(|seen| seen.status == 429).count();
    for (round, (method, path)) in PHASES.into_iter().enumerate() {
        fs::write(bench.root().join("workspaces/app/second"), noise(50_000 + round)).unwrap();
        bench.server.forget_seen();
        bench.server.fault(method, path, Action::Busy(0), 2);
        assert_eq!(bench.backup().done()["files"], 2, "{method} {path}");
        assert_eq!(refused(), 2, "{method} {path}");
    }
    for (round, path) in RESTORE_PHASES.into_iter().enumerate() {
        bench.server.forget_seen();
        bench.server.fault("GET", path, Action::Busy(0), 2);
        bench.first_is_whole(&first, round);
        assert_eq!(refused(), 2, "{path}");
    }
}

#[test]
fn a_token_that_ends_in_any_phase_is_read_again_once_it_is_renewed() {
    let (bench, first) = acknowledged();
    let renewed = |work: &(dyn Fn() + Sync)| {
        std::thread::scope(|scope| {
            let works = scope.spawn(work);
            bench.server.wait_for(|seen| seen.status == 401);
            fs::write(bench.path("token.new"), bench.server.token()).unwrap();
            fs::rename(bench.path("token.new"), bench.path("token")).unwrap();
            works.join().unwrap();
        });
    };
    for (round, (method, path)) in PHASES.into_iter().enumerate() {
        fs::write(bench.root().join("workspaces/app/second"), noise(50_000 + round)).unwrap();
        bench.server.forget_seen();
        bench.server.fault(method, path, Action::Expire, 1);
        renewed(&|| assert_eq!(bench.backup().done()["files"], 2, "{method} {path}"));
    }
    for (round, path) in RESTORE_PHASES.into_iter().enumerate() {
        bench.server.forget_seen();
        bench.server.fault("GET", path, Action::Expire, 1);
        renewed(&|| bench.first_is_whole(&first, round));
    }
    bench.restic(&["check", "--read-data"]);
}

#[test]
fn a_store_that_names_a_pause_is_given_it() {
    let (bench, _) = acknowledged();
    bench.server.fault("POST", "data/", Action::Busy(2), 1);
    let begun = Instant::now();
    bench.backup().done();
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    let refused = bench.server.seen().iter().filter(|seen| seen.status == 429).count();
    assert_eq!(refused, 1, "it was not asked again before its time");
}

#[test]
fn what_an_older_generation_left_half_done_harms_nobody() {
    let (bench, first) = acknowledged();
    bench.server.fault("POST", "snapshots/", Action::Status(410), usize::MAX);
    bench.backup().failed("stale_generation", 41);
    bench.server.heal();
    bench.first_is_whole(&first, 0);
    let mut command = bench.command("run");
    command.args(["--tag", "g4", "--host", "w1", "--include", "/workspaces"]).arg("--root").arg(bench.root());
    let done = ended(&mut command).done();
    assert_eq!(done["files"], 2);
    let checked = bench.restic(&["check", "--read-data"]);
    assert!(checked.contains("no errors were found"), "{checked}");
}

/// The objects of a repository of two snapshots whose packs are known: the pack of the first file's content, that of
/// the second's, and the rest.
struct Known {
    bench: Bench,
    first: String,
    second: String,
    packs: [String; 2],
}

fn known() -> Known {
    let (bench, first) = acknowledged();
    let content = |known: &[String]| {
        let mut data = bench.server.names("data");
        data.retain(|name| !known.contains(name));
        data.sort_by_key(|name| bench.server.object(&format!("data/{name}")).len());
        data.pop().unwrap()
    };
    let of_first = content(&[]);
    let before = bench.server.names("data");
    let second = bench.backup().done()["snapshot"].as_str().unwrap().to_owned();
    let of_second = content(&before);
    Known { bench, first, second, packs: [of_first, of_second] }
}

fn broken(whole: &[u8], how: &str) -> Vec<u8> {
    let mut broken = whole.to_vec();
    match how {
        "flipped" => broken[whole.len() / 2] ^= 0x10,
        _ => broken.truncate(whole.len() / 2),
    }
    broken
}

#[test]
fn a_damaged_object_of_any_kind_is_named_and_nothing_is_restored_from_it_in_silence() {
    let known = known();
    let bench = &known.bench;
    for kind in ["config", "index", "snapshots", "data"] {
        let objects: Vec<String> = match kind {
            "config" => vec!["config".to_owned()],
            _ => bench.server.names(kind).iter().map(|name| format!("{kind}/{name}")).collect(),
        };
        for (round, object) in objects.iter().enumerate() {
            let whole = bench.server.object(object);
            for how in ["flipped", "cut"] {
                bench.server.put(object, broken(&whole, how));
                let target = bench.path(&format!("{kind}-{round}-{how}"));
                let mut restore = bench.command("restore");
                restore.args(["--snapshot", &known.second, "--stall-secs", "2"]).arg("--target").arg(&target);
                let run = ended(&mut restore);
                if run.code == 0 {
                    // It needed nothing of that object: then everything is there.
                    let app = target.join("workspaces/app");
                    assert!(fs::read(app.join("deep/first")).unwrap() == noise(40_000), "{object}");
                    assert!(fs::read(app.join("second")).unwrap() == noise(50_000), "{object}");
                } else {
                    let message = run.failed("damaged", 45);
                    assert!(message.contains(object), "{how} {object}: {message}");
                }
            }
            bench.server.put(object, whole);
        }
    }
    bench.restore_to(&bench.path("whole")).done();
}

#[test]
fn damaged_content_is_named_by_its_files_and_by_the_snapshot_that_stands_without_it() {
    let known = known();
    let bench = &known.bench;
    let [of_first, of_second] = &known.packs;
    for how in ["flipped", "cut"] {
        let object = format!("data/{of_second}");
        let whole = bench.server.object(&object);
        bench.server.put(&object, broken(&whole, how));
        let message = bench.restore_to(&bench.path(&format!("second-{how}"))).failed("damaged", 45);
        assert!(message.contains("/workspaces/app/second"), "{message}");
        assert!(!message.contains("deep/first"), "{message}");
        assert!(message.contains(&known.first), "{message}");
        bench.first_is_whole(&known.first, usize::from(how == "cut"));
        bench.server.put(&object, whole);
    }
    // Both snapshots need this one.
    let object = format!("data/{of_first}");
    let whole = bench.server.object(&object);
    bench.server.put(&object, broken(&whole, "flipped"));
    let message = bench.restore_to(&bench.path("neither")).failed("damaged", 45);
    assert!(message.contains("/workspaces/app/deep/first"), "{message}");
    assert!(message.contains("no older snapshot"), "{message}");
}

#[test]
fn a_key_file_that_is_damaged_stops_stock_restic_only() {
    let known = known();
    let name = known.bench.server.names("keys").pop().unwrap();
    known.bench.server.put(&format!("keys/{name}"), b"{ not a key".to_vec());
    known.bench.restore_to(&known.bench.path("restored")).done();
}

/// A file system of so many bytes at `at` in a namespace of its own, for one command.
fn on_a_small_disk(size: &str, at: &PathBuf, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    inside.arg("mount -t tmpfs -o size=\"$0\" none \"$1\" && shift && exec \"$@\"").arg(size).arg(at);
    inside.arg(command.get_program()).args(command.get_args());
    inside.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            inside.env(name, value);
        }
    }
    inside
}

fn small_disks_can_be_made(at: &PathBuf) -> bool {
    let can = on_a_small_disk("1m", at, &Command::new("true")).output();
    let can = can.is_ok_and(|output| output.status.success());
    if !can {
        skip("no file system can be mounted here");
    }
    can
}

mod as_root {
    use super::*;

    #[test]
    fn a_disk_that_is_full_at_a_restore_is_named_and_a_larger_one_gets_everything() {
        let (bench, first) = acknowledged();
        bench.backup().done();
        let target = bench.path("restored");
        fs::create_dir(&target).unwrap();
        if !small_disks_can_be_made(&target) {
            return;
        }
        let mut restore = bench.command("restore");
        restore.arg("--target").arg(&target);
        let message = ended(&mut on_a_small_disk("64k", &target, &restore)).failed("local", 48);
        assert!(message.contains("No space left") && message.contains("/workspaces/app/"), "{message}");
        bench.restore_to(&target).done();
        bench.first_is_whole(&first, 0);
    }

    #[test]
    fn a_disk_that_is_full_at_a_backup_costs_the_cache_and_no_backup() {
        let (bench, first) = acknowledged();
        let cache = bench.path("cache");
        fs::create_dir(&cache).unwrap();
        if !small_disks_can_be_made(&cache) {
            return;
        }
        let mut backup = bench.backup_command();
        backup.arg("--cache-dir").arg(&cache);
        let run = ended(&mut on_a_small_disk("4k", &cache, &backup));
        if run.code == 0 {
            run.done();
        } else {
            let message = run.failed("local", 48);
            assert!(message.contains("cache"), "{message}");
            bench.backup().done();
        }
        bench.first_is_whole(&first, 0);
        let target = bench.path("restored");
        bench.restore_to(&target).done();
        assert!(fs::read(target.join("workspaces/app/second")).unwrap() == noise(50_000));
    }
}
