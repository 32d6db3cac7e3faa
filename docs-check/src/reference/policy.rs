//! `policy.md`: every variable and secret of the Worker, and every field of `POLICY` with its default.
//!
//! The texts are the comments of the two structs; defaults are what the code really takes.

use super::{HEAD, cell};
use crate::source::{self, Field, Variable};
use anyhow::{Context as _, Result, ensure};
use ebbtide_control::policy::Policy;
use serde_json::Value;
use std::path::Path;

/// Where the Worker reads its variables.
const CONFIG: &str = "worker/src/config.rs";
/// Where the policy is.
const POLICY: &str = "control/src/policy.rs";

/// The page.
///
/// # Errors
/// The source is not as it was.
pub fn page(root: &Path) -> Result<String> {
    let config = source::file(root, CONFIG)?;
    let variables = source::variables(&config);
    let fields = source::fields(&config, "Config")?;
    let mut text = format!(
        "{HEAD}# Variables and policy\n\n\
         The Worker takes its settings from plain variables and from secrets. `GET /health` names what is \
         missing or unusable, never a value. Requests that need it are refused with `not_configured`. Running machines \
         [end all the same](../operate/trouble.md#a-variable-is-wrong). See [deploying](../operate/deploy.md).\n\n\
         ## Variables\n\n| variable | default | what it is |\n|---|---|---|\n"
    );
    ensure!(variables.len() == fields.len(), "{CONFIG}: variables and fields of `Config` differ");
    for is_secret in [false, true] {
        if is_secret {
            text += "\n## Secrets\n\nSet them with `wrangler secret put NAME`. None has a default.\n\n\
                     | secret | what it is |\n|---|---|\n";
        }
        for field in &fields {
            let variable = variable_of(field, &variables)?;
            if variable.is_secret == is_secret {
                text += &row(variable, field);
            }
        }
    }
    text += "\n## POLICY\n\n\
             `POLICY` is a JSON object that overrides single fields: `{\"idle_timeout\":\"1h\",\"lifetime\":\"12h\"}`. \
             Durations are texts such as `90m`, `1h30m` or `PT1H30M`. An unknown field or an unusable value is an \
             error that `GET /health` shows.\n\n| field | default | what it does |\n|---|---|---|\n";
    let defaults = serde_json::to_value(Policy::default())?;
    let defaults = defaults.as_object().context("the policy is no object")?;
    let fields = source::fields(&source::file(root, POLICY)?, "Policy")?;
    ensure!(fields.len() == defaults.len(), "{POLICY}: fields and their defaults differ in number");
    for field in fields {
        let default = defaults.get(&field.name).with_context(|| format!("no default of {}", field.name))?;
        text += &format!("| `{}` | {} | {} |\n", field.name, shown(default, &field.kind), cell(&field.text));
    }
    Ok(text)
}

fn variable_of<'a>(field: &Field, variables: &'a [Variable]) -> Result<&'a Variable> {
    let name = field.name.to_uppercase();
    let found = variables.iter().find(|variable| variable.name == name);
    found.with_context(|| format!("{CONFIG}: the field {} is read from no variable of that name", field.name))
}

fn row(variable: &Variable, field: &Field) -> String {
    let (name, what) = (&variable.name, cell(&field.text));
    let default = match &variable.default {
        Some(default) if default.is_empty() => "empty".to_owned(),
        Some(default) => format!("`{default}`"),
        None => "required".to_owned(),
    };
    if variable.is_secret {
        format!("| `{name}` | {what} |\n")
    } else {
        format!("| `{name}` | {default} | {what} |\n")
    }
}

/// A default as a person reads it, with its unit.
fn shown(default: &Value, kind: &str) -> String {
    let unit = if kind == "Amount" { " in the provider's currency" } else { "" };
    match default {
        Value::Null => "none".to_owned(),
        Value::String(text) => format!("`{text}`{unit}"),
        Value::Array(values) => values.iter().map(|value| shown(value, "")).collect::<Vec<_>>().join(", "),
        Value::Object(_) => format!("`{default}`"),
        Value::Bool(_) | Value::Number(_) => format!("`{default}`"),
    }
}
