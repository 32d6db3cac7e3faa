//! A line of the table of routes: what the document says of an operation, who may come in, and the handler itself.
//!
//! The table is in `routes`. Whoever may come in decides what a handler gets: it cannot be given somebody else.

use crate::actor::Actor;
use crate::error::ApiResult;
use crate::http::auth::Needs;
use crate::http::path::{Params, params};
use crate::http::request::Incoming;
use ebbtide_api::keys::Scope;
use ebbtide_api::openapi::{Access, Answer, Body, Content, Operation, Parameter, ToSchema};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::tokens::VmClaims;
use futures_util::future::LocalBoxFuture;
use worker::Response;

/// What a handler comes to.
pub type Answering<'a> = LocalBoxFuture<'a, ApiResult<Response>>;

/// Who answers, and for whom.
#[derive(Clone, Copy)]
pub enum Handler {
    /// Anybody.
    Open(for<'a> fn(&'a Incoming) -> Answering<'a>),
    /// A person or a program of a tenant.
    Person(Needs, for<'a> fn(&'a Incoming, &'a Actor) -> Answering<'a>),
    /// A machine, by its token.
    Machine(for<'a> fn(&'a Incoming, &'a VmClaims) -> Answering<'a>),
    /// A command that needs nothing but the workspace: the API takes it with the scope `write`, and the dashboard has a
    /// button for it, at the command's own name.
    Command(fn() -> Command),
}

/// One line of the table.
#[derive(Clone, Copy)]
pub struct Route {
    /// What the document says. `GET` stands for `HEAD` too.
    pub operation: Operation,
    /// Who answers.
    pub handler: Handler,
}

/// A line that does not say yet who answers.
#[derive(Clone, Copy)]
pub struct Line(Operation);

/// Looks.
pub const fn get(path: &'static str, id: &'static str, summary: &'static str) -> Line {
    Line(Operation::new("GET", path, id, summary))
}

/// Makes something, or asks for something.
pub const fn post(path: &'static str, id: &'static str, summary: &'static str) -> Line {
    Line(Operation::new("POST", path, id, summary))
}

/// Puts something in its place.
pub const fn put(path: &'static str, id: &'static str, summary: &'static str) -> Line {
    Line(Operation::new("PUT", path, id, summary))
}

/// Changes parts of something.
pub const fn patch(path: &'static str, id: &'static str, summary: &'static str) -> Line {
    Line(Operation::new("PATCH", path, id, summary))
}

/// Ends something.
pub const fn delete(path: &'static str, id: &'static str, summary: &'static str) -> Line {
    Line(Operation::new("DELETE", path, id, summary))
}

impl Line {
    /// Groups it with others.
    pub const fn tag(self, tag: &'static str) -> Self {
        Self(Operation { tag, ..self.0 })
    }

    /// Takes these of the query and the headers.
    pub const fn parameters(self, parameters: &'static [Parameter]) -> Self {
        Self(Operation { parameters, ..self.0 })
    }

    /// Takes a body.
    pub const fn body(self, content: Content) -> Self {
        Self(Operation { request: Some(Body { content, is_required: true }), ..self.0 })
    }

    /// Takes a body that may be left out.
    pub const fn optional_body(self, content: Content) -> Self {
        Self(Operation { request: Some(Body { content, is_required: false }), ..self.0 })
    }

    /// Takes JSON.
    pub const fn takes<T: ToSchema>(self) -> Self {
        self.body(Content::json::<T>())
    }

    /// Takes JSON, or nothing.
    pub const fn may_take<T: ToSchema>(self) -> Self {
        self.optional_body(Content::json::<T>())
    }

    /// Answers with that status; the second time it is said, this is the other way to answer.
    pub const fn answer(self, status: u16, content: Content, description: &'static str) -> Self {
        let answer = Some(Answer { status, content, description });
        let answers = match self.0.answers {
            [None, _] => [answer, None],
            [first @ Some(_), _] => [first, answer],
        };
        Self(Operation { answers, ..self.0 })
    }

    /// Answers with JSON.
    pub const fn answers<T: ToSchema>(self, status: u16, description: &'static str) -> Self {
        self.answer(status, Content::json::<T>(), description)
    }

    /// Anybody may come.
    pub const fn open(self, handler: for<'a> fn(&'a Incoming) -> Answering<'a>) -> Route {
        Route { operation: self.0, handler: Handler::Open(handler) }
    }

    /// Whoever has the scope.
    pub const fn person(
        self,
        scope: Scope,
        handler: for<'a> fn(&'a Incoming, &'a Actor) -> Answering<'a>,
    ) -> Route {
        let operation = Operation { access: Access::Scope(scope), ..self.0 };
        Route { operation, handler: Handler::Person(Needs::Scope(scope), handler) }
    }

    /// Whoever may read backups, a restore kit's key included.
    pub const fn restic(self, handler: for<'a> fn(&'a Incoming, &'a Actor) -> Answering<'a>) -> Route {
        let operation = Operation { access: Access::Restic, tag: "restic", ..self.0 };
        Route { operation, handler: Handler::Person(Needs::Backups, handler) }
    }

    /// A machine with its token.
    pub const fn machine(self, handler: for<'a> fn(&'a Incoming, &'a VmClaims) -> Answering<'a>) -> Route {
        let operation = Operation { access: Access::Machine, tag: "machines", ..self.0 };
        Route { operation, handler: Handler::Machine(handler) }
    }

    /// A command without anything to choose: see [`Handler::Command`].
    pub const fn command(self, command: fn() -> Command) -> Route {
        let operation = Operation { access: Access::Scope(Scope::Write), ..self.0 };
        Route { operation, handler: Handler::Command(command) }
    }
}

/// Where a request leads.
#[derive(Clone)]
pub enum Found<'a> {
    /// Here.
    Route(&'a Route, Params),
    /// The path exists, with other methods.
    OtherMethods(Vec<&'static str>),
    /// No route has that path.
    Nothing,
}

/// Finds the route of a request in a table.
pub fn find<'a>(routes: &'a [Route], method: &str, path: &str) -> Found<'a> {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let mut others = Vec::new();
    for route in routes {
        match params(route.operation.path, path) {
            Some(params) if route.operation.method == wanted => return Found::Route(route, params),
            Some(_) => others.push(route.operation.method),
            None => {}
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}
