//! `errors.md`: every refusal of the API, and every reason for which a workspace fails.

use super::{HEAD, cell};
use ebbtide_api::ErrorCode;
use ebbtide_api::failure::FailureCode;

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
            cell(code.meaning()),
            cell(code.hint())
        );
    }
    text += "\n## Failures of a workspace\n\n\
             A workspace in the state `failed` has no machine and tells why in `failure`: `code`, `message` and \
             `hint`. Its backups are whole. See [when something goes wrong](../operate/trouble.md).\n\n\
             | code | what happened | what to do |\n|---|---|---|\n";
    for code in FailureCode::ALL {
        let (meaning, next) = (cell(code.meaning()), cell(code.next_step()));
        text += &format!("| `{}` | {meaning} | {next} |\n", code.as_str());
    }
    text
}
