//! Installing packages on a machine on which others install too, whose last installation may have been cut off, and whose
//! mirror may be away: what to run, in which order, and what apt's words mean. Acts through [`Tools`] alone.
//!
//! Must never give up because of a lock while the step has time: whoever holds it lets go.

use crate::os::command::RunError;
use std::time::Duration;

/// Pause between two looks at a lock.
const AGAIN: Duration = Duration::from_secs(3);
/// How often it is told how long that has been.
const SAID_EVERY_SECS: u64 = 30;
/// How apt and dpkg say that somebody else is at work.
const LOCKED: [&str; 5] = [
    "Could not get lock",
    "Unable to lock",
    "Unable to acquire the dpkg frontend lock",
    "frontend lock was locked by another process",
    "database lock was locked by another process",
];
/// Options of every call: three tries for each download, and a short wait for dpkg's own lock, after which we say so.
const OPTIONS: [&str; 5] = ["-q", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=10"];

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Whether it did what it was to do.
    pub well: bool,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// What installing takes.
pub trait Tools {
    /// Runs a program to its end, or to the end of the step's time.
    ///
    /// # Errors
    /// It has no end of its own; where time is up, there is none left.
    fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, RunError>;
    /// What is left of the step's time.
    fn left(&self) -> Duration;
    /// Lets time pass.
    fn wait(&mut self, pause: Duration);
    /// What is waited for, for people who watch.
    fn tell(&mut self, text: &str);
    /// What went wrong and is borne, for the log.
    fn warn(&mut self, text: &str);
}

/// Installs packages. First with the lists that are there: they are brought up to date only where that does not do.
///
/// # Errors
/// Why they are not installed, for people.
pub fn install(packages: &[&str], tools: &mut dyn Tools) -> Result<(), String> {
    let mut updated = false;
    loop {
        // An installation that was cut off keeps all others from beginning.
        let mended = unlocked("dpkg", &["--configure", "-a"], tools)?;
        if !mended.well {
            tools.warn(&format!("an earlier installation cannot be completed: {}", last(&mended)));
        }
        let install =
            [&OPTIONS[..], &["install", "-y", "--fix-broken", "--no-install-recommends", "--"], packages]
                .concat();
        let installed = unlocked("apt-get", &install, tools)?;
        if installed.well {
            return Ok(());
        }
        if updated {
            return Err(format!("apt-get install failed: {}", last(&installed)));
        }
        updated = true;
        update(tools)?;
    }
}

/// Brings the lists of packages up to date, as far as mirrors answer.
///
/// # Errors
/// It cannot be tried, or somebody else is at it all the time.
pub fn update(tools: &mut dyn Tools) -> Result<(), String> {
    tools.tell("bringing the lists of packages up to date");
    let update = unlocked("apt-get", &[&OPTIONS[..], &["update"]].concat(), tools)?;
    if !update.well {
        // One mirror of several may be away or stale; what is needed may be had all the same.
        tools.warn(&format!(
            "apt-get update failed, going on with the lists that are there: {}",
            last(&update)
        ));
    }
    Ok(())
}

/// Runs a program, again and again while somebody else's work keeps it from beginning.
fn unlocked(program: &str, arguments: &[&str], tools: &mut dyn Tools) -> Result<Said, String> {
    let mut waited = 0;
    loop {
        let said = tools.run(program, arguments).map_err(|error| error.to_string())?;
        let lock = said.tail.iter().find(|line| LOCKED.iter().any(|words| line.contains(words)));
        let Some(lock) = lock.filter(|_| !said.well) else { return Ok(said) };
        if tools.left() <= AGAIN {
            return Err(format!("another installation did not end: {lock}"));
        }
        // Each half minute is news: a boot that says nothing new for long is taken for one that hangs.
        let so_far = ebbtide_api::text::seconds(waited / SAID_EVERY_SECS * SAID_EVERY_SECS);
        tools.tell(&format!("waiting for another installation, {so_far} so far: {lock}"));
        waited += AGAIN.as_secs();
        tools.wait(AGAIN);
    }
}

fn last(said: &Said) -> &str {
    let error =
        said.tail.iter().rev().find(|line| line.starts_with("E: ") || line.starts_with("dpkg: error"));
    error.or_else(|| said.tail.last()).map_or("it said nothing", String::as_str)
}

/// Whether a line of apt's or dpkg's only moves a meter, such as `(Reading database ... 5%`.
pub fn is_meter(line: &str) -> bool {
    let Some((_, behind)) = line.rsplit_once("... ") else { return false };
    let digits = behind.trim_end().trim_end_matches('%');
    behind.contains('%') && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A machine that answers as planned, with a clock of its own.
    struct Planned {
        answers: VecDeque<(&'static str, Option<&'static str>)>,
        left: Duration,
        log: Vec<String>,
    }

    impl Tools for Planned {
        fn run(&mut self, program: &str, arguments: &[&str]) -> Result<Said, RunError> {
            let verb = arguments.iter().find(|word| ["install", "update", "--configure"].contains(word));
            let verb = format!("{program} {}", verb.unwrap_or(&""));
            self.log.push(verb.clone());
            // What is not planned goes well.
            let planned = self.answers.front().is_some_and(|(wanted, _)| *wanted == verb);
            let failure =
                if planned { self.answers.pop_front().and_then(|(_, failure)| failure) } else { None };
            Ok(Said { well: failure.is_none(), tail: failure.into_iter().map(str::to_owned).collect() })
        }

        fn left(&self) -> Duration {
            self.left
        }

        fn wait(&mut self, pause: Duration) {
            self.left = self.left.saturating_sub(pause);
        }

        fn tell(&mut self, text: &str) {
            self.log.push(format!("[{text}]"));
        }

        fn warn(&mut self, text: &str) {
            self.log.push(format!("({text})"));
        }
    }

    fn install_with(
        answers: &[(&'static str, Option<&'static str>)],
        secs: u64,
    ) -> (Result<(), String>, Vec<String>) {
        let answers = answers.iter().copied().collect();
        let mut tools = Planned { answers, left: Duration::from_secs(secs), log: vec![] };
        (install(&["git"], &mut tools), tools.log)
    }

    #[test]
    fn with_lists_that_do_nothing_is_brought_up_to_date() {
        let (done, log) = install_with(&[], 900);
        assert_eq!((done, log.join("\n")), (Ok(()), "dpkg --configure\napt-get install".to_owned()));
    }

    #[test]
    fn a_lock_is_waited_for_as_long_as_there_is_time_and_its_holder_is_told() {
        const LOCK: &str =
            "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 512 (apt-get)";
        let held = [("apt-get install", Some(LOCK)); 100];
        let (done, log) = install_with(&held, 900);
        assert_eq!(done, Ok(()));
        assert_eq!(log.iter().filter(|line| line.contains("held by process 512")).count(), 100);
        let told: std::collections::BTreeSet<_> = log.iter().filter(|line| line.starts_with('[')).collect();
        assert_eq!(told.len(), 10, "something new every half minute of five: {told:?}");
        let held = [("apt-get install", Some(LOCK)); 400];
        assert_eq!(
            install_with(&held, 900).0.unwrap_err(),
            format!("another installation did not end: {LOCK}")
        );
        let dpkg = "dpkg: error: dpkg frontend lock was locked by another process with pid 9";
        let (done, log) = install_with(&[("dpkg --configure", Some(dpkg))], 900);
        assert_eq!((done, log.len()), (Ok(()), 4));
    }

    #[test]
    fn what_is_not_listed_or_stale_brings_an_update_and_a_mirror_that_is_away_is_borne() {
        let unknown = ("apt-get install", Some("E: Unable to locate package git"));
        let (done, log) = install_with(&[unknown], 900);
        assert_eq!(done, Ok(()));
        insta::assert_snapshot!(log.join("\n"), @r"
        dpkg --configure
        apt-get install
        [bringing the lists of packages up to date]
        apt-get update
        dpkg --configure
        apt-get install
        ");
        let away = ("apt-get update", Some("E: Failed to fetch http://m/InRelease  404  Not Found"));
        let (done, log) = install_with(&[unknown, away], 900);
        assert_eq!(done, Ok(()));
        assert!(log.iter().any(|line| line.contains("going on with the lists that are there")), "{log:?}");
        let (done, _) = install_with(&[unknown, away, unknown], 900);
        assert_eq!(done.unwrap_err(), "apt-get install failed: E: Unable to locate package git");
    }

    #[test]
    fn meters_are_told_from_what_is_worth_reading() {
        for line in ["(Reading database ... 5%", "(Reading database ... 100%", "Reading package lists... 7%"]
        {
            assert!(is_meter(line), "{line}");
        }
        for line in [
            "(Reading database ... 25711 files and directories currently installed.)",
            "Reading package lists...",
            "Setting up git (1:2.39.5-0+deb12u2) ...",
            "",
        ] {
            assert!(!is_meter(line), "{line}");
        }
    }
}
