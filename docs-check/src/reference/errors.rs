//! `errors.md`: every refusal of the API, and every reason for which a workspace fails.

use super::{HEAD, cell};
use ebbtide_api::ErrorCode;

/// The page.
pub fn page() -> String {
    let mut text = format!(
        "{HEAD}# Errors and failures\n\n\
         Every refusal of the API is one JSON object: `code`, `message`, `hint` and `request_id`. \
         Match on `code`; it never changes its meaning. The message and the hint may be more precise than the \
         sentences here.\n\n\
         ## Refusals of the API\n\n\
         | code | status | you see it when | what to do |\n|---|---|---|---|\n"
    );
    for code in ErrorCode::ALL {
        text += &format!(
            "| `{}` | {} | {} | {} |\n",
            code.as_str(),
            code.status(),
            cell(cause(*code)),
            cell(code.hint())
        );
    }
    text += "\n## Failures of a workspace\n\n\
             A workspace in the state `failed` has no machine and tells why in `failure`: `code`, `message` and \
             `hint`. Its backups are whole. See [when something goes wrong](../operate/trouble.md).\n\n\
             | code | what happened | what to do |\n|---|---|---|\n";
    for (code, cause, next) in FAILURES {
        text += &format!("| `{code}` | {} | {} |\n", cell(cause), cell(next));
    }
    text
}

/// When the API answers so.
fn cause(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BadJson => "The body is no JSON object, or it broke off.",
        ErrorCode::InvalidField => "A field has a value that cannot be used; the message names it.",
        ErrorCode::UnknownField => "The body has a field that does not exist, perhaps misspelt.",
        ErrorCode::BodyTooLarge => "The body is larger than this path takes.",
        ErrorCode::LengthRequired => "A file was sent without its length.",
        ErrorCode::Unauthorized => "The request has no credential, or one that is not known.",
        ErrorCode::TokenExpired => "The token or the restore kit's key has ended.",
        ErrorCode::Forbidden => "The key is good, but its scope does not allow this.",
        ErrorCode::CsrfMismatch => "A form of the dashboard belongs to another session or another site.",
        ErrorCode::NotFound => "Nothing of that name exists, or it is not yours.",
        ErrorCode::MethodNotAllowed => "The path exists, with other methods.",
        ErrorCode::WrongState => "The workspace cannot do this in the state that it is in.",
        ErrorCode::NameTaken => "Something of that name exists already.",
        ErrorCode::IdempotencyMismatch => "The same `Idempotency-Key` came with another body.",
        ErrorCode::IdempotencyInProgress => {
            "The first request with that `Idempotency-Key` is not answered yet."
        }
        ErrorCode::StaleGeneration => "A machine called whose time is over. You see it in its log only.",
        ErrorCode::EnrolmentRefused => "A second machine wanted to register with one machine's token.",
        ErrorCode::AlreadyExists => "A backup object of that name exists. Objects are written once.",
        ErrorCode::DeletionRefused => "Backups were to be changed while a machine exists, or by a machine.",
        ErrorCode::QuotaReached => "The backups of the workspace have no room for this.",
        ErrorCode::CapReached => {
            "A cap on workspaces, machines, spending, keys, kits or holds does not allow it."
        }
        ErrorCode::CapacityUnavailable => "Hetzner has sold out the size at that location.",
        ErrorCode::RateLimited => "Too many failed sign-ins came from your address.",
        ErrorCode::ProviderUnavailable => {
            "Hetzner or Cloudflare's DNS did not answer, or its call limit is used up."
        }
        ErrorCode::StorageUnavailable => "D1 or R2 did not answer.",
        ErrorCode::NotConfigured => "A variable or secret of the Worker is missing or unusable.",
        ErrorCode::Internal => {
            "Something went wrong inside. The Worker's log has the cause by the request's id."
        }
    }
}

/// Code, what happened, and what to do.
const FAILURES: &[(&str, &str, &str)] = &[
    (
        "capacity",
        "Hetzner has no room for that size at that location.",
        "Try again later with `POST …/retry`, or create the workspace with another size or location.",
    ),
    (
        "limit",
        "Your Hetzner project has reached a limit of its own, such as its number of servers.",
        "End a server in the project or ask Hetzner for a higher limit, then `POST …/retry`.",
    ),
    (
        "refused",
        "Hetzner refuses the request as it stands.",
        "Choose a size and a location from `GET /v1/catalog`.",
    ),
    (
        "provider_unavailable",
        "No server could be created within `provision_budget`.",
        "`POST …/retry`, or choose another location.",
    ),
    (
        "boot_failed",
        "A step of the boot failed, for example the clone; the message has its last words.",
        "Correct what the message names, then `POST …/retry`.",
    ),
    (
        "boot_stalled",
        "The boot made no progress for `boot_stall`, or took longer than `boot_cap`.",
        "Read the last lines of the log with `GET …/log`, then `POST …/retry`.",
    ),
    (
        "rescued",
        "The machine could not deliver its work. An image of its disk is kept at Hetzner, and is billed.",
        "`POST …/wake` recovers the work from the image. It uses two servers one after the other.",
    ),
    (
        "salvage_failed",
        "The work could not be recovered from the image. The message says whether the image is left.",
        "`POST …/retry` tries once more; `POST …/wake` with a `snapshot` goes on from that backup without the image.",
    ),
    (
        "cap_reached",
        "A wake had to wait, and a cap was reached meanwhile.",
        "End something or raise the cap, then `POST …/retry`.",
    ),
    (
        "not_reserved",
        "Prices or the index were away, so the cost of the next machine could not be reserved.",
        "`POST …/wake`.",
    ),
    (
        "machine_gone",
        "The server vanished at Hetzner. Work since the last backup went with it.",
        "`POST …/wake` restores the last verified backup.",
    ),
    (
        "work_lost",
        "The machine went and nothing more could be saved. The message names what is missing.",
        "`POST …/wake` restores the last verified backup.",
    ),
];
