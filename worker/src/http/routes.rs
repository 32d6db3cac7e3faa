//! The table of routes: every path of the API, who may go there, what the document says of it, and who answers.
//!
//! A new endpoint is a line here and a handler; where it asks a workspace's object for something new, an arm of
//! `control`'s `Command` besides. The OpenAPI document and the dashboard's plain buttons are read from this table.

use crate::error::{ApiError, ApiResult};
use crate::http::api::{
    account, agent, events, kit, machine, programs, repository, secrets, ssh, sweep, trash, usage, wait,
    workspaces,
};
use crate::http::metrics;
use crate::http::response;
use crate::http::route::{Handler, Route, delete, get, patch, post, put};
use ebbtide_api::ErrorBody;
use ebbtide_api::audit::AuditList;
use ebbtide_api::backups::{CreateRestoreKit, MasterKeyRotation, RestoreKit, SnapshotList, UndoneDeletions};
use ebbtide_api::catalog::Catalog;
use ebbtide_api::env::{Env, SetEnv};
use ebbtide_api::health::Health;
use ebbtide_api::history::{EventList, LogPage};
use ebbtide_api::keys::Scope::{Admin, Read, Write};
use ebbtide_api::keys::{ApiKeyList, CreateApiKey, CreatedApiKey};
use ebbtide_api::openapi::{Content, Form, Operation, Parameter, document};
use ebbtide_api::ports::{CreateLink, LinkList, PortLink, PortList, SetPort};
use ebbtide_api::programs::{Part, ProgramList, PublishProgram};
use ebbtide_api::secrets::{PutSecret, SecretChanged, SecretInfo, SecretList};
use ebbtide_api::ssh::{PutSshKey, SshAccess, SshKeyChanged, SshKeyInfo, SshKeyList};
use ebbtide_api::sweep::{SetSweep, SweepReport};
use ebbtide_api::usage::Usage;
use ebbtide_api::workspace::{
    CreateHold, CreateWorkspace, Hold, NoFields, PatchWorkspace, WakeWorkspace, Workspace, WorkspaceList,
};
use ebbtide_control::lifecycle::Command;
use worker::Response;

/// A handler for a person or a machine, as the table holds it.
macro_rules! to {
    ($handler:path) => {
        |incoming, caller| Box::pin($handler(incoming, caller))
    };
}

/// A handler for anybody.
macro_rules! open {
    ($handler:path) => {
        |incoming| Box::pin($handler(incoming))
    };
}

const CURSOR: Parameter = cursor(Form::Text);
const RANGE: Parameter = header("Range", Form::Text, "A part of an object: `bytes=0-99`.");
const DAY: Form = Form::Matching("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])$");
const SEQ: Form = Form::Whole(0, u64::MAX);
const SOON: &str = "The workspace; what was asked for follows.";
const CONTENT: &str = "The object, or a list of objects.";
const PART: &str = "The part that was asked for.";
const CLOSED: &str = "Refused: a machine exists, or the key lacks the scope `write`.";
const ADDS: &str = "Adds an object, while no machine exists (scope `write`).";
const STORES: &str = "Stores an object that does not exist yet.";

const fn query(name: &'static str, form: Form, description: &'static str) -> Parameter {
    Parameter::query(name, form, description)
}

const fn header(name: &'static str, form: Form, description: &'static str) -> Parameter {
    Parameter::header(name, form, description)
}

const fn cursor(form: Form) -> Parameter {
    query("cursor", form, "`next_cursor` of the page before.")
}

/// All routes.
pub const ROUTES: &[Route] = &[
    get("/health", "getHealth", "Says whether requests are served, and what is wrong.")
        .tag("installation")
        .answers::<Health>(200, "Requests are served; `status` is `ok` or `degraded`.")
        .answers::<Health>(503, "Requests are not served; `problems` says what is wrong.")
        .open(open!(account::health)),
    get("/metrics", "getMetrics", "Shows figures for a monitoring system.")
        .tag("installation")
        .answer(200, Content::Text, "Figures in Prometheus' text format 0.0.4.")
        .person(Read, to!(metrics::get)),
    get("/openapi.json", "getOpenApi", "Answers with this document.")
        .tag("installation")
        .answer(200, Content::Object, "This document.")
        .open(|_| Box::pin(async { openapi() })),
    get("/v1/catalog", "getCatalog", "Lists sizes and locations with prices, availability and worst cases.")
        .tag("installation")
        .answers::<Catalog>(200, "The offers.")
        .person(Read, to!(account::catalog)),
    get(
        "/v1/usage",
        "getUsage",
        "Adds up what machines have cost by workspace and day, as the provider bills.",
    )
    .tag("installation")
    .parameters(&[
        query("from", DAY, "First day in UTC, `2026-11-01`; the first of this month where absent."),
        query("to", DAY, "The day after the last; tomorrow where absent. A period has at most 92 days."),
    ])
    .answers::<Usage>(200, "What was billed, and how much of the caps is used.")
    .person(Read, to!(usage::get)),
    get("/v1/workspaces", "listWorkspaces", "Lists workspaces, newest first; deleted ones are left out.")
        .parameters(&[cursor(Form::Matching("^[0-9]{1,15}\\.[a-z2-7]{10}$"))])
        .answers::<WorkspaceList>(200, "A page.")
        .person(Read, to!(workspaces::list)),
    post("/v1/workspaces", "createWorkspace", "Creates a workspace.")
        .parameters(&[header(
            "Idempotency-Key",
            Form::Matching("^[!-~]{1,200}$"),
            "A random text. The same key and body get the same answer; another body is refused.",
        )])
        .may_take::<CreateWorkspace>()
        .answers::<Workspace>(202, "It is being created; `Location` names it.")
        .person(Write, to!(workspaces::create)),
    get("/v1/workspaces/{id}", "getWorkspace", "Shows a workspace.")
        .parameters(&[
            query(
                "wait",
                Form::OneOf(wait::goals),
                "Answer when it is `ready` or in the named state (or has failed), or at the time-out.",
            ),
            query("timeout", Form::Duration, "Longest wait, at most 25s, which is the default."),
        ])
        .answers::<Workspace>(200, "The workspace.")
        .person(Read, to!(wait::get)),
    patch(
        "/v1/workspaces/{id}",
        "patchWorkspace",
        "Changes durations, secrets and SSH now, size, location, agents and Docker from the next start on.",
    )
    .takes::<PatchWorkspace>()
    .answers::<Workspace>(200, "The workspace.")
    .person(Write, to!(workspaces::patch)),
    delete(
        "/v1/workspaces/{id}",
        "deleteWorkspace",
        "Deletes a workspace, backed up first; 7 days to take it back.",
    )
    .parameters(&[query("discard", Form::OneOf(|| vec!["true", "false"]), "`true`: without a last backup.")])
    .answers::<Workspace>(202, SOON)
    .person(Write, to!(workspaces::delete)),
    post("/v1/workspaces/{id}/sleep", "sleepWorkspace", "Backs it up and ends its machine.")
        .may_take::<NoFields>()
        .answers::<Workspace>(202, SOON)
        .command(|| Command::Sleep),
    post("/v1/workspaces/{id}/wake", "wakeWorkspace", "Starts a new machine with the same files.")
        .may_take::<WakeWorkspace>()
        .answers::<Workspace>(202, SOON)
        .person(Write, to!(workspaces::wake)),
    post("/v1/workspaces/{id}/retry", "retryWorkspace", "Tries again after a failure.")
        .may_take::<NoFields>()
        .answers::<Workspace>(202, SOON)
        .command(|| Command::Retry),
    post(
        "/v1/workspaces/{id}/reboot",
        "rebootWorkspace",
        "Resets its machine: what runs ends, its files stay.",
    )
    .may_take::<NoFields>()
    .answers::<Workspace>(202, SOON)
    .command(|| Command::Reboot),
    post("/v1/workspaces/{id}/undelete", "undeleteWorkspace", "Takes a deletion back.")
        .may_take::<NoFields>()
        .answers::<Workspace>(202, SOON)
        .command(|| Command::Undelete),
    put("/v1/workspaces/{id}/env", "setEnv", "Sets its variables anew, all of them.")
        .takes::<SetEnv>()
        .answers::<Env>(200, "Their names, and from when on they are set.")
        .person(Write, to!(workspaces::set_env)),
    post(
        "/v1/workspaces/{id}/holds",
        "createHold",
        "Keeps it awake for a while; the lifetime still ends it.",
    )
    .takes::<CreateHold>()
    .answers::<Hold>(201, "The hold.")
    .person(Write, to!(workspaces::take_hold)),
    delete("/v1/workspaces/{id}/holds/{hold}", "releaseHold", "Lets go of a hold.")
        .answers::<Workspace>(202, SOON)
        .person(Write, to!(workspaces::release_hold)),
    get("/v1/workspaces/{id}/events", "listEvents", "Shows what happened to it and why.")
        .parameters(&[
            query("after", SEQ, "Only events with a higher `seq`, from the oldest on."),
            query("before", SEQ, "Only events with a lower `seq`, the newest of them."),
            query("limit", Form::Whole(1, 500), "At most so many, 1 to 500; 500 where it is not given."),
            header("Last-Event-ID", SEQ, "The same, as browsers send it."),
            header("Accept", Form::Text, "`text/event-stream` follows for up to 25 s."),
        ])
        .answers::<EventList>(200, "A page, oldest first; or a slice of server-sent events.")
        .person(Read, to!(events::get)),
    get("/v1/workspaces/{id}/log", "getLog", "Shows the log of its current or last machine.")
        .parameters(&[query(
            "before",
            SEQ,
            "Only lines before this number, which a page with older ones names.",
        )])
        .answers::<LogPage>(200, "Its newest MiB, oldest first.")
        .person(Read, to!(workspaces::log)),
    get("/v1/workspaces/{id}/ports", "listPorts", "Lists ports that answer, as last heard.")
        .answers::<PortList>(200, "By number.")
        .person(Read, to!(workspaces::ports)),
    put("/v1/workspaces/{id}/ports/{port}", "setPort", "Opens a port to anybody, or closes it.")
        .takes::<SetPort>()
        .answers::<Workspace>(200, "The workspace.")
        .person(Write, to!(workspaces::set_port)),
    post(
        "/v1/workspaces/{id}/ports/{port}/link",
        "linkPort",
        "Makes a link that opens a port until it ends.",
    )
    .takes::<CreateLink>()
    .answers::<PortLink>(201, "The link.")
    .person(Write, to!(workspaces::link_port)),
    post(
        "/v1/workspaces/{id}/terminal/link",
        "linkTerminal",
        "Makes a link that opens the machine's terminal in a browser until it ends.",
    )
    .takes::<CreateLink>()
    .answers::<PortLink>(201, "The link. Whoever has it can do what the workspace's user can.")
    .person(Write, to!(workspaces::link_terminal)),
    get("/v1/workspaces/{id}/links", "listLinks", "Lists the links to ports and terminal that are in force.")
        .answers::<LinkList>(200, "Oldest first, without what opens the ports.")
        .person(Read, to!(workspaces::links)),
    delete("/v1/workspaces/{id}/links/{link}", "endLink", "Ends a link before its time.")
        .answers::<Workspace>(202, "The workspace; its machine is told at once.")
        .person(Write, to!(workspaces::end_link)),
    get("/v1/workspaces/{id}/ssh", "getSsh", "Says how it is reached over SSH, and by which key to know it.")
        .answers::<SshAccess>(200, "Where, as whom, and what clients are to be told.")
        .person(Read, to!(ssh::access)),
    get("/v1/workspaces/{id}/ssh-config", "getSshConfig", "Gives its block for `~/.ssh/config`.")
        .answer(200, Content::Text, "The block.")
        .person(Read, to!(ssh::config)),
    get(
        "/v1/workspaces/{id}/ssh-known-hosts",
        "getSshKnownHosts",
        "Gives its line for `~/.ssh/known_hosts`.",
    )
    .answer(200, Content::Text, "The line.")
    .person(Read, to!(ssh::known_hosts)),
    get("/v1/workspaces/{id}/snapshots", "listSnapshots", "Lists verified snapshots.")
        .answers::<SnapshotList>(200, "Newest first.")
        .person(Read, to!(workspaces::snapshots)),
    post("/v1/workspaces/{id}/snapshots", "takeSnapshot", "Asks the machine for a snapshot now.")
        .may_take::<NoFields>()
        .answers::<Workspace>(202, SOON)
        .command(|| Command::Snapshot),
    get("/v1/workspaces/{id}/restic/{path*}", "readRepository", "Reads the backups (restic REST protocol).")
        .parameters(&[RANGE])
        .answer(200, Content::Bytes, CONTENT)
        .answer(206, Content::Bytes, PART)
        .restic(to!(repository::owner)),
    post("/v1/workspaces/{id}/restic/{path*}", "postRepository", ADDS)
        .optional_body(Content::Bytes)
        .answer(200, Content::Nothing, "Done.")
        .answers::<ErrorBody>(403, CLOSED)
        .restic(to!(repository::owner)),
    put("/v1/workspaces/{id}/restic/{path*}", "putRepository", ADDS)
        .body(Content::Bytes)
        .answer(200, Content::Nothing, "Done.")
        .answers::<ErrorBody>(403, CLOSED)
        .restic(to!(repository::owner)),
    delete(
        "/v1/workspaces/{id}/restic/{path*}",
        "deleteRepository",
        "Deletes an object, while no machine exists (scope `write`); 7 days to take it back.",
    )
    .answer(200, Content::Nothing, "Done.")
    .answers::<ErrorBody>(403, CLOSED)
    .restic(to!(repository::owner)),
    post(
        "/v1/workspaces/{id}/restore-kit",
        "createRestoreKit",
        "Makes what restic alone needs to restore: address, credential, password, commands.",
    )
    .may_take::<CreateRestoreKit>()
    .answers::<RestoreKit>(201, "The kit, shown this once; as text where `text/plain` is accepted.")
    .person(Write, to!(kit::create)),
    post(
        "/v1/workspaces/{id}/backups/undelete",
        "undeleteBackups",
        "Brings deleted backup objects of the last 7 days back, a slice at a time.",
    )
    .parameters(&[CURSOR])
    .may_take::<NoFields>()
    .answers::<UndoneDeletions>(200, "What came back; send it again while there is more.")
    .person(Write, to!(trash::undelete)),
    get("/v1/secrets", "listSecrets", "Lists secrets without their values, and who gets them.")
        .tag("account")
        .answers::<SecretList>(200, "By name.")
        .person(Read, to!(secrets::list)),
    get("/v1/secrets/{secret}", "getSecret", "Shows a secret without its value.")
        .tag("account")
        .answers::<SecretInfo>(200, "What it is for, and who gets it.")
        .person(Read, to!(secrets::show)),
    put("/v1/secrets/{secret}", "putSecret", "Writes a secret, in the place of one of that name.")
        .tag("account")
        .takes::<PutSecret>()
        .answers::<SecretChanged>(200, "It is stored; `applies` says who has it when.")
        .person(Admin, to!(secrets::put)),
    delete("/v1/secrets/{secret}", "deleteSecret", "Deletes a secret.")
        .tag("account")
        .answers::<SecretChanged>(200, "It is gone; `workspaces` had it.")
        .person(Admin, to!(secrets::delete)),
    get("/v1/ssh-keys", "listSshKeys", "Lists the public keys that sign in over SSH.")
        .tag("account")
        .answers::<SshKeyList>(200, "By name.")
        .person(Read, to!(ssh::list)),
    get("/v1/ssh-keys/{ssh_key}", "getSshKey", "Shows a public key that signs in over SSH.")
        .tag("account")
        .answers::<SshKeyInfo>(200, "The key.")
        .person(Read, to!(ssh::show)),
    put(
        "/v1/ssh-keys/{ssh_key}",
        "putSshKey",
        "Lets a public key sign in, in the place of one of that name.",
    )
    .tag("account")
    .takes::<PutSshKey>()
    .answers::<SshKeyChanged>(200, "It is stored; `applies` says who lets it in when.")
    .person(Admin, to!(ssh::put)),
    delete("/v1/ssh-keys/{ssh_key}", "deleteSshKey", "Lets a public key sign in no more.")
        .tag("account")
        .answers::<SshKeyChanged>(200, "It is gone, and SSH sessions end.")
        .person(Admin, to!(ssh::delete)),
    get("/v1/keys", "listKeys", "Lists API keys.")
        .tag("account")
        .answers::<ApiKeyList>(200, "Newest first.")
        .person(Admin, to!(account::keys)),
    post("/v1/keys", "createKey", "Makes an API key.")
        .tag("account")
        .takes::<CreateApiKey>()
        .answers::<CreatedApiKey>(201, "The key, shown this once.")
        .person(Admin, to!(account::create_key)),
    delete("/v1/keys/{key}", "revokeKey", "Revokes an API key.")
        .tag("account")
        .answer(204, Content::Nothing, "Revoked.")
        .person(Admin, to!(account::revoke_key)),
    post(
        "/v1/master-key/rotate",
        "rotateMasterKey",
        "Wraps tenants' keys under the current master key, a slice at a time; no data is touched.",
    )
    .tag("account")
    .parameters(&[CURSOR])
    .may_take::<NoFields>()
    .answers::<MasterKeyRotation>(200, "What was wrapped anew.")
    .person(Admin, to!(account::rotate_master_key)),
    get("/v1/audit", "listAudit", "Shows who did what, when and from where.")
        .tag("account")
        .parameters(&[cursor(Form::Matching("^[0-9]{1,15}$"))])
        .answers::<AuditList>(200, "A page, newest first.")
        .person(Admin, to!(account::audit)),
    get("/v1/sweep", "showSweep", "Shows what the sweep compared, found and ended.")
        .tag("installation")
        .answers::<SweepReport>(200, "The report.")
        .person(Read, to!(sweep::report)),
    post("/v1/sweep", "runSweep", "Runs one slice of the sweep now.")
        .tag("installation")
        .may_take::<NoFields>()
        .answers::<SweepReport>(200, "The report.")
        .person(Admin, to!(sweep::run)),
    put("/v1/sweep", "setSweep", "Says what the sweep may do from now on.")
        .tag("installation")
        .takes::<SetSweep>()
        .answers::<SweepReport>(200, "The report.")
        .person(Admin, to!(sweep::set)),
    get(
        "/v1/programs",
        "listPrograms",
        "Lists the programs that workspaces can have: coding agents, and what runs them.",
    )
    .tag("installation")
    .answers::<ProgramList>(200, "By name.")
    .person(Read, to!(programs::list)),
    get("/v1/programs/parts/{sha256}", "getProgramPart", "Says whether a part of a program is there.")
        .tag("installation")
        .answers::<Part>(200, "It is.")
        .person(Read, to!(programs::part)),
    put("/v1/programs/parts/{sha256}", "putProgramPart", "Stores a part of a program.")
        .tag("installation")
        .body(Content::Bytes)
        .answer(201, Content::Object, "Stored.")
        .answer(200, Content::Object, "There already.")
        .person(Admin, to!(programs::put_part)),
    put(
        "/v1/programs/{name}",
        "publishProgram",
        "Publishes a program whose parts are there, for starts from now on.",
    )
    .tag("installation")
    .takes::<PublishProgram>()
    .answers::<ProgramList>(200, "What is published.")
    .person(Admin, to!(programs::publish)),
    delete("/v1/programs/{name}", "withdrawProgram", "Withdraws a program, for starts from now on.")
        .tag("installation")
        .answers::<ProgramList>(200, "What is published.")
        .person(Admin, to!(programs::withdraw)),
    get("/v1/vm/programs/{sha256}", "fetchProgramPart", "Hands a part of a program to a machine.")
        .answer(200, Content::Bytes, "The part.")
        .machine(to!(programs::fetch)),
    put("/v1/vm/agent/{sha256}", "publishAgent", "Stores the idle-agent that new machines start.")
        .tag("machines")
        .body(Content::Bytes)
        .answer(201, Content::Object, "Stored, and current.")
        .answer(200, Content::Object, "There already, and current.")
        .person(Admin, to!(agent::publish)),
    get("/v1/vm/agent/{sha256}", "fetchAgent", "Hands out an idle-agent; its hash is its authority.")
        .tag("machines")
        .answer(200, Content::Bytes, "The binary.")
        .open(open!(agent::fetch)),
    post("/v1/vm/enroll", "enrolMachine", "Enrols a machine with its enrolment token and key.")
        .tag("machines")
        .body(Content::Object)
        .answer(200, Content::Object, "Token, boot plan, keys and policy.")
        .open(open!(machine::enrol)),
    post("/v1/vm/token", "renewMachine", "Renews a machine's token with its key.")
        .tag("machines")
        .body(Content::Object)
        .answer(200, Content::Object, "As at the enrolment.")
        .open(open!(machine::enrol)),
    get("/v1/vm/connect", "connectMachine", "Connects a machine.")
        .answer(101, Content::Nothing, "A WebSocket: heartbeats in, instructions out.")
        .machine(to!(machine::connect)),
    post("/v1/vm/heartbeat", "heartbeat", "Takes a heartbeat of a machine without a WebSocket.")
        .body(Content::Object)
        .answer(200, Content::Object, "What is wanted of the machine.")
        .machine(to!(machine::heartbeat)),
    post("/v1/vm/settings", "getSettings", "Gives a machine variables, files and keys of its user.")
        .body(Content::Object)
        .answer(200, Content::Object, "All of them, and their revision.")
        .machine(to!(secrets::settings)),
    post("/v1/vm/git-credential", "getGitCredential", "Gives git what it signs in with at a host.")
        .body(Content::Object)
        .answer(200, Content::Object, "User name and password.")
        .machine(to!(secrets::git)),
    post("/v1/vm/receipts", "deliverReceipt", "Takes the receipt of a snapshot while work goes on.")
        .body(Content::Object)
        .answer(200, Content::Object, "Where its check stands.")
        .machine(to!(machine::receipt)),
    post("/v1/vm/drained", "deliverLastReceipt", "Takes a machine's last receipt, after which it may go.")
        .body(Content::Object)
        .answer(200, Content::Object, "Where its check stands.")
        .machine(to!(machine::drained)),
    post("/v1/vm/tidy", "beginTidying", "Lets a machine remove old backups, once, before it is ready.")
        .body(Content::Object)
        .answer(200, Content::Object, "The snapshots that are to go.")
        .machine(to!(repository::begin_prune)),
    post("/v1/vm/tidied", "endTidying", "Ends that.")
        .body(Content::Object)
        .answer(200, Content::Object, "How full the repository is.")
        .machine(to!(repository::end_prune)),
    get("/v1/vm/backup/{path*}", "readBackup", "Reads the machine's own backups (restic REST protocol).")
        .parameters(&[RANGE])
        .answer(200, Content::Bytes, CONTENT)
        .answer(206, Content::Bytes, PART)
        .machine(to!(repository::machine)),
    post("/v1/vm/backup/{path*}", "postBackup", STORES)
        .optional_body(Content::Bytes)
        .answer(200, Content::Nothing, "Stored.")
        .machine(to!(repository::machine)),
    put("/v1/vm/backup/{path*}", "putBackup", STORES)
        .body(Content::Bytes)
        .answer(200, Content::Nothing, "Stored.")
        .machine(to!(repository::machine)),
    delete("/v1/vm/backup/{path*}", "deleteBackup", "Refused: machines delete nothing.")
        .answers::<ErrorBody>(403, "Refused: `deletion_refused`.")
        .machine(to!(repository::machine)),
];

/// The OpenAPI document of this table.
///
/// # Errors
/// It cannot be written as JSON.
pub fn openapi() -> ApiResult<Response> {
    response::json_text(200, openapi_text().map_err(ApiError::internal)?)
}

/// The OpenAPI document of these routes.
///
/// # Errors
/// It cannot be written as JSON.
pub fn openapi_text() -> Result<String, serde_json::Error> {
    let operations: Vec<&Operation> = ROUTES.iter().map(|route| &route.operation).collect();
    document(env!("CARGO_PKG_VERSION"), &operations)
}

/// The command of a name that needs nothing but the workspace.
pub fn command(name: &str) -> Option<Command> {
    let mut commands = ROUTES.iter().filter_map(|route| match route.handler {
        Handler::Command(command) => Some(command()),
        Handler::Open(_) | Handler::Person(..) | Handler::Machine(_) => None,
    });
    commands.find(|command| command.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::route::{Found, find};
    use std::collections::BTreeSet;

    fn check(method: &str, path: &str, wanted: &str) {
        let found = match find(ROUTES, method, path) {
            Found::Route(route, _) => route.operation.id.to_owned(),
            Found::OtherMethods(methods) => format!("405 {}", methods.join(" ")),
            Found::Nothing => "404".to_owned(),
        };
        assert_eq!(found, wanted, "{method} {path}");
    }

    #[test]
    fn requests_find_their_operation() {
        check("GET", "/health", "getHealth");
        check("HEAD", "/health", "getHealth");
        check("POST", "/v1/workspaces", "createWorkspace");
        check("GET", "/v1/workspaces/k3v7q2mzab", "getWorkspace");
        check("DELETE", "/v1/workspaces/a/holds/b", "releaseHold");
        check("POST", "/v1/workspaces/a/ports/3000/link", "linkPort");
        check("POST", "/v1/vm/backup", "postBackup");
        check("GET", "/v1/vm/backup/data/00", "readBackup");
    }

    #[test]
    fn a_wrong_method_is_told_from_a_wrong_path() {
        check("PUT", "/v1/workspaces", "405 GET POST");
        check("GET", "/v1/workspaces/a/sleep", "405 POST");
        check("OPTIONS", "/health", "405 GET");
        check("GET", "/v1/workspaces/", "404");
        check("GET", "/v1/nothing", "404");
        check("GET", "", "404");
    }

    #[test]
    fn no_two_lines_are_the_same_and_each_names_itself_what_it_does_and_how_it_answers() {
        let (mut lines, mut names) = (BTreeSet::new(), BTreeSet::new());
        for Route { operation, .. } in ROUTES {
            assert!(lines.insert((operation.method, operation.path)), "{}", operation.path);
            assert!(names.insert(operation.id), "{} twice", operation.id);
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
            assert!(operation.answers[0].is_some(), "{}", operation.id);
        }
    }

    #[test]
    fn every_reference_of_the_document_leads_somewhere() {
        let document: serde_json::Value = serde_json::from_str(&openapi_text().unwrap()).unwrap();
        let mut open = vec![&document];
        let mut references = 0;
        while let Some(value) = open.pop() {
            match value {
                serde_json::Value::Object(object) => open.extend(object.values()),
                serde_json::Value::Array(values) => open.extend(values),
                serde_json::Value::String(text) if text.starts_with("#/components/") => {
                    assert!(document.pointer(&text[1..]).is_some(), "{text}");
                    references += 1;
                }
                _ => {}
            }
        }
        assert!(references > 60, "{references}");
    }

    #[test]
    fn plain_commands_are_found_by_their_names() {
        for (name, wanted) in [("sleep", Command::Sleep), ("snapshot", Command::Snapshot)] {
            assert_eq!(command(name), Some(wanted));
        }
        for name in ["", "wake", "delete", "quote", "forget"] {
            assert_eq!(command(name), None, "{name}");
        }
    }
}
