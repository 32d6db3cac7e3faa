//! One operation of the API as its document describes it. The Worker's table of routes is made of them.

use super::parameter::Parameter;
use crate::keys::Scope;
use std::borrow::Cow;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Whoever has the scope.
    Scope(Scope),
    /// Whoever has the scope `read`, or a restore kit's key for that workspace; with Basic authentication too.
    Restic,
    /// Machines.
    Machine,
}

/// Schemas by name, as they are collected.
pub(super) type Schemas = Vec<(String, RefOr<utoipa::openapi::schema::Schema>)>;

/// What a body holds.
#[derive(Clone, Copy)]
pub enum Content {
    /// Nothing: there is none.
    Nothing,
    /// JSON of a type of this crate.
    Json {
        /// The name of its schema.
        name: fn() -> Cow<'static, str>,
        /// Adds its schema and those that it needs.
        collect: fn(&mut Schemas),
    },
    /// A JSON object that only machines speak of, or that nobody needs to read.
    Object,
    /// Text in no form of ours.
    Text,
    /// Bytes.
    Bytes,
}

impl Content {
    /// JSON of that type.
    pub const fn json<T: ToSchema>() -> Self {
        Self::Json { name: T::name, collect: collect::<T> }
    }

    /// Its media type; empty where there is no body.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Json { .. } | Self::Object => "application/json",
            Self::Text => "text/plain",
            Self::Bytes => "application/octet-stream",
        }
    }
}

fn collect<T: ToSchema>(found: &mut Schemas) {
    T::schemas(found);
    found.push((T::name().into_owned(), T::schema()));
}

/// The body of a request.
#[derive(Clone, Copy)]
pub struct Body {
    /// What it holds.
    pub content: Content,
    /// Whether it has to be there.
    pub is_required: bool,
}

/// One way to answer.
#[derive(Clone, Copy)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// What it holds.
    pub content: Content,
    /// What that is, a sentence.
    pub description: &'static str,
}

/// One operation.
#[derive(Clone, Copy)]
pub struct Operation {
    /// HTTP method.
    pub method: &'static str,
    /// Path with `{name}` for its variable parts, the last of which may be `{name*}`: the rest.
    pub path: &'static str,
    /// Its name in clients.
    pub id: &'static str,
    /// Groups operations.
    pub tag: &'static str,
    /// What it does, a sentence.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// What it takes of the query and the headers.
    pub parameters: &'static [Parameter],
    /// The body, where it takes one.
    pub request: Option<Body>,
    /// How it answers where all is well; most do in one way.
    pub answers: [Option<Answer>; 2],
}

impl Operation {
    /// An operation of a workspace that anybody may call, with nothing said yet of what it takes and answers.
    pub const fn new(
        method: &'static str,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            method,
            path,
            id,
            tag: "workspaces",
            summary,
            access: Access::Open,
            parameters: &[],
            request: None,
            answers: [None, None],
        }
    }
}
