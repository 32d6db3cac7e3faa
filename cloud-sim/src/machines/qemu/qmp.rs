//! A client of QEMU's monitor protocol: one command at a time, and what the machine does by itself.
//!
//! Lines of JSON (<https://www.qemu.org/docs/master/interop/qmp-spec.html>). [`heard`] turns QEMU's events into the few
//! that matter here; [`forwarded_port`] reads the one answer that is a table for people.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};

/// A monitor answers at once, unless its process is stopped or the host has no time for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    #[error("the machine's monitor is gone")]
    Gone,
    #[error("the machine's monitor does not answer")]
    Silent,
    #[error("the machine's monitor refused: {0}")]
    Refused(String),
}

/// What a guest did by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEvent {
    /// It switched itself off; QEMU ends.
    PoweredOff,
    /// It started again; QEMU goes on.
    Rebooted,
}

/// A connection to a monitor.
pub struct Qmp {
    line: Mutex<Line>,
}

struct Line {
    next_id: u64,
    commands: OwnedWriteHalf,
    answers: mpsc::UnboundedReceiver<Value>,
}

impl Qmp {
    /// Connects; the receiver yields what the guest does, and ends with the machine.
    ///
    /// # Errors
    /// Where nobody listens, or what listens is no monitor.
    pub async fn connect(socket: &Path) -> Result<(Self, mpsc::UnboundedReceiver<GuestEvent>), QmpError> {
        let stream = UnixStream::connect(socket).await.map_err(|_| QmpError::Gone)?;
        let (reader, commands) = stream.into_split();
        let (answer, answers) = mpsc::unbounded_channel();
        let (event, events) = mpsc::unbounded_channel();
        tokio::spawn(read(reader, answer, event));
        let monitor = Self { line: Mutex::new(Line { next_id: 1, commands, answers }) };
        monitor.execute("qmp_capabilities", json!({})).await?;
        Ok((monitor, events))
    }

    /// Runs a command and waits for what it returns.
    ///
    /// # Errors
    /// [`QmpError::Refused`] with QEMU's own words.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut line = self.line.lock().await;
        match tokio::time::timeout(PATIENCE, line.ask(command, arguments)).await {
            Ok(answer) => answer,
            Err(_) => Err(QmpError::Silent),
        }
    }
}

impl Line {
    async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let id = self.next_id;
        self.next_id += 1;
        let text = format!("{}\n", json!({ "execute": command, "arguments": arguments, "id": id }));
        self.commands.write_all(text.as_bytes()).await.map_err(|_| QmpError::Gone)?;
        loop {
            let mut answer = self.answers.recv().await.ok_or(QmpError::Gone)?;
            // An answer that came too late for an earlier command is nobody's.
            if answer.get("id") != Some(&json!(id)) {
                continue;
            }
            return match answer.get("error") {
                Some(error) => Err(QmpError::Refused(
                    error.get("desc").and_then(Value::as_str).unwrap_or("no reason given").to_owned(),
                )),
                None => Ok(answer.get_mut("return").map(Value::take).unwrap_or_default()),
            };
        }
    }
}

async fn read(
    reader: OwnedReadHalf,
    answers: mpsc::UnboundedSender<Value>,
    events: mpsc::UnboundedSender<GuestEvent>,
) {
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            tracing::warn!(line, "a monitor said what is no JSON");
            continue;
        };
        if said.get("id").is_some() {
            // Whoever asked may have stopped waiting, which the next one finds out.
            let _ = answers.send(said);
        } else if let Some(event) = heard(&said) {
            let _ = events.send(event);
        }
    }
}

/// What an event of QEMU's says of the guest; none where the host did it, or it does not matter.
pub fn heard(said: &Value) -> Option<GuestEvent> {
    let data = said.get("data")?;
    if data.get("guest") != Some(&Value::Bool(true)) {
        return None;
    }
    match said.get("event")?.as_str()? {
        "SHUTDOWN" => Some(GuestEvent::PoweredOff),
        "RESET" => Some(GuestEvent::Rebooted),
        _ => None,
    }
}

/// The host's port that leads to a guest's, out of what `info usernet` prints.
pub fn forwarded_port(table: &str, guest_port: u16) -> Option<u16> {
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let kind = fields.next()?;
        // Descriptor and source address, then the source port; destination address, then its port.
        let host_port = fields.nth(2)?.parse().ok()?;
        let port: u16 = fields.nth(1)?.parse().ok()?;
        (kind == "TCP[HOST_FORWARD]" && port == guest_port).then_some(host_port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_guest_did_is_heard() {
        let event = |text: &str| heard(&serde_json::from_str(text).unwrap());
        let off = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN",
            "data": {"guest": true, "reason": "guest-shutdown"}}"#;
        assert_eq!(event(off), Some(GuestEvent::PoweredOff));
        let again = r#"{"event": "RESET", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(event(again), Some(GuestEvent::Rebooted));
        for not in [
            r#"{"event": "SHUTDOWN", "data": {"guest": false, "reason": "host-qmp-quit"}}"#,
            r#"{"event": "RESET", "data": {"guest": false, "reason": "host-qmp-system-reset"}}"#,
            r#"{"event": "NIC_RX_FILTER_CHANGED", "data": {"path": "/machine/x"}}"#,
            r#"{"event": "STOP"}"#,
        ] {
            assert_eq!(event(not), None, "{not}");
        }
    }

    #[test]
    fn a_forward_is_found_by_the_guest_s_port() {
        let table = "Hub -1 (net0):\n  \
            Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
            TCP[ESTABLISHED]   24 169.254.169.15 40412   151.101.2.132    80     0     0\n  \
            TCP[HOST_FORWARD]  21       127.0.0.1 38193  169.254.169.15  3000     0     0\n  \
            TCP[HOST_FORWARD]  19       127.0.0.1 42561  169.254.169.15    80     0     0\n";
        assert_eq!(forwarded_port(table, 80), Some(42561));
        assert_eq!(forwarded_port(table, 3000), Some(38193));
        assert_eq!(forwarded_port(table, 22), None);
    }
}
