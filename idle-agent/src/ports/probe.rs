//! Whether what listens speaks HTTP: one cheap question, and the first bytes of the answer. The rest is read as well, so
//! that the other side sees a client that leaves, and not one that breaks off. Whom nobody should ask: see `fragile`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a port answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// HTTP.
    Http,
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

/// Asks once.
pub fn ask(address: SocketAddr, patience: Duration) -> Answer {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, patience.min(Duration::from_millis(300)))
    else {
        return Answer::Nothing;
    };
    let ready =
        stream.set_read_timeout(Some(patience)).and_then(|()| stream.set_write_timeout(Some(patience)));
    // OPTIONS makes a development server compile no page.
    let question = format!(
        "OPTIONS / HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: ebb-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        address.port()
    );
    if ready.and_then(|()| stream.write_all(question.as_bytes())).is_err() {
        return Answer::Other;
    }
    let answer = first_bytes(&mut stream);
    if answer != Answer::Nothing {
        read_out(stream);
    }
    answer
}

/// Reads what is left of an answer. What is closed with something unread is reset, which programs tell their users of.
fn read_out(mut stream: TcpStream) {
    let end = Instant::now() + ANSWER_WITHIN;
    let (mut part, mut left) = ([0; 4096], ANSWER_BYTES);
    loop {
        let wait = end.saturating_duration_since(Instant::now());
        if wait.is_zero() || left == 0 || stream.set_read_timeout(Some(wait)).is_err() {
            return;
        }
        match stream.read(&mut part) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read as u64),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn first_bytes(stream: &mut TcpStream) -> Answer {
    let mut start = [0; 5];
    let mut read = 0;
    loop {
        match stream.read(start.get_mut(read..).unwrap_or_default()) {
            Ok(0) => return Answer::Other,
            Ok(more) => {
                read += more;
                let seen = start.get(..read).unwrap_or_default();
                if !b"HTTP/".starts_with(seen) {
                    return Answer::Other;
                }
                if read == start.len() {
                    return Answer::Http;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                return Answer::Nothing;
            }
            Err(_) => return Answer::Other,
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
}
