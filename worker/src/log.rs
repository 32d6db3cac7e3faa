//! Log lines: one JSON object each, on the runtime's console, where `wrangler tail` and Workers Logs find them.
//!
//! Whoever logs sees to it that no secret, token or body is in the text or the fields.

use serde_json::{Map, Value};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The rest.
    Debug,
    /// A lifecycle change, or a request, with its reason.
    Info,
    /// It recovered.
    Warn,
    /// Somebody should look.
    Error,
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

/// Writes a line.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let line = line(level, message, fields);
    match level {
        Level::Debug => worker::console_debug!("{line}"),
        Level::Info => worker::console_log!("{line}"),
        Level::Warn => worker::console_warn!("{line}"),
        Level::Error => worker::console_error!("{line}"),
    }
}

/// The line that [`write`] writes.
fn line(level: Level, message: &str, fields: &[(&str, &str)]) -> String {
    let mut object = Map::new();
    object.insert("level".to_owned(), level.as_str().into());
    object.insert("message".to_owned(), message.into());
    for (name, value) in fields {
        object.insert((*name).to_owned(), (*value).into());
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let line = line(Level::Warn, "a\n\"b\"", &[("workspace.id", "k3v7q2mzab")]);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(value["level"], "warn");
        assert_eq!(value["workspace.id"], "k3v7q2mzab");
    }
}
