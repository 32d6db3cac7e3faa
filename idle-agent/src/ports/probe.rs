//! Whether what listens speaks HTTP: one cheap question, and the first bytes of the answer. The rest is read as well, so
//! that the other side sees a client that leaves, and not one that breaks off. Whom nobody should ask: see `fragile`.
//!
//! Who answers as a TLS server answers to plain words is asked once more, within TLS.

use super::probe_tls;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a port answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// HTTP.
    Http,
    /// HTTP within TLS.
    Https,
    /// Something else, or it hung up.
    Other,
    /// Nothing in time: a server that is still warming up, or one that waits for the client to go on.
    Nothing,
    /// It was not asked: a connection would do harm, or mean something.
    NotAsked,
}

/// Most of an answer that is read, and for how long: then the connection is closed all the same.
const ANSWER_BYTES: u64 = 256 << 10;
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// How much of an answer is looked at for a server's word that it wants TLS.
const LOOKED_AT: usize = 4 << 10;

/// Asks once; within TLS too where the first answer calls for it and the server is on this machine alone.
pub fn ask(address: SocketAddr, patience: Duration) -> Answer {
    match ask_plainly(address, patience) {
        First::Nothing => Answer::Nothing,
        First::Http => Answer::Http,
        First::Other => Answer::Other,
        First::WantsTls { otherwise } => {
            let is_https = address.ip().is_loopback() && speaks_within_tls(address, patience);
            if is_https { Answer::Https } else { otherwise }
        }
    }
}

/// What the first answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    Nothing,
    Http,
    Other,
    /// A TLS server may say so; what it is where it is none.
    WantsTls {
        otherwise: Answer,
    },
}

/// What the beginning of an answer means, once there is no more of it to come.
fn first(answer: &[u8]) -> First {
    // An alert of any version, or nothing but the end of the connection.
    if answer.is_empty() || answer.starts_with(&[0x15, 0x03]) {
        return First::WantsTls { otherwise: Answer::Other };
    }
    if !answer.starts_with(b"HTTP/") {
        return First::Other;
    }
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    // Go, nginx, Node and Apache say it in a page; the words differ, and each names one of these.
    let is_refused = text.split_ascii_whitespace().nth(1) == Some("400");
    let names_tls = ["https", "ssl-enabled", "tls"].iter().any(|word| text.contains(word));
    if is_refused && names_tls { First::WantsTls { otherwise: Answer::Http } } else { First::Http }
}

fn ask_plainly(address: SocketAddr, patience: Duration) -> First {
    let Some(mut stream) = connect(address, patience) else { return First::Nothing };
    if stream.write_all(question(address).as_bytes()).is_err() {
        return first(&[]);
    }
    let (start, end) = beginning(&mut stream);
    match end {
        End::Waits => First::Nothing,
        End::Over => first(&start),
        End::More => rest_of(stream, start),
    }
}

fn rest_of(mut stream: TcpStream, mut read: Vec<u8>) -> First {
    if let Ok(socket) = stream.try_clone() {
        read_out(&mut stream, &socket, &mut read);
    }
    first(&read)
}

/// Whether a server answers HTTP within TLS.
fn speaks_within_tls(address: SocketAddr, patience: Duration) -> bool {
    let Some(socket) = connect(address, patience) else { return false };
    let Ok(inner) = socket.try_clone() else { return false };
    let Ok(mut stream) = probe_tls::client(inner) else { return false };
    if stream.write_all(question(address).as_bytes()).is_err() {
        return false;
    }
    let (mut start, _) = beginning(&mut stream);
    let is_http = start.starts_with(b"HTTP/");
    if is_http {
        read_out(&mut stream, &socket, &mut start);
    }
    is_http
}

fn connect(address: SocketAddr, patience: Duration) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience.min(Duration::from_millis(300))).ok()?;
    stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience))).ok()?;
    Some(stream)
}

/// OPTIONS makes a development server compile no page.
fn question(address: SocketAddr) -> String {
    format!(
        "OPTIONS / HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: ebb-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        address.port()
    )
}

/// What follows the beginning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nothing came in time.
    Waits,
    /// The other side has ended, or broken off.
    Over,
    /// There may be more.
    More,
}

/// Reads until it is known whether the answer is HTTP.
fn beginning(stream: &mut impl Read) -> (Vec<u8>, End) {
    let mut start = [0; 5];
    let mut read = 0;
    let end = loop {
        match stream.read(start.get_mut(read..).unwrap_or_default()) {
            Ok(0) => break End::Over,
            Ok(more) => {
                read += more;
                let seen = start.get(..read).unwrap_or_default();
                if !b"HTTP/".starts_with(seen) || read == start.len() {
                    break End::More;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                break End::Waits;
            }
            Err(_) => break End::Over,
        }
    };
    (start.get(..read).unwrap_or_default().to_vec(), end)
}

/// Reads what is left of an answer, and keeps the beginning of it. What is closed with something unread is reset, which
/// programs tell their users of.
fn read_out(stream: &mut impl Read, socket: &TcpStream, kept: &mut Vec<u8>) {
    let end = Instant::now() + ANSWER_WITHIN;
    let (mut part, mut left) = ([0; 4096], ANSWER_BYTES);
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        if wait.is_zero() || left == 0 || socket.set_read_timeout(Some(wait)).is_err() {
            return;
        }
        match stream.read(&mut part) {
            Ok(0) => return,
            Ok(read) => {
                left = left.saturating_sub(read as u64);
                let room = LOOKED_AT.saturating_sub(kept.len()).min(read);
                kept.extend(part.get(..room).unwrap_or_default());
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn check(answer: Option<&'static [u8]>) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 7];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"OPTIONS");
            match answer {
                Some(bytes) => {
                    stream.write_all(bytes).unwrap();
                    None
                }
                None => Some(stream),
            }
        });
        let answer = ask(address, Duration::from_millis(200));
        drop(server.join());
        answer
    }

    #[test]
    fn a_server_is_left_as_a_browser_leaves_it_and_not_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 1024];
            let read = stream.read(&mut question).unwrap();
            assert!(question[..read].ends_with(b"\r\n\r\n"));
            // What a server says in several parts, as Python's does.
            stream.write_all(b"HTTP/1.0 501 Unsupported method ('OPTIONS')\r\n").unwrap();
            stream.write_all(&[b'x'; 9000]).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read(&mut question)
        });
        assert_eq!(ask(address, Duration::from_secs(60)), Answer::Http);
        assert_eq!(server.join().unwrap().expect("no reset"), 0, "the end of what the client has to say");
    }

    #[test]
    fn http_is_told_from_other_talk_and_from_silence() {
        assert_eq!(check(Some(b"HTTP/1.0 501 Unsupported\r\n\r\n")), Answer::Http);
        assert_eq!(check(Some(b"-ERR unknown command\r\n")), Answer::Other);
        assert_eq!(check(Some(b"HTT")), Answer::Other);
        assert_eq!(check(Some(b"")), Answer::Other);
        assert_eq!(check(None), Answer::Nothing);
    }

    #[test]
    fn what_a_tls_server_says_to_plain_words_is_told_from_other_refusals() {
        let tls = |otherwise| First::WantsTls { otherwise };
        let table: [(&[u8], First); 9] = [
            (b"", tls(Answer::Other)),
            (&[0x15, 3, 1, 0, 2, 2, 70], tls(Answer::Other)),
            (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", tls(Answer::Http)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>", tls(Answer::Http)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nYou're speaking plain HTTP to an SSL-enabled server port.", tls(Answer::Http)),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nno such method", First::Http),
            (b"HTTP/1.1 200 OK\r\n\r\nhttps://", First::Http),
            (b"HTTP/1.1 404 Not Found\r\n\r\n400 https", First::Http),
            (b"-ERR unknown command\r\n", First::Other),
        ];
        for (answer, expected) in table {
            assert_eq!(first(answer), expected, "{}", String::from_utf8_lossy(answer));
        }
    }
}
