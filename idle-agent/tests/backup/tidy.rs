//! `backup tidy` on repositories that the program made: what goes, what stays, and what ends it before anything goes.

use super::server::{Action, Server};
use super::{Bench, Ended, ended};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;

/// Bytes of which no two lists share a blob, and that nothing compresses.
fn noise(seed: u8, count: usize) -> Vec<u8> {
    let blocks = (0..count.div_ceil(32))
        .flat_map(|block| Sha256::digest([&[seed][..], &block.to_le_bytes()].concat()));
    blocks.take(count).collect()
}

/// Three snapshots: a file that all share, and one that each has for itself.
fn three() -> (Bench, Vec<String>) {
    let bench = Bench::new();
    let home = bench.root().join("home/ebb");
    fs::create_dir_all(&home).unwrap();
    fs::create_dir_all(bench.root().join("workspaces")).unwrap();
    let snapshots = (1..=3_u8).map(|number| {
        fs::write(home.join("own"), noise(number, 3_000_000)).unwrap();
        if number == 1 {
            fs::write(home.join("shared"), noise(99, 1_000_000)).unwrap();
        } else if number == 2 {
            // Its tree stays, so its index loses the pack of data and keeps that of trees.
            fs::create_dir(bench.root().join("workspaces/lasting")).unwrap();
        }
        bench.backup().done()["snapshot"].as_str().unwrap().to_owned()
    });
    let snapshots = snapshots.collect();
    bench.server.let_tidy();
    (bench, snapshots)
}

fn tidy(bench: &Bench, snapshots: &[String]) -> Ended {
    fs::write(bench.path("forget"), snapshots.join("\n")).unwrap();
    ended(bench.command("tidy").arg("--forget").arg(bench.path("forget")))
}

fn sizes(server: &Server) -> [usize; 3] {
    ["snapshots", "index", "data"].map(|kind| server.names(kind).len())
}

#[test]
fn what_only_old_snapshots_need_goes_and_what_is_kept_is_whole() {
    let (bench, snapshots) = three();
    let before = sizes(&bench.server);
    bench.server.forget_seen();
    let done = tidy(&bench, &snapshots[..2]).done();
    let seen = bench.server.seen();
    assert_eq!(done["snapshots"], 2, "{done}");
    // The second snapshot's data; the first's pack holds what all share.
    assert_eq!((&done["packs"], &done["indexes"]), (&Value::from(1), &Value::from(1)), "{done}");
    assert!(done["bytes"].as_u64() > Some(3_000_000), "{done}");
    let after = sizes(&bench.server);
    assert_eq!(after[0], 1);
    assert_eq!(before[2] - after[2], usize::try_from(done["packs"].as_u64().unwrap()).unwrap());
    bench.restic(&["check", "--read-data"]);
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert_eq!(fs::read(target.join("home/ebb/own")).unwrap(), noise(3, 3_000_000));
    assert_eq!(fs::read(target.join("home/ebb/shared")).unwrap(), noise(99, 1_000_000));
    // Only what is verified was read, and an index went after its successor had come.
    let reads = |one: &&super::server::Seen| one.method == "GET" && one.path.ends_with('/');
    assert!(seen.iter().filter(reads).all(|one| one.query.contains("as-of=verified")), "{seen:?}");
    let place = |method: &str, path: &str| {
        seen.iter().position(|one| one.method == method && one.path.starts_with(path))
    };
    let (post, delete) = (place("POST", "index/").unwrap(), place("DELETE", "index/").unwrap());
    assert!(post < delete && seen[post].query.contains("replaces="), "{seen:?}");
    assert!(place("DELETE", "data/").unwrap() > delete, "a pack went while an index named it");
    // Once more, there is nothing to do; and backups go on.
    assert_eq!(tidy(&bench, &snapshots[..2]).done()["packs"], 0);
    fs::write(bench.root().join("home/ebb/own"), noise(1, 3_000_000)).unwrap();
    bench.backup().done();
    bench.restic(&["check", "--read-data"]);
}

#[test]
fn a_bad_day_ends_it_before_anything_goes() {
    let (bench, snapshots) = three();
    let before = sizes(&bench.server);
    tidy(&bench, &snapshots).failed("incomplete", 50);
    // An index that a machine planted: the control plane shows none that no receipt proves, and here it does.
    let garbage = b"garbage that is nobody's index";
    bench.server.put(&format!("index/{}", hex::encode(Sha256::digest(garbage))), garbage.to_vec());
    let failed: Value = tidy(&bench, &snapshots[..2]).last;
    assert_eq!(failed["event"], "failed", "{failed}");
    assert_eq!(sizes(&bench.server), [before[0], before[1] + 1, before[2]]);
}

#[test]
fn a_damaged_snapshot_that_is_to_go_goes_with_what_only_it_needed() {
    let (bench, snapshots) = three();
    let object = format!("snapshots/{}", snapshots[1]);
    for damage in [b"not what its name says".to_vec(), Vec::new()] {
        bench.server.put(&object, damage);
        // While it is to stay nobody knows what it needs.
        let before = sizes(&bench.server);
        let message = tidy(&bench, &snapshots[..1]).failed("damaged", 45);
        assert!(message.contains(&object), "{message}");
        assert_eq!(sizes(&bench.server), before);
    }
    let done = tidy(&bench, &snapshots[..2]).done();
    assert_eq!((&done["snapshots"], &done["packs"]), (&2.into(), &1.into()), "{done}");
    bench.restic(&["check", "--read-data"]);
    let target = bench.path("restored");
    bench.restore_to(&target).done();
    assert_eq!(fs::read(target.join("home/ebb/own")).unwrap(), noise(3, 3_000_000));
}

#[test]
fn a_damaged_pack_of_trees_is_named_where_it_is_needed_and_else_holds_nothing_up() {
    let (bench, snapshots) = three();
    let damaged = |name: &str| {
        let object = format!("data/{name}");
        let whole = bench.server.object(&object);
        let broken: Vec<u8> = whole.iter().map(|byte| byte ^ 0x10).collect();
        bench.server.put(&object, broken);
        (object, whole)
    };
    let before = sizes(&bench.server);
    let (mut named, mut done) = (0, 0);
    for name in bench.server.names("data") {
        if bench.server.object(&format!("data/{name}")).len() > 500_000 {
            continue;
        }
        let (object, whole) = damaged(&name);
        // Tried where nothing can go: the right to delete is not given.
        bench.server.fault("DELETE", "", Action::Status(403), usize::MAX);
        let ended = tidy(&bench, &snapshots[1..]);
        if ended.last["code"] == "damaged" {
            let message = ended.failed("damaged", 45);
            assert!(message.contains(&object), "{message}");
            named += 1;
        } else {
            ended.failed("refused", 49);
            done += 1;
        }
        bench.server.heal();
        bench.server.put(&object, whole);
    }
    assert!(named > 0 && done > 0, "{named} packs of trees are needed, {done} are not");
    assert_eq!(sizes(&bench.server)[2], before[2]);
}

#[test]
fn one_that_is_cut_short_is_finished_by_the_next() {
    let (bench, snapshots) = three();
    bench.server.fault("DELETE", "data/", Action::Status(403), 1);
    tidy(&bench, &snapshots[..2]).failed("refused", 49);
    bench.restic(&["check", "--read-data"]);
    bench.server.heal();
    tidy(&bench, &snapshots[..2]).done();
    bench.restic(&["check", "--read-data"]);
    bench.restore_to(&bench.path("restored")).done();
}
