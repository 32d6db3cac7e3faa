//! Builds, tests, servers, watchers and loops: what runs without an agent.
//! A job says itself when it is over, by a file; what never ends is no work, and its argument says why.

use super::stage::Stage;
use super::{Scene, programs};
use anyhow::{Result, ensure};
use ebbtide_system_tests::browser::Visitor;

macro_rules! scene {
    ($name:literal, $programs:expr, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

/// Writes a crate whose tests take a while to compile and to run.
const CRATE: &str = "mkdir -p ~/made/src && cd ~/made && printf '[package]\\nname = \"made\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n' > Cargo.toml && \
    python3 -c \"
for n in range(2000):
    print(f'pub fn f{n}(x: u64) -> Vec<String> {{ let mut v: Vec<String> = (0..x).map(|i| format!(\\\"{{}} {n}\\\", i * {n})).collect(); v.sort(); v.dedup(); v }}')
print('#[cfg(test)] mod tests {')
for n in range(0, 2000, 100):
    print(f'#[test] fn t{n}() {{ let mut s = 0; for i in 0..300 {{ s += super::f{n}(i).len(); }} assert!(s > 0) }}')
print('}')
\" > src/lib.rs";

/// A client that holds a page's hot-reload socket open and answers its pings, as a tab does that nobody looks at.
const TAB: &str = "const s = new WebSocket('ws://127.0.0.1:5173/', 'vite-hmr');
s.onmessage = m => console.log(m.data); s.onerror = e => console.log('error', e.message);
setInterval(() => fetch('http://127.0.0.1:5173/', {headers: {accept: 'text/x-vite-ping'}, method: 'HEAD'}).catch(() => 0), 1000);";

/// What a container's daemon does as far as it can be seen: a network and processes of the container's own, and in them a
/// server that polls because nothing tells it of changes.
const CONTAINER: &str = "exec 0</dev/null
unshare --net --pid --fork --mount-proc bash -c 'ip link set lo up; cd /home/ebb/app; export CHOKIDAR_USEPOLLING=1 CHOKIDAR_INTERVAL=50
node node_modules/.bin/vite --port 3000 --mode polled'
exit 0";

/// How long work goes on.
const LONG: f64 = 1.5;

pub const SCENES: &[Scene] = &[
    scene!(
        "cargo-test",
        &["rust"],
        "cargo builds a crate and runs its tests in a terminal, again and again for one and a half idle timeouts; the file made last is the end",
        |stage| {
            stage.shell(CRATE)?;
            repeats(
                stage,
                "cd ~/made; export PATH=~/.local/opt/rust/bin:$PATH",
                "touch src/lib.rs; cargo test --offline -q --lib; cargo test --offline -q --lib --release",
            )
        }
    ),
    scene!(
        "gcc-build",
        &["gcc"],
        "a loop compiles C files one after the other for one and a half idle timeouts; the file that the last command makes is the end",
        |stage| {
            stage.shell("mkdir -p ~/c && python3 -c \"for n in range(400): print(f'int f{n}(int x) {{ int s = 0; for (int i = 0; i < x; i++) s += i % {n + 3}; return s; }}')\" > ~/c/a.c")?;
            repeats(stage, "cd ~/c", "gcc -O2 -c a.c -o a$SECONDS.o")
        }
    ),
    scene!(
        "npm-ci-and-build",
        &["vite", "node"],
        "npm ci from its cache and vite build, again and again for one and a half idle timeouts; the file made last is the end",
        |stage| {
            programs::app(stage)?;
            let build = "npm ci --offline --cache ~/.local/opt/vite/cache --no-audit --no-fund; node_modules/.bin/vite build";
            repeats(stage, "cd ~/app", build)
        }
    ),
    scene!(
        "training",
        &["python3"],
        "a training loop computes for one and a half idle timeouts and logs each epoch; its own last line is the end",
        |stage| {
            let train = "import sys, time, random\nend = time.time() + float(sys.argv[1])\nepoch = 0\nwhile time.time() < end:\n    s = sum(random.random() ** 2 for _ in range(2_000_000)); epoch += 1; print(epoch, s, flush=True)\nopen('/home/ebb/ended', 'w').write('x')";
            stage.file("~/train.py", train)?;
            job(stage, &format!("python3 ~/train.py {}; exec bash", stage.times(LONG)))
        }
    ),
    scene!(
        "git-clones",
        &["git"],
        "a repository is cloned again and again for one and a half idle timeouts; the file made last is the end",
        |stage| { repeats(stage, "cd", "rm -rf ~/copy; git clone -q --no-local /workspaces/ebbtide ~/copy") }
    ),
    scene!(
        "keep-alive",
        &["sleep"],
        "a silent process of one and a half idle timeouts was named to ebb keep-alive: it is kept until it ends",
        |stage| {
            let secs = stage.times(LONG);
            job(stage, &format!("sleep {secs} & ebb keep-alive $!; wait; touch ~/ended; exec bash"))
        }
    ),
    scene!(
        "hold",
        &["sleep"],
        "ebb hold for one and a half idle timeouts keeps what nothing else shows, and no longer",
        |stage| {
            let secs = stage.times(LONG);
            stage.shell(&format!("ebb hold {secs}s scene"))?;
            stage.must_stay()?;
            stage.lasts(secs.saturating_sub(1));
            stage.mark("unlabelled")?;
            stage.lasts(2);
            stage.must_sleep()
        }
    ),
    scene!(
        "sleep-in-a-terminal",
        &["sleep"],
        "sleep in a terminal does nothing, and nobody said that it matters",
        |stage| idles(stage, "exec sleep 3000")
    ),
    scene!(
        "tail-follows",
        &["tail"],
        "tail -f follows a log that grows by a line a second; nobody reads it",
        |stage| {
            stage.window("writer", "while sleep 1; do date; done > ~/log")?;
            idles(stage, "exec tail -f ~/log")
        }
    ),
    scene!("watch-repaints", &["watch"], "watch repaints a terminal every second; nobody looks", |stage| {
        idles(stage, "exec watch -n1 date")
    }),
    scene!("top-repaints", &["top"], "top repaints a terminal every second; nobody looks", |stage| idles(
        stage,
        "exec top -d1"
    )),
    scene!(
        "polling-script",
        &["curl"],
        "a script asks a server every second whether something is new; nothing ever is",
        |stage| {
            stage.window("server", "exec python3 -m http.server 3000")?;
            stage.listens(3000)?;
            idles(stage, "while sleep 1; do curl -s localhost:3000/ -o /dev/null; done")
        }
    ),
    scene!("file-watcher", &["node"], "a watcher waits for changes of files that nobody changes", |stage| {
        idles(
            stage,
            "exec node -e 'require(\"fs\").watch(\".\", {recursive: true}, console.log); setInterval(() => 0, 1000)'",
        )
    }),
    scene!(
        "cron-like",
        &["bash"],
        "a loop writes a line every quarter of an idle timeout, as a cron job does, for ever",
        |stage| {
            let secs = stage.times(0.25);
            idles(stage, &format!("while sleep {secs}; do date >> ~/cron.log; sync ~/cron.log; done"))
        }
    ),
    scene!(
        "container-polls",
        &["vite", "node"],
        "a dev server in a network namespace of its own, below a container's daemon, asks the disk again and again for changes; nobody visits it, and nobody changes anything",
        |stage| {
            programs::app(stage)?;
            stage.shell(
                "cd ~/app && for n in $(seq 3000); do echo \"export const n = $n\" > part$n.js; done",
            )?;
            stage.file("~/container.sh", CONTAINER)?;
            stage.root("cp /bin/bash /tmp/containerd-shim-runc-v2 && cd /tmp && (setsid ./containerd-shim-runc-v2 ~ebb/container.sh >/tmp/container.log 2>&1 &)")?;
            stage.holds("pgrep -x containerd-shim >/dev/null && pgrep -f polled >/dev/null")?;
            stage.lasts(15);
            stage.must_sleep()
        }
    ),
    scene!(
        "vite-unvisited",
        &["vite", "node"],
        "a dev server with hot reload runs and nobody visits it",
        unvisited
    ),
    scene!(
        "vite-tab-left-open",
        &["vite", "node"],
        "a tab holds the hot-reload socket open and pings; nobody looks at it",
        |stage| {
            served(stage)?;
            stage.file("~/tab.js", TAB)?;
            stage.root("cd /tmp && (setsid node /home/ebb/tab.js >/tmp/tab.log 2>&1 &)")?;
            stage.holds("grep -q connected /tmp/tab.log")?;
            stage.lasts(5);
            stage.must_sleep()
        }
    ),
    scene!(
        "vite-edited",
        &["vite", "node"],
        "a person saves a file in an editor's terminal every third of an idle timeout while a tab reloads; the last key is the end",
        |stage| {
            served(stage)?;
            stage.file("~/tab.js", TAB)?;
            stage.root("cd /tmp && (setsid node /home/ebb/tab.js >/tmp/tab.log 2>&1 &)")?;
            stage.window("editor", "exec bash -i")?;
            stage.must_stay()?;
            for round in 0..6 {
                stage.types("editor", &format!("echo \"console.log({round})\" > ~/app/main.js"))?;
                stage.lasts_timeouts(0.33);
            }
            stage.must_sleep()
        }
    ),
    scene!(
        "vite-visited",
        &["vite", "node", "caddy"],
        "a person opens pages through the workspace's name at uneven times; the last visit is the end",
        |stage| {
            served(stage)?;
            stage.holds("ebb ports | grep -q 5173")?;
            let link = Visitor::link(stage.stack, &stage.id, 5173)?;
            let (visitor, page) = Visitor::open(stage.stack, &link)?;
            ensure!(page.status == 200, "{} {}", page.status, page.text());
            stage.must_stay()?;
            for pause in [0.2, 0.45, 0.3, 0.55, 0.25, 0.4] {
                stage.lasts_timeouts(pause);
                visitor.get(stage.stack, "/")?;
            }
            stage.must_sleep()
        }
    ),
    scene!(
        "cloudcli-tab-left-open",
        &["cloudcli", "node", "claude"],
        "CloudCLI runs with a tab's socket open; nobody has asked anything",
        tab_left_open
    ),
    scene!(
        "cloudcli-thinks",
        &["cloudcli", "node", "claude"],
        "a session in CloudCLI: its model answers after one and a half idle timeouts, then the tab stays open",
        |stage| chats(stage, "think")
    ),
    scene!(
        "cloudcli-streams",
        &["cloudcli", "node", "claude"],
        "a session in CloudCLI: the answer comes for one and a half idle timeouts, then the tab stays open",
        |stage| chats(stage, "stream")
    ),
];

/// A command that is repeated for one and a half idle timeouts.
fn repeats(stage: &Stage<'_>, before: &str, command: &str) -> Result<()> {
    let secs = stage.times(LONG);
    job(
        stage,
        &format!(
            "{before}; end=$((SECONDS + {secs})); while [ $SECONDS -lt $end ]; do {command}; done; touch ~/ended; exec bash"
        ),
    )
}

/// A job in a terminal, which says by a file that it is over.
fn job(stage: &Stage<'_>, program: &str) -> Result<()> {
    stage.window("job", program)?;
    stage.lasts(3);
    stage.must_stay()?;
    stage.ended()?;
    stage.must_sleep()
}

/// A job that is no work: nothing goes on from the moment it is there.
fn idles(stage: &Stage<'_>, program: &str) -> Result<()> {
    stage.window("job", program)?;
    stage.lasts(5);
    stage.must_sleep()
}

fn served(stage: &Stage<'_>) -> Result<()> {
    programs::app(stage)?;
    stage.window("vite", "cd ~/app; exec node_modules/.bin/vite --port 5173 --host 127.0.0.1")?;
    stage.listens(5173)
}

/// A dev server that nobody visits.
pub fn unvisited(stage: &Stage<'_>) -> Result<()> {
    served(stage)?;
    stage.lasts(10);
    stage.must_sleep()
}

/// A client of CloudCLI: registers, opens the chat's socket, and says something where it is told what.
const CHAT: &str = "const base = 'http://127.0.0.1:3001', json = {'content-type': 'application/json'};
const call = (path, body, token) => fetch(base + path, {method: 'POST', headers: {...json, authorization: 'Bearer ' + token},
  body: JSON.stringify(body)}).then(answer => answer.json());
(async () => {
  const {token} = await call('/api/auth/register', {username: 'ebbtide', password: 'only-here'});
  const socket = new WebSocket('ws://127.0.0.1:3001/ws?token=' + token);
  socket.onmessage = message => console.log(String(message.data).slice(0, 200));
  socket.onopen = async () => {
    console.log('open');
    if (process.argv[2] === 'open') return;
    const projectPath = '/workspaces/ebbtide', content = process.argv[2];
    const made = await call('/api/providers/sessions', {provider: 'claude', projectPath, initialMessage: content}, token);
    console.log(JSON.stringify(made));
    const sessionId = made.data.sessionId ?? made.data.session?.sessionId ?? made.data.id;
    const options = {cwd: projectPath, permissionMode: 'bypassPermissions'};
    socket.send(JSON.stringify({type: 'chat.send', sessionId, content, options}));
  };
})();";

fn cloudcli(stage: &Stage<'_>) -> Result<()> {
    stage.file("~/chat.js", CHAT)?;
    let secret = stage.root("tr -d '\"' < /var/lib/ebbtide/cloudcli-secret.json")?;
    stage.window(
        "cloudcli",
        &format!(
            "export HOST=127.0.0.1 JWT_SECRET={secret} CLAUDE_CLI_PATH=/usr/local/bin/claude npm_config_fetch_retries=0\n\
             exec ~/.local/opt/cloudcli/node_modules/.bin/cloudcli start --port 3001"
        ),
    )?;
    // It looks for a newer version before it answers, and gives up in the end.
    stage.listens(3001)
}

/// CloudCLI with a tab in which nobody asks anything.
pub fn tab_left_open(stage: &Stage<'_>) -> Result<()> {
    cloudcli(stage)?;
    stage.root("cd /tmp && (setsid node /home/ebb/chat.js open >/tmp/tab.log 2>&1 &)")?;
    stage.holds("grep -q open /tmp/tab.log")?;
    stage.lasts(5);
    stage.must_sleep()
}

fn chats(stage: &Stage<'_>, step: &str) -> Result<()> {
    cloudcli(stage)?;
    let prompt = format!("do:{step} {}", stage.times(LONG));
    stage.root(&format!("cd /tmp && (setsid node /home/ebb/chat.js '{prompt}' >/tmp/tab.log 2>&1 &)"))?;
    stage.asked(1)?;
    stage.must_stay()?;
    stage.finished(1)?;
    stage.must_sleep()
}
