//! A workspace's history: as JSON, or as server-sent events in slices.
//!
//! A slice replays what came after `Last-Event-ID`, follows for at most 25 s and closes; the browser comes back by
//! itself with the last number it saw. The object is asked at a bounded pace and nothing hangs inside it.

use crate::actor::Actor;
use crate::clock;
use crate::durable_objects::client::WorkspaceClient;
use crate::durable_objects::rpc::{Call, EventPage};
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::log::Level;
use crate::workspaces::actions;
use ebbtide_api::history::{Event, EventList};
use futures_util::stream;
use worker::{Delay, Response, ResponseBuilder};

/// How long a slice follows, in milliseconds.
const SLICE_MS: i64 = 24_000;
/// Events on a page at most.
const LIMIT_MAX: u16 = 500;
/// Pause between looks: 24 looks a slice.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1_000);

/// Answers with a page of the history: after `?after=` or `Last-Event-ID`, or before `?before=`.
pub async fn get(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let after = number("after", incoming.query("after").or_else(|| incoming.header("last-event-id")))?;
    let before = number("before", incoming.query("before"))?;
    let limit = match number("limit", incoming.query("limit"))? {
        Some(limit @ 1..=500) => u16::try_from(limit).unwrap_or(LIMIT_MAX),
        Some(_) => {
            return Err(ApiError::field("limit", "it is not from 1 to 500").hint("Leave it out for 500."));
        }
        None => LIMIT_MAX,
    };
    let page = match (after, before) {
        (None, Some(before)) => EventPage::Before(before),
        (after, None) => EventPage::After(after.unwrap_or(0)),
        (Some(_), Some(_)) => {
            return Err(ApiError::field("before", "a page begins after a number or ends before one")
                .hint("Give `after` or `before`, not both."));
        }
    };
    let id = actions::own(app, actor, incoming.params.get("id")).await?;
    if !incoming.header("accept").is_some_and(|accept| accept.contains("text/event-stream")) {
        return response::json(200, &actions::events(app, actor, &id, page, limit).await?);
    }
    let follower = Follower {
        workspace: app.workspace(&actor.tenant, &id),
        after: after.unwrap_or(0),
        ends_ms: clock::now().as_millisecond().saturating_add(SLICE_MS),
        first: true,
    };
    let slice = stream::unfold(follower, |mut follower| async move {
        let chunk = follower.next().await?;
        Some((Ok::<Vec<u8>, worker::Error>(chunk.into_bytes()), follower))
    });
    let builder = ResponseBuilder::new()
        .with_header("content-type", "text/event-stream")
        .map_err(ApiError::internal)?;
    builder.from_stream(slice).map_err(ApiError::internal)
}

/// A number in the query, where it is there.
pub(super) fn number(name: &'static str, text: Option<String>) -> ApiResult<Option<u64>> {
    let parse = |text: String| {
        text.trim()
            .parse()
            .map_err(|_| ApiError::field(name, "it is no number").hint("Give a number that a page named."))
    };
    text.map(parse).transpose()
}

struct Follower {
    workspace: WorkspaceClient,
    after: u64,
    ends_ms: i64,
    first: bool,
}

impl Follower {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        if !self.first {
            if clock::now().as_millisecond() >= self.ends_ms {
                return None;
            }
            Delay::from(PAUSE).await;
        }
        let call = Call::Events { page: EventPage::After(self.after).exact(), limit: LIMIT_MAX };
        let list: EventList = match self.workspace.ask(call).await {
            Ok(list) => list,
            // The browser comes back by itself with the last number that it saw.
            Err(error) => {
                error.log(Level::Warn, "a slice of events ended early", &[]);
                return None;
            }
        };
        self.after = list.events.last().map_or(self.after, |event| event.seq);
        let mut text: String = list.events.iter().map(write).collect();
        if std::mem::take(&mut self.first) {
            // How soon the browser comes back after a slice.
            text.insert_str(0, "retry: 1000\n\n");
        } else if text.is_empty() {
            text.push_str(": nothing new\n\n");
        }
        Some(text)
    }
}

fn write(event: &Event) -> String {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\nevent: state\ndata: {data}\n\n", event.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_data_whatever_it_says() {
        let event = Event {
            seq: 7,
            at: ebbtide_api::Timestamp::UNIX_EPOCH,
            state: ebbtide_api::workspace::State::Running,
            generation: ebbtide_api::Generation(1),
            code: Some(ebbtide_api::EventCode::Ready),
            because: "two\nlines".into(),
        };
        assert_eq!(
            write(&event),
            "id: 7\nevent: state\ndata: {\"seq\":7,\"at\":\"1970-01-01T00:00:00Z\",\"state\":\"running\",\"generation\":1,\"code\":\"ready\",\"because\":\"two\\nlines\"}\n\n"
        );
    }
}
