//! Programs that machines install: published by an admin in parts, fetched by machines. A part's SHA-256 is its name.
//!
//! Nothing here asks a package registry, and only programs that Ebbtide knows are taken: nobody else's name comes in.

use crate::actor::Actor;
use crate::error::{ApiError, ApiResult};
use crate::http::body::declared_length;
use crate::http::request::Incoming;
use crate::http::response;
use crate::r2::bucket::{Put, program_part};
use crate::r2::programs;
use crate::r2::restic_paths::Name;
use crate::workspaces::audit::note;
use ebbtide_api::ErrorCode;
use ebbtide_api::programs::{
    PART_MAX, PARTS_MAX, Part, Program, PublishProgram, UNPACKED_MAX, is_version, known,
};
use ebbtide_control::tokens::VmClaims;
use serde_json::json;
use worker::{Response, ResponseBuilder};

/// Lists what is published.
pub async fn list(incoming: &Incoming, _actor: &Actor) -> ApiResult<Response> {
    response::json(200, &programs::published(&incoming.app.r2()?).await?)
}

/// Stores a part. Repeatable.
pub async fn put_part(incoming: &Incoming, _actor: &Actor) -> ApiResult<Response> {
    let name = part_name(incoming)?;
    let length = declared_length(&incoming.request)
        .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "the part comes without its length"))?;
    if length > PART_MAX {
        return Err(ApiError::new(ErrorCode::BodyTooLarge, "the part has more than 64 MiB"));
    }
    let stream = incoming.request.inner().body().filter(|_| length > 0);
    let stream = stream.ok_or_else(|| ApiError::new(ErrorCode::InvalidField, "the body is empty"))?;
    let status =
        match incoming.app.r2()?.create(&program_part(name.hex()), stream, Some(name.bytes())).await? {
            Put::Stored => 201,
            Put::Exists => 200,
            Put::WrongHash => {
                return Err(ApiError::field(
                    "sha256",
                    "the body does not have the SHA-256 that the path names",
                ));
            }
        };
    response::json(status, &json!({ "sha256": name.hex() }))
}

/// Says whether a part is there.
pub async fn part(incoming: &Incoming, _actor: &Actor) -> ApiResult<Response> {
    let name = part_name(incoming)?;
    match incoming.app.r2()?.size(&program_part(name.hex())).await? {
        Some(size_bytes) => response::json(200, &Part { sha256: name.hex().to_owned(), size_bytes }),
        None => Err(ApiError::new(ErrorCode::NotFound, "there is no such part").hint("PUT it.")),
    }
}

/// Publishes a program, of which machines that start from now on get this version. Repeatable.
pub async fn publish(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let name = program_name(incoming)?;
    let PublishProgram { version, parts, unpacked_bytes } = incoming.json().await?;
    let program = Program { name: name.to_owned(), version, parts, unpacked_bytes };
    check(&program)?;
    let storage = incoming.app.r2()?;
    for part in &program.parts {
        if storage.size(&program_part(&part.sha256)).await? != Some(part.size_bytes) {
            let message = format!("the part {} is not there in that size", part.sha256);
            return Err(ApiError::field("parts", message)
                .hint("PUT it to /v1/programs/parts/{sha256} first; scripts/programs does."));
        }
    }
    let about = format!("{name} {}", program.version);
    let list = programs::change(&storage, move |list| {
        list.programs.retain(|other| other.name != program.name);
        list.programs.push(program.clone());
        list.programs.sort_by(|a, b| a.name.cmp(&b.name));
    })
    .await?;
    note(&incoming.app, actor, "program.publish", &about).await;
    response::json(200, &list)
}

/// Withdraws a program: machines that start from now on do without. Repeatable; its parts stay for those that fetch them.
pub async fn withdraw(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let name = program_name(incoming)?;
    let list = programs::change(&incoming.app.r2()?, |list| list.programs.retain(|other| other.name != name))
        .await?;
    note(&incoming.app, actor, "program.withdraw", name).await;
    response::json(200, &list)
}

/// Hands a part to a machine. Not open as the idle-agent is: makers let their programs be used, not be handed around.
pub async fn fetch(incoming: &Incoming, _claims: &VmClaims) -> ApiResult<Response> {
    let missing = || ApiError::new(ErrorCode::NotFound, "there is no such part");
    let name = Name::parse(incoming.params.get("sha256")).ok_or_else(missing)?;
    let object = incoming.app.r2()?.get(&program_part(name.hex()), None).await?.ok_or_else(missing)?;
    let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
    let builder = ResponseBuilder::new()
        .with_header("content-type", "application/octet-stream")
        .map_err(ApiError::internal)?;
    Ok(builder.body(body))
}

fn part_name(incoming: &Incoming) -> ApiResult<Name> {
    Name::parse(incoming.params.get("sha256")).ok_or_else(|| {
        ApiError::field("sha256", "the path does not end in a SHA-256").hint("Use 64 lower-case hex digits.")
    })
}

fn program_name(incoming: &Incoming) -> ApiResult<&'static str> {
    let wanted = incoming.params.get("name");
    known().into_iter().find(|name| *name == wanted).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "Ebbtide knows no program of that name")
            .hint(format!("It knows {}.", known().join(", ")))
    })
}

fn check(program: &Program) -> ApiResult<()> {
    if !is_version(&program.version) {
        return Err(ApiError::field("version", "it is not made of letters, digits, dots and dashes"));
    }
    if program.parts.is_empty() || program.parts.len() > PARTS_MAX {
        return Err(ApiError::field("parts", format!("there are not 1 to {PARTS_MAX} of them")));
    }
    if program.unpacked_bytes == 0 || program.unpacked_bytes > UNPACKED_MAX {
        return Err(ApiError::field("unpacked_bytes", format!("it is not 1 to {UNPACKED_MAX}")));
    }
    let is_part =
        |part: &Part| Name::parse(&part.sha256).is_some() && (1..=PART_MAX).contains(&part.size_bytes);
    match program.parts.iter().all(is_part) {
        true => Ok(()),
        false => Err(ApiError::field("parts", "one has no SHA-256 or no usable size")),
    }
}
