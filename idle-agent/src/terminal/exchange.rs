//! What Caddy asks for on the terminal's socket: the page, its files, and the WebSocket's handshake. One request each.

use super::session::Size;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use tungstenite::handshake::derive_accept_key;

/// Longest head that is read: cookies of the machine's other ports come along.
const HEAD_BYTES: usize = 128 << 10;
/// Most headers that are read.
const HEADERS: usize = 256;
/// How long a head or an answer may be under way.
const TURN: Duration = Duration::from_secs(10);
/// What the page may do: run its own scripts and talk to its own host. xterm.js writes its rules into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page.
#[derive(Debug)]
pub struct File {
    path: &'static str,
    kind: &'static str,
    packed: bool,
    body: &'static [u8],
}

const FILES: [File; 5] = [
    File {
        path: "/",
        kind: "text/html; charset=utf-8",
        packed: false,
        body: include_bytes!("page/terminal.html"),
    },
    script("/terminal.js", include_bytes!(concat!(env!("OUT_DIR"), "/terminal.js.gz"))),
    style("/terminal.css", include_bytes!(concat!(env!("OUT_DIR"), "/terminal.css.gz"))),
    script("/xterm.js", include_bytes!(concat!(env!("OUT_DIR"), "/xterm.js.gz"))),
    style("/xterm.css", include_bytes!(concat!(env!("OUT_DIR"), "/xterm.css.gz"))),
];

const fn script(path: &'static str, body: &'static [u8]) -> File {
    File { path, kind: "text/javascript; charset=utf-8", packed: true, body }
}

const fn style(path: &'static str, body: &'static [u8]) -> File {
    File { path, kind: "text/css; charset=utf-8", packed: true, body }
}

/// What somebody asks for.
#[derive(Debug)]
pub enum Asked {
    /// The page, or a part of it.
    File(&'static File),
    /// A terminal of this size.
    Terminal {
        /// The handshake's key.
        key: String,
        /// Columns and rows of the page.
        size: Size,
        /// What came behind the head already.
        early: Vec<u8>,
    },
    /// Nothing that is here; with this status.
    Nothing(u16),
}

/// Reads one head.
///
/// # Errors
/// The caller goes, or takes too long.
pub fn hear(line: &mut UnixStream) -> std::io::Result<Asked> {
    line.set_write_timeout(Some(TURN))?;
    let deadline = Instant::now() + TURN;
    let mut heard = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        line.set_read_timeout(Some(left))?;
        let mut part = [0; 8192];
        let read = line.read(&mut part)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        heard.extend(part.iter().take(read));
        if let Some(asked) = understand(&heard) {
            return Ok(asked);
        }
    }
}

/// What a head asks for; `None` while it is unfinished.
fn understand(heard: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(heard) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if heard.len() < HEAD_BYTES => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Some(Asked::Nothing(431));
        }
        Err(_) => return Some(Asked::Nothing(400)),
    };
    if parsed.method != Some("GET") {
        return Some(Asked::Nothing(405));
    }
    let (path, query) =
        parsed.path.unwrap_or("/").split_once('?').unwrap_or((parsed.path.unwrap_or("/"), ""));
    if path == "/socket" {
        let header = |name: &str| {
            let found = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(found.value).ok()
        };
        let is_websocket = header("Upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket"));
        let key = header("Sec-WebSocket-Key").filter(|_| is_websocket);
        return Some(key.map_or(Asked::Nothing(426), |key| Asked::Terminal {
            key: key.to_owned(),
            size: Size::of_query(query),
            early: heard.get(length..).unwrap_or_default().to_vec(),
        }));
    }
    Some(FILES.iter().find(|file| file.path == path).map_or(Asked::Nothing(404), Asked::File))
}

/// Sends a file.
///
/// # Errors
/// The caller is gone.
pub fn send(line: &mut UnixStream, file: &File) -> std::io::Result<()> {
    let packed = if file.packed { "Content-Encoding: gzip\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n{packed}Cache-Control: no-cache\r\n\
         Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Connection: close\r\n\r\n",
        file.kind,
        file.body.len()
    );
    line.write_all(head.as_bytes())?;
    line.write_all(file.body)
}

/// Answers with a status alone.
///
/// # Errors
/// The caller is gone.
pub fn refuse(line: &mut UnixStream, status: u16) -> std::io::Result<()> {
    // Nobody reads the reason.
    line.write_all(
        format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
    )
}

/// Ends the handshake of a WebSocket (RFC 6455, 4.2.2).
///
/// # Errors
/// The caller is gone.
pub fn accept(line: &mut UnixStream, key: &str) -> std::io::Result<()> {
    let accept = derive_accept_key(key.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    line.write_all(format!("{head}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(head: &str) -> String {
        match understand(head.as_bytes()) {
            None => "unfinished".to_owned(),
            Some(Asked::File(file)) => format!("{} {}", file.path, file.kind),
            Some(Asked::Terminal { key, size, early }) => format!("terminal {key} {size:?} {early:?}"),
            Some(Asked::Nothing(status)) => status.to_string(),
        }
    }

    #[test]
    fn the_page_and_its_files_are_there_and_nothing_else() {
        for file in &FILES {
            assert!(shown(&format!("GET {}?x=1 HTTP/1.1\r\n\r\n", file.path)).starts_with(file.path));
            assert_eq!(file.packed, file.body.starts_with(&[0x1f, 0x8b]), "{}", file.path);
        }
        let table = [
            ("GET /etc/passwd HTTP/1.1\r\n\r\n", "404"),
            ("GET /../ HTTP/1.1\r\n\r\n", "404"),
            ("POST / HTTP/1.1\r\n\r\n", "405"),
            ("GET /socket HTTP/1.1\r\n\r\n", "426"),
            ("GET /socket HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "426"),
            ("GET / HTTP/1.1\r\nHost", "unfinished"),
            ("\u{1}\r\n\r\n", "400"),
        ];
        for (head, expected) in table {
            assert_eq!(shown(head), expected, "{head:?}");
        }
        assert_eq!(
            shown(
                "GET /socket?cols=90&rows=20 HTTP/1.1\r\nupgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\n\u{1}"
            ),
            "terminal k Size { columns: 90, rows: 20 } [1]"
        );
        let long = format!("GET / HTTP/1.1\r\nCookie: {}", "x".repeat(HEAD_BYTES));
        assert_eq!(shown(&long), "431");
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let page = include_str!("page/terminal.html");
        let named = page.split('"').filter(|part| part.starts_with('/') && part.contains('.'));
        let named: Vec<&str> = named.collect();
        assert_eq!(named.len(), FILES.len() - 1, "{named:?}");
        for path in named {
            assert!(FILES.iter().any(|file| file.path == path), "{path}");
        }
    }
}
