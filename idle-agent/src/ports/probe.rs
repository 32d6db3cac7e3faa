//! Whether what listens speaks HTTP: one cheap question, and the first bytes of the answer. The rest is read as well, so
//! that the other side sees a client that leaves, and not one that breaks off. Whom nobody should ask: see `fragile`.
//!
//! Who answers as a TLS server answers to plain words is asked once more, within TLS.

use super::probe_tls;
use super::timed_stream::{Patience, TimedStream, is_silence};
use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

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

/// Asks once; within TLS too where the first answer calls for it and the server is on this machine alone. A server has
/// `patience` for each word, and thrice that for all that it says, however often it says something.
pub fn ask(address: SocketAddr, patience: Duration) -> Answer {
    let patience = Patience::from_now(patience);
    match ask_plainly(address, patience) {
        First::Nothing => Answer::Nothing,
        First::Http => Answer::Http,
        First::Other => Answer::Other,
        First::WantsTls { otherwise } if !address.ip().is_loopback() => otherwise,
        First::WantsTls { otherwise } => match ask_within_tls(address, patience) {
            WithinTls::Http => Answer::Https,
            WithinTls::Other => otherwise,
            WithinTls::Nothing => Answer::Nothing,
        },
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

fn ask_plainly(address: SocketAddr, patience: Patience) -> First {
    let Ok(mut stream) = TimedStream::connect(address, patience) else { return First::Nothing };
    if stream.write_all(question(address).as_bytes()).is_err() {
        return first(&[]);
    }
    let (start, end) = beginning(&mut stream);
    match end {
        End::Waits => First::Nothing,
        End::Over => first(&start),
        End::More => {
            let mut read = start;
            stream.end_within(ANSWER_WITHIN);
            read_out(&mut stream, &mut read);
            first(&read)
        }
    }
}

/// What the same question brings within TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WithinTls {
    Http,
    /// No TLS, or something else within it.
    Other,
    /// Nothing in time: a server that is still warming up can be slow at its handshake too.
    Nothing,
}

impl WithinTls {
    fn without_answer(error: &std::io::Error) -> Self {
        if is_silence(error) { Self::Nothing } else { Self::Other }
    }
}

fn ask_within_tls(address: SocketAddr, patience: Patience) -> WithinTls {
    let socket = match TimedStream::connect(address, patience) {
        Ok(socket) => socket,
        Err(error) => return WithinTls::without_answer(&error),
    };
    let Ok(mut stream) = probe_tls::client(socket) else { return WithinTls::Other };
    if let Err(error) = stream.write_all(question(address).as_bytes()) {
        return WithinTls::without_answer(&error);
    }
    let (mut start, end) = beginning(&mut stream);
    if end == End::Waits {
        return WithinTls::Nothing;
    }
    if !start.starts_with(b"HTTP/") {
        return WithinTls::Other;
    }
    stream.sock.end_within(ANSWER_WITHIN);
    read_out(&mut stream, &mut start);
    WithinTls::Http
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
            Err(error) if is_silence(&error) => break End::Waits,
            Err(_) => break End::Over,
        }
    };
    (start.get(..read).unwrap_or_default().to_vec(), end)
}

/// Reads what is left of an answer, and keeps the beginning of it. What is closed with something unread is reset, which
/// programs tell their users of. It ends with the stream's time.
fn read_out(stream: &mut impl Read, kept: &mut Vec<u8>) {
    let (mut part, mut left) = ([0; 4096], ANSWER_BYTES);
    while left > 0 {
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
    use std::net::{TcpListener, TcpStream};

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

    /// A server that says to plain words that it wants TLS, and does this with whoever comes again.
    fn wants_tls<T: Send + 'static>(
        then: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> (SocketAddr, std::thread::JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut plain, _) = listener.accept().unwrap();
            plain.read_exact(&mut [0; 7]).unwrap();
            plain.write_all(&[0x15, 3, 1, 0, 2, 2, 70]).unwrap();
            drop(plain);
            then(listener.accept().unwrap().0)
        });
        (address, server)
    }

    #[test]
    fn silence_within_tls_is_silence_and_other_talk_is_final() {
        let (address, server) = wants_tls(|stream| stream);
        assert_eq!(ask(address, Duration::from_secs(2)), Answer::Nothing);
        drop(server.join());
        let (address, server) = wants_tls(drop);
        assert_eq!(ask(address, Duration::from_secs(60)), Answer::Other);
        server.join().unwrap();
    }

    #[test]
    fn a_handshake_that_comes_in_drops_is_not_listened_to_for_ever() {
        let (address, server) = wants_tls(|mut stream| {
            let handshake = [&[0x16, 3, 3, 0x40, 0][..], &[0; 1 << 14]].concat();
            // Most of it is sent where nobody leaves.
            handshake.chunks(1).take(2000).any(|byte| {
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(byte).is_err()
            })
        });
        assert_eq!(ask(address, Duration::from_secs(2)), Answer::Nothing);
        assert!(server.join().unwrap(), "the client has left before the end");
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
