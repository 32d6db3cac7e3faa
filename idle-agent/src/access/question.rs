//! Caddy's questions, as HTTP/1.1 on a Unix socket: a head without a body, and an answer.
//!
//! Every bound here is for a crowd: Caddy comes with a fixed number of connections (`caddy`), and whoever is behind them
//! decides only what stands in a head.

use std::borrow::Cow;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest head that is read: more than becomes of the longest that Caddy takes (`caddy::HEAD_BYTES`).
const HEAD_BYTES: usize = 128 << 10;
/// Most headers that are read; browsers send about twenty.
const HEADERS: usize = 256;
/// How long a head or an answer may be under way.
const TURN: Duration = Duration::from_secs(10);
/// How long a connection is kept between two questions: longer than Caddy keeps it, so that it is Caddy who ends it.
const IDLE: Duration = Duration::from_secs(90);

/// The headers of one question.
#[derive(Debug)]
pub struct Question<'a> {
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Question<'a> {
    /// The first header of a name. What is not UTF-8 in it becomes replacement characters: the header is still there.
    pub fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        let found = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value))
    }
}

/// What Caddy is told.
#[derive(Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers; one whose value cannot stand in a head is left out.
    pub headers: Vec<(&'static str, String)>,
    /// The page, if any.
    pub body: String,
}

impl Answer {
    fn bytes(&self) -> Vec<u8> {
        // Nobody reads the reason.
        let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            if !value.contains(|c: char| c.is_ascii_control()) {
                head.extend([name, ": ", value, "\r\n"]);
            }
        }
        head.extend(["\r\n", &self.body]);
        head.into_bytes()
    }
}

/// Answers one question after the other until the caller goes, says what is no question, or says nothing for long.
///
/// # Errors
/// What became of the connection.
pub fn converse(mut caller: UnixStream, answer: impl Fn(&Question) -> Answer) -> std::io::Result<()> {
    caller.set_write_timeout(Some(TURN))?;
    let mut heard = Vec::new();
    loop {
        caller.set_read_timeout(Some(IDLE))?;
        if heard.is_empty() && listen(&mut caller, &mut heard)? == 0 {
            return Ok(());
        }
        let deadline = Instant::now() + TURN;
        let length = loop {
            match take(&heard, &answer) {
                Taken::Answered { answer, length } => {
                    caller.write_all(&answer.bytes())?;
                    break length;
                }
                Taken::Refused(status) => {
                    let headers = vec![("Connection", "close".to_owned())];
                    caller.write_all(&Answer { status, headers, ..Answer::default() }.bytes())?;
                    return Err(ErrorKind::InvalidData.into());
                }
                Taken::Unfinished => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    caller.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                    if left.is_zero() || listen(&mut caller, &mut heard)? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        };
        heard.drain(..length);
    }
}

/// Reads what is there; how much that was.
fn listen(caller: &mut impl Read, heard: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut part = [0; 8192];
    let read = caller.read(&mut part)?;
    heard.extend(part.iter().take(read));
    Ok(read)
}

/// What was heard so far is worth.
enum Taken {
    /// A whole question of so many bytes.
    Answered { answer: Answer, length: usize },
    /// The beginning of one.
    Unfinished,
    /// None, with this status.
    Refused(u16),
}

fn take(heard: &[u8], answer: impl Fn(&Question) -> Answer) -> Taken {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(heard) {
        Ok(httparse::Status::Complete(length)) => {
            let question = Question { headers: parsed.headers };
            // Caddy sends none: what follows would be taken for the next question.
            if ["Content-Length", "Transfer-Encoding"].iter().any(|name| question.header(name).is_some()) {
                return Taken::Refused(400);
            }
            Taken::Answered { answer: answer(&question), length }
        }
        Ok(httparse::Status::Partial) if heard.len() < HEAD_BYTES => Taken::Unfinished,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => Taken::Refused(431),
        Err(_) => Taken::Refused(400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says all this, and answers with what was answered until the connection ended.
    fn said(parts: &[&[u8]]) -> String {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let talk = std::thread::spawn(move || {
            converse(theirs, |question| {
                let host = question.header("x-ebb-host").unwrap_or_default().into_owned();
                Answer { status: 200, headers: vec![("X-Said", host.clone())], body: host }
            })
        });
        for part in parts {
            // The other end may have hung up in the middle.
            let _ = ours.write_all(part);
        }
        let _ = ours.shutdown(std::net::Shutdown::Write);
        let mut answered = Vec::new();
        let _ = ours.read_to_end(&mut answered);
        let _ = talk.join().unwrap();
        String::from_utf8_lossy(&answered).into_owned()
    }

    #[test]
    fn questions_are_answered_one_after_the_other_however_they_are_cut() {
        let two = "HTTP/1.1 200 -\r\nContent-Length: 1\r\nX-Said: a\r\n\r\naHTTP/1.1 200 -\r\nContent-Length: 2\r\nX-Said: bc\r\n\r\nbc";
        assert_eq!(
            said(&[b"GET / HTTP/1.1\r\nX-Ebb-Host: a\r\n\r\nGET / HTTP/1.1\r\nx-ebb-host: bc\r\n\r\n"]),
            two
        );
        assert_eq!(
            said(&[
                b"GET / HT",
                b"TP/1.1\r\nX-Ebb-Ho",
                b"st: a\r\n\r",
                b"\nGET / HTTP/1.1\r\nX-Ebb-Host: bc\r\n\r\n"
            ]),
            two
        );
    }

    #[test]
    fn what_is_not_utf8_is_there_all_the_same_and_breaks_no_head() {
        assert!(said(&[b"GET / HTTP/1.1\r\nX-Ebb-Host: \xff\r\n\r\n"]).ends_with("\r\n\r\n\u{fffd}"));
        let answer = Answer {
            status: 303,
            headers: vec![("Location", "/\r\nSet-Cookie: a".into())],
            body: String::new(),
        };
        assert_eq!(String::from_utf8(answer.bytes()).unwrap(), "HTTP/1.1 303 -\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn what_is_no_question_is_refused_and_the_connection_ended() {
        let refused = |text: &[u8]| said(&[text, b"GET / HTTP/1.1\r\n\r\n"]).get(9..12).map(str::to_owned);
        assert_eq!(refused(b"\x16\x03\x01 no http\r\n\r\n").as_deref(), Some("400"));
        assert_eq!(refused(b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").as_deref(), Some("400"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS + 1));
        assert_eq!(refused(many.as_bytes()).as_deref(), Some("431"));
        assert_eq!(said(&[b"GET / HTTP/1.1\r\nHost: a"]), "", "one that was never finished");
        assert_eq!(said(&[]), "");
    }

    #[test]
    fn a_head_without_end_is_not_kept() {
        let long = vec![b'a'; HEAD_BYTES];
        let head = [b"GET / HTTP/1.1\r\nCookie: ".as_slice(), &long].concat();
        assert!(matches!(take(&head, |_| Answer::default()), Taken::Refused(431)));
        assert!(matches!(take(&head[..HEAD_BYTES - 1], |_| Answer::default()), Taken::Unfinished));
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    const HEADS: &[&str] = &[
        "GET / HTTP/1.1\r\nX-Ebb-Host: 3000.demo\r\nX-Ebb-Uri: /a?b\r\nCookie: a=b\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.0\nx: y\n\n",
    ];

    proptest! {
        #[test]
        fn a_head_of_any_kind_is_answered_refused_or_waited_for(heard in bytes_like(HEADS)) {
            let echo = |question: &Question| Answer {
                headers: vec![("X-Said", question.header("X-Ebb-Host").unwrap_or_default().into_owned())],
                ..Answer::default()
            };
            match take(&heard, echo) {
                Taken::Answered { answer, length } => {
                    prop_assert!(length > 0 && length <= heard.len());
                    let answer = String::from_utf8(answer.bytes()).unwrap();
                    prop_assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{}", answer);
                }
                Taken::Refused(status) => prop_assert!((400..500).contains(&status)),
                Taken::Unfinished => {}
            }
        }
    }
}
