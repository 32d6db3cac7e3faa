//! What watches files or listens and is nobody's work, and what looks the same and is: a command that waits for a line, a
//! file or an answer must not be taken for a watcher.
//!
//! All of these were made with the engine's change; none may be held out.

use super::super::scene::Scene;
use super::Script;
use ebbtide_idle_agent::idle::read::hook::Left;

const MINUTE: u64 = 60;
const SHELL: Left = Left { shells: 1, others: 0, wakeups: 0 };

/// Claude in a turn has started a shell: both.
fn began(s: &mut Scene) -> (u32, u32) {
    let claude = s.agent("claude");
    s.prompt(claude);
    s.pass(20);
    (claude, s.spawn(claude, "bash"))
}

/// A compiler that watches files.
fn watcher(s: &mut Scene, parent: u32) -> u32 {
    let watcher = s.spawn(parent, "node");
    s.called_with(watcher, &["node", "tsc", "--watch"]);
    s.watch_files(watcher);
    s.load(watcher, 8);
    watcher
}

/// What is left is work for so long, then it ends; whatever else there is goes on.
fn works_for(s: &mut Scene, minutes: u64, what: u32) {
    s.must_stay();
    s.pass(minutes * MINUTE);
    s.end(what);
    s.must_sleep();
    s.pass(10 * MINUTE);
}

pub const SCENES: &[Script] = &[
    (
        "left-watchers-beside-a-server",
        "Claude left a dev server and a compiler that watches, both started by one script; nobody uses them",
        |s| {
            let (claude, shell) = began(s);
            let npm = s.spawn(shell, "npm");
            let both = s.spawn(npm, "node");
            s.called_with(both, &["node", "concurrently"]);
            let server = s.spawn(both, "node");
            s.listen(server);
            s.load(server, 20);
            s.spawn(server, "esbuild");
            watcher(s, both);
            s.stop(claude, SHELL);
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "agent-left-tail-and-grep",
        "Claude left `tail -f log | grep -m1 done`, which ends with the line that another job will write in an hour",
        |s| {
            let (claude, shell) = began(s);
            let tail = s.spawn(shell, "tail");
            s.called_with(tail, &["tail", "-f"]);
            s.watch_files(tail);
            // Claude Code's shells run its own program in the place of grep.
            let grep = s.spawn(shell, "claude");
            s.called_with(grep, &["ugrep", "-m1"]);
            s.stop(claude, SHELL);
            works_for(s, 60, shell);
        },
    ),
    (
        "waits-for-a-file-of-another-job",
        "Claude left `inotifywait` for a file that a job elsewhere brings in an hour; it watches and will end",
        |s| {
            let (claude, shell) = began(s);
            let wait = s.spawn(shell, "inotifywait");
            s.called_with(wait, &["inotifywait", "-e", "create"]);
            s.watch_files(wait);
            s.stop(claude, SHELL);
            works_for(s, 60, shell);
        },
    ),
    (
        "left-tests-that-hold-watches",
        "Claude left a test run that holds watches as a side effect and waits for a service far away, for 80 min",
        |s| {
            let (claude, shell) = began(s);
            let tests = s.spawn(shell, "node");
            s.called_with(tests, &["node", "vitest", "run"]);
            s.watch_files(tests);
            s.load(tests, 25);
            s.stop(claude, SHELL);
            works_for(s, 80, shell);
        },
    ),
    (
        "left-build-beside-a-watcher",
        "Claude left a compiler that watches and a build in the same command; the build takes an hour",
        |s| {
            let (claude, shell) = began(s);
            watcher(s, shell);
            let build = s.spawn(shell, "cargo");
            let rustc = s.spawn(build, "rustc");
            s.load(rustc, 700);
            s.stop(claude, SHELL);
            works_for(s, 60, build);
        },
    ),
    (
        "left-download-beside-a-watcher",
        "Claude left a compiler that watches and a slow upload in the same command; the upload takes an hour",
        |s| {
            let (claude, shell) = began(s);
            watcher(s, shell);
            let upload = s.spawn(shell, "curl");
            s.load(upload, 5);
            s.stop(claude, SHELL);
            works_for(s, 60, upload);
        },
    ),
    (
        "left-gradle-client",
        "Claude left a client of a build daemon, which waits and says nothing; the daemon listens and takes an hour",
        |s| {
            let daemon = s.serve("java");
            s.watch_files(daemon);
            let (claude, shell) = began(s);
            s.spawn(shell, "java");
            s.load(daemon, 60);
            s.stop(claude, SHELL);
            works_for(s, 60, shell);
        },
    ),
    (
        "watcher-restarts-a-worker",
        "Claude left a worker that empties a queue far away, below a program that restarts it when files change",
        |s| {
            let (claude, shell) = began(s);
            let nodemon = s.spawn(shell, "node");
            s.called_with(nodemon, &["node", "nodemon"]);
            s.watch_files(nodemon);
            let worker = s.spawn(nodemon, "node");
            s.load(worker, 15);
            s.stop(claude, SHELL);
            works_for(s, 80, worker);
        },
    ),
    (
        "watcher-within-a-turn",
        "in its turn Claude runs a watcher with a limit of 25 min and waits for what it says",
        |s| {
            let (claude, shell) = began(s);
            s.answered(claude);
            watcher(s, shell);
            s.must_stay();
            s.pass(25 * MINUTE);
            s.end(shell);
            s.work(claude, MINUTE);
            s.stop(claude, Left::default());
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    (
        "containers-share-the-work",
        "tests in one container with 30 % of a core, their database in another with 25 %, for 90 min",
        |s| {
            let containers = [("pytest", 300), ("postgres", 250)].map(|(name, load)| {
                let shim = s.spawn_system(1, "containerd-shim");
                let program = s.spawn_system(shim, name);
                s.load(program, load);
                program
            });
            let [tests, database] = containers;
            s.listen(database);
            s.must_stay();
            s.pass(90 * MINUTE);
            s.end(tests);
            s.load(database, 5);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
];
