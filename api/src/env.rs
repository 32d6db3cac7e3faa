//! A workspace's environment: variables that its machines set, stored sealed and never shown again.
//!
//! What a set of variables may be is said here once, for the checks, the document and whoever asks.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most variables.
pub const MOST: usize = 64;
/// Longest name, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest value, in bytes.
pub const VALUE_MAX: usize = 16 * 1024;
/// Names that would change how programs of the machine start, rather than what they know.
pub const RESERVED: &[&str] = &["LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PATH", "HOME", "USER", "SHELL"];

/// The body of `PUT /v1/workspaces/{id}/env`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SetEnv {
    /// All variables from now on, in the place of those that there were; `{}` or `null` for none.
    // Named, so that a field that is absent is no `None`: an empty body must not end an environment.
    #[serde(deserialize_with = "Option::deserialize")]
    #[cfg_attr(feature = "openapi", schema(required = true, schema_with = schema_or_null))]
    pub env: Option<BTreeMap<String, String>>,
}

impl std::fmt::Debug for SetEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.env.as_ref().map(|env| env.keys().collect::<Vec<_>>());
        f.debug_struct("SetEnv").field("names", &names).finish_non_exhaustive()
    }
}

/// The answer: an environment without its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Env {
    /// Names of the variables, in order.
    pub names: Vec<String>,
    /// From when on they are set, a sentence.
    pub applies: String,
}

/// As the document describes an environment.
#[cfg(feature = "openapi")]
pub fn schema() -> utoipa::openapi::schema::Object {
    described(utoipa::openapi::schema::Type::Object.into())
}

#[cfg(feature = "openapi")]
fn schema_or_null() -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{SchemaType, Type};
    described(SchemaType::from_iter([Type::Object, Type::Null]))
}

/// What the name of a variable matches.
#[cfg(feature = "openapi")]
pub(crate) fn name_pattern() -> String {
    let length = NAME_MAX.saturating_sub(1);
    format!("^(?!({})$)[A-Za-z_][A-Za-z0-9_]{{0,{length}}}$", RESERVED.join("|"))
}

#[cfg(feature = "openapi")]
fn described(of: utoipa::openapi::schema::SchemaType) -> utoipa::openapi::schema::Object {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(name_pattern()));
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(VALUE_MAX))
        .pattern(Some("^[^\\u0000]*$"));
    ObjectBuilder::new()
        .schema_type(of)
        .property_names(Some(name))
        .additional_properties(Some(value))
        .max_properties(Some(MOST))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<SetEnv, String> {
        serde_json::from_str(body).map_err(|error| error.to_string())
    }

    #[test]
    fn an_environment_ends_by_word_alone() {
        assert_eq!(read(r#"{"env":null}"#).unwrap().env, None);
        assert_eq!(read(r#"{"env":{}}"#).unwrap().env, Some(BTreeMap::new()));
        assert!(read("{}").unwrap_err().contains("missing field `env`"));
        assert!(read(r#"{"env":{},"x":1}"#).unwrap_err().contains("unknown field `x`"));
    }

    #[test]
    fn values_do_not_show_in_debug_output() {
        let set = read(r#"{"env":{"TOKEN":"hunter2"}}"#).unwrap();
        assert!(!format!("{set:?}").contains("hunter2"));
    }
}
