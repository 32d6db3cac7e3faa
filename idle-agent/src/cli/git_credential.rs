//! `ebb git-credential`: what git runs where a host wants to know who asks (gitcredentials(7)). The daemon is asked, and
//! asks the control plane. Where there is nothing, nothing is said: git goes on as if this were not here.

use crate::boot::NO_ANSWER;
use crate::control_socket::{Reply, Request, ask};
use ebbtide_api::vm::GitCredential;
use std::io::{BufRead, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// Longest description that is read.
const LINES: usize = 100;

/// Answers `get`; everything else is not for us.
pub(super) fn main(operation: &str, socket: &Path) -> ExitCode {
    if operation != "get" {
        return ExitCode::SUCCESS;
    }
    let Some(asked) = read(std::io::stdin().lock()) else { return ExitCode::SUCCESS };
    match ask(socket, &asked) {
        Ok(Reply::GitCredential(Some(found))) => {
            // Git says of a pipe that it closed what it needs.
            let _ = std::io::stdout().write_all(said(&found).as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Reply::GitCredential(None)) => ExitCode::SUCCESS,
        Ok(Reply::Error(error)) => no_answer(&error),
        Ok(_) => no_answer("the idle-agent is another version"),
        Err(error) => no_answer(&error.to_string()),
    }
}

fn no_answer(why: &str) -> ExitCode {
    eprintln!("{NO_ANSWER}: {why}");
    ExitCode::FAILURE
}

/// Reads what git wants, `key=value` lines up to an empty one; nothing where it is not about a web host, or git knows the
/// password already.
fn read(input: impl BufRead) -> Option<Request> {
    let (mut protocol, mut host) = (None, None);
    let lines = input.lines().map_while(Result::ok).take(LINES).take_while(|line| !line.is_empty());
    for line in lines {
        match line.split_once('=')? {
            ("protocol", value) => protocol = Some(value.to_owned()),
            ("host", value) => host = Some(value.to_owned()),
            ("password", _) => return None,
            _ => {}
        }
    }
    let protocol = protocol.filter(|protocol| ["http", "https"].contains(&protocol.as_str()))?;
    Some(Request::GitCredential { protocol, host: host.filter(|host| !host.is_empty())? })
}

/// As git reads it; nothing where a line break would make something else of it.
fn said(found: &GitCredential) -> String {
    let GitCredential { username, password } = found;
    if [username, password].iter().any(|text| text.contains(['\n', '\0'])) {
        return String::new();
    }
    format!("username={username}\npassword={password}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_wants_is_read_and_nothing_else_is_answered() {
        let asked = |text: &str| match read(text.as_bytes()) {
            Some(Request::GitCredential { protocol, host }) => format!("{protocol}://{host}"),
            _ => "nothing".to_owned(),
        };
        assert_eq!(
            asked("protocol=https\nhost=h:8443\npath=a\nwwwauth[]=Basic realm=\"x\"\n\n"),
            "https://h:8443"
        );
        for text in [
            "",
            "protocol=https\n",
            "host=h\n",
            "protocol=ssh\nhost=h\n",
            "protocol=https\nhost=\n",
            "protocol=https\nhost=h\npassword=x\n",
            "protocol=https\n\nhost=h\n",
            "nonsense",
        ] {
            assert_eq!(asked(text), "nothing", "{text}");
        }
    }

    #[test]
    fn an_answer_is_two_lines_whatever_the_control_plane_says() {
        let found = |password: &str| GitCredential { username: "u".into(), password: password.into() };
        assert_eq!(said(&found("p=q")), "username=u\npassword=p=q\n");
        assert_eq!(said(&found("p\nhost=evil")), "");
    }
}
