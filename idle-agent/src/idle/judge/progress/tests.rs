//! Scenes of a machine, ten seconds apart.

use super::*;
use crate::idle::process_kinds::programs::{agent_above, agent_of, is_helper};
use crate::idle::process_kinds::{Child, agents_among, of_workspace, terminal_jobs};
use ebbtide_api::Agent;

const USER: u32 = 1000;
const TEN_SECONDS: Duration = Duration::from_secs(10);

fn process(pid: u32, parent: u32, command: &str) -> Process {
    let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
    let comm = arguments[0].rsplit('/').next().unwrap().chars().take(15).collect();
    Process {
        pid,
        parent,
        comm,
        uid: USER,
        has_terminal: false,
        started: u64::from(pid),
        ticks: 100,
        storage_bytes: Some(0),
        arguments,
    }
}

/// What works: an agent as it would in a turn, or anything else.
fn works(progress: &Progress) -> Option<String> {
    let agent = progress.agents.iter().find(|agent| agent.works);
    agent.map(|agent| format!("{} works ({})", agent.name, agent.uses)).or_else(|| progress.works.clone())
}

/// Runs the scene for so many looks, in each of which the processes use so many ticks and bytes.
fn after(scene: &[Process], servers: &[u32], used: &[(u32, u64, u64)], looks: u64) -> Progress {
    let servers: BTreeSet<u32> = servers.iter().copied().collect();
    let mut sampler = Sampler::default();
    let mut scene = scene.to_vec();
    let mut progress = sampler.sample(&scene, &servers, &BTreeSet::new(), Some(USER), TEN_SECONDS);
    for _ in 0..looks {
        for (pid, ticks, bytes) in used {
            let process = scene.iter_mut().find(|process| process.pid == *pid).unwrap();
            process.ticks += ticks;
            process.storage_bytes = process.storage_bytes.map(|before| before + bytes);
        }
        progress = sampler.sample(&scene, &servers, &BTreeSet::new(), Some(USER), TEN_SECONDS);
    }
    progress
}

/// Runs the scene for ten seconds, in which the processes use so many ticks and bytes, and says what works.
fn after_ten_seconds(scene: &[Process], servers: &[u32], used: &[(u32, u64, u64)]) -> Option<String> {
    assert_eq!(works(&after(scene, servers, used, 0)), None, "the first sample knows nothing");
    works(&after(scene, servers, used, 1))
}

#[test]
fn agents_are_known_by_their_exact_name_however_they_are_started() {
    for (command, expected) in [
        ("claude", Some("claude")),
        ("/usr/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe -p x", Some("claude")),
        ("node /usr/local/bin/gemini --yolo", Some("gemini")),
        ("node --no-warnings=DEP0040 /usr/bin/gemini", Some("gemini")),
        ("/usr/bin/python3.11 /home/ebb/.local/bin/aider", Some("aider")),
        ("python3 -m aider", Some("aider")),
        ("codex exec fix", Some("codex")),
        ("opencode", Some("opencode")),
        ("node /usr/lib/node_modules/@siteboon/claude-code-ui/server/index.js", None),
        ("node /home/ebb/claude/server.js", None),
        ("cloudcli start --port 3001", None),
        ("vim claude", None),
        ("grep -r codex .", None),
        ("tail -f claude", None),
    ] {
        assert_eq!(agent_of(&process(5, 1, command)).map(Agent::as_str), expected, "{command}");
    }
}

#[test]
fn what_an_agents_own_program_does_in_the_place_of_grep_is_a_command_and_no_second_agent() {
    let grep = Process { comm: "claude".into(), ..process(31, 30, "ugrep -m1 done") };
    assert_eq!(agent_of(&grep), None);
    let scene = [process(20, 10, "claude"), process(30, 20, "bash -c x"), grep];
    let agents = agents_among(&scene, &BTreeSet::new(), Some(USER));
    assert_eq!((agents.len(), agents[0].children.len()), (1, 2));
}

#[test]
fn a_parked_agent_that_repaints_is_quiet_and_a_working_one_is_not() {
    let scene = [process(10, 1, "bash"), process(20, 10, "claude")];
    assert_eq!(after_ten_seconds(&scene, &[], &[(20, 20, 0)]), None, "2 % of a core");
    assert!(after_ten_seconds(&scene, &[], &[(20, 60, 0)]).unwrap().starts_with("claude works"));
    assert!(
        after_ten_seconds(&scene, &[], &[(20, 1, 40_000)]).unwrap().contains("claude works"),
        "its transcript grows"
    );
}

#[test]
fn what_an_agent_itself_writes_is_told_from_what_a_command_of_it_writes() {
    let scene = [process(20, 10, "codex"), process(30, 20, "rsync")];
    let seen = |pid, ticks, bytes| {
        let agent = after(&scene, &[], &[(pid, ticks, bytes)], 6).agents.remove(0);
        (agent.works, agent.only_stirs)
    };
    assert_eq!(seen(20, 1, 400_000), (true, true));
    assert_eq!(seen(30, 1, 400_000), (true, false));
    assert_eq!(seen(20, 60, 400_000), (true, true), "6 %");
    assert_eq!(seen(20, 90, 400_000), (true, false), "9 %");
}

#[test]
fn what_an_agent_started_counts_as_its_work() {
    let scene = [process(20, 10, "claude"), process(30, 20, "bash -c x"), process(31, 30, "rustc")];
    assert!(after_ten_seconds(&scene, &[], &[(31, 900, 0)]).unwrap().starts_with("claude works"));
}

#[test]
fn a_dev_server_that_polls_is_no_progress_even_below_an_agent() {
    let below_agent =
        [process(20, 10, "claude"), process(30, 20, "npm run dev"), process(31, 30, "node vite")];
    assert_eq!(after_ten_seconds(&below_agent, &[31], &[(31, 80, 2000)]), None, "8 % of a core");
    let by_hand =
        [process(10, 1, "bash"), process(31, 10, "node server.js"), process(32, 31, "esbuild --service")];
    assert_eq!(after_ten_seconds(&by_hand, &[31], &[(31, 150, 9_000_000), (32, 200, 0)]), None);
    assert_eq!(after_ten_seconds(&by_hand, &[31], &[(32, 800, 0)]), None, "a visitor's page is compiled");
    let busy = after(&by_hand, &[31], &[(32, 800, 0)], 6);
    assert!(busy.works.unwrap().contains("server node is busy"));
}

#[test]
fn servers_that_work_together_are_a_test_run_and_one_that_polls_much_may_be() {
    let scene = [
        process(50, 10, "playwright"),
        process(51, 50, "next-server"),
        process(52, 50, "chrome"),
        process(53, 1, "postgres"),
    ];
    let servers = [51, 52, 53];
    let run = after(&scene, &servers, &[(50, 80, 0), (51, 400, 0), (52, 450, 0), (53, 200, 0)], 20);
    assert!(run.works.unwrap().contains("server chrome is busy"), "none of them uses half a core");
    let polls = after(&scene, &servers, &[(51, 300, 0)], 60);
    assert_eq!(polls.works, None);
    assert!(polls.may_work.is_some());
    assert!(after(&scene, &servers, &[(53, 10, 20_000_000)], 60).may_work.is_some(), "2 MB/s of a database");
    let little = after(&scene, &servers, &[(51, 150, 20_000)], 60);
    assert_eq!((little.works, little.may_work), (None, None));
}

#[test]
fn a_command_that_listens_and_uses_much_is_no_server() {
    let scene = [process(20, 10, "claude"), process(30, 20, "bash -c mvn"), process(31, 30, "surefire")];
    let is_server = |ticks| {
        let progress = after(&scene, &[31], &[(31, ticks, 0)], 20);
        progress.agents[0].children.iter().any(|child| child.is_server)
    };
    assert!(is_server(80) && !is_server(350));
    // A shell that runs a single command puts it in its own place.
    let alone = [process(20, 10, "codex"), process(31, 20, "surefire")];
    let commands = |ticks| {
        let progress = after(&alone, &[31], &[(31, ticks, 0)], 20);
        progress.agents[0].children.iter().filter(|child| child.is_command && !child.is_server).count()
    };
    assert_eq!((commands(80), commands(350)), (0, 1));
}

#[test]
fn of_an_agent_at_its_prompt_a_build_lasts_and_watchers_helpers_and_bursts_do_not() {
    let scene = [
        process(20, 10, "claude"),
        process(30, 20, "bash -c x"),
        process(31, 30, "node watch.js"),
        process(40, 20, "node mcp-browser.js"),
        process(41, 40, "chrome"),
    ];
    let is_lasting = |pid, ticks, looks| after(&scene, &[], &[(pid, ticks, 0)], looks).agents[0].is_lasting;
    assert!(!is_lasting(31, 60, 60) && is_lasting(31, 300, 20), "a watcher at 6 %, a build at 30 %");
    assert!(!is_lasting(41, 200, 60) && is_lasting(41, 900, 20), "an animated page, and a browser test");
    assert!(
        !is_lasting(20, 60, 20) && !is_lasting(20, 150, 1) && is_lasting(20, 150, 20),
        "a look for updates"
    );
}

#[test]
fn containers_that_poll_may_work_and_certainly_do_with_half_a_core() {
    let scene = [process(30, 1, "containerd-shim"), process(31, 30, "node")];
    let polls = after(&scene, &[], &[(31, 150, 0)], 60);
    assert!(polls.works.is_none() && polls.may_work.is_some());
    assert!(after(&scene, &[], &[(31, 700, 0)], 60).works.is_some());
}

#[test]
fn a_dump_that_a_timer_writes_is_no_copy_that_goes_on() {
    let scene = [process(30, 1, "pg_dump")];
    assert_eq!(after(&scene, &[], &[(30, 50, 5_000_000)], 1).works, None);
    assert!(after(&scene, &[], &[(30, 50, 5_000_000)], 12).works.is_some());
}

#[test]
fn jobs_in_terminals_are_neither_shells_nor_servers_nor_an_agents() {
    let at_terminal = |process: Process| Process { has_terminal: true, ..process };
    let scene = [
        at_terminal(process(10, 1, "-bash")),
        at_terminal(process(11, 10, "terraform")),
        at_terminal(process(12, 10, "node")),
        at_terminal(process(20, 10, "codex")),
        at_terminal(process(21, 20, "curl")),
        process(30, 1, "sync"),
    ];
    assert_eq!(terminal_jobs(&scene, &BTreeSet::from([12]), Some(USER)), [(11, 11)]);
}

#[test]
fn an_agent_that_listens_is_still_an_agent() {
    let scene = [process(20, 10, "opencode")];
    assert!(after_ten_seconds(&scene, &[20], &[(20, 60, 0)]).unwrap().starts_with("opencode works"));
}

#[test]
fn a_build_started_by_hand_counts_and_a_watcher_or_a_repainting_terminal_does_not() {
    let scene =
        [process(9, 1, "tmux"), process(10, 9, "bash"), process(11, 10, "make"), process(12, 10, "watch ls")];
    assert_eq!(after_ten_seconds(&scene, &[], &[(11, 900, 0)]), None, "one look never suffices");
    assert!(works(&after(&scene, &[], &[(11, 500, 0)], 2)).unwrap().starts_with("a job runs"));
    assert!(
        after_ten_seconds(&scene, &[], &[(11, 5, 30_000_000)]).unwrap().starts_with("a job runs"),
        "a copy"
    );
    assert_eq!(after_ten_seconds(&scene, &[], &[(12, 30, 0), (10, 5, 4096)]), None);
    assert_eq!(after_ten_seconds(&scene, &[], &[(9, 900, 0)]), None, "tmux itself");
    for carrier in ["sshd", "sshd-session"] {
        let session = [process(9, 1, carrier), process(10, 9, "bash")];
        assert_eq!(works(&after(&session, &[], &[(9, 500, 0)], 2)), None, "{carrier} repaints and forwards");
    }
    let copies = [process(9, 1, "sshd-session"), process(10, 9, "sftp-server")];
    assert!(
        after_ten_seconds(&copies, &[], &[(10, 5, 30_000_000)]).unwrap().starts_with("a job runs"),
        "sftp"
    );
}

#[test]
fn short_lived_children_are_counted_through_their_parent() {
    let mut sampler = Sampler::default();
    let mut look = |scene: &[Process]| {
        sampler.sample(scene, &BTreeSet::new(), &BTreeSet::new(), Some(USER), TEN_SECONDS).works.is_some()
    };
    let make = |ticks| Process { ticks, ..process(11, 1, "make") };
    assert!(!look(&[make(0)]) && !look(&[make(700)]) && look(&[make(1400)]));
    let newborn = Process { ticks: 400, ..process(50, 11, "cc1") };
    assert!(look(&[make(1400), newborn]));
}

#[test]
fn the_systems_own_processes_are_nobodys_progress() {
    let daemon = Process { uid: 0, ..process(40, 1, "unattended-upgr") };
    assert_eq!(after_ten_seconds(&[daemon], &[], &[(40, 900, 90_000_000)]), None);
}

#[test]
fn agents_are_listed_once_however_many_processes_they_have() {
    let scene = [process(20, 10, "node /usr/bin/claude"), process(21, 20, "claude"), process(30, 21, "bash")];
    let progress =
        Sampler::default().sample(&scene, &BTreeSet::new(), &BTreeSet::new(), Some(USER), TEN_SECONDS);
    assert_eq!(progress.agents.len(), 1);
    let agent = &progress.agents[0];
    assert_eq!((agent.pid, agent.name.as_str(), agent.own.as_slice()), (20, "claude", [20, 21].as_slice()));
    assert_eq!(
        agent.children,
        [Child {
            pid: 30,
            started: 30,
            is_shell: true,
            is_server: false,
            is_watcher: false,
            is_command: true
        }]
    );
}

#[test]
fn what_leads_to_a_server_serves_and_a_command_beside_it_does_not() {
    let scene = [
        process(20, 10, "claude"),
        process(30, 20, "bash -c npm"),
        process(31, 30, "npm run dev"),
        process(32, 31, "node vite"),
        process(33, 32, "esbuild"),
        process(40, 20, "bash -c pytest"),
        process(41, 40, "pytest"),
    ];
    let progress =
        Sampler::default().sample(&scene, &BTreeSet::from([32]), &BTreeSet::new(), Some(USER), TEN_SECONDS);
    let children: Vec<(u64, bool)> =
        progress.agents[0].children.iter().map(|child| (child.started, child.is_server)).collect();
    assert_eq!(children, [(30, true), (31, true), (40, false), (41, false)]);
}

#[test]
fn a_report_belongs_to_the_agent_above_the_hook_that_brings_it() {
    let proc = tempfile::tempdir().unwrap();
    for (pid, parent, command) in [
        (9, 1, "bash"),
        (20, 9, "node\0/usr/bin/claude"),
        (21, 20, "claude"),
        (30, 21, "sh"),
        (31, 30, "ebb"),
    ] {
        let directory = proc.path().join(pid.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let comm = command.split('\0').next().unwrap();
        let stat = format!("{pid} ({comm}) S {parent} 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 7{pid} 1 2 3");
        std::fs::write(directory.join("stat"), stat).unwrap();
        std::fs::write(directory.join("cmdline"), command).unwrap();
    }
    assert_eq!(agent_above(proc.path(), 31), Some((20, 720)));
    assert_eq!(agent_above(proc.path(), 9), None);
    assert_eq!(agent_above(proc.path(), 99), None);
}

#[test]
fn an_agent_that_another_one_put_in_the_place_of_its_shell_is_not_that_other_one() {
    let scene = [process(20, 9, "codex"), process(30, 20, "node /usr/bin/claude"), process(31, 30, "claude")];
    let agents = agents_among(&scene, &BTreeSet::new(), Some(USER));
    let shown: Vec<_> =
        agents.iter().map(|agent| (agent.pid, agent.name.as_str(), agent.own.len())).collect();
    assert_eq!(shown, [(20, "codex", 1), (30, "claude", 2)]);
    let proc = tempfile::tempdir().unwrap();
    for one in &scene {
        let directory = proc.path().join(one.pid.to_string());
        std::fs::create_dir_all(&directory).unwrap();
        let (pid, comm, parent) = (one.pid, &one.comm, one.parent);
        let stat = format!("{pid} ({comm}) S {parent} 1 1 0 -1 0 0 0 0 0 1 0 0 0 20 0 1 0 7{pid} 1 2 3");
        std::fs::write(directory.join("stat"), stat).unwrap();
        std::fs::write(directory.join("cmdline"), one.arguments.join("\0")).unwrap();
    }
    assert_eq!(agent_above(proc.path(), 31), Some((30, 730)));
}

#[test]
fn a_build_in_containers_of_the_system_is_work_and_containers_that_keep_house_are_none() {
    let root = |process: Process| Process { uid: 0, storage_bytes: None, ..process };
    let scene = [
        root(process(30, 1, "containerd-shim")),
        root(process(31, 30, "sh")),
        root(process(32, 31, "cc1plus")),
    ];
    assert!(after(&scene, &[], &[(32, 800, 0)], 8).works.unwrap().starts_with("a container works"));
    assert_eq!(after(&scene, &[], &[(31, 30, 0), (32, 30, 0)], 8).may_work, None);
    let outside = [root(process(30, 1, "apt-daily")), root(process(31, 30, "sh"))];
    assert_eq!(after_ten_seconds(&outside, &[], &[(31, 800, 0)]), None, "the system's own");
}

#[test]
fn a_parked_agent_that_stirs_for_a_moment_does_not_work_however_short_the_looks_are() {
    let mut sampler = Sampler::default();
    let mut agent = process(20, 1, "claude");
    let mut look = |ticks: u64| {
        agent.ticks += ticks;
        let passed = Duration::from_secs(2);
        let seen =
            sampler.sample(std::slice::from_ref(&agent), &[].into(), &BTreeSet::new(), Some(USER), passed);
        seen.agents[0].works
    };
    look(0);
    for _ in 0..5 {
        assert!(!look(14), "7 % of a core for two seconds");
        assert!(!look(2) && !look(1) && !look(2) && !look(1));
    }
    assert!(look(60) || look(60), "30 % of a core for longer");
}

#[test]
fn a_small_job_that_a_timer_starts_every_few_minutes_is_no_work_and_one_that_goes_on_is() {
    let mut sampler = Sampler::default();
    let mut job = process(30, 1, "sync");
    let mut look = |ticks: u64| {
        job.ticks += ticks;
        sampler
            .sample(std::slice::from_ref(&job), &[].into(), &BTreeSet::new(), Some(USER), TEN_SECONDS)
            .works
            .is_some()
    };
    look(0);
    for _ in 0..5 {
        assert!(!look(150), "a second and a half of the processor");
        for _ in 0..29 {
            assert!(!look(1));
        }
    }
    look(120);
    look(120);
    assert!(look(120), "12 % in the third look");
}

#[test]
fn a_command_is_told_from_a_helper_by_its_name_and_by_its_script() {
    for command in [
        "sh -c npx",
        "sleep 9",
        "cargo test",
        "pytest mcp",
        "python3 train.py",
        "node build.js",
        "bash -lc x",
    ] {
        assert!(!is_helper(&process(30, 20, command)), "{command}");
    }
    for helper in [
        "gopls",
        "uvx some-tools",
        "node /x/typescript-language-server.js --stdio",
        "python3 -u /x/mcp_server_git.py",
        "node /x/.bin/pyright-langserver",
    ] {
        assert!(is_helper(&process(30, 20, helper)), "{helper}");
    }
}

/// Which processes of Claude's (20) belong to commands that only watch and serve.
fn watching(scene: &[Process], servers: &[u32], watchers: &[u32]) -> Vec<u32> {
    let (servers, watchers): (BTreeSet<u32>, BTreeSet<u32>) =
        (servers.iter().copied().collect(), watchers.iter().copied().collect());
    let scene = [&[process(10, 1, "bash"), process(20, 10, "claude")], scene].concat();
    let seen = Sampler::default().sample(&scene, &servers, &watchers, Some(USER), TEN_SECONDS);
    let claude = seen.agents.iter().find(|agent| agent.pid == 20).unwrap();
    claude.children.iter().filter(|child| child.is_watcher).map(|child| child.pid).collect()
}

#[test]
fn a_command_that_only_watches_is_known_by_its_watches_and_by_what_it_says_of_itself() {
    let left = |command: &str| [process(30, 20, "bash -c x"), process(31, 30, command)];
    for command in [
        "node /w/node_modules/.bin/tsc --watch",
        "node --watch server.js",
        "node /w/node_modules/.bin/vite build --watch",
        "node /usr/bin/nodemon app.js",
        "cargo-watch -x test",
    ] {
        assert_eq!(watching(&left(command), &[], &[31]), [30, 31], "{command}");
        assert!(watching(&left(command), &[], &[]).is_empty(), "{command}: its watches cannot be seen");
    }
    for command in [
        "tail -f log",
        "tail --pid=9 -f log",
        "inotifywait -e create /w",
        "inotifywait -m -r /w",
        "node wait-for-the-result.js",
        "node /w/node_modules/.bin/vitest run",
        "node /w/node_modules/.bin/jest -w 1",
        "node /w/node_modules/.bin/tsc --watch false",
        "java GradleWrapperMain build",
        "bash --watch",
        "codex --watch",
    ] {
        assert!(watching(&left(command), &[], &[31]).is_empty(), "{command}");
    }
}

#[test]
fn one_process_that_may_work_makes_all_of_a_command_work() {
    let tsc = |pid, parent| process(pid, parent, "node /w/.bin/tsc --watch");
    let pair = [process(30, 20, "bash -c x"), tsc(31, 30)];
    let with = |more: &[Process], servers: &[u32]| watching(&[&pair, more].concat(), servers, &[31, 32, 33]);
    assert_eq!(with(&[process(32, 30, "tee log")], &[]), [30, 31, 32]);
    assert_eq!(with(&[process(32, 31, "esbuild --service")], &[]), [30, 31, 32]);
    assert_eq!(with(&[process(32, 30, "node vite"), process(33, 32, "esbuild")], &[32]), [30, 31]);
    // The watcher stays one, and the command is judged by what is beside it.
    for (command, parent) in
        [("curl x", 30), ("esbuild --bundle", 30), ("rustc", 30), ("sleep 9", 30), ("bash -c y", 30)]
    {
        assert_eq!(with(&[process(32, parent, command)], &[]), [31], "{command}");
    }
    assert!(with(&[process(32, 31, "node worker.js")], &[]).is_empty(), "what it restarts may work");
    assert_eq!(with(&[process(32, 30, "tail -f log"), process(33, 30, "grep -m1 done")], &[]), [31]);
}

#[test]
fn only_what_starts_others_and_waits_may_stand_above_a_watcher() {
    let below = |above: &str| {
        let scene = [
            process(30, 20, "bash -c x"),
            process(31, 30, above),
            process(32, 31, "sh -c x"),
            process(33, 32, "node /w/.bin/tsc --watch"),
        ];
        watching(&scene, &[], &[33])
    };
    for above in ["npm run watch", "node /w/.bin/concurrently x", "make watch", "node /usr/bin/pnpm.cjs x"] {
        assert_eq!(below(above), [30, 31, 32, 33], "{above}");
    }
    // Tests that have their page built beside them.
    for above in ["node /w/.bin/playwright test", "python3 run.py", "go run x"] {
        assert_eq!(below(above), [32, 33], "{above}");
    }
}

#[test]
fn a_server_in_a_container_is_judged_as_any_other_and_what_does_not_listen_there_as_before() {
    let root = |process: Process| Process { uid: 0, storage_bytes: None, ..process };
    let scene = [
        root(process(30, 1, "containerd-shim")),
        root(process(31, 30, "npm run dev")),
        root(process(32, 31, "node")),
        root(process(33, 32, "esbuild")),
    ];
    let polls = |servers: &[u32], ticks| after(&scene, servers, &[(32, ticks, 0), (33, 20, 0)], 60);
    assert_eq!(polls(&[32], 150).may_work, None);
    assert!(polls(&[], 150).may_work.is_some(), "nobody knows what it is");
    assert!(polls(&[32], 300).may_work.is_some_and(|works| works.contains("server node")));
    assert!(polls(&[32], 600).works.is_some());
    // The daemon itself may listen, and is no server of the workspace's.
    assert!(polls(&[30], 150).may_work.is_some_and(|works| works.contains("container")));
    let outside = [root(process(32, 1, "node"))];
    assert_eq!(after(&outside, &[32], &[(32, 900, 0)], 60).works, None, "the system's own");
}

#[test]
fn containers_that_work_together_are_work_although_one_of_them_listens() {
    let root = |process: Process| Process { uid: 0, storage_bytes: None, ..process };
    let scene = [
        root(process(30, 1, "containerd-shim")),
        root(process(31, 30, "postgres")),
        root(process(40, 1, "containerd-shim")),
        root(process(41, 40, "pytest")),
    ];
    let run = after(&scene, &[31], &[(31, 250, 0), (41, 300, 0)], 20);
    assert!(run.works.is_some_and(|works| works.starts_with("a container works (55 %")));
}

#[test]
fn what_is_of_use_to_the_workspace_is_its_users_and_what_is_in_containers() {
    let root = |process: Process| Process { uid: 0, ..process };
    let mut scene = vec![root(process(2, 1, "cron")), process(10, 1, "node")];
    assert_eq!(of_workspace(&scene, Some(USER)), [(10, 10)]);
    scene.extend([root(process(30, 1, "containerd-shim")), root(process(31, 30, "node"))]);
    assert_eq!(of_workspace(&scene, Some(USER)), [(10, 10), (30, 30), (31, 31)]);
}

#[test]
fn a_job_in_a_terminal_that_a_server_serves_is_a_job_here_and_in_a_container() {
    let at_terminal = |pid, parent, command| Process { has_terminal: true, ..process(pid, parent, command) };
    let scene = [process(30, 1, "code-server"), at_terminal(31, 30, "bash"), at_terminal(32, 31, "pytest")];
    let used = [(32, 200, 0)];
    assert!(works(&after(&scene, &[30], &used, 2)).unwrap().starts_with("a job runs"));
    // What serves in such a terminal is a server as anywhere.
    assert_eq!(works(&after(&scene, &[30, 32], &used, 9)), None);
    let shim = Process { uid: 0, ..process(29, 1, "containerd-shim") };
    let [sshd, bash, pytest] = scene;
    let inside = [shim, Process { parent: 29, ..sshd }, bash, pytest];
    assert!(after(&inside, &[30], &used, 9).may_work.unwrap().starts_with("a container works or polls"));
    assert_eq!(after(&inside, &[30, 32], &used, 9).may_work, None);
}
