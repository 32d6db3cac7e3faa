//! Shows objects and lists of a repository, as far as the reader's view goes. Bodies are streams of the bucket.

use super::snapshot_isolation::Isolation;
use super::{PAGES_MAX, Repository, missing};
use crate::durable_objects::rpc::{BackupCall, Held};
use crate::error::{ApiError, ApiResult};
use crate::log::Level;
use crate::r2::bucket::mark;
use crate::r2::restic_paths::{AsOf, Kind, Listed, Part, Place, Ranged, list, range, wants_v2};
use crate::r2::visibility::View;
use ebbtide_api::ErrorCode;
use worker::{Method, Object, Request, Response, ResponseBuilder};

impl Repository<'_> {
    pub(super) async fn read(
        &self,
        place: &Place,
        isolation: &Isolation,
        request: &Request,
    ) -> ApiResult<Response> {
        let header = |name: &str| request.headers().get(name).ok().flatten();
        let kind = match place {
            Place::List(kind) | Place::Object(kind, _) => Some(*kind),
            Place::Root | Place::Config => None,
        };
        // The configuration is shown to everybody; so is, to `as-of` what does not exist, that it does not.
        let view = match (kind, isolation) {
            (None, Isolation::Everything | Isolation::Machine(_)) => None,
            // Packs are shown to everybody, and whoever removes reads many.
            (Some(Kind::Data), Isolation::AsOf(AsOf::Verified) | Isolation::Prune(_)) => None,
            _ => self.view(isolation).await?,
        };
        let shown = |object: &Object| view.as_deref().is_none_or(|view| view.shows(kind, mark(object)));
        if let Place::List(kind) = place {
            return self.list(*kind, view.as_deref(), wants_v2(header("accept").as_deref())).await;
        }
        let path = place.object_path().ok_or_else(missing)?;
        let key = self.key(&path);
        if request.method() == Method::Head {
            let object = self.storage.head(&key).await?.filter(|object| shown(object)).ok_or_else(missing)?;
            let builder = ResponseBuilder::new().with_header("content-length", &object.size().to_string());
            return Ok(builder.map_err(ApiError::internal)?.empty());
        }
        match header("range") {
            Some(wanted) => {
                // Its size is asked for first: what the bucket says about a part beyond the end is only words.
                let object = self.storage.head(&key).await?.filter(|object| shown(object));
                self.part(&key, &wanted, object.ok_or_else(missing)?.size()).await
            }
            None => {
                let object = self.storage.get(&key, None).await?.filter(|object| shown(object));
                whole(&object.ok_or_else(missing)?)
            }
        }
    }

    async fn part(&self, key: &str, wanted: &str, size: u64) -> ApiResult<Response> {
        let part: Part = match range(Some(wanted), size) {
            Ranged::Whole => return whole(&self.storage.get(key, None).await?.ok_or_else(missing)?),
            Ranged::Unsatisfiable => {
                return Err(ApiError::field("Range", format!("the object has {size} bytes"))
                    .with_status(416)
                    .header("content-range", format!("bytes */{size}")));
            }
            Ranged::Part(part) => part,
        };
        let wanted = worker::Range::OffsetWithLength { offset: part.first, length: part.length() };
        let object = self.storage.get(key, Some(wanted)).await?.ok_or_else(missing)?;
        let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
        let builder = ResponseBuilder::new()
            .with_status(206)
            .with_header("content-type", "application/octet-stream")
            .and_then(|builder| {
                builder.with_header("content-range", &format!("bytes {}-{}/{size}", part.first, part.last))
            });
        Ok(builder.map_err(ApiError::internal)?.body(body))
    }

    async fn list(&self, kind: Kind, view: Option<&View>, v2: bool) -> ApiResult<Response> {
        let prefix = self.key(&format!("{}/", kind.as_str()));
        let mut listed: Vec<Listed> = Vec::new();
        let (mut cursor, mut stored) = (None, 0_u32);
        for _ in 0..PAGES_MAX {
            let page = self.storage.list(&prefix, cursor.take()).await?;
            let objects = page.objects();
            stored = stored.saturating_add(u32::try_from(objects.len()).unwrap_or(u32::MAX));
            let shown = objects
                .into_iter()
                .filter(|object| view.is_none_or(|view| view.shows(Some(kind), mark(object))));
            listed.extend(shown.filter_map(|object| {
                let name = object.key().strip_prefix(&prefix)?.to_owned();
                Some(Listed { name, size: object.size() })
            }));
            cursor = page.cursor().filter(|_| page.truncated());
            if cursor.is_none() {
                self.tell_if_crowded(stored).await;
                let (body, content_type) = list(&listed, v2).map_err(ApiError::internal)?;
                let builder = ResponseBuilder::new().with_header("content-type", content_type);
                return Ok(builder.map_err(ApiError::internal)?.fixed(body.into_bytes()));
            }
        }
        // Half a list would make a reader believe that packs are missing.
        Err(ApiError::new(
            ErrorCode::QuotaReached,
            format!("the repository has more than {PAGES_MAX} 000 objects of a kind"),
        )
        .hint("Copy it with rclone and prune the copy, or delete the workspace: it was warned of from 20 000 on."))
    }

    /// Long before a list is too long its owner is told; whoever listed is not kept by what goes wrong with that.
    async fn tell_if_crowded(&self, objects: u32) {
        if objects < self.app.config.policy.crowded_objects {
            return;
        }
        if let Err(error) = self.ask::<Held>(BackupCall::ObjectsCounted { objects }).await {
            let fields = [("workspace.id", self.workspace.as_str())];
            error.log(Level::Warn, "nobody was told that the repository is crowded", &fields);
        }
    }
}

fn whole(object: &Object) -> ApiResult<Response> {
    let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
    let builder = ResponseBuilder::new().with_header("content-type", "application/octet-stream");
    Ok(builder.map_err(ApiError::internal)?.body(body))
}
