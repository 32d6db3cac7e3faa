//! `ebb-simulate` as scripts and people run it: what it prints, where, and how it ends.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ebb-simulate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_walk_that_is_replayed_is_the_same_walk() {
    let [first, second] = [(), ()].map(|()| simulate(&["--replay", "7"]));
    assert!(first.status.success(), "{}", text(&first.stdout));
    assert_eq!(text(&first.stdout), text(&second.stdout));
    assert!(text(&first.stdout).lines().count() > 10, "a walk is shown step by step");
}

#[test]
fn a_log_gets_a_line_every_tenth_of_the_way_and_nothing_else() {
    let ran = simulate(&["--lifecycles", "400", "--seed", "1"]);
    assert!(ran.status.success(), "{}", text(&ran.stdout));
    let log = text(&ran.stderr);
    assert!(!log.contains('\r'), "{log:?}");
    assert!(log.lines().count() <= 10, "{log}");
    assert!(log.lines().all(|line| line.contains(" of 400, ")), "{log}");
}

#[test]
fn disruptions_that_are_none_are_refused_by_name() {
    let ran = simulate(&["--replay", "7", "--only", "rain:1"]);
    assert!(!ran.status.success());
    assert!(text(&ran.stdout).contains("rain"), "{}", text(&ran.stdout));
}
