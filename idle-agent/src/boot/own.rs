//! What users set up by themselves, again at each wake: the Debian packages that they listed, and a script of theirs.
//!
//! Both are files of the home directory, so they come back with it. Neither may keep a machine from becoming ready.

use super::packages::{self, Tools};
use super::steps::MachineTools;
use super::{Boot, Reporter, StepError, Success};
use crate::os::atomic_file;
use crate::os::clock::Moment;
use crate::os::command::run;
use crate::os::service::work_of;
use crate::os::users;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most packages that are taken from a list.
const MOST: usize = 300;
/// Longest list that is read, in bytes.
const LIST_BYTES: u64 = 64 << 10;
/// The script, below the home directory.
const SCRIPT: &str = ".ebbtide/setup.sh";

/// The list of a home directory: a name a line, `#` begins a remark.
pub fn list_of(home: &Path) -> PathBuf {
    home.join(".ebbtide/packages")
}

/// Whether a text can be the name of a Debian package (Policy, 5.6.1), so that apt takes it for nothing else.
pub fn is_package(name: &str) -> bool {
    let usual = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    (2..=100).contains(&name.len())
        && name.bytes().all(usual)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        // To apt it is the wish to remove another.
        && !name.ends_with('-')
}

/// The packages of a list in its order, and the lines that name none.
pub fn parse(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut seen = BTreeSet::new();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let named = lines.filter(|name| !name.is_empty() && seen.insert(*name));
    named.partition(|name| is_package(name))
}

impl Boot {
    pub(super) fn install_own_packages(
        &self,
        user: &str,
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Result<Success, StepError> {
        let list = list_of(Path::new(&self.user(user)?.home));
        let text = match read_list(&list) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Success::NothingToDo("none are listed".to_owned()));
            }
            Err(error) => return Ok(Success::Warned(format!("{}: {error}", list.display()))),
        };
        let (mut names, unusable) = parse(&text);
        let beyond = names.len().saturating_sub(MOST);
        names.truncate(MOST);
        if names.is_empty() && unusable.is_empty() {
            return Ok(Success::NothingToDo("none are listed".to_owned()));
        }
        if !users::is_root() {
            return Ok(Success::Warned("only root can install packages".to_owned()));
        }
        let mut tools = MachineTools { status: &self.status, reporter, end: Moment::now().plus(limit) };
        let missing = install(&names, &mut tools);
        let words = outcome(names.len(), &missing, unusable.len(), beyond);
        let all = missing.is_empty() && unusable.is_empty() && beyond == 0;
        Ok(if all { Success::Done(Some(words)) } else { Success::Warned(words) })
    }

    /// Runs as the user, with the variables of terminals, in the slice of what is the user's.
    pub(super) fn run_setup(
        &self,
        name: &str,
        limit: Duration,
        reporter: &Reporter<'_>,
    ) -> Result<Success, StepError> {
        let user = self.user(name)?;
        if !Path::new(&user.home).join(SCRIPT).is_file() {
            return Ok(Success::NothingToDo(format!("there is no ~/{SCRIPT}")));
        }
        // What it does may end this daemon, or the machine: begun is done, or it would begin again and again.
        let begun = self.places.state.join("setup-begun");
        if begun.exists() {
            return Ok(Success::Warned(format!("~/{SCRIPT} was cut off; it runs again at the next wake")));
        }
        atomic_file::write(&begun, b"", 0o600).map_err(StepError::passing)?;
        let mut command = work_of("bash", &user);
        // The file of variables is the first argument: it stands in no shell text.
        let text = format!(
            "set -a; [ -r \"$0\" ] && . \"$0\"; set +a; cd; [ -x {SCRIPT} ] && exec ./{SCRIPT}; exec bash {SCRIPT}"
        );
        command.current_dir("/").args(["-l", "-c", &text]).arg(self.places.env());
        let ended = run(command, limit, &mut |line| reporter.said(line));
        let words = match ended {
            Ok(ended) if ended.status.success() => return Ok(Success::Done(None)),
            Ok(ended) => {
                format!("~/{SCRIPT} failed: {}", ended.tail.last().map_or("it said nothing", String::as_str))
            }
            Err(error) => format!("~/{SCRIPT}: {error}"),
        };
        Ok(Success::Warned(words))
    }
}

/// A list of the user's own making: neither a link, which may lead to what only root reads or to what never ends, nor a
/// pipe, which would hold the boot up.
fn read_list(path: &Path) -> std::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut text = String::new();
    if file.metadata()?.is_file() && file.take(LIST_BYTES + 1).read_to_string(&mut text)? as u64 <= LIST_BYTES
    {
        return Ok(text);
    }
    Err(std::io::Error::other("is no list of packages, or longer than 64 KiB"))
}

/// Installs all at once, or those that can be had one by one; names those that cannot.
fn install<'a>(names: &[&'a str], tools: &mut dyn Tools) -> Vec<&'a str> {
    if names.is_empty() {
        return Vec::new();
    }
    tools.tell(&format!("installing {}", names.join(", ")));
    if packages::install(names, tools).is_ok() {
        return Vec::new();
    }
    names
        .iter()
        .filter(|name| {
            let done = !tools.left().is_zero() && packages::install(&[name], tools).is_ok();
            !done
        })
        .copied()
        .collect()
}

fn outcome(listed: usize, missing: &[&str], unusable: usize, beyond: usize) -> String {
    let mut words = vec![format!("{} of {listed} are there", listed - missing.len())];
    if !missing.is_empty() {
        words.push(format!("could not be installed: {}", missing.join(", ")));
    }
    if unusable > 0 {
        words.push(format!("~/.ebbtide/packages names {unusable} that cannot be packages"));
    }
    if beyond > 0 {
        words.push(format!("{beyond} more are listed than the {MOST} that are taken"));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::packages::Said;
    use super::*;
    use crate::os::command::RunError;

    #[test]
    fn a_list_is_names_remarks_and_nothing_that_apt_takes_for_something_else() {
        let text = "ripgrep\n  fd-find # quick\n\n# all of it\nripgrep\ng++\n-y\npython3-\nFoo\na\n../x\nx y\nlib.so=1\n";
        let (names, unusable) = parse(text);
        assert_eq!(names, ["ripgrep", "fd-find", "g++"]);
        assert_eq!(unusable, ["-y", "python3-", "Foo", "a", "../x", "x y", "lib.so=1"]);
    }

    #[test]
    fn a_list_is_a_file_of_its_own_and_nothing_that_leads_elsewhere_or_never_ends() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("packages");
        let refused = || read_list(&list).unwrap_err().to_string();
        std::fs::write(&list, "jq\n").unwrap();
        assert_eq!(read_list(&list).unwrap(), "jq\n");
        std::fs::write(&list, "x".repeat(65 << 10)).unwrap();
        assert!(refused().contains("longer than 64 KiB"), "{}", refused());
        std::fs::remove_file(&list).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &list).unwrap();
        assert!(read_list(&list).is_err(), "a link");
        std::fs::remove_file(&list).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &list, rustix::fs::FileType::Fifo, Mode::from(0o600), 0)
            .unwrap();
        assert!(refused().contains("no list"), "{}", refused());
    }

    /// An apt that knows some packages.
    struct Apt {
        known: Vec<&'static str>,
        calls: Vec<String>,
        left: Duration,
    }

    impl Tools for Apt {
        fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, RunError> {
            let asked: Vec<&str> =
                arguments.iter().skip_while(|word| **word != "--").skip(1).copied().collect();
            if program == "apt-get" && !asked.is_empty() {
                self.calls.push(asked.join(" "));
            }
            Ok(Said { well: asked.iter().all(|name| self.known.contains(name)), tail: Vec::new() })
        }
        fn left(&self) -> Duration {
            self.left
        }
        fn wait(&mut self, _: Duration) {}
        fn tell(&mut self, _: &str) {}
        fn warn(&mut self, _: &str) {}
    }

    #[test]
    fn one_package_that_is_gone_keeps_no_other_away() {
        let apt = |known: &[&'static str]| Apt {
            known: known.into(),
            calls: Vec::new(),
            left: Duration::from_secs(9),
        };
        let mut all = apt(&["jq", "fd-find"]);
        assert!(install(&["jq", "fd-find"], &mut all).is_empty());
        assert_eq!(all.calls, ["jq fd-find"], "at once");
        let mut some = apt(&["jq", "fd-find"]);
        assert_eq!(install(&["jq", "gone", "fd-find"], &mut some), ["gone"]);
        assert_eq!(
            outcome(3, &["gone"], 1, 4),
            "2 of 3 are there; could not be installed: gone; ~/.ebbtide/packages names 1 that cannot be packages; 4 more \
             are listed than the 300 that are taken"
        );
        let mut late = Apt { left: Duration::ZERO, ..apt(&["jq"]) };
        assert_eq!(install(&["jq", "gone"], &mut late), ["jq", "gone"], "no time is left to try each");
    }
}
