//! What the lives share: a stack with virtual machines, and single steps of a life.

use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::browser::Visitor;
use ebbtide_system_tests::guest::Guest;
use ebbtide_system_tests::{Machines, Options, Stack, VmImage, ZONE, interrupt, machine, paths, wait};
use serde_json::{Value, json};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longest wait for a boot or a sleep: ten times what it takes on an idle computer.
pub const BOOT: Duration = Duration::from_mins(40);
/// Longest wait for one thing on a machine that is up.
pub const LIMIT: Duration = Duration::from_mins(8);
/// What is compared before a sleep and after the wake.
const KEPT: [&str; 2] = ["/workspaces", "/home/ebb/kept"];
/// The port of the program that a person starts.
pub const PORT: u16 = 3000;

/// A life of one workspace.
pub struct Life {
    pub stack: Stack,
    pub id: String,
}

/// Brings a stack up whose machines find this repository. Durations are production's, but those of mere polling.
pub fn stack(name: &str, image: VmImage, qemu_arguments: &[String]) -> Result<Stack> {
    stack_with(name, image, qemu_arguments, json!({}))
}

/// As [`stack`], with some durations changed.
pub fn stack_with(name: &str, image: VmImage, qemu_arguments: &[String], changes: Value) -> Result<Stack> {
    let mut policy = json!({ "heartbeat": "5s", "poll": "1s", "gone_after_create": "10s" });
    if let (Some(policy), Value::Object(changes)) = (policy.as_object_mut(), changes) {
        policy.extend(changes);
    }
    static CAUGHT: OnceLock<Result<(), String>> = OnceLock::new();
    let caught = CAUGHT.get_or_init(|| interrupt::catch().map_err(|error| format!("{error:#}")));
    caught.clone().map_err(anyhow::Error::msg)?;
    let repositories = paths::root().join("target/vm-repositories");
    std::fs::create_dir_all(&repositories)?;
    // The history may have grown since an earlier run.
    let _ = std::fs::remove_dir_all(repositories.join("ebbtide.git"));
    machine::serve_this_repository(&repositories)?;
    Stack::start(Options {
        name: name.into(),
        machines: Machines::Qemu(image),
        policy,
        repositories: Some(repositories),
        cloud_arguments: qemu_arguments.iter().map(|text| format!("--qemu-argument={text}")).collect(),
        log_level: "info",
        progress: |step| eprintln!("vm: {step}"),
        ..Options::default()
    })
}

/// Creates a workspace of this repository and waits until it is ready.
pub fn spawn(stack: &Stack) -> Result<(String, String)> {
    spawn_with(stack, json!({}))
}

/// As [`spawn`], with these wishes.
pub fn spawn_with(stack: &Stack, wishes: Value) -> Result<(String, String)> {
    let mut request = json!({ "repo": "http://git.ebbtide.test/ebbtide.git", "idle_timeout": "4h" });
    if let (Some(request), Value::Object(wishes)) = (request.as_object_mut(), wishes) {
        request.extend(wishes);
    }
    let id = stack.api.create(&request)?.id.to_string();
    let seen = boot(stack, &id)?;
    Ok((seen, id))
}

/// Waits until a machine is ready; says when what was reached, in seconds since the wish for it.
fn boot(stack: &Stack, id: &str) -> Result<String> {
    let begun = Instant::now();
    let (created, enrolled) = (Cell::new(None), Cell::new(None));
    let ready = stack.api.wait(id, "running", BOOT, |workspace| {
        let now = begun.elapsed().as_secs();
        created.set(created.get().or_else(|| (workspace.state == State::Booting).then_some(now)));
        // The steps are told to the machine when it has enrolled.
        enrolled.set(enrolled.get().or_else(|| (!workspace.boot.is_empty()).then_some(now)));
        // Its directory goes with the server.
        if let Ok(guest) = stack.guest_of(id) {
            let _ = keep_console(&guest, &format!("{id}-{}", workspace.generation));
        }
        workspace.state == State::Running
    })?;
    let steps: Vec<String> = ready
        .boot
        .iter()
        .map(|step| format!("{} {:.1}", step.name, step.duration_ms as f64 / 1000.0))
        .collect();
    let at = |secs: Option<u64>| secs.map_or("?".into(), |secs| secs.to_string());
    let guest = stack.guest_of(id)?;
    let started = guest.shell("systemd-analyze time | head -1").unwrap_or_default();
    keep_logs(&guest, &format!("{id}-{}", ready.generation))?;
    Ok(format!(
        "server {}, enrolled {}; {}. {started}",
        at(created.get()),
        at(enrolled.get()),
        steps.join(", ")
    ))
}

/// Keeps what a machine said on its serial line beside the timeline; says where.
fn keep_console(guest: &Guest, name: &str) -> Result<PathBuf> {
    let directory = paths::root().join("target/vm-timeline");
    std::fs::create_dir_all(&directory)?;
    std::fs::write(directory.join(format!("{name}.console.log")), guest.console())?;
    Ok(directory)
}

/// Keeps what a machine said and logged so far beside the timeline.
fn keep_logs(guest: &Guest, name: &str) -> Result<()> {
    let directory = keep_console(guest, name)?;
    let journal = guest.shell("journalctl --boot --output=short-monotonic --no-hostname --no-pager");
    let text = journal.unwrap_or_else(|error| format!("{error:#}"));
    Ok(std::fs::write(directory.join(format!("{name}.journal.log")), text)?)
}

impl Life {
    pub fn guest(&self) -> Result<Guest> {
        self.stack.guest_of(&self.id)
    }

    /// Asserts that systemd and cloud-init are content.
    pub fn no_failed_unit(&self) -> Result<String> {
        let said =
            self.guest()?.shell("systemctl list-units --failed --plain --no-legend; cloud-init status")?;
        ensure!(said == "status: done", "{said}");
        Ok(said)
    }

    /// Asserts that memory which is idle can make room, and that a large project can be watched.
    pub fn has_swap_and_watches(&self) -> Result<String> {
        let guest = self.guest()?;
        let swap = guest.shell("swapon --noheadings --raw --bytes --show=NAME,SIZE")?;
        ensure!(swap.starts_with("/dev/zram"), "{swap:?}");
        let watches = guest.shell("cat /proc/sys/fs/inotify/max_user_watches")?;
        ensure!(watches == "1048576", "{watches} watches");
        Ok(format!("swap {swap}, {watches} watches"))
    }

    pub fn workspace(&self) -> Result<Workspace, String> {
        self.stack.api.get(&self.id).map_err(|error| format!("{error:#}"))
    }

    /// Starts a server as a person does, in the terminal.
    pub fn serve(&self) -> Result<()> {
        let text = format!(
            "mkdir -p ~/site && echo page-of-a-person > ~/site/index.html && \
             tmux new-window -d 'cd ~/site && exec python3 -m http.server {PORT}'"
        );
        self.guest()?.shell_as("ebb", &text).map(drop)
    }

    /// Waits until the server's page comes through the edge and Caddy, to one who opens a fresh link.
    pub fn page_answers(&self) -> Result<String> {
        self.page_of(PORT, "page-of-a-person")
    }

    /// The same of a port whose page has this text.
    pub fn page_of(&self, port: u16, text: &str) -> Result<String> {
        let begun = Instant::now();
        // One link, however often it is tried: they are counted.
        let link = wait::until("a link", LIMIT, || {
            Visitor::link(&self.stack, &self.id, port).map_err(|error| format!("{error:#}"))
        })?;
        let visitor = wait::until("the page, with a fresh link", LIMIT, || self.page_by(&link, text))?;
        let first = begun.elapsed();
        let again = Instant::now();
        let answer = visitor.get(&self.stack, "/")?;
        ensure!(answer.status == 200, "the cookie does not last: {}", answer.status);
        let (name, id) = (self.workspace().map_err(anyhow::Error::msg)?.name, &self.id);
        let stranger = Visitor::stranger(&format!("{port}.{name}-{id}.{ZONE}")).get(&self.stack, "/")?;
        ensure!(stranger.status == 401, "without a link the answer is {}", stranger.status);
        Ok(format!(
            "first after {:.1} s, then {} ms; 401 without a link",
            first.as_secs_f64(),
            again.elapsed().as_millis()
        ))
    }

    fn page_by(&self, link: &str, text: &str) -> Result<Visitor, String> {
        let (visitor, answer) = Visitor::open(&self.stack, link).map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 && answer.text().contains(text) {
            Ok(visitor)
        } else {
            Err(format!("{} {}", answer.status, answer.text()))
        }
    }

    /// Becomes root, installs a package, and leaves a script of setting up.
    pub fn installs(&self) -> Result<String> {
        let text = r"set -e
            test $(sudo -n id -u) = 0
            ebb packages add jq >/dev/null 2>&1
            ebb packages
            printf '#!/bin/sh\necho set up by $(id -un) with $(jq --version)\nsudo -n touch /run/set-up\n' > ~/.ebbtide/setup.sh
            chmod +x ~/.ebbtide/setup.sh";
        let listed = self.guest()?.shell_as("ebb", text)?;
        ensure!(listed == "jq", "{listed}");
        self.guest()?.shell_as("ebb", "jq --version")
    }

    /// Asserts that a fresh machine has the package, and that the script ran.
    pub fn is_set_up(&self) -> Result<String> {
        let version = self.guest()?.shell_as("ebb", "test -e /run/set-up && jq --version")?;
        let path = format!("/v1/workspaces/{}/log", self.id);
        let log = self.stack.api.call("GET", &path, None)?.expect(200)?.text();
        ensure!(log.contains(&format!("set up by ebb with {version}")), "its words are in no log: {log}");
        Ok(version)
    }

    /// Takes all memory until the kernel ends the program; its owner is told which.
    pub fn bears_a_hog(&self) -> Result<String> {
        let guest = self.guest()?;
        let hog = "python3 -c \"held = [bytearray(b'x') * 50_000_000 for _ in range(200)]\"; echo $? > ~/hog";
        let text =
            format!("rm -f ~/hog; cat > ~/hog.sh <<'END'\n{hog}\nEND\ntmux new-window -d 'sh ~/hog.sh'");
        guest.shell_as("ebb", &text)?;
        let ended = wait::until("the hog's end", LIMIT, || {
            let told = guest.shell("cat /home/ebb/hog").map_err(|error| format!("{error:#}"))?;
            if told.is_empty() { Err("it has not ended".into()) } else { Ok(told) }
        })?;
        ensure!(ended == "137", "the hog was not killed but ended with {ended}");
        let path = format!("/v1/workspaces/{}/events", self.id);
        wait::until("the event", LIMIT, || {
            let listed =
                self.stack.api.call("GET", &path, None).map_err(|error| format!("{error:#}"))?.json();
            let events = listed["events"].as_array().cloned().unwrap_or_default();
            let told = events.iter().find(|event| event["code"] == "out_of_memory");
            told.map(|event| event["because"].to_string()).ok_or_else(|| listed.to_string())
        })
    }

    /// Makes files of every kind that a backup has to bring back.
    pub fn make_files(&self) -> Result<String> {
        let text = r#"set -e
            mkdir -p ~/kept/deep/er /workspaces/ebbtide/build && cd ~/kept
            head -c 20M /dev/urandom > random.bin
            for i in $(seq 300); do echo line $i > deep/er/$i; done
            truncate -s 50M sparse && printf end >> sparse
            ln random.bin hard-link && ln -s deep/er/7 soft-link && ln -s nowhere dangling && mkfifo pipe
            python3 -c 'import os; os.setxattr("deep/er/1", "user.note", b"kept")'
            touch -d '2001-02-03 04:05:06.789012345' deep/er/2 && chmod 4750 deep/er/3 && chmod 000 deep/er/4
            echo odd > $'odd\nname' && echo SECRET=1 > /workspaces/ebbtide/.env
            cd /workspaces/ebbtide && echo more >> README.md && git add README.md && echo yet more >> README.md"#;
        self.guest()?.shell_as("ebb", text)?;
        let facts = self.manifest()?;
        Ok(format!("{} entries", facts.len()))
    }

    /// All there is to know of the files that are compared.
    pub fn manifest(&self) -> Result<Vec<String>> {
        let guest = self.guest()?;
        let mut all = Vec::new();
        for directory in KEPT {
            all.extend(guest.facts(directory)?);
        }
        Ok(all)
    }

    /// Sends the workspace to sleep; its last backup is verified and its server gone then.
    pub fn sleep(&self) -> Result<String> {
        keep_logs(&self.guest()?, &format!("{}-before-sleep", self.id))?;
        self.stack.api.act(&self.id, "sleep")?;
        let asleep = self.stack.api.wait_for(&self.id, State::Asleep, BOOT)?;
        ensure!(asleep.last_backup.is_some(), "it sleeps without a backup: {}", shown(&asleep));
        ensure!(asleep.rescue_image.is_none(), "it was not backed up but imaged: {}", shown(&asleep));
        let inventory = self.stack.cloud.inventory()?;
        ensure!(inventory.live_of(&self.id).is_empty(), "it sleeps, and its server is there");
        Ok(asleep.because)
    }

    /// Lets the machine's lifetime end so long after its start.
    pub fn lifetime(&self, lifetime: &str) -> Result<()> {
        let path = format!("/v1/workspaces/{}", self.id);
        self.stack.api.call("PATCH", &path, Some(&json!({ "lifetime": lifetime })))?.expect(200).map(drop)
    }

    pub fn wake(&self) -> Result<String> {
        self.stack.api.act(&self.id, "wake")?;
        boot(&self.stack, &self.id)
    }

    /// Asserts that the files are those of that manifest.
    pub fn has_files(&self, before: &[String]) -> Result<String> {
        let after = self.manifest()?;
        let lost: Vec<&String> = before.iter().filter(|line| !after.contains(line)).take(5).collect();
        let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).take(5).collect();
        ensure!(lost.is_empty() && new.is_empty(), "other than before: lost {lost:#?}, new {new:#?}");
        Ok(format!("{} of {} entries the same", after.len(), before.len()))
    }

    /// Waits until the control plane says so of the workspace.
    pub fn becomes(&self, state: State) -> Result<f64> {
        let begun = Instant::now();
        self.stack.api.wait_for(&self.id, state, LIMIT)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Asks for a snapshot and waits until one is verified that began after that.
    pub fn snapshot(&self) -> Result<String> {
        let id_of_last =
            |workspace: &Workspace| workspace.last_backup.as_ref().map(|last| last.snapshot.clone());
        let before = id_of_last(&self.workspace().map_err(anyhow::Error::msg)?);
        let begun = Instant::now();
        let path = format!("/v1/workspaces/{}/snapshots", self.id);
        let asked = self.stack.api.call("POST", &path, Some(&Value::Object(<_>::default())))?;
        ensure!((200..300).contains(&asked.status), "{} {}", asked.status, asked.text());
        self.stack.api.wait(&self.id, "backed up anew", LIMIT, |workspace| {
            let last = id_of_last(workspace);
            last.is_some() && last != before
        })?;
        Ok(format!("verified after {:.0} s", begun.elapsed().as_secs_f64()))
    }

    /// The agent's main process.
    pub fn agent_pid(&self) -> Result<u32> {
        let said = self.guest()?.shell("systemctl show --property MainPID --value ebbtide-agent.service")?;
        said.trim().parse().with_context(|| format!("no process id: {said}"))
    }

    /// Waits until another agent than that one runs and the control plane has heard from it.
    pub fn other_agent(&self, before: u32) -> Result<String> {
        let begun = Instant::now();
        let pid = wait::until("another idle-agent", LIMIT, || match self.agent_pid() {
            Ok(pid) if pid != 0 && pid != before => Ok(pid),
            seen => Err(format!("{seen:?}")),
        })?;
        let back = begun.elapsed().as_secs_f64();
        wait::until("a word from it", LIMIT, || {
            let workspace = self.workspace()?;
            let heard =
                workspace.state == State::Running && workspace.heard_secs_ago.is_some_and(|ago| ago < 8);
            if heard { Ok(()) } else { Err(shown(&workspace)) }
        })?;
        Ok(format!("process {pid} after {back:.1} s, heard of after {:.1} s", begun.elapsed().as_secs_f64()))
    }
}
