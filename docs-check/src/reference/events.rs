//! `events.md`: what a workspace's history tells of.

use super::{HEAD, cell};
use ebbtide_api::history::EventCode;

/// The page.
pub fn page() -> String {
    let mut text = format!(
        "{HEAD}# Events\n\n\
         `GET /v1/workspaces/{{id}}/events` is the history of a workspace. Each event has its number (`seq`), the time \
         (`at`), the `state` after it, the machine number (`generation`), a sentence (`because`) and a `code`.\n\n\
         Match on `code`: it never changes its meaning, and the sentence may. Events that an earlier version wrote have \
         none. A code that is not listed here comes from a later version.\n\n\
         | code | what happened |\n|---|---|\n"
    );
    for code in EventCode::ALL {
        text += &format!("| `{code}` | {} |\n", cell(code.meaning()));
    }
    text
}
