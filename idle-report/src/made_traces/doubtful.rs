//! Work that looks like a server, and watchers, servers and timers that look like work: each was judged wrong once.
//!
//! All of these were known when the engine was changed for them; none may be held out.

use super::Script;
use ebbtide_idle_agent::idle::read::hook::Left;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

pub const SCENES: &[Script] = &[
    (
        "end-to-end-tests-with-servers",
        "tests drive a browser and a dev server for 90 min; none of them uses half a core, together they do",
        |s| {
            let shell = s.shell();
            s.type_keys();
            let tests = s.spawn(shell, "node");
            s.load(tests, 80);
            for (name, load) in [("next-server", 400), ("chrome", 450), ("postgres", 200)] {
                let server = s.spawn(tests, name);
                s.listen(server);
                s.load(server, load);
            }
            s.must_stay();
            s.pass(90 * MINUTE);
            s.end(tests);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    (
        "tests-left-in-the-background-listen",
        "Claude left tests running that listen on a port themselves; they take 90 min with a third of a core",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.pass(20);
            let command = s.spawn(claude, "bash");
            let tests = s.spawn(command, "java");
            s.listen(tests);
            s.load(tests, 350);
            s.stop(claude, Left { shells: 1, ..Left::default() });
            s.must_stay();
            s.pass(90 * MINUTE);
            s.end(command);
            s.must_sleep();
            s.pass(10 * MINUTE);
        },
    ),
    ("dump-by-a-timer", "a timer writes 5 MB every ten minutes: housekeeping, nobody's work", |s| {
        s.must_sleep();
        for _ in 0..8 {
            let dump = s.spawn(1, "pg_dump");
            s.load(dump, 50);
            s.store(dump, 500_000);
            s.pass(10);
            s.end(dump);
            s.pass(590);
        }
    }),
    (
        "short-job-by-a-timer",
        "a timer runs a script every ten minutes that takes 3.5 s of a core: housekeeping",
        |s| {
            s.must_sleep();
            for _ in 0..8 {
                let script = s.spawn(1, "python3");
                s.load(script, 350);
                s.pass(10);
                s.end(script);
                s.pass(590);
            }
        },
    ),
    (
        "robot-visits-a-page",
        "a monitor's request compiles a page of the dev server every ten minutes; no person is there",
        |s| {
            let server = s.serve("next-server");
            s.must_sleep();
            for _ in 0..8 {
                s.load(server, 600);
                s.pass(10);
                s.load(server, 20);
                s.pass(590);
            }
        },
    ),
    (
        "polling-container",
        "a dev server in a container polls for changes with 15 % of a core, nobody is there; it listens there",
        |s| {
            let shim = s.spawn_system(1, "containerd-shim");
            let server = s.spawn_system(shim, "node");
            s.listen(server);
            s.load(server, 150);
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "browser-of-a-tool-server",
        "Claude is at its prompt; the browser of its tool server shows an animated page with 20 % of a core",
        |s| {
            let claude = s.agent("claude");
            let helper = s.spawn(claude, "mcp-browser");
            s.prompt(claude);
            s.pass(20);
            let browser = s.spawn(helper, "chrome");
            s.load(browser, 200);
            s.stop(claude, Left::default());
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "agent-left-a-watcher",
        "Claude is at its prompt and left a compiler that watches files with 6 % of a core and ends by itself never",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.pass(20);
            let command = s.spawn(claude, "bash");
            let watcher = s.spawn(command, "tsc");
            s.called_with(watcher, &["tsc", "--watch"]);
            s.watch_files(watcher);
            s.load(watcher, 60);
            s.stop(claude, Left { shells: 1, ..Left::default() });
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "left-watcher-without-watches",
        "as before, but it looks at every file again and again and holds no watch, as on shared folders",
        |s| {
            let claude = s.agent("claude");
            s.prompt(claude);
            s.pass(20);
            let command = s.spawn(claude, "bash");
            let watcher = s.spawn(command, "tsc");
            s.called_with(watcher, &["tsc", "--watch"]);
            s.load(watcher, 60);
            s.stop(claude, Left { shells: 1, ..Left::default() });
            s.must_sleep();
            s.pass(20 * MINUTE);
        },
    ),
    (
        "update-check-of-an-agent",
        "Claude is at its prompt; every 25 min it looks for updates, with 6 % of a core for ten seconds",
        |s| {
            let claude = s.agent("claude");
            s.must_sleep();
            for _ in 0..(2 * HOUR / (25 * MINUTE)) {
                s.load(claude, 60);
                s.store(claude, 20_000);
                s.pass(10);
                s.load(claude, 12);
                s.store(claude, 0);
                s.pass(25 * MINUTE - 10);
            }
        },
    ),
];
