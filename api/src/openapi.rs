//! The OpenAPI 3.1 document: the operations of `operations`, the schemas of this crate's types.
//!
//! The Worker serves it at `/openapi.json`; a test there compares the operations with its table of routes, both ways.
//! What machines say is described in [`crate::vm`] and appears here without its fields: nobody else speaks it.

mod operations;

pub use operations::{Access, OPERATIONS, Operation};

use crate::{
    Duration, ErrorBody, ErrorCode, audit, backups, catalog, health, history, keys, ports, sweep, usage,
    workspace,
};
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

impl PartialSchema for Duration {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A length of time: `90m`, `1h30m` or ISO 8601 (`PT1H30M`); 1 s to 366 days."))
            .examples([json!("90m")])
            .into()
    }
}

impl ToSchema for Duration {}

/// The document as JSON text.
///
/// # Errors
/// What the JSON writer says.
pub fn document(version: &str) -> Result<String, serde_json::Error> {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_ascii_lowercase(), describe(operation));
        }
    }
    serde_json::to_string(&json!({
        "openapi": "3.1.0",
        "info": {
            "title": crate::PRODUCT.name,
            "version": version,
            "description": "AI coding workspaces that end themselves.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas()?,
            "securitySchemes": {
                "owner": {
                    "type": "http", "scheme": "bearer",
                    "description": "The owner token, or an API key with the scope that the operation names.",
                },
                "ownerBasic": {
                    "type": "http", "scheme": "basic",
                    "description": "The same credential as the password, for restic; the user may be anything.",
                },
                "machine": {
                    "type": "http", "scheme": "bearer",
                    "description": "A machine's token, good for its own workspace and generation.",
                },
            },
        },
    }))
}

fn describe(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        parameters
            .push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    }
    for (place, name, description) in operation.parameters {
        let schema = json!({ "type": "string" });
        parameters.push(json!({ "name": name, "in": place, "description": description, "schema": schema }));
    }
    let answer = |content_type: &str, schema: &str, description: &str| {
        if content_type.is_empty() {
            return json!({ "description": description });
        }
        json!({ "description": description, "content": { content_type: { "schema": reference(schema) } } })
    };
    let mut responses: Map<String, Value> = Map::new();
    for (status, content_type, schema, description) in operation.answers {
        responses.insert(status.to_string(), answer(content_type, schema, description));
    }
    responses.insert(
        "default".to_owned(),
        answer("application/json", "ErrorBody", "A refusal; `code` is stable."),
    );
    let (security, needs) = match operation.access {
        Access::Open => (json!([]), None),
        Access::Scope(scope) => (json!([{ "owner": [] }]), Some(scope)),
        Access::Restic => (json!([{ "owner": [] }, { "ownerBasic": [] }]), Some(keys::Scope::Read)),
        Access::Machine => (json!([{ "machine": [] }]), None),
    };
    let needs = needs.map(|scope| json!(format!("Needs the scope `{}`.", scope.as_str())));
    let body = operation.request.map(|(content_type, schema, required)| {
        json!({ "required": required, "content": { content_type: { "schema": reference(schema) } } })
    });
    let described = [
        ("operationId", Some(json!(operation.id))),
        ("summary", Some(json!(operation.summary))),
        ("description", needs),
        ("tags", Some(json!([operation.tag]))),
        ("parameters", Some(json!(parameters))),
        ("requestBody", body),
        ("responses", Some(json!(responses))),
        ("security", Some(security)),
    ];
    described
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

/// A schema of ours by name, `bytes` for raw content, or any object where the name is empty.
fn reference(schema: &str) -> Value {
    match schema {
        "" => json!({ "type": "object" }),
        "text" => json!({ "type": "string" }),
        "bytes" => json!({ "type": "string", "format": "binary" }),
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

fn schemas() -> Result<Map<String, Value>, serde_json::Error> {
    let mut found = Vec::new();
    macro_rules! collect {
        ($($type:ty),+ $(,)?) => {$(
            <$type>::schemas(&mut found);
            found.push((<$type>::name().into_owned(), <$type>::schema()));
        )+};
    }
    collect![
        ErrorBody,
        ErrorCode,
        keys::ApiKeyList,
        backups::MasterKeyRotation,
        backups::CreateRestoreKit,
        backups::RestoreKit,
        backups::UndoneDeletions,
        audit::AuditList,
        catalog::Catalog,
        keys::CreateApiKey,
        ports::CreateLink,
        keys::CreatedApiKey,
        health::Health,
        health::HealthPart,
        health::HealthStatus,
        workspace::NoFields,
        ports::PortLink,
        ports::SetPort,
        workspace::WakeWorkspace,
        sweep::SetSweep,
        sweep::SweepReport,
        usage::Usage,
        workspace::CreateHold,
        workspace::CreateWorkspace,
        history::EventList,
        workspace::Hold,
        history::LogPage,
        workspace::PatchWorkspace,
        ports::PortList,
        backups::SnapshotList,
        workspace::Workspace,
        workspace::WorkspaceList,
    ];
    let mut schemas = Map::new();
    for (name, schema) in found {
        schemas.insert(name, serde_json::to_value(schema)?);
    }
    // The macro that lists the codes hides their texts from the derive.
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    let description = "Why a request was refused; stable.";
    schemas.insert(
        ErrorCode::name().into_owned(),
        json!({ "type": "string", "enum": codes, "description": description }),
    );
    Ok(schemas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn read() -> Value {
        serde_json::from_str(&document("1.2.3").unwrap()).unwrap()
    }

    fn references(value: &Value, into: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    into.insert(target.clone());
                }
                object.values().for_each(|value| references(value, into));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, into)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = read();
        let mut targets = BTreeSet::new();
        references(&document, &mut targets);
        assert!(targets.len() > 20, "{targets:?}");
        for target in targets {
            let pointer = target.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own_and_an_answer() {
        let mut seen = BTreeSet::new();
        for operation in OPERATIONS {
            assert!(seen.insert(operation.id), "{} twice", operation.id);
            assert!(!operation.answers.is_empty(), "{}", operation.id);
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
        }
    }

    #[test]
    fn every_error_code_is_listed() {
        let document = read();
        let listed = document.pointer("/components/schemas/ErrorCode/enum").unwrap().as_array().unwrap();
        for code in ErrorCode::ALL {
            assert!(listed.iter().any(|listed| listed == code.as_str()), "{code:?}");
        }
    }

    #[test]
    fn durations_are_texts_and_unknown_fields_are_refused() {
        let document = read();
        assert_eq!(document.pointer("/components/schemas/Duration/type").unwrap(), "string");
        let create = document.pointer("/components/schemas/CreateWorkspace").unwrap();
        assert_eq!(create["additionalProperties"], false, "{create}");
    }
}
