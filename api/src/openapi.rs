//! The OpenAPI 3.1 document: made of operations, and of the schemas that they name.
//!
//! The operations are the lines of the Worker's table of routes, which serves the document at `/openapi.json`. What
//! machines say is described in [`crate::vm`] and appears here without its fields: nobody else speaks it.

mod operation;
mod parameter;

pub use operation::{Access, Answer, Body, Content, Operation};
pub use parameter::{Form, Parameter};

use crate::keys::Scope;
use crate::{Duration, ErrorBody, ErrorCode};
use serde_json::{Map, Value, json};
use utoipa::PartialSchema;
pub use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

impl PartialSchema for Duration {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("A length of time: `90m`, `1h30m` or ISO 8601 (`PT1H30M`); 1 s to 366 days."))
            .pattern(Some(Self::PATTERN))
            .max_length(Some(64))
            .examples([json!("90m")])
            .into()
    }
}

impl ToSchema for Duration {}

/// The document of these operations as JSON text.
///
/// # Errors
/// What the JSON writer says.
pub fn document(version: &str, operations: &[&Operation]) -> Result<String, serde_json::Error> {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path.replace("*}", "}")).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_ascii_lowercase(), describe(operation));
        }
    }
    serde_json::to_string(&json!({
        "openapi": "3.1.0",
        "info": {
            "title": crate::PRODUCT.name,
            "version": version,
            "description": "Cloud machines for coding agents, which back themselves up and go away when the work is done.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas(operations)?,
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
    for part in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        parameters.push(parameter::of_path(part.trim_end_matches('*')));
    }
    parameters.extend(operation.parameters.iter().map(Parameter::describe));
    let answer = |content: Content, description: &str| match content {
        Content::Nothing => json!({ "description": description }),
        content => json!({ "description": description, "content": described(content) }),
    };
    let mut responses: Map<String, Value> = Map::new();
    for Answer { status, content, description } in operation.answers.into_iter().flatten() {
        responses.insert(status.to_string(), answer(content, description));
    }
    let refusal = |description: &str| answer(Content::json::<ErrorBody>(), description);
    for (status, description) in refusals(operation) {
        responses.entry(status.to_string()).or_insert_with(|| refusal(description));
    }
    responses.insert("default".to_owned(), refusal("A refusal; `code` is stable."));
    let (security, needs) = match operation.access {
        Access::Open => (json!([]), None),
        Access::Scope(scope) => (json!([{ "owner": [] }]), Some(scope)),
        Access::Restic => (json!([{ "owner": [] }, { "ownerBasic": [] }]), Some(Scope::Read)),
        Access::Machine => (json!([{ "machine": [] }]), None),
    };
    let needs = needs.map(|scope| json!(format!("Needs the scope `{}`.", scope.as_str())));
    let body = operation
        .request
        .map(|body| json!({ "required": body.is_required, "content": described(body.content) }));
    let parts = [
        ("operationId", Some(json!(operation.id))),
        ("summary", Some(json!(operation.summary))),
        ("description", needs),
        ("tags", Some(json!([operation.tag]))),
        ("parameters", Some(json!(parameters))),
        ("requestBody", body),
        ("responses", Some(json!(responses))),
        ("security", Some(security)),
    ];
    parts
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

/// How an operation refuses what a caller can avoid, by status. What goes wrong on our side is `default`.
fn refusals(operation: &Operation) -> Vec<(u16, &'static str)> {
    let mut refusals = vec![(400, "The body is not what this path takes.")];
    if operation.request.is_some() {
        refusals.extend([
            (413, "The body is too large."),
            (422, "The body, or the path, says something unusable."),
        ]);
    }
    if operation.path.contains('{') || !operation.parameters.is_empty() {
        refusals.extend([(404, "Nothing of that name exists."), (422, "A parameter cannot be used.")]);
    }
    match operation.access {
        Access::Open => refusals.push((429, "Too many requests came from your address.")),
        Access::Scope(_) | Access::Restic => refusals.extend([
            (401, "The credential is missing, or none of ours."),
            (403, "The credential does not allow this, or a cap does not."),
            (409, "The workspace, or what there is, does not allow this now."),
            (429, "Too many failed sign-ins came from your address, or the same was asked for too often."),
        ]),
        Access::Machine => refusals.extend([
            (401, "The token is missing, has ended, or is none of ours."),
            (410, "The machine's time is over."),
        ]),
    }
    refusals
}

/// A body by its media type.
fn described(content: Content) -> Value {
    let schema = match content {
        Content::Nothing | Content::Object | Content::Text => json!({ "type": "object" }),
        Content::Bytes => json!({ "type": "string", "format": "binary" }),
        Content::Json { name, .. } => json!({ "$ref": format!("#/components/schemas/{}", name()) }),
    };
    json!({ (content.media_type()): { "schema": schema } })
}

/// The schemas that the operations name, those that these need, and the refusal's.
fn schemas(operations: &[&Operation]) -> Result<Map<String, Value>, serde_json::Error> {
    let bodies = operations.iter().filter_map(|operation| operation.request).map(|body| body.content);
    let answers = operations.iter().flat_map(|operation| operation.answers).flatten().map(|one| one.content);
    let mut found = Vec::new();
    for content in bodies.chain(answers).chain([Content::json::<ErrorBody>()]) {
        if let Content::Json { collect, .. } = content {
            collect(&mut found);
        }
    }
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
    use crate::workspace::{CreateWorkspace, Workspace};

    fn read(operation: Operation) -> Value {
        serde_json::from_str(&document("1.2.3", &[&operation]).unwrap()).unwrap()
    }

    fn create() -> Operation {
        let answer = Answer { status: 202, content: Content::json::<Workspace>(), description: "It." };
        Operation {
            access: Access::Scope(Scope::Write),
            request: Some(Body { content: Content::json::<CreateWorkspace>(), is_required: true }),
            answers: [Some(answer), None],
            ..Operation::new("POST", "/v1/things/{id}/{path*}", "createThing", "Creates a thing.")
        }
    }

    #[test]
    fn an_operation_is_described_with_its_path_scope_body_and_answers() {
        let document = read(create());
        let described = document.pointer("/paths/~1v1~1things~1{id}~1{path}/post").unwrap();
        assert_eq!(described["operationId"], "createThing");
        assert_eq!(described["description"], "Needs the scope `write`.");
        assert_eq!(described["parameters"][1]["name"], "path");
        let schema = "/requestBody/content/application~1json/schema/$ref";
        assert_eq!(described.pointer(schema).unwrap(), "#/components/schemas/CreateWorkspace");
        assert_eq!(described["responses"]["202"]["description"], "It.");
        assert!(described["responses"]["default"].is_object());
    }

    #[test]
    fn every_error_code_is_listed() {
        let document = read(create());
        let listed = document.pointer("/components/schemas/ErrorCode/enum").unwrap().as_array().unwrap();
        for code in ErrorCode::ALL {
            assert!(listed.iter().any(|listed| listed == code.as_str()), "{code:?}");
        }
    }

    #[test]
    fn durations_are_texts_and_unknown_fields_are_refused() {
        let document = read(create());
        assert_eq!(document.pointer("/components/schemas/Duration/type").unwrap(), "string");
        let create = document.pointer("/components/schemas/CreateWorkspace").unwrap();
        assert_eq!(create["additionalProperties"], false, "{create}");
    }
}
