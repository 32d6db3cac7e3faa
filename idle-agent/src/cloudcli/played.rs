//! A server that plays CloudCLI: it gives the answers that it was given, one after the other, and tells what was asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// One request.
#[derive(Debug, Default)]
pub struct Asked {
    pub path: String,
    /// `Authorization`.
    pub authorization: String,
    pub body: String,
}

/// Answers so many requests with these statuses and texts, each on a connection of its own; on which port, and what was
/// asked.
pub fn play(answers: Vec<(u16, &'static str)>) -> (u16, JoinHandle<Vec<Asked>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::thread::spawn(move || {
        let answer = |(status, text)| answer(&listener.accept().unwrap().0, status, text);
        answers.into_iter().map(answer).collect()
    });
    (port, asked)
}

fn answer(mut stream: &TcpStream, status: u16, text: &str) -> Asked {
    let mut reader = BufReader::new(stream);
    let (mut asked, mut length, mut line) = (Asked::default(), 0, String::new());
    reader.read_line(&mut line).unwrap();
    asked.path = line.split(' ').nth(1).unwrap().to_owned();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
            Some((name, value)) if name == "authorization" => asked.authorization = value.to_owned(),
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            Some(_) | None => {}
        }
    }
    reader.take(length).read_to_string(&mut asked.body).unwrap();
    write!(
        stream,
        "HTTP/1.1 {status} -\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
    .unwrap();
    asked
}
