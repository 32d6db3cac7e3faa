//! A life with SSH: closed until it is asked for, a real `ssh` with forwarding and sftp, who is refused, and the same host
//! key after a sleep.

use crate::steps::{LIMIT, Life, spawn, stack};
use crate::timeline::Timeline;
use anyhow::{Context, Result, ensure};
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How long nothing is heard from a closed port.
const SILENCE: Duration = Duration::from_secs(5);
/// How a server of OpenSSH begins.
const BANNER: &[u8] = b"SSH-2.0-OpenSSH";
/// A page in the workspace, on loopback alone.
const PAGE: u16 = 4321;

/// An owner's computer.
struct Laptop<'a> {
    life: &'a Life,
    home: tempfile::TempDir,
    /// What leads to the server's port 22.
    forward: Cell<u16>,
}

#[test]
fn ssh_is_let_in_where_it_is_asked_for_and_the_host_key_outlives_a_sleep() -> Result<()> {
    let mut timeline = Timeline::new("ssh");
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack("vm-ssh", VmImage::Prepared, &[])?))
    })?;
    let id = timeline.must("spawn, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    let laptop = Laptop::new(&life)?;
    timeline.step("systemd has no failed unit", || life.no_failed_unit());
    timeline.step("SSH is closed, and nothing listens", || laptop.is_shut_out());
    timeline.must("SSH is asked for; the first connection asks nothing", || Ok((laptop.opens()?, ())))?;
    timeline.step("a login shell has the workspace's variables", || {
        laptop.says("bash -lc 'echo $GIT_CONFIG_SYSTEM'").and_then(|said| {
            ensure!(said == "/etc/gitconfig", "{said}");
            Ok(said)
        })
    });
    timeline.step("passwords, root, a foreign key, and a key that a script adds are refused", || {
        laptop.refusals()
    });
    timeline.step("a port is forwarded", || laptop.forwards());
    timeline.step("sftp brings a file there and back", || laptop.copies());
    timeline.step("the daemon is restarted; the session goes on", || laptop.outlives_the_daemon());
    let session = laptop.session()?;
    timeline.must("sleep with a session open, until the server is gone", || Ok((life.sleep()?, ())))?;
    drop(session);
    timeline.must("wake, until ready", || Ok((life.wake()?, ())))?;
    timeline.step("the same host key, asked nothing; what the session wrote is whole", || {
        laptop.connects()?;
        // Each line is a time with nine digits behind the point.
        laptop.says("id -un && ! grep -vE '^[0-9]{10}[.][0-9]{9}$' ~/kept-by-ssh && wc -l < ~/kept-by-ssh")
    });
    timeline.step("the key is deleted: the session ends, and SSH is closed", || laptop.ends());
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}

impl<'a> Laptop<'a> {
    fn new(life: &'a Life) -> Result<Self> {
        let home = tempfile::tempdir()?;
        for key in ["own", "foreign"] {
            let path = home.path().join(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"];
            let made = Command::new("ssh-keygen").args(arguments).arg(path).status()?;
            ensure!(made.success(), "ssh-keygen failed");
        }
        Ok(Self { life, home, forward: Cell::new(0) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Leads a port of this computer to the server's 22.
    fn reach(&self) -> Result<u16> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let command = format!("hostfwd_add net0 tcp:127.0.0.1:{port}-:22");
        self.life.guest()?.hardware("human-monitor-command", json!({ "command-line": command }))?;
        self.forward.set(port);
        Ok(port)
    }

    /// What a server says first; nothing where the port is shut.
    fn banner(&self) -> Result<Vec<u8>> {
        // QEMU itself takes the connection.
        let mut stream = TcpStream::connect(("127.0.0.1", self.forward.get()))?;
        stream.set_read_timeout(Some(SILENCE))?;
        let mut said = vec![0; BANNER.len()];
        Ok(stream.read_exact(&mut said).map_or_else(|_| Vec::new(), |()| said))
    }

    fn is_shut_out(&self) -> Result<String> {
        self.reach()?;
        ensure!(self.banner()?.is_empty(), "somebody answers at port 22");
        let listens =
            self.life.guest()?.shell("ss -Hltn 'sport = :22'; systemctl is-active ssh.service || true")?;
        ensure!(listens == "inactive", "{listens}");
        Ok("nothing within 5 s".to_owned())
    }

    fn ask(&self, method: &str, path: &str, body: serde_json::Value) -> Result<()> {
        self.life.stack.api.call(method, path, Some(&body))?.expect(200).map(drop)
    }

    fn opens(&self) -> Result<String> {
        let public_key = std::fs::read_to_string(self.path("own.pub"))?;
        self.ask("PUT", "/v1/ssh-keys/laptop", json!({ "public_key": public_key }))?;
        self.ask("PATCH", &format!("/v1/workspaces/{}", self.life.id), json!({ "ssh": true }))?;
        for (name, file) in [("ssh-config", "config"), ("ssh-known-hosts", "known_hosts")] {
            let path = format!("/v1/workspaces/{}/{name}", self.life.id);
            let text = self.life.stack.api.call("GET", &path, None)?.expect(200)?.text();
            std::fs::write(self.path(file), text)?;
        }
        Ok(format!("{}; {}", self.connects()?, self.is_covered_by(2)?))
    }

    /// Waits until so many of the provider's firewalls cover the server.
    fn is_covered_by(&self, count: usize) -> Result<String> {
        let stack = &self.life.stack;
        let server = stack.cloud.inventory()?.live_of(&self.life.id).first().context("no server")?.id;
        wait::until(&format!("{count} firewalls"), LIMIT, || {
            let answer = stack.hetzner("GET", &format!("/servers/{server}"), None);
            let shown = answer.map_err(|error| format!("{error:#}"))?.json();
            let covers = shown["server"]["public_net"]["firewalls"].as_array().map_or(0, Vec::len);
            if covers == count { Ok(format!("{covers} firewalls")) } else { Err(shown.to_string()) }
        })
    }

    /// Waits until a command runs there, over a way that leads to the machine of now.
    fn connects(&self) -> Result<String> {
        let port = self.reach()?;
        wait::until("ssh to be let in", LIMIT, || {
            self.says("echo in && cat /proc/self/cgroup").map_err(|error| format!("{error:#}"))
        })
        .and_then(|said| {
            ensure!(said.contains("/user.slice/"), "a session is not where the freezer looks: {said}");
            Ok(format!("through port {port}: {}", said.replace('\n', ", ")))
        })
    }

    /// `ssh` as its owner has set it up, but for the address.
    fn ssh(&self, program: &str, key: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.path("config")).arg("-i").arg(key);
        let known = format!("UserKnownHostsFile={}", self.path("known_hosts").display());
        let port = format!("Port={}", self.forward.get());
        // All but the place is as the workspace's own block says.
        for option in ["HostName=127.0.0.1", &port, &known, "IdentitiesOnly=yes", "ConnectTimeout=60"] {
            command.args(["-o", option]);
        }
        command.args(more).stdin(Stdio::null());
        command
    }

    /// By what name its owner's configuration knows it.
    fn alias(&self) -> Result<String> {
        let config = std::fs::read_to_string(self.path("config"))?;
        let name = config.lines().next().and_then(|line| line.strip_prefix("Host "));
        name.map(str::to_owned).context("the block has no Host")
    }

    fn says(&self, text: &str) -> Result<String> {
        let output =
            self.ssh("ssh", &self.path("own"), &["-o", "BatchMode=yes", &self.alias()?, text]).output()?;
        ensure!(output.status.success(), "{}", complaint(&output));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    fn refusals(&self) -> Result<String> {
        let alias = self.alias()?;
        let script = format!(
            "mkdir -p -m 700 ~/.ssh && cat > ~/.ssh/authorized_keys <<'END'\n{}END",
            std::fs::read_to_string(self.path("foreign.pub"))?
        );
        self.life.guest()?.shell_as("ebb", &script)?;
        let passwords = "PreferredAuthentications=password,keyboard-interactive";
        let table: [(&str, &str, &[&str]); 3] = [
            ("own", "ebb", &["-o", "PubkeyAuthentication=no", "-o", passwords]),
            ("own", "root", &[]),
            ("foreign", "ebb", &[]),
        ];
        for (key, user, more) in table {
            let more = [more, &["-o", "BatchMode=yes", "-l", user, &alias, "true"]].concat();
            let output = self.ssh("ssh", &self.path(key), &more).output()?;
            let said = complaint(&output);
            ensure!(
                !output.status.success() && said.contains("Permission denied (publickey)"),
                "{key}: {said}"
            );
        }
        let offered = complaint(
            &self.ssh("ssh", &self.path("foreign"), &["-v", "-o", "BatchMode=yes", &alias]).output()?,
        );
        ensure!(
            offered.contains("Authentications that can continue: publickey\r\n")
                || offered.contains("Authentications that can continue: publickey\n"),
            "{offered}"
        );
        Ok("Permission denied (publickey)".to_owned())
    }

    fn forwards(&self) -> Result<String> {
        self.life.guest()?.shell_as(
            "ebb",
            &format!("mkdir -p ~/page && echo through-ssh > ~/page/index.html && tmux new-window -d 'cd ~/page && exec python3 -m http.server --bind 127.0.0.1 {PAGE}'"),
        )?;
        let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let way = format!("127.0.0.1:{own}:127.0.0.1:{PAGE}");
        let mut tunnel = Ended(
            self.ssh(
                "ssh",
                &self.path("own"),
                &["-N", "-o", "ExitOnForwardFailure=yes", "-L", &way, &self.alias()?],
            )
            .spawn()?,
        );
        let page = wait::until("the page", LIMIT, || {
            let mut stream = TcpStream::connect(("127.0.0.1", own)).map_err(|error| error.to_string())?;
            let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
            asked.map_err(|error| error.to_string())?;
            let mut page = String::new();
            stream.read_to_string(&mut page).map_err(|error| error.to_string())?;
            if page.contains("through-ssh") { Ok(page) } else { Err(format!("{page:?}")) }
        })?;
        ensure!(tunnel.0.try_wait()?.is_none(), "the tunnel ended by itself");
        Ok(page.lines().next().unwrap_or_default().to_owned())
    }

    fn copies(&self) -> Result<String> {
        let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(self.path("sent"), &bytes)?;
        std::fs::write(
            self.path("batch"),
            format!(
                "put {} over-sftp\nget over-sftp {}\n",
                self.path("sent").display(),
                self.path("back").display()
            ),
        )?;
        let batch = self.path("batch");
        let batch = batch.to_string_lossy();
        let output = self.ssh("sftp", &self.path("own"), &["-q", "-b", &batch, &self.alias()?]).output()?;
        ensure!(output.status.success(), "{}", complaint(&output));
        ensure!(std::fs::read(self.path("back"))? == bytes, "other bytes came back");
        Ok(format!("{} bytes", bytes.len()))
    }

    fn outlives_the_daemon(&self) -> Result<String> {
        let mut session = self.session()?;
        let before = self.life.agent_pid()?;
        self.life.guest()?.shell("systemctl restart ebbtide-agent.service")?;
        let back = self.life.other_agent(before)?;
        self.says("true")?;
        ensure!(session.0.try_wait()?.is_none(), "the session ended with the daemon");
        Ok(back)
    }

    /// A session that writes all the while.
    fn session(&self) -> Result<Ended> {
        let text = "while :; do date +%s.%N >> ~/kept-by-ssh; sleep 0.2; done";
        let child = self.ssh("ssh", &self.path("own"), &[&self.alias()?, text]).spawn()?;
        let session = Ended(child);
        wait::until("the session's first line", LIMIT, || {
            self.says("tail -n 1 ~/kept-by-ssh").map_err(|error| format!("{error:#}"))
        })?;
        Ok(session)
    }

    fn ends(&self) -> Result<String> {
        let mut session = self.session()?;
        let path = "/v1/ssh-keys/laptop";
        self.life.stack.api.call("DELETE", path, None)?.expect(200)?;
        wait::until("the session's end", LIMIT, || match session.0.try_wait() {
            Ok(Some(status)) => Ok(status),
            seen => Err(format!("{seen:?}")),
        })?;
        wait::until("a shut port", LIMIT, || match self.banner() {
            Ok(said) if said.is_empty() => Ok(()),
            seen => Err(format!("{seen:?}")),
        })?;
        let shut = self.is_shut_out()?;
        self.ask("PATCH", &format!("/v1/workspaces/{}", self.life.id), json!({ "ssh": false }))?;
        Ok(format!("{shut}; {}", self.is_covered_by(1)?))
    }
}

/// A program that ends with its step.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
