//! The operations of the API, one line of data for each.

use crate::keys::Scope;

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

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// HTTP method.
    pub method: &'static str,
    /// Path with `{name}` for its variable parts.
    pub path: &'static str,
    /// Its name in clients.
    pub id: &'static str,
    /// Groups operations.
    pub tag: &'static str,
    /// What it does, a sentence.
    pub summary: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Place (`query`, `header`), name and description.
    pub parameters: &'static [(&'static str, &'static str, &'static str)],
    /// Content type and schema of the body, and whether it has to be there.
    pub request: Option<(&'static str, &'static str, bool)>,
    /// Status, content type, schema and description.
    pub answers: &'static [(u16, &'static str, &'static str, &'static str)],
}

const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";
const READ: Access = Access::Scope(Scope::Read);
const WRITE: Access = Access::Scope(Scope::Write);
const ADMIN: Access = Access::Scope(Scope::Admin);

const NOTHING: Operation = Operation {
    method: "GET",
    path: "",
    id: "",
    tag: "workspaces",
    summary: "",
    access: READ,
    parameters: &[],
    request: None,
    answers: &[],
};

const WORKSPACE: &[(u16, &str, &str, &str)] = &[(200, JSON, "Workspace", "The workspace.")];
const WORKSPACE_SOON: &[(u16, &str, &str, &str)] =
    &[(202, JSON, "Workspace", "The workspace; what was asked for follows.")];
const CURSOR: (&str, &str, &str) = ("query", "cursor", "`next_cursor` of the page before.");
const NO_FIELDS: Option<(&str, &str, bool)> = Some((JSON, "NoFields", false));
const STORED: &[(u16, &str, &str, &str)] = &[(200, "", "", "Stored.")];
const CONTENT: &[(u16, &str, &str, &str)] = &[
    (200, BYTES, "bytes", "The object, or a list of objects."),
    (206, BYTES, "bytes", "The part that was asked for."),
];
const SWEEP: &[(u16, &str, &str, &str)] = &[(200, JSON, "SweepReport", "The report.")];
const CHANGED: &[(u16, &str, &str, &str)] = &[
    (200, "", "", "Done."),
    (403, JSON, "ErrorBody", "Refused: a machine exists, or the key lacks the scope `write`."),
];
const REFUSED: &[(u16, &str, &str, &str)] = &[(403, JSON, "ErrorBody", "Refused: `deletion_refused`.")];
const RANGE: (&str, &str, &str) = ("header", "Range", "A part of an object: `bytes=0-99`.");

const fn get(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation { path, id, summary, ..NOTHING }
}

/// Reads something as a machine.
const fn machine(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation { tag: "machines", access: Access::Machine, ..get(path, id, summary) }
}

/// Takes what a machine tells.
const fn told(path: &'static str, id: &'static str, summary: &'static str) -> Operation {
    Operation { method: "POST", request: Some((JSON, "", true)), ..machine(path, id, summary) }
}

/// All operations.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        access: Access::Open,
        tag: "installation",
        answers: &[
            (200, JSON, "Health", "Requests are served; `status` is `ok` or `degraded`."),
            (503, JSON, "Health", "Requests are not served; `problems` says what is wrong."),
        ],
        ..get("/health", "getHealth", "Says whether requests are served, and what is wrong.")
    },
    Operation {
        tag: "installation",
        answers: &[(200, "text/plain", "", "Figures in Prometheus' text format 0.0.4.")],
        ..get("/metrics", "getMetrics", "Shows figures for a monitoring system.")
    },
    Operation {
        access: Access::Open,
        tag: "installation",
        answers: &[(200, JSON, "", "This document.")],
        ..get("/openapi.json", "getOpenApi", "Answers with this document.")
    },
    Operation {
        tag: "installation",
        answers: &[(200, JSON, "Catalog", "The offers.")],
        ..get(
            "/v1/catalog",
            "getCatalog",
            "Lists sizes and locations with prices, availability and worst cases.",
        )
    },
    Operation {
        tag: "installation",
        parameters: &[
            ("query", "from", "First day in UTC, `2026-11-01`; the first of this month where absent."),
            ("query", "to", "The day after the last; tomorrow where absent. A period has at most 92 days."),
        ],
        answers: &[(200, JSON, "Usage", "What was billed, and how much of the caps is used.")],
        ..get(
            "/v1/usage",
            "getUsage",
            "Adds up what machines have cost by workspace and day, as the provider bills.",
        )
    },
    Operation {
        parameters: &[CURSOR],
        answers: &[(200, JSON, "WorkspaceList", "A page.")],
        ..get(
            "/v1/workspaces",
            "listWorkspaces",
            "Lists workspaces, newest first; deleted ones are left out.",
        )
    },
    Operation {
        method: "POST",
        access: WRITE,
        parameters: &[(
            "header",
            "Idempotency-Key",
            "A random text. The same key and body get the same answer; another body is refused.",
        )],
        request: Some((JSON, "CreateWorkspace", true)),
        answers: &[(202, JSON, "Workspace", "It is being created; `Location` names it.")],
        ..get("/v1/workspaces", "createWorkspace", "Creates a workspace.")
    },
    Operation {
        parameters: &[
            (
                "query",
                "wait",
                "Answer when it is `ready` or in the named state (or has failed), or at the time-out.",
            ),
            ("query", "timeout", "Longest wait, at most 25s, which is the default."),
        ],
        answers: WORKSPACE,
        ..get("/v1/workspaces/{id}", "getWorkspace", "Shows a workspace.")
    },
    Operation {
        method: "PATCH",
        access: WRITE,
        request: Some((JSON, "PatchWorkspace", true)),
        answers: WORKSPACE,
        ..get("/v1/workspaces/{id}", "patchWorkspace", "Changes durations, its machine running or not.")
    },
    Operation {
        method: "DELETE",
        access: WRITE,
        parameters: &[("query", "discard", "`true`: without a last backup.")],
        answers: WORKSPACE_SOON,
        ..get(
            "/v1/workspaces/{id}",
            "deleteWorkspace",
            "Deletes a workspace, backed up first; 7 days to take it back.",
        )
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: NO_FIELDS,
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/sleep", "sleepWorkspace", "Backs it up and ends its machine.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: Some((JSON, "WakeWorkspace", false)),
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/wake", "wakeWorkspace", "Starts a new machine with the same files.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: NO_FIELDS,
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/retry", "retryWorkspace", "Tries again after a failure.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: NO_FIELDS,
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/undelete", "undeleteWorkspace", "Takes a deletion back.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: Some((JSON, "CreateHold", true)),
        answers: &[(201, JSON, "Hold", "The hold.")],
        ..get(
            "/v1/workspaces/{id}/holds",
            "createHold",
            "Keeps it awake for a while; the lifetime still ends it.",
        )
    },
    Operation {
        method: "DELETE",
        access: WRITE,
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/holds/{hold}", "releaseHold", "Lets go of a hold.")
    },
    Operation {
        parameters: &[
            ("query", "after", "Only events with a higher `seq`, from the oldest on."),
            ("query", "before", "Only events with a lower `seq`, the newest of them."),
            ("query", "limit", "At most so many, 1 to 500; 500 where it is not given."),
            ("header", "Last-Event-ID", "The same, as browsers send it."),
            ("header", "Accept", "`text/event-stream` follows for up to 25 s."),
        ],
        answers: &[(200, JSON, "EventList", "A page, oldest first; or a slice of server-sent events.")],
        ..get("/v1/workspaces/{id}/events", "listEvents", "Shows what happened to it and why.")
    },
    Operation {
        answers: &[(200, JSON, "LogPage", "Oldest first.")],
        ..get("/v1/workspaces/{id}/log", "getLog", "Shows the log of its current or last machine.")
    },
    Operation {
        answers: &[(200, JSON, "PortList", "By number.")],
        ..get("/v1/workspaces/{id}/ports", "listPorts", "Lists ports that answer, as last heard.")
    },
    Operation {
        method: "PUT",
        access: WRITE,
        request: Some((JSON, "SetPort", true)),
        answers: WORKSPACE,
        ..get("/v1/workspaces/{id}/ports/{port}", "setPort", "Opens a port to anybody, or closes it.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: Some((JSON, "CreateLink", true)),
        answers: &[(201, JSON, "PortLink", "The link.")],
        ..get(
            "/v1/workspaces/{id}/ports/{port}/link",
            "linkPort",
            "Makes a link that opens a port until it ends.",
        )
    },
    Operation {
        answers: &[(200, JSON, "SnapshotList", "Newest first.")],
        ..get("/v1/workspaces/{id}/snapshots", "listSnapshots", "Lists verified snapshots.")
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: NO_FIELDS,
        answers: WORKSPACE_SOON,
        ..get("/v1/workspaces/{id}/snapshots", "takeSnapshot", "Asks the machine for a snapshot now.")
    },
    Operation {
        tag: "restic",
        access: Access::Restic,
        parameters: &[RANGE],
        answers: CONTENT,
        ..get(
            "/v1/workspaces/{id}/restic/{path}",
            "readRepository",
            "Reads the backups (restic REST protocol).",
        )
    },
    Operation {
        method: "POST",
        tag: "restic",
        access: Access::Restic,
        request: Some((BYTES, "bytes", false)),
        answers: CHANGED,
        ..get(
            "/v1/workspaces/{id}/restic/{path}",
            "postRepository",
            "Adds an object, while no machine exists (scope `write`).",
        )
    },
    Operation {
        method: "PUT",
        tag: "restic",
        access: Access::Restic,
        request: Some((BYTES, "bytes", true)),
        answers: CHANGED,
        ..get(
            "/v1/workspaces/{id}/restic/{path}",
            "putRepository",
            "Adds an object, while no machine exists (scope `write`).",
        )
    },
    Operation {
        method: "DELETE",
        tag: "restic",
        access: Access::Restic,
        answers: CHANGED,
        ..get(
            "/v1/workspaces/{id}/restic/{path}",
            "deleteRepository",
            "Deletes an object, while no machine exists (scope `write`); 7 days to take it back.",
        )
    },
    Operation {
        method: "POST",
        access: WRITE,
        request: Some((JSON, "CreateRestoreKit", false)),
        answers: &[(
            201,
            JSON,
            "RestoreKit",
            "The kit, shown this once; as text where `text/plain` is accepted.",
        )],
        ..get(
            "/v1/workspaces/{id}/restore-kit",
            "createRestoreKit",
            "Makes what restic alone needs to restore: address, credential, password, commands.",
        )
    },
    Operation {
        method: "POST",
        access: WRITE,
        parameters: &[CURSOR],
        request: NO_FIELDS,
        answers: &[(200, JSON, "UndoneDeletions", "What came back; send it again while there is more.")],
        ..get(
            "/v1/workspaces/{id}/backups/undelete",
            "undeleteBackups",
            "Brings deleted backup objects of the last 7 days back, a slice at a time.",
        )
    },
    Operation {
        tag: "account",
        access: ADMIN,
        answers: &[(200, JSON, "ApiKeyList", "Newest first.")],
        ..get("/v1/keys", "listKeys", "Lists API keys.")
    },
    Operation {
        method: "POST",
        tag: "account",
        access: ADMIN,
        request: Some((JSON, "CreateApiKey", true)),
        answers: &[(201, JSON, "CreatedApiKey", "The key, shown this once.")],
        ..get("/v1/keys", "createKey", "Makes an API key.")
    },
    Operation {
        method: "DELETE",
        tag: "account",
        access: ADMIN,
        answers: &[(204, "", "", "Revoked.")],
        ..get("/v1/keys/{key}", "revokeKey", "Revokes an API key.")
    },
    Operation {
        method: "POST",
        tag: "account",
        access: ADMIN,
        parameters: &[CURSOR],
        request: NO_FIELDS,
        answers: &[(200, JSON, "MasterKeyRotation", "What was wrapped anew.")],
        ..get(
            "/v1/master-key/rotate",
            "rotateMasterKey",
            "Wraps tenants' keys under the current master key, a slice at a time; no data is touched.",
        )
    },
    Operation {
        tag: "account",
        access: ADMIN,
        parameters: &[CURSOR],
        answers: &[(200, JSON, "AuditList", "A page, newest first.")],
        ..get("/v1/audit", "listAudit", "Shows who did what, when and from where.")
    },
    Operation {
        tag: "installation",
        answers: SWEEP,
        ..get("/v1/sweep", "showSweep", "Shows what the sweep compared, found and ended.")
    },
    Operation {
        method: "POST",
        tag: "installation",
        access: ADMIN,
        request: NO_FIELDS,
        answers: SWEEP,
        ..get("/v1/sweep", "runSweep", "Runs one slice of the sweep now.")
    },
    Operation {
        method: "PUT",
        tag: "installation",
        access: ADMIN,
        request: Some((JSON, "SetSweep", true)),
        answers: SWEEP,
        ..get("/v1/sweep", "setSweep", "Says what the sweep may do from now on.")
    },
    Operation {
        method: "PUT",
        tag: "machines",
        access: ADMIN,
        request: Some((BYTES, "bytes", true)),
        answers: &[(201, JSON, "", "Stored, and current."), (200, JSON, "", "There already, and current.")],
        ..get("/v1/vm/agent/{sha256}", "publishAgent", "Stores the idle-agent that new machines start.")
    },
    Operation {
        tag: "machines",
        access: Access::Open,
        answers: &[(200, BYTES, "bytes", "The binary.")],
        ..get("/v1/vm/agent/{sha256}", "fetchAgent", "Hands out an idle-agent; its hash is its authority.")
    },
    Operation {
        method: "POST",
        tag: "machines",
        access: Access::Open,
        request: Some((JSON, "", true)),
        answers: &[(200, JSON, "", "Token, boot plan, keys and policy.")],
        ..get("/v1/vm/enroll", "enrolMachine", "Enrols a machine with its enrolment token and key.")
    },
    Operation {
        method: "POST",
        tag: "machines",
        access: Access::Open,
        request: Some((JSON, "", true)),
        answers: &[(200, JSON, "", "As at the enrolment.")],
        ..get("/v1/vm/token", "renewMachine", "Renews a machine's token with its key.")
    },
    Operation {
        answers: &[(101, "", "", "A WebSocket: heartbeats in, instructions out.")],
        ..machine("/v1/vm/connect", "connectMachine", "Connects a machine.")
    },
    Operation {
        answers: &[(200, JSON, "", "What is wanted of the machine.")],
        ..told("/v1/vm/heartbeat", "heartbeat", "Takes a heartbeat of a machine without a WebSocket.")
    },
    Operation {
        answers: &[(200, JSON, "", "Where its check stands.")],
        ..told("/v1/vm/receipts", "deliverReceipt", "Takes the receipt of a snapshot while work goes on.")
    },
    Operation {
        answers: &[(200, JSON, "", "Where its check stands.")],
        ..told(
            "/v1/vm/drained",
            "deliverLastReceipt",
            "Takes a machine's last receipt, after which it may go.",
        )
    },
    Operation {
        answers: &[(200, JSON, "", "The snapshots that are to go.")],
        ..told("/v1/vm/tidy", "beginTidying", "Lets a machine remove old backups, once, before it is ready.")
    },
    Operation {
        answers: &[(200, JSON, "", "How full the repository is.")],
        ..told("/v1/vm/tidied", "endTidying", "Ends that.")
    },
    Operation {
        parameters: &[RANGE],
        answers: CONTENT,
        ..machine(
            "/v1/vm/backup/{path}",
            "readBackup",
            "Reads the machine's own backups (restic REST protocol).",
        )
    },
    Operation {
        method: "POST",
        request: Some((BYTES, "bytes", false)),
        answers: STORED,
        ..machine("/v1/vm/backup/{path}", "postBackup", "Stores an object that does not exist yet.")
    },
    Operation {
        method: "PUT",
        request: Some((BYTES, "bytes", true)),
        answers: STORED,
        ..machine("/v1/vm/backup/{path}", "putBackup", "Stores an object that does not exist yet.")
    },
    Operation {
        method: "DELETE",
        answers: REFUSED,
        ..machine("/v1/vm/backup/{path}", "deleteBackup", "Refused: machines delete nothing.")
    },
];
