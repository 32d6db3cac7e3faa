//! Request bodies as JSON: read into a checked type, or refused with the field and the place named.
//!
//! The content type is not looked at: a body either is the JSON we want or it is refused for what is wrong with it.

use crate::error::{ApiError, ApiResult};
use ebbtide_api::ErrorCode;
use serde::de::DeserializeOwned;

/// Largest JSON body, in bytes. A create request with 64 environment values fits many times over.
pub const BODY_MAX: usize = 64 * 1024;

/// Reads a body; an empty one counts as `{}`.
///
/// # Errors
/// `bad_json` where it is no JSON object, `unknown_field` or `invalid_field` where it is one that says something
/// unusable.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> ApiResult<T> {
    let body = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'{') {
        // Otherwise `[]` would be read as an object whose fields all have their defaults.
        let read = serde_json::from_slice::<serde::de::IgnoredAny>(body);
        return Err(match read {
            Ok(_) => ApiError::new(ErrorCode::BadJson, "the body is JSON, but not an object"),
            Err(error) => refuse("", &error),
        });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        refuse(&path, error.inner())
    })?;
    deserializer.end().map_err(|error| refuse("", &error))?;
    Ok(read)
}

fn refuse(path: &str, error: &serde_json::Error) -> ApiError {
    use serde_json::error::Category;
    let place = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Category::Data => {
            let text = error.to_string();
            let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
            if let Some(rest) = text.strip_prefix("unknown field ") {
                return ApiError::new(ErrorCode::UnknownField, format!("unknown field {rest} ({place})"));
            }
            let at = if path == "." { String::new() } else { format!("{path}: ") };
            ApiError::new(ErrorCode::InvalidField, format!("{at}{text} ({place})"))
        }
        Category::Eof => ApiError::new(ErrorCode::BadJson, format!("the body ends too early, at {place}")),
        Category::Syntax | Category::Io => {
            let text = error.to_string();
            let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
            ApiError::new(ErrorCode::BadJson, format!("the body is no JSON: {text}, at {place}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::workspace::{CreateHold, CreateWorkspace, PatchWorkspace};

    fn check<T: DeserializeOwned + std::fmt::Debug>(body: &str, wanted: &str) {
        let refusal = parse::<T>(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.to_string(), wanted, "{body}");
    }

    #[test]
    fn an_empty_body_is_an_empty_object() {
        assert_eq!(parse::<PatchWorkspace>(b" \n").unwrap(), PatchWorkspace::default());
        assert_eq!(parse::<PatchWorkspace>(b"").unwrap(), PatchWorkspace::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        check::<PatchWorkspace>("{", "bad_json: the body ends too early, at line 1, column 1");
        check::<PatchWorkspace>("[1]", "bad_json: the body is JSON, but not an object");
        check::<CreateWorkspace>("[]", "bad_json: the body is JSON, but not an object");
        check::<CreateWorkspace>("null", "bad_json: the body is JSON, but not an object");
        check::<CreateWorkspace>(
            "<x/>",
            "bad_json: the body is no JSON: expected value, at line 1, column 1",
        );
        check::<PatchWorkspace>("\"x\"", "bad_json: the body is JSON, but not an object");
        check::<PatchWorkspace>(
            "{} {}",
            "bad_json: the body is no JSON: trailing characters, at line 1, column 4",
        );
        check::<PatchWorkspace>(
            "{idle_timeout: 1}",
            "bad_json: the body is no JSON: key must be a string, at line 1, column 2",
        );
        check::<PatchWorkspace>(
            r#"{"idle_timout":"5m"}"#,
            "unknown_field: unknown field `idle_timout`, expected one of `idle_timeout`, `lifetime`, `retention`, `secrets`, `ssh`, `size`, `location`, `agents`, `docker` (line 1, column 14)",
        );
        check::<CreateWorkspace>(
            "{\n\"lifetime\":\"soon\"}",
            "invalid_field: lifetime: \"soon\" is not a valid duration; write for example 90m, 1h30m or PT1H30M (line 2, column 18)",
        );
        check::<CreateWorkspace>(
            r#"{"env":{"A":1}}"#,
            "invalid_field: env.A: invalid type: integer `1`, expected a string (line 1, column 13)",
        );
        check::<CreateHold>("{}", "invalid_field: missing field `for` (line 1, column 2)");
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    use ebbtide_api::vm::{Heartbeat, Receipt};
    use ebbtide_api::workspace::{CreateHold, CreateWorkspace, PatchWorkspace};

    const BODIES: &[&str] = &[
        r#"{"name":"demo","repo":"https://github.com/a/b","env":{"A":"1"},"lifetime":"8h","idle_timeout":"5m"}"#,
        r#"{"retention":{"last":10},"size":"cx23","location":"fsn1"}"#,
        r#"{"for":"8h","reason":"x"}"#,
        r#"{"generation":3,"boot":[{"name":"user","state":"done"}],"ports":[{"port":3000,"http":true}],"log":["\ud800"]}"#,
        r#"{"snapshot":"4f2a","packs_new":[{"name":"00","size":1}],"files":1e3,"skipped":[],"unreadable":[]}"#,
        "[]",
    ];

    fn read<T: DeserializeOwned>(body: &[u8]) {
        if let Err(refusal) = parse::<T>(body) {
            assert!((400..500).contains(&refusal.status()), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn a_body_of_any_kind_is_read_or_refused(body in bytes_like(BODIES)) {
            read::<CreateWorkspace>(&body);
            read::<PatchWorkspace>(&body);
            read::<CreateHold>(&body);
            read::<Heartbeat>(&body);
            read::<Receipt>(&body);
        }
    }
}
