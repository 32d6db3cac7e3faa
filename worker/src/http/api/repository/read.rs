//! Shows objects and lists of a repository. What is verified is listed by the workspace's object, the rest by storage;
//! bodies are streams of the bucket.
//!
//! A list says what exists for its reader. Whoever knows a name, the SHA-256 of a content, may have that content.

use super::{Repository, Seen, missing};
use crate::durable_objects::rpc::{BackupCall, Call, Held};
use crate::error::{ApiError, ApiResult};
use crate::log::Level;
use crate::r2::bucket::mark;
use crate::r2::listing::{self, Fragment, Joined};
use crate::r2::restic_paths::{Listed, Part, Place, Ranged, list, list_type, range, wants_v2};
use ebbtide_api::ErrorCode;
use ebbtide_control::repository::Kind;
use ebbtide_control::repository::view::Reader;
use worker::{Method, Request, Response, ResponseBuilder};

impl Repository<'_> {
    /// `seen` is how the reader looks; without it everything that is there is shown, as its owner may.
    pub(super) async fn read(
        &self,
        place: &Place,
        seen: Option<&Seen>,
        request: &Request,
    ) -> ApiResult<Response> {
        let path = place.object_path();
        match (place, seen) {
            (Place::List(kind), _) => {
                let header = request.headers().get("accept").ok().flatten();
                return self.list(*kind, seen, wants_v2(header.as_deref())).await;
            }
            // Whoever opens it as of what does not exist is told so at once.
            (Place::Config, Some(seen)) if seen.reader != Reader::Machine => {
                self.verified(seen, Kind::Locks, false).await?;
            }
            (Place::Root | Place::Config | Place::Object(..), _) => {}
        }
        let key = self.key(&path.ok_or_else(missing)?);
        if let Some(answer) = self.object(&key, request).await? {
            return Ok(answer);
        }
        // An index that storage has lost is in no list any more.
        if let (Place::Object(Kind::Index, name), Some(_)) = (place, seen) {
            let gone = BackupCall::Gone { kind: Kind::Index, name: name.hex().to_owned() };
            let _: Held = self.ask(gone).await?;
        }
        Err(missing())
    }

    /// The answer to a request for an object, where there is one.
    async fn object(&self, key: &str, request: &Request) -> ApiResult<Option<Response>> {
        if request.method() == Method::Head {
            let Some(object) = self.storage.head(key).await? else { return Ok(None) };
            let builder = ResponseBuilder::new().with_header("content-length", &object.size().to_string());
            return Ok(Some(builder.map_err(ApiError::internal)?.empty()));
        }
        let Some(wanted) = request.headers().get("range").ok().flatten() else {
            return self.whole(key).await;
        };
        // Its size is asked for first: what the bucket says about a part beyond the end is only words.
        let Some(size) = self.storage.size(key).await? else { return Ok(None) };
        match range(Some(&wanted), size) {
            Ranged::Whole => self.whole(key).await,
            Ranged::Part(part) => self.part(key, part, size).await,
            Ranged::Unsatisfiable => Err(ApiError::field("Range", format!("the object has {size} bytes"))
                .with_status(416)
                .header("content-range", format!("bytes */{size}"))),
        }
    }

    async fn whole(&self, key: &str) -> ApiResult<Option<Response>> {
        let Some(object) = self.storage.get(key, None).await? else { return Ok(None) };
        let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
        let builder = ResponseBuilder::new().with_header("content-type", "application/octet-stream");
        Ok(Some(builder.map_err(ApiError::internal)?.body(body)))
    }

    async fn part(&self, key: &str, part: Part, size: u64) -> ApiResult<Option<Response>> {
        let wanted = worker::Range::OffsetWithLength { offset: part.first, length: part.length() };
        let Some(object) = self.storage.get(key, Some(wanted)).await? else { return Ok(None) };
        let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
        let builder = ResponseBuilder::new()
            .with_status(206)
            .with_header("content-type", "application/octet-stream")
            .and_then(|builder| {
                builder.with_header("content-range", &format!("bytes {}-{}/{size}", part.first, part.last))
            });
        Ok(Some(builder.map_err(ApiError::internal)?.body(body)))
    }

    async fn list(&self, kind: Kind, seen: Option<&Seen>, v2: bool) -> ApiResult<Response> {
        match (kind, seen) {
            (Kind::Index | Kind::Snapshots | Kind::Locks, Some(seen)) => self.verified(seen, kind, v2).await,
            (Kind::Keys, Some(_)) => listed(&self.keys_of_config().await?, v2),
            // Nothing reads a pack but through an index: packs are shown to everybody.
            (Kind::Data, _) | (_, None) => match self.stored(kind, v2).await {
                // Without its object nothing is verified, and what is stored is still its owner's.
                Err(error) if error.code() == ErrorCode::RecordLost => {
                    self.stored_without_object(kind, v2).await
                }
                answer => answer,
            },
        }
    }

    async fn verified(&self, seen: &Seen, kind: Kind, v2: bool) -> ApiResult<Response> {
        let Seen { reader, machine } = seen.clone();
        let answer = self.answer(BackupCall::List { reader, kind, machine, v2 }).await?;
        handed_on(answer, v2)
    }

    /// Keys of whoever wrote the configuration, which closed them; the password opens no other. A machine adds few.
    async fn keys_of_config(&self) -> ApiResult<Vec<Listed>> {
        let prefix = self.key("keys/");
        let config = self.storage.head(&self.key("config")).await?.map(|config| mark(&config).0);
        let page = self.storage.list_marked(&prefix, None).await?;
        let keys = page.objects().into_iter().filter(|key| config.is_none_or(|by| mark(key).0 == by));
        let listed = keys.filter_map(|key| {
            Some(Listed { name: key.key().strip_prefix(&prefix)?.to_owned(), size: key.size() })
        });
        Ok(listed.collect())
    }

    /// All that storage has of a kind, as the object lists it: one answer, or several that are joined.
    async fn stored(&self, kind: Kind, v2: bool) -> ApiResult<Response> {
        let next = async |cursor| self.answer(BackupCall::Stored { kind, v2, cursor }).await;
        let answer = next(None).await?;
        let (objects, most, cursor) = Fragment::about(&answer)?;
        if cursor.is_none() {
            self.tell_if_crowded(objects, most).await;
            return handed_on(answer, v2);
        }
        let first = Fragment::read(answer).await?;
        let next = async |cursor| Fragment::read(next(Some(cursor)).await?).await;
        let Joined { body, objects, most } = listing::join(first, next).await?;
        self.tell_if_crowded(objects, most).await;
        answer_list(body, v2)
    }

    async fn stored_without_object(&self, kind: Kind, v2: bool) -> ApiResult<Response> {
        let prefix = self.key(&format!("{}/", kind.as_str()));
        let first = listing::part(&self.storage, &prefix, None).await?;
        let next = async |cursor| self.ask(BackupCall::Part { kind, cursor }).await;
        listed(&listing::whole(first, next).await?.objects, v2)
    }

    async fn answer(&self, ask: BackupCall) -> ApiResult<Response> {
        self.app.workspace(self.tenant, self.workspace).answer(Call::Backups { ask }).await
    }

    /// Long before a list is too long its owner is told; whoever listed is not kept by what goes wrong with that.
    async fn tell_if_crowded(&self, objects: usize, most: u32) {
        let objects = u32::try_from(objects).unwrap_or(u32::MAX);
        if objects < self.app.config.policy.crowded_from(most) {
            return;
        }
        if let Err(error) = self.ask::<Held>(BackupCall::ObjectsCounted { objects, most }).await {
            let fields = [("workspace.id", self.workspace.as_str())];
            error.log(Level::Warn, "nobody was told that the repository is crowded", &fields);
        }
    }
}

fn listed(objects: &[Listed], v2: bool) -> ApiResult<Response> {
    answer_list(list(objects, v2).map_err(ApiError::internal)?.0, v2)
}

fn answer_list(body: String, v2: bool) -> ApiResult<Response> {
    let builder = ResponseBuilder::new().with_header("content-type", list_type(v2));
    Ok(builder.map_err(ApiError::internal)?.fixed(body.into_bytes()))
}

/// A list of the object's, unread.
fn handed_on(answer: Response, v2: bool) -> ApiResult<Response> {
    let (_, body) = answer.into_parts();
    let builder = ResponseBuilder::new().with_header("content-type", list_type(v2));
    Ok(builder.map_err(ApiError::internal)?.body(body))
}
