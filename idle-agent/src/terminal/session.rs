//! One terminal: bytes between a WebSocket and the pseudo-terminal of a client of tmux.
//!
//! From the page come binary messages, whose first byte says whether somebody typed or pointed (1) or xterm.js answers by
//! itself (0), and text messages with a new size as `{"cols":80,"rows":24}`. Back goes what tmux writes, as it is. Neither
//! side may make the daemon hold much: a page that takes nothing stops the reading of the terminal, and a terminal that
//! takes nothing stops the reading of the page.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;
use rustix::termios::{Winsize, tcsetwinsize};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Bytes, Message, WebSocket};

/// After so long without a word the page is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// After so long without a word it is taken to be gone.
const GONE: Duration = Duration::from_secs(100);
/// How long a page may take to take what is written to it.
const SLOW: Duration = Duration::from_secs(30);
/// Longest message from a page: what somebody pastes.
const MESSAGE_BYTES: usize = 1 << 20;
/// Longest part of the terminal's output that becomes one message.
const PART_BYTES: usize = 16 << 10;

/// A client of tmux and its pseudo-terminal.
#[derive(Debug)]
pub struct Attached {
    /// Its name in `/dev/pts`.
    pub pts: String,
    /// Our end; it does not block.
    pub terminal: OwnedFd,
    /// The client.
    pub client: Child,
}

impl Attached {
    /// Ends the client, whose terminal goes.
    pub fn end(self) {
        let Self { terminal, mut client, .. } = self;
        drop(terminal);
        let _ = client.wait();
    }
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

impl Size {
    /// Within what programs bear.
    fn of(columns: u16, rows: u16) -> Self {
        Self { columns: columns.clamp(2, 1000), rows: rows.clamp(2, 1000) }
    }

    /// As in `cols=80&rows=24`, which is also what stands for what is missing.
    pub fn of_query(query: &str) -> Self {
        let number = |name: &str, usual| {
            let found =
                query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
            found.unwrap_or(usual)
        };
        Self::of(number("cols", 80), number("rows", 24))
    }

    /// As in `{"cols":80,"rows":24}`.
    fn of_message(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Told {
            cols: u16,
            rows: u16,
        }
        serde_json::from_str(text).ok().map(|Told { cols, rows }| Self::of(cols, rows))
    }

    /// Tells a terminal, and by it the program on it.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(self, terminal: impl AsFd) -> rustix::io::Result<()> {
        let Self { columns, rows } = self;
        tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
    }
}

/// The WebSocket's line: reads what is there without waiting, writes and waits.
#[derive(Debug)]
struct Line(UnixStream);

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(rustix::net::recv(&self.0, buffer, RecvFlags::DONTWAIT)?.0)
    }
}

impl Write for Line {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Carries bytes until one of both ends, or `ask` gives a reason to end it. `typed` is told of each act of a person.
pub fn carry(
    line: UnixStream,
    early: Vec<u8>,
    attached: Attached,
    ask: impl Fn() -> Option<&'static str>,
    typed: impl Fn(),
) {
    let Attached { terminal, mut client, .. } = attached;
    let _ = line.set_write_timeout(Some(SLOW));
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES)).max_frame_size(Some(MESSAGE_BYTES));
    let page = WebSocket::from_partially_read(Line(line), early, Role::Server, Some(config));
    let mut session = Session { page, terminal, to_type: Vec::new(), heard: Instant::now(), typed };
    let end = session.run(&ask);
    tracing::debug!(?end, "a terminal ends");
    let (code, reason) = match end {
        Ended::Asked(reason) => (CloseCode::Away, reason),
        Ended::Program => (CloseCode::Normal, "The terminal has ended."),
        Ended::Page => (CloseCode::Normal, ""),
    };
    let _ = session.page.close(Some(CloseFrame { code, reason: reason.into() }));
    let _ = session.page.flush();
    // Its terminal goes, which ends it; its programs are tmux's.
    drop(session);
    let _ = client.wait();
}

/// Why a session ends.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// From here, with words for the page.
    Asked(&'static str),
    /// The page went.
    Page,
    /// The program did.
    Program,
}

struct Session<T> {
    page: WebSocket<Line>,
    terminal: OwnedFd,
    /// What the terminal has not taken yet.
    to_type: Vec<u8>,
    /// When the page said something last.
    heard: Instant,
    typed: T,
}

impl<T: Fn()> Session<T> {
    fn run(&mut self, ask: &impl Fn() -> Option<&'static str>) -> Ended {
        // What came with the handshake is read already, and wakes nobody.
        let mut ready = Ready { page: true, output: false, input: false };
        loop {
            if let Some(reason) = ask() {
                return Ended::Asked(reason);
            }
            if ready.input && !self.type_on() {
                return Ended::Program;
            }
            // What the page said meanwhile may have been read from its line already, which then wakes nobody.
            if (ready.page || ready.input)
                && let Some(end) = self.listen()
            {
                return end;
            }
            if ready.output
                && let Some(end) = self.show()
            {
                return end;
            }
            ready = match self.wait() {
                Ok(ready) => ready,
                Err(end) => return end,
            };
        }
    }

    /// Waits until something can be done; asks a silent page whether it is there.
    fn wait(&mut self) -> Result<Ready, Ended> {
        loop {
            let typing = !self.to_type.is_empty();
            let page_events = if typing { PollFlags::empty() } else { PollFlags::IN };
            let terminal_events = if typing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let mut fds = [
                PollFd::new(&self.page.get_ref().0, page_events),
                PollFd::new(&self.terminal, terminal_events),
            ];
            let limit = Timespec { tv_sec: PING.as_secs().try_into().unwrap_or(30), tv_nsec: 0 };
            let woken = match poll(&mut fds, Some(&limit)) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return Err(Ended::Page),
                Ok(woken) => woken,
            };
            let over = PollFlags::HUP | PollFlags::ERR;
            let [page, terminal] = [fds[0].revents(), fds[1].revents()];
            if woken == 0 {
                if self.heard.elapsed() > GONE || self.page.send(Message::Ping(Bytes::new())).is_err() {
                    return Err(Ended::Page);
                }
                // What asks for its end may not have waked it.
                return Ok(Ready { page: false, output: false, input: false });
            }
            if typing && page.intersects(over) {
                return Err(Ended::Page);
            }
            return Ok(Ready {
                page: page.intersects(PollFlags::IN | over),
                output: terminal.intersects(PollFlags::IN | over),
                input: terminal.intersects(PollFlags::OUT),
            });
        }
    }

    /// Reads what the page says, as long as the terminal takes it; why it ends, where it does.
    fn listen(&mut self) -> Option<Ended> {
        while self.to_type.is_empty() {
            match self.page.read() {
                Ok(message) => {
                    self.heard = Instant::now();
                    if let Some(end) = self.take(&message) {
                        return Some(end);
                    }
                }
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Ended::Page),
            }
        }
        None
    }

    /// Does what a message asks for; why it ends, where it does.
    fn take(&mut self, message: &Message) -> Option<Ended> {
        match message {
            Message::Binary(bytes) => {
                let (by, keys) = bytes.split_first()?;
                if *by == 1 {
                    (self.typed)();
                }
                self.to_type.extend(keys);
                (!self.type_on()).then_some(Ended::Program)
            }
            Message::Text(text) => match Size::of_message(text) {
                Some(size) => size.set(&self.terminal).err().map(|_| Ended::Program),
                None => Some(Ended::Page),
            },
            Message::Ping(_) | Message::Pong(_) => None,
            Message::Close(_) | Message::Frame(_) => Some(Ended::Page),
        }
    }

    /// Writes what is to be typed, as far as the terminal takes it; false once that is gone.
    fn type_on(&mut self) -> bool {
        while !self.to_type.is_empty() {
            match rustix::io::write(&self.terminal, &self.to_type) {
                Ok(written) => drop(self.to_type.drain(..written)),
                Err(rustix::io::Errno::AGAIN) => return true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Hands on what the terminal shows; why it ends, where it does.
    fn show(&mut self) -> Option<Ended> {
        let mut part = vec![0; PART_BYTES];
        let read = match rustix::io::read(&self.terminal, part.as_mut_slice()) {
            Ok(0) => return Some(Ended::Program),
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
            // The last program on it has ended: EIO.
            Err(_) => return Some(Ended::Program),
        };
        part.truncate(read);
        self.page.send(Message::Binary(part.into())).err().map(|_| Ended::Page)
    }
}

/// What can be done without waiting.
struct Ready {
    page: bool,
    output: bool,
    input: bool,
}

#[cfg(test)]
mod tests;
