//! What an operation takes of the path, the query and the headers, as strictly as the Worker reads it.

use crate::Duration;
use crate::ports::PORTS_RESERVED;
use serde_json::{Value, json};

/// A parameter of the query, or a header.
#[derive(Clone, Copy)]
pub struct Parameter {
    /// `query` or `header`.
    place: &'static str,
    name: &'static str,
    description: &'static str,
    form: Form,
}

/// Which texts it takes.
#[derive(Clone, Copy)]
pub enum Form {
    /// Any.
    Text,
    /// A whole number between these, both included.
    Whole(u64, u64),
    /// One of these.
    OneOf(fn() -> Vec<&'static str>),
    /// What a regular expression matches.
    Matching(&'static str),
    /// A [`Duration`].
    Duration,
    /// A TCP port that may answer at a name.
    Port,
}

impl Parameter {
    /// Of the query.
    pub const fn query(name: &'static str, form: Form, description: &'static str) -> Self {
        Self { place: "query", name, description, form }
    }

    /// A header.
    pub const fn header(name: &'static str, form: Form, description: &'static str) -> Self {
        Self { place: "header", name, description, form }
    }

    pub(super) fn describe(&self) -> Value {
        let Self { place, name, description, form } = self;
        json!({ "name": name, "in": place, "description": description, "schema": form.schema() })
    }
}

impl Form {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Whole(least, most) => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Self::OneOf(texts) => json!({ "type": "string", "enum": texts() }),
            Self::Matching(pattern) => json!({ "type": "string", "pattern": pattern }),
            Self::Duration => json!({ "type": "string", "pattern": Duration::PATTERN, "maxLength": 64 }),
            Self::Port => {
                json!({ "type": "integer", "minimum": 1, "maximum": 65535, "not": { "enum": PORTS_RESERVED } })
            }
        }
    }
}

/// Describes a variable part of a path.
pub(super) fn of_path(name: &str) -> Value {
    let form = match name {
        "id" => Form::Matching("^[a-z2-7]{10}$"),
        "hold" | "link" => Form::Matching("^[0-9A-Za-z-]{1,64}$"),
        "secret" | "ssh_key" => Form::Matching(crate::secrets::NAME_PATTERN),
        "key" => Form::Matching("^[0-9A-Za-z]{1,32}$"),
        "port" => Form::Port,
        "sha256" => Form::Matching("^[0-9a-f]{64}$"),
        "name" => Form::OneOf(crate::programs::known),
        _ => Form::Text,
    };
    json!({ "name": name, "in": "path", "required": true, "schema": form.schema() })
}
