//! A virtual machine from the inside, through QEMU's guest agent: it runs commands as root and needs no network.
//!
//! Also the machine's second monitor, for what happens to hardware. Both are sockets in the machine's directory and take
//! one visitor at a time (`cloud-sim/src/machines/qemu/command.rs`).

use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a guest may take to answer: emulated, and perhaps with more processes than it can bear.
const ANSWER: Duration = Duration::from_mins(2);
/// How long a shell text in a guest may take.
const LONGEST: Duration = Duration::from_mins(10);

/// A virtual machine that is on.
#[derive(Debug, Clone)]
pub struct Guest {
    directory: PathBuf,
}

impl Guest {
    /// The machine whose files are in that directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What it said on its serial line, with the seconds since it was switched on.
    pub fn console(&self) -> String {
        let bytes = std::fs::read(self.directory.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs a shell text as root and returns its standard output.
    ///
    /// # Errors
    /// Where the guest agent does not answer, or the text fails: with what it said.
    pub fn shell(&self, text: &str) -> Result<String> {
        self.run("/bin/bash", &["-c", text], "")
    }

    /// Runs a shell text as a user, as after a login.
    ///
    /// # Errors
    /// As [`Guest::shell`].
    pub fn shell_as(&self, user: &str, text: &str) -> Result<String> {
        self.run("/usr/sbin/runuser", &["--login", user, "-c", text], "")
    }

    /// Everything about the files below a directory that a backup must bring back (`file_manifest.py`), a line a path.
    ///
    /// # Errors
    /// As [`Guest::shell`].
    pub fn facts(&self, directory: &str) -> Result<Vec<String>> {
        let said = self.run("/usr/bin/python3", &["-", directory], include_str!("file_manifest.py"))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        let told = arguments.last().copied().unwrap_or_default();
        let mut agent = Talk::with_agent(&self.directory.join("guest-agent.sock"))?;
        let command = json!({
            "path": program, "arg": arguments, "capture-output": true, "input-data": STANDARD.encode(input),
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"],
        });
        let begun = agent.ask("guest-exec", command)?;
        let question = json!({ "pid": begun["pid"] });
        let ended = wait::until(&format!("\"{told}\" to end"), LONGEST, || {
            // A machine that has started anew knows no such process, and never will.
            match agent.ask("guest-exec-status", question.clone()) {
                Ok(seen) if seen["exited"] != true => Err("it runs".into()),
                ended => Ok(ended),
            }
        })??;
        let text = |field: &str| {
            let bytes = STANDARD.decode(ended[field].as_str().unwrap_or_default()).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (out, err) = (text("out-data"), text("err-data"));
        ensure!(ended["out-truncated"] != true, "\"{told}\" said more than the guest agent carries");
        ensure!(ended["exitcode"] == 0, "\"{told}\" failed ({}): {out}{err}", ended["exitcode"]);
        Ok(out.trim_end().to_owned())
    }

    /// Gives an order to the hardware: `stop`, `cont`, `system_reset`, `set_link`.
    ///
    /// # Errors
    /// Where the monitor refuses it.
    pub fn hardware(&self, order: &str, arguments: Value) -> Result<()> {
        let mut monitor = Talk::connect(&self.directory.join("monitor.sock"))?;
        monitor.ask("qmp_capabilities", json!({}))?;
        monitor.ask(order, arguments).map(drop)
    }
}

/// One conversation in lines of JSON.
struct Talk {
    lines: BufReader<UnixStream>,
}

impl Talk {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("reaching {}", socket.display()))?;
        stream.set_read_timeout(Some(ANSWER))?;
        Ok(Self { lines: BufReader::new(stream) })
    }

    /// Connects to a guest agent, past what it may still have to say to an earlier visitor.
    fn with_agent(socket: &Path) -> Result<Self> {
        let mut agent = Self::connect(socket)?;
        let mine = fastrand::u32(1..);
        agent.say("guest-sync", json!({ "id": mine }))?;
        while agent.hear()?.get("return") != Some(&json!(mine)) {}
        Ok(agent)
    }

    fn say(&mut self, command: &str, arguments: Value) -> Result<()> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.lines.get_mut().write_all(line.as_bytes()).context("the machine is gone")
    }

    fn hear(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).context("the machine does not answer")?;
        ensure!(read > 0, "the machine is gone");
        serde_json::from_str(&line).with_context(|| format!("reading {line:?}"))
    }

    /// Asks, and waits for the answer; events and greetings before it are passed over.
    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.say(command, arguments)?;
        loop {
            let mut said = self.hear()?;
            if let Some(error) = said.get("error") {
                bail!("{command} was refused: {error}");
            }
            if let Some(answer) = said.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }
}
