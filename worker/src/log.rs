//! Log lines: one JSON object each, on the runtime's console, where `wrangler tail` and Workers Logs find them.
//!
//! A line says what happened, and in fields what it happened to: `workspace.id`, `server.id`, `generation`,
//! `request.id`, `duration_ms`. Whoever logs sees to it that no secret, token or body is in the text or the fields.

use serde_json::{Map, Value};
use std::cell::Cell;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The rest.
    Debug,
    /// A lifecycle change, with its reason.
    Info,
    /// It recovered.
    Warn,
    /// Somebody should look.
    Error,
}

/// Fields whose values are numbers.
const NUMBERS: &[&str] = &["duration_ms", "generation", "server.id", "status"];

thread_local! {
    /// What is written; all of it until the configuration is read.
    static LEAST: Cell<Level> = const { Cell::new(Level::Info) };
}

impl Level {
    /// Reads the `LOG` variable; `info` where it says nothing we know.
    pub fn parse(text: &str) -> Self {
        match text {
            "debug" => Self::Debug,
            "warn" => Self::Warn,
            "error" => Self::Error,
            _ => Self::Info,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Leaves out lines that matter less.
pub fn set_least(level: Level) {
    LEAST.set(level);
}

/// Writes a line, where its level is written.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    if level < LEAST.get() {
        return;
    }
    let line = line(level, message, fields);
    match level {
        Level::Debug => worker::console_debug!("{line}"),
        Level::Info => worker::console_log!("{line}"),
        Level::Warn => worker::console_warn!("{line}"),
        Level::Error => worker::console_error!("{line}"),
    }
}

/// The line that [`write`] writes. Fields without a value are left out.
fn line(level: Level, message: &str, fields: &[(&str, &str)]) -> String {
    let mut object = Map::new();
    object.insert("level".to_owned(), level.as_str().into());
    object.insert("message".to_owned(), message.into());
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let number = NUMBERS.contains(name).then(|| value.parse::<u64>().ok()).flatten();
        object.insert((*name).to_owned(), number.map_or_else(|| Value::from(*value), Value::from));
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let line = line(Level::Warn, "a\n\"b\"", &[("workspace.id", "k3v7q2mzab"), ("cause", "")]);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(value["level"], "warn");
        assert_eq!(value["workspace.id"], "k3v7q2mzab");
        assert!(value.get("cause").is_none());
    }

    #[test]
    fn numbers_are_numbers_and_ids_are_texts() {
        let line =
            line(Level::Info, "x", &[("duration_ms", "17"), ("server.id", "4711"), ("request.id", "12")]);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["duration_ms"], &value["server.id"]), (&17.into(), &4711.into()));
        assert_eq!(value["request.id"], "12");
    }
}
