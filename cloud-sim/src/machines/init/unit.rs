//! Service units: the part of systemd's format that machines honour. Pure: text to values.
//!
//! Settings without a meaning here are listed rather than refused, as systemd does with what it does not know.

use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    pub description: String,
    pub kind: Kind,
    pub exec_start_pre: Vec<Exec>,
    pub exec_start: Vec<Exec>,
    pub environment: Vec<(String, String)>,
    pub environment_files: Vec<OptionalPath>,
    pub working_directory: Option<OptionalPath>,
    pub user: Option<String>,
    pub group: Option<String>,
    pub restart: Restart,
    pub restart_after: Duration,
    pub stop_timeout: Option<Duration>,
    pub kill_mode: KillMode,
    /// Below /run and /var/lib, owned by the service's user.
    pub runtime_directories: Vec<String>,
    pub runtime_directory_mode: u32,
    pub state_directories: Vec<String>,
    pub state_directory_mode: u32,
    pub remain_after_exit: bool,
    /// More starts than `.0` within `.1` are refused; `None` refuses none.
    pub start_limit: Option<(usize, Duration)>,
    pub wanted_by: Vec<String>,
    pub ignored: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Started once its program runs.
    Simple,
    /// Started once its programs have ended.
    Oneshot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    No,
    OnFailure,
    Always,
}

/// Which processes a stop ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillMode {
    ControlGroup,
    /// The main process is asked to end, the others are killed.
    Mixed,
    Process,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    pub words: Vec<String>,
    pub failure_ignored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionalPath {
    pub path: String,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{key}= cannot be read: {value}")]
    Value { key: String, value: String },
    #[error("it has no ExecStart=")]
    NothingToStart,
}

impl Default for Unit {
    fn default() -> Self {
        Self {
            description: String::new(),
            kind: Kind::Simple,
            exec_start_pre: Vec::new(),
            exec_start: Vec::new(),
            environment: Vec::new(),
            environment_files: Vec::new(),
            working_directory: None,
            user: None,
            group: None,
            restart: Restart::No,
            restart_after: Duration::from_millis(100),
            stop_timeout: Some(Duration::from_secs(90)),
            kill_mode: KillMode::ControlGroup,
            runtime_directories: Vec::new(),
            runtime_directory_mode: 0o755,
            state_directories: Vec::new(),
            state_directory_mode: 0o755,
            remain_after_exit: false,
            start_limit: Some((5, Duration::from_secs(10))),
            wanted_by: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

/// Reads a unit; drop-ins are simply further text. `name` stands for `%n`.
pub fn parse(name: &str, text: &str) -> Result<Unit, UnitError> {
    let mut unit = Unit::default();
    let (mut limit_burst, mut limit_interval) = (5, Some(Duration::from_secs(10)));
    let mut section = String::new();
    for line in logical_lines(text) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_owned();
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), specifiers(value.trim(), name));
        let unusable = || UnitError::Value { key: key.to_owned(), value: value.clone() };
        match (section.as_str(), key) {
            ("Unit", "Description") => unit.description = value,
            ("Unit", "StartLimitBurst") => limit_burst = value.parse().map_err(|_| unusable())?,
            ("Unit", "StartLimitIntervalSec") => {
                limit_interval =
                    duration(&value).ok_or_else(unusable)?.filter(|interval| !interval.is_zero());
            }
            ("Unit", "After" | "Before" | "Wants" | "Requires" | "Documentation") => {}
            ("Service", "Type") => {
                unit.kind = match value.as_str() {
                    "simple" | "exec" | "notify" | "idle" => Kind::Simple,
                    "oneshot" => Kind::Oneshot,
                    _ => return Err(unusable()),
                }
            }
            ("Service", "ExecStartPre") => list(&mut unit.exec_start_pre, exec(&value).ok_or_else(unusable)?),
            ("Service", "ExecStart") => list(&mut unit.exec_start, exec(&value).ok_or_else(unusable)?),
            ("Service", "Environment") => match shell_words::split(&value) {
                Ok(words) if words.is_empty() => unit.environment.clear(),
                Ok(words) => unit.environment.extend(words.iter().filter_map(|word| pair(word))),
                Err(_) => return Err(unusable()),
            },
            ("Service", "EnvironmentFile") => list(&mut unit.environment_files, optional_path(&value)),
            ("Service", "WorkingDirectory") => unit.working_directory = optional_path(&value),
            ("Service", "User") => unit.user = non_empty(value),
            ("Service", "Group") => unit.group = non_empty(value),
            ("Service", "Restart") => {
                unit.restart = match value.as_str() {
                    "no" | "" => Restart::No,
                    "always" => Restart::Always,
                    "on-failure" | "on-abnormal" | "on-abort" => Restart::OnFailure,
                    _ => return Err(unusable()),
                }
            }
            ("Service", "RestartSec") => {
                unit.restart_after = duration(&value).flatten().ok_or_else(unusable)?;
            }
            ("Service", "TimeoutStopSec" | "TimeoutSec") => {
                unit.stop_timeout = duration(&value).ok_or_else(unusable)?
            }
            ("Service", "KillMode") => {
                unit.kill_mode = match value.as_str() {
                    "control-group" => KillMode::ControlGroup,
                    "mixed" => KillMode::Mixed,
                    "process" | "none" => KillMode::Process,
                    _ => return Err(unusable()),
                }
            }
            ("Service", "RuntimeDirectory") => unit.runtime_directories = words(&value),
            ("Service", "RuntimeDirectoryMode") => {
                unit.runtime_directory_mode = mode(&value).ok_or_else(unusable)?
            }
            ("Service", "StateDirectoryMode") => {
                unit.state_directory_mode = mode(&value).ok_or_else(unusable)?
            }
            // They are kept until the machine is off, as with `yes`.
            ("Service", "RuntimeDirectoryPreserve") => {}
            ("Service", "StateDirectory") => unit.state_directories = words(&value),
            ("Service", "RemainAfterExit") => {
                unit.remain_after_exit = ["yes", "true", "on", "1"].contains(&&*value)
            }
            ("Install", "WantedBy") => unit.wanted_by.extend(words(&value)),
            (section, key) => unit.ignored.push(format!("[{section}] {key}")),
        }
    }
    unit.start_limit = limit_interval.map(|interval| (limit_burst, interval));
    if unit.exec_start.is_empty() { Err(UnitError::NothingToStart) } else { Ok(unit) }
}

/// Lines without comments and with continuations joined.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut continued = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) || (trimmed.is_empty() && !continued) {
            continue;
        }
        let (part, goes_on) = match trimmed.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (trimmed, false),
        };
        match lines.last_mut().filter(|_| continued) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        continued = goes_on;
    }
    lines
}

fn specifiers(value: &str, name: &str) -> String {
    value.replace("%n", name).replace("%N", name.trim_end_matches(".service")).replace("%%", "%")
}

/// Adds to a list; an empty assignment empties it.
fn list<T>(values: &mut Vec<T>, value: Option<T>) {
    match value {
        Some(value) => values.push(value),
        None => values.clear(),
    }
}

fn mode(value: &str) -> Option<u32> {
    u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777)
}

fn words(value: &str) -> Vec<String> {
    value.split_whitespace().map(str::to_owned).collect()
}

fn non_empty(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

pub fn pair(word: &str) -> Option<(String, String)> {
    word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn optional_path(value: &str) -> Option<OptionalPath> {
    let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
    (!path.is_empty()).then(|| OptionalPath { path: path.to_owned(), optional })
}

/// A command line; `Some(None)` is an empty one, `None` one that cannot be split.
#[expect(clippy::option_option, reason = "unreadable, empty and present are three things")]
fn exec(value: &str) -> Option<Option<Exec>> {
    let line = value.trim_start_matches(['-', '@', ':', '+', '!']);
    let prefix = &value[..value.len() - line.len()];
    let words = shell_words::split(line).ok()?;
    Some((!words.is_empty()).then(|| Exec { words, failure_ignored: prefix.contains('-') }))
}

/// A time span such as `5`, `1min 30s` or `100ms`; `Some(None)` is `infinity`.
#[expect(clippy::option_option, reason = "unreadable, endless and finite are three things")]
fn duration(value: &str) -> Option<Option<Duration>> {
    if value == "infinity" {
        return Some(None);
    }
    let mut total = Duration::ZERO;
    let mut rest = value.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let tail = tail.trim_start();
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1.0,
            "ms" | "msec" => 0.001,
            "us" | "usec" => 0.000_001,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hour" | "hours" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = tail.trim_start();
    }
    Some(Some(total))
}

/// Replaces `${NAME}` inside words and `$NAME` as a whole word, which may become several words or none.
pub fn expand(words: &[String], environment: &[(String, String)]) -> Vec<String> {
    let value = |name: &str| {
        environment.iter().rev().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    };
    let mut expanded = Vec::new();
    for word in words {
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
            expanded.extend(value(name).split_whitespace().map(str::to_owned));
            continue;
        }
        let (mut done, mut rest) = (String::new(), word.as_str());
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, tail)) = after.split_once('}') else { break };
            done.push_str(before);
            done.push_str(value(name));
            rest = tail;
        }
        done.push_str(rest);
        expanded.push(done.replace("$$", "$"));
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usual_unit_is_read() {
        let unit = parse(
            "demo.service",
            "# comment\n[Unit]\nDescription=Demo %n\nAfter=network.target\nStartLimitIntervalSec=0\n\
             [Service]\nType=notify\nEnvironment=A=1 \"B=two words\"\nEnvironmentFile=-/etc/default/demo\n\
             ExecStartPre=-/bin/mkdir -p /run/x\nExecStart=/usr/bin/demo --flag \"a b\" \\\n  --next ${A}\n\
             Restart=always\nRestartSec=1min 500ms\nUser=dev\nWorkingDirectory=/srv\nProtectHome=yes\n\
             StateDirectory=demo\nStateDirectoryMode=0700\n\
             [Install]\nWantedBy=multi-user.target\n",
        )
        .unwrap();
        assert_eq!(unit.description, "Demo demo.service");
        assert_eq!(unit.exec_start[0].words, ["/usr/bin/demo", "--flag", "a b", "--next", "${A}"]);
        assert!(unit.exec_start_pre[0].failure_ignored);
        assert_eq!(unit.environment[1], ("B".into(), "two words".into()));
        assert_eq!(
            unit.environment_files[0],
            OptionalPath { path: "/etc/default/demo".into(), optional: true }
        );
        assert_eq!((unit.restart, unit.restart_after), (Restart::Always, Duration::from_millis(60_500)));
        assert_eq!(unit.start_limit, None);
        assert_eq!((unit.state_directories[0].as_str(), unit.state_directory_mode), ("demo", 0o700));
        assert_eq!(unit.wanted_by, ["multi-user.target"]);
        assert_eq!(unit.ignored, ["[Service] ProtectHome"]);
    }

    #[test]
    fn an_empty_assignment_empties_a_list() {
        let unit = parse("a", "[Service]\nExecStart=/bin/a\nExecStart=\nExecStart=/bin/b\n").unwrap();
        assert_eq!(unit.exec_start.len(), 1);
        assert_eq!(parse("a", "[Service]\nType=oneshot\n"), Err(UnitError::NothingToStart));
        assert!(matches!(parse("a", "[Service]\nRestart=perhaps\n"), Err(UnitError::Value { .. })));
    }

    #[test]
    fn variables_are_put_into_command_lines() {
        let environment = [("A".to_owned(), "1".to_owned()), ("L".to_owned(), "x  y".to_owned())];
        let expanded =
            |words: &[&str]| expand(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), &environment);
        assert_eq!(
            expanded(&["p", "--a=${A}", "$L", "${L}", "$NONE", "100$$"]),
            ["p", "--a=1", "x", "y", "x  y", "100$"]
        );
    }

    #[test]
    fn time_spans_are_read() {
        assert_eq!(duration("5"), Some(Some(Duration::from_secs(5))));
        assert_eq!(duration("1.5s"), Some(Some(Duration::from_millis(1500))));
        assert_eq!(duration("infinity"), Some(None));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration(""), None);
    }
}
