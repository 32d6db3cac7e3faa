//! The log lines of one workspace: what changed and why, which effects ran and how they ended, what went wrong.
//!
//! Every line carries the workspace's id, its generation and its server, so that its story can be read from the log
//! alone. Nothing that a machine or a person typed is in it but the workspace's own reasons.

use crate::log::{self, Level};
use crate::subrequests::Calls;
use ebbtide_control::driver::Performed;
use ebbtide_control::executor::StoreError;
use ebbtide_control::lifecycle::{Effect, EffectOutcome, Note};
use ebbtide_control::record::Record;

/// A line of history.
pub(super) fn changed(record: &Record, note: &Note) {
    let (state, code, because) = (note.state.as_str(), note.code.as_str(), note.because.as_str());
    let fields = [("state", state), ("code", code), ("because", because)];
    about(Level::Info, record, "the workspace changed", &fields);
}

/// The end of an effect.
pub(super) fn ran(performed: &Performed<'_>) {
    let Performed { record, effect, outcome, began, ended } = performed;
    let effect = name(*effect);
    let duration = ended.as_millisecond().saturating_sub(began.as_millisecond()).to_string();
    let waiting_for = match outcome {
        EffectOutcome::Later { waiting_for, .. } => waiting_for.as_str(),
        _ => "",
    };
    let fields = [("effect", effect.as_str()), ("duration_ms", &duration), ("waiting_for", waiting_for)];
    about(Level::Debug, record, "an effect ended", &fields);
}

/// What failed on our own side while an effect was performed, with all its causes. Here alone.
pub(super) fn failed(record: &Record, effect: Effect, failure: &StoreError) {
    let causes = std::iter::successors(Some(failure as &dyn std::error::Error), |error| error.source());
    let chain = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    about(
        Level::Warn,
        record,
        "an effect failed on our side",
        &[("effect", &name(effect)), ("error", &chain)],
    );
}

/// How many calls a chain of effects made, so that the plan's bound can be watched, and what it left to the next.
pub(super) fn called(record: &Record, calls: &Calls, left: Option<Effect>) {
    let left = left.map(name).unwrap_or_default();
    about(Level::Debug, record, "effects ran", &[("calls", &calls.to_string()), ("left", &left)]);
}

/// An effect's name as it is stored.
fn name(effect: Effect) -> String {
    let effect = serde_json::to_value(effect).unwrap_or_default();
    let variant = effect.as_object().and_then(|variant| variant.keys().next());
    effect.as_str().or(variant.map(String::as_str)).unwrap_or_default().to_owned()
}

/// Something went wrong that the lifecycle bears.
pub(super) fn trouble(level: Level, record: &Record, message: &str, error: &impl std::fmt::Display) {
    about(level, record, message, &[("error", &error.to_string())]);
}

fn about(level: Level, record: &Record, message: &str, more: &[(&str, &str)]) {
    let generation = record.generation.0.to_string();
    let server = record.server.as_ref().map_or_else(String::new, |server| server.id.to_string());
    let mut fields =
        vec![("workspace.id", record.id.as_str()), ("generation", &generation), ("server.id", &server)];
    fields.extend_from_slice(more);
    log::write(level, message, &fields);
}
