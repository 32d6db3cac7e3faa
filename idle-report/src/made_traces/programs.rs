//! Programs that work without an agent, and such that only look like it.

use super::Script;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

pub const SCENES: &[Script] = &[
    (
        "dev-server-open-tab",
        "a server polls its files, a tab keeps its socket open; nobody touches anything",
        |s| {
            let server = s.serve("node");
            s.load(server, 30);
            s.connect(5173, 1);
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "dev-server-rebuilds",
        "a person saves every few minutes over ssh-less sync: the server rebuilds and answers pages",
        |s| {
            let server = s.serve("node");
            s.must_stay();
            for _ in 0..12 {
                s.files(true);
                s.load(server, 900);
                s.pass(10);
                s.files(false);
                s.load(server, 20);
                s.open_page();
                s.pass(5 * MINUTE);
            }
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("nightly-cron", "a small job runs for seconds every ten minutes: housekeeping, nobody's work", |s| {
        s.must_sleep();
        for _ in 0..8 {
            let job = s.spawn(1, "logrotate");
            s.load(job, 100);
            s.pass(10);
            s.end(job);
            s.pass(590);
        }
    }),
    ("tail-follows-a-log", "a terminal shows a log that a server writes; nobody types", |s| {
        let shell = s.shell();
        let tail = s.spawn(shell, "tail");
        s.load(tail, 4);
        let server = s.serve("node");
        s.load(server, 15);
        s.store(server, 400);
        s.files(true);
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    (
        "language-servers",
        "an editor has gone and left its language servers, which look at files now and then",
        |s| {
            for name in ["rust-analyzer", "tsserver", "gopls"] {
                let server = s.spawn(1, name);
                s.load(server, 12);
            }
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "container-build",
        "a build runs in containers of the system's daemon for 40 min; its client waits in a terminal",
        |s| {
            let shell = s.shell();
            let client = s.spawn(shell, "docker");
            s.load(client, 2);
            let shim = s.spawn_system(1, "containerd-shim");
            let inside = s.spawn_system(shim, "sh");
            s.must_stay();
            for _ in 0..8 {
                let compiler = s.spawn_system(inside, "cc1plus");
                s.load(compiler, 800);
                s.pass(3 * MINUTE);
                s.load(compiler, 150);
                s.pass(2 * MINUTE);
                s.end(compiler);
            }
            s.end(client);
            s.end(shim);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("idle-containers", "three containers keep house, nobody asks them anything", |s| {
        for name in ["postgres", "redis-server", "nginx"] {
            let shim = s.spawn_system(1, "containerd-shim");
            let server = s.spawn_system(shim, name);
            s.load(server, 12);
        }
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
    (
        "sleep-three-hours",
        "`sleep 3h` in a terminal does nothing; whoever wants it kept says so with a hold",
        |s| {
            let shell = s.shell();
            s.type_keys();
            s.pass(10);
            s.spawn(shell, "sleep");
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    ("sleep-three-hours-held", "the same, held for three hours: kept as long as was asked for", |s| {
        let shell = s.shell();
        s.type_keys();
        s.spawn(shell, "sleep");
        s.hold(3 * HOUR);
        s.must_stay();
        s.pass(3 * HOUR - 20);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    (
        "training-at-low-cpu",
        "the accelerator works, the processor does 6 %; every 5 min a checkpoint is written",
        |s| {
            let shell = s.shell();
            let training = s.spawn(shell, "python3");
            s.load(training, 60);
            s.must_stay();
            for _ in 0..24 {
                s.pass(290);
                s.store(training, 5_000_000);
                s.files(true);
                s.pass(10);
                s.store(training, 0);
                s.files(false);
            }
            s.end(training);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("long-clone", "git receives and writes 2 MB/s for 50 min with 5 % of a core", |s| {
        let shell = s.shell();
        let git = s.spawn(shell, "git");
        s.must_stay();
        s.load(git, 50);
        s.store(git, 2_000_000);
        s.pass(50 * MINUTE);
        s.end(git);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("rsync-upload", "a copy to elsewhere reads 1 MB/s for 45 min", |s| {
        let shell = s.shell();
        let rsync = s.spawn(shell, "rsync");
        s.must_stay();
        s.load(rsync, 40);
        s.store(rsync, 1_000_000);
        s.pass(45 * MINUTE);
        s.end(rsync);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    (
        "person-watches-ci",
        "a program in a terminal asks every few seconds about a build elsewhere: nothing goes on here",
        |s| {
            let shell = s.shell();
            s.type_keys();
            s.pass(10);
            let watch = s.spawn(shell, "gh");
            s.load(watch, 10);
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    ("tests-for-an-hour", "a test run uses half a core for an hour and writes nothing", |s| {
        let shell = s.shell();
        let tests = s.spawn(shell, "cargo");
        s.load(tests, 500);
        s.must_stay();
        s.pass(HOUR);
        s.end(tests);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("test-waits-between-bursts", "a test run works for a minute in every twelve", |s| {
        let shell = s.shell();
        let tests = s.spawn(shell, "pytest");
        s.must_stay();
        for _ in 0..6 {
            s.load(tests, 600);
            s.pass(MINUTE);
            s.load(tests, 2);
            s.pass(11 * MINUTE);
        }
        s.load(tests, 600);
        s.pass(MINUTE);
        s.end(tests);
        s.must_sleep();
        s.pass(10 * MINUTE);
    }),
    ("idle-database", "a database and a cache keep house; no query comes", |s| {
        for name in ["postgres", "redis-server"] {
            let server = s.serve(name);
            s.load(server, 10);
            s.store(server, 2_000);
        }
        s.must_sleep();
        s.pass(20 * MINUTE);
    }),
];
