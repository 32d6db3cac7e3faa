//! A shell on a pseudo-terminal, and a page at the other end of a line.

use super::*;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// How long a machine at a tenth of its speed may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Page {
    socket: WebSocket<UnixStream>,
    /// Another hold on the daemon's end, as the list of open terminals has it.
    theirs: UnixStream,
    ended: Arc<AtomicBool>,
    typed: Arc<AtomicU64>,
    carried: JoinHandle<()>,
}

/// Carries a terminal on which this shell command runs.
fn page(text: &str) -> Page {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let program = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    rustix::io::ioctl_fionbio(&terminal, true).unwrap();
    let mut command = Command::new("setsid");
    command.args(["--ctty", "sh", "-c", text]).stdin(Stdio::from(program.try_clone().unwrap()));
    command.stdout(Stdio::from(program.try_clone().unwrap())).stderr(Stdio::from(program));
    let client = command.spawn().unwrap();
    let attached = Attached { pts: String::new(), terminal, client };

    let (ours, line) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let theirs = line.try_clone().unwrap();
    let (ended, typed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (asked, count) = (Arc::clone(&ended), Arc::clone(&typed));
    drop(command);
    let carried = std::thread::spawn(move || {
        let ask = || asked.load(Ordering::SeqCst).then_some("Enough.");
        carry(line, Vec::new(), attached, ask, || {
            count.fetch_add(1, Ordering::SeqCst);
        });
    });
    let socket = WebSocket::from_raw_socket(ours, Role::Client, None);
    Page { socket, theirs, ended, typed, carried }
}

impl Page {
    fn keys(&mut self, by: u8, keys: &str) {
        let message = [&[by], keys.as_bytes()].concat();
        self.socket.send(Message::Binary(message.into())).unwrap();
    }

    /// Reads until this was shown; all that was.
    fn until(&mut self, sought: &str) -> String {
        let mut shown = String::new();
        while !shown.contains(sought) {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => shown.push_str(&String::from_utf8_lossy(&bytes)),
                Ok(other) => panic!("{other:?} after {shown:?}"),
                Err(error) => panic!("{error} after {shown:?}"),
            }
        }
        shown
    }

    /// The close that comes, whatever is shown before.
    fn closed(mut self) -> (CloseCode, String) {
        loop {
            match self.socket.read().unwrap() {
                Message::Close(Some(frame)) => {
                    drop(self.socket);
                    self.carried.join().unwrap();
                    return (frame.code, frame.reason.as_str().to_owned());
                }
                Message::Binary(_) | Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn what_is_typed_reaches_the_program_and_what_it_shows_the_page() {
    let mut page = page("stty -echo; echo begun; while read -r line; do echo \"[$line]\"; done");
    page.until("begun");
    page.keys(1, "grüß\n");
    assert!(page.until("]").contains("[grüß]"));
    assert_eq!(page.typed.load(Ordering::SeqCst), 1);
    page.keys(0, "\u{1b}[?1;2c\n");
    page.until("[?1;2c]");
    assert_eq!(page.typed.load(Ordering::SeqCst), 1, "an answer of xterm.js is no person");
    page.keys(1, "\u{4}");
    assert_eq!(page.closed(), (CloseCode::Normal, "The terminal has ended.".to_owned()));
}

#[test]
fn a_program_is_told_of_the_page_s_size() {
    let mut page = page("trap 'stty size' WINCH; echo begun; while :; do read -r x; done");
    page.until("begun");
    page.socket.send(Message::text(r#"{"cols":132,"rows":43}"#)).unwrap();
    page.until("43 132");
    page.socket.send(Message::text(r#"{"cols":0,"rows":65535}"#)).unwrap();
    page.until("1000 2");
    page.socket.send(Message::text("resize")).unwrap();
    assert_eq!(page.closed().0, CloseCode::Normal, "what is no size ends it");
}

#[test]
fn it_ends_at_a_word_from_here_and_says_why() {
    let mut page = page("echo begun; exec cat");
    page.until("begun");
    page.ended.store(true, Ordering::SeqCst);
    page.theirs.shutdown(std::net::Shutdown::Read).unwrap();
    assert_eq!(page.closed(), (CloseCode::Away, "Enough.".to_owned()));
}

#[test]
fn a_page_that_goes_ends_the_client() {
    let mut page = page("echo begun; exec cat");
    page.until("begun");
    drop(page.socket);
    // It waits for the client, which ends with its terminal.
    page.carried.join().unwrap();
}

#[test]
fn what_is_pasted_into_a_program_that_does_not_read_waits_and_arrives() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    let waits = format!("until [ -e '{}' ]; do sleep 0.02; done", go.display());
    let mut page = page(&format!("stty raw -echo; echo begun; {waits}; head -c 80000 | wc -c"));
    page.until("begun");
    // More than a terminal keeps, and less than the line between daemon and page.
    let text = "x".repeat(40_000);
    for _ in 0..2 {
        page.keys(1, &text);
    }
    std::fs::write(&go, "").unwrap();
    page.until("80000");
}
