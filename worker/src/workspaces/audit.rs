//! The audit line of what somebody did.

use crate::actor::Actor;
use crate::app::App;
use crate::log::Level;

/// Writes the audit line of what was done. What was done stands even where the line cannot be written: then the log
/// has it.
pub async fn note(app: &App, actor: &Actor, action: &str, subject: &str) {
    let written = match app.d1() {
        Ok(index) => index.note(&app.audit_note(actor, action, subject)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        let fields = [
            ("request.id", app.request_id.as_str()),
            ("actor", &actor.name),
            ("action", action),
            ("subject", subject),
            ("from", &actor.address),
        ];
        error.log(Level::Error, "an audit line could not be written", &fields);
    }
}
