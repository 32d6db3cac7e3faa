//! People at terminals, over SSH and in tmux: typing counts, a session that merely is open does not.
//! Keys go through real terminals; nothing here tells the idle-agent that somebody is there.

use super::Scene;
use super::stage::Stage;
use anyhow::Result;

const SSH: &[&str] = &["sshd"];

macro_rules! scene {
    ($name:literal, $programs:expr, $argument:literal, $play:expr) => {
        Scene { name: $name, argument: $argument, programs: $programs, play: $play }
    };
}

pub const SCENES: &[Scene] = &[
    scene!("nothing", &["tmux"], "the machine is ready and nobody does anything", |stage| {
        stage.lasts(5);
        stage.must_sleep()
    }),
    scene!(
        "tmux-left-open",
        &["tmux"],
        "three terminals with shells stand open, and nobody types",
        left_open
    ),
    scene!(
        "tmux-typing",
        &["tmux"],
        "a person types a line into a shell, five times at half an idle timeout; the last key is the end",
        |stage| {
            stage.window("one", "exec bash -i")?;
            stage.types("one", "true")?;
            stage.must_stay()?;
            for _ in 0..4 {
                stage.lasts_timeouts(0.5);
                stage.types("one", "true")?;
            }
            stage.must_sleep()
        }
    ),
    scene!(
        "ssh-typing",
        SSH,
        "a person types a line over SSH, five times at half an idle timeout; the last key is the end",
        |stage| {
            ssh(stage)?;
            line(stage)?;
            stage.must_stay()?;
            for _ in 0..4 {
                stage.lasts_timeouts(0.5);
                line(stage)?;
            }
            stage.must_sleep()
        }
    ),
    scene!(
        "ssh-keepalive",
        SSH,
        "an SSH session stands open and only its keep-alives pass, two seconds apart",
        |stage| {
            ssh(stage)?;
            line(stage)?;
            stage.lasts(12);
            stage.must_sleep()
        }
    ),
    scene!("ssh-output", SSH, "over SSH a loop prints a line a second and nobody types", |stage| {
        ssh(stage)?;
        stage.root("echo 'while sleep 1; do date; done' > /tmp/keys")?;
        stage.lasts(12);
        stage.must_sleep()
    }),
];

/// Terminals that somebody left.
pub fn left_open(stage: &Stage<'_>) -> Result<()> {
    for name in ["one", "two", "three"] {
        stage.window(name, "exec bash -i")?;
    }
    stage.lasts(5);
    stage.must_sleep()
}

/// A server of the user's own, and a client that is nobody's terminal: what is written to `/tmp/keys` is typed.
fn ssh(stage: &Stage<'_>) -> Result<()> {
    stage.shell(
        "mkdir -p ~/.ssh ~/sshd && chmod 700 ~ ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id && \
         cp ~/.ssh/id.pub ~/.ssh/authorized_keys && ssh-keygen -q -t ed25519 -N '' -f ~/sshd/host && \
         printf 'Port 2222\\nListenAddress 127.0.0.1\\nHostKey %s/sshd/host\\nUsePAM no\\nPidFile none\\n' ~ > ~/sshd/config",
    )?;
    stage.shell(
        "LD_LIBRARY_PATH=~/.local/opt/sshd/usr/lib/x86_64-linux-gnu setsid ~/.local/opt/sshd/usr/sbin/sshd -f ~/sshd/config -E ~/sshd/log \
         </dev/null >/dev/null 2>&1",
    )?;
    stage.listens(2222)?;
    stage.root(
        "mkfifo /tmp/keys && cp ~ebb/.ssh/id /tmp/id && chmod 600 /tmp/id && \
         (setsid bash -c 'exec 3<>/tmp/keys; exec ssh -tt -i /tmp/id -p 2222 -o StrictHostKeyChecking=no \
         -o ServerAliveInterval=2 ebb@127.0.0.1 <&3 >/tmp/ssh.log 2>&1' &)",
    )?;
    stage.holds("ss -Htn state established sport = :2222 | grep -q .")?;
    stage.lasts(3);
    Ok(())
}

fn line(stage: &Stage<'_>) -> Result<()> {
    stage.root("echo true > /tmp/keys").map(drop)
}
