//! restic's REST protocol over the bucket, for machines and for owners.
//!
//! Every write is create-only and streams from the request into the bucket, which checks its SHA-256; nothing is
//! buffered. `config` and `keys/` close once the repository is made. Nobody deletes: machines never, owners not without
//! a grant, which this version does not hand out. Objects of one workspace are all that a path can name.

use crate::answer;
use crate::auth::Context;
use crate::body::declared_length;
use crate::error::{ApiError, ApiResult};
use crate::invocation::Invocation;
use crate::restic_paths::{Kind, Listed, Part, Place, Ranged, list, range, wants_v2};
use crate::route::Params;
use crate::storage::{Put, Storage, repository_path};
use crate::workspaces::own;
use ebbtide_api::{ErrorCode, TenantId, WorkspaceId};
use ebbtide_control::tokens::VmClaims;
use worker::{Request, Response, ResponseBuilder};

/// Pages of 1 000 objects that one list may take: the calls of an invocation. At 16 MiB a pack this is 570 GB.
const PAGES_MAX: usize = 36;
/// Largest object: what the platform takes as a body on the smaller plans, 100 MB. Packs have 16 to 32 MiB.
const OBJECT_MAX: u64 = 100_000_000;

/// A workspace's repository in the bucket.
struct Repository<'a> {
    storage: Storage,
    tenant: &'a TenantId,
    workspace: &'a WorkspaceId,
}

/// Serves a machine: its own workspace's repository.
pub async fn machine(
    invocation: &Invocation,
    claims: &VmClaims,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let repository =
        Repository { storage: invocation.storage()?, tenant: &claims.tenant, workspace: &claims.workspace };
    let place = place(params)?;
    match request.method() {
        worker::Method::Get | worker::Method::Head => repository.read(&place, request).await,
        worker::Method::Post | worker::Method::Put => repository.write(&place, request).await,
        _ => Err(ApiError::new(ErrorCode::DeletionRefused, "a machine deletes nothing")),
    }
}

/// Serves an owner: reading.
pub async fn owner(
    invocation: &Invocation,
    context: &Context,
    params: &Params,
    request: &Request,
) -> ApiResult<Response> {
    let workspace = own(invocation, context, params.get("id")).await?;
    let repository =
        Repository { storage: invocation.storage()?, tenant: &context.tenant, workspace: &workspace };
    let place = place(params)?;
    match request.method() {
        worker::Method::Get | worker::Method::Head => repository.read(&place, request).await,
        worker::Method::Delete => {
            Err(ApiError::new(ErrorCode::DeletionRefused, "this repository is read-only for its owner")
                .hint("Run restic with --no-lock; snapshots cannot be removed yet."))
        }
        _ => Err(ApiError::new(ErrorCode::Forbidden, "this repository is read-only for its owner")
            .hint("Run restic with --no-lock.")),
    }
}

fn place(params: &Params) -> ApiResult<Place> {
    Place::parse(params.get("path")).ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, "this is no path of a restic repository")
            .hint("Paths are config, and {data,index,keys,locks,snapshots}/ with a SHA-256.")
    })
}

impl Repository<'_> {
    fn key(&self, path: &str) -> String {
        repository_path(self.tenant, self.workspace, path)
    }

    async fn read(&self, place: &Place, request: &Request) -> ApiResult<Response> {
        let header = |name: &str| request.headers().get(name).ok().flatten();
        if let Place::List(kind) = place {
            return self.list(*kind, wants_v2(header("accept").as_deref())).await;
        }
        let path = place.object_path().ok_or_else(missing)?;
        if request.method() == worker::Method::Head {
            let size = self.storage.size(&self.key(&path)).await?.ok_or_else(missing)?;
            let builder = ResponseBuilder::new().with_header("content-length", &size.to_string());
            return Ok(builder.map_err(ApiError::internal)?.empty());
        }
        match header("range") {
            Some(wanted) => self.part(&path, &wanted).await,
            None => self.whole(&path).await,
        }
    }

    async fn whole(&self, path: &str) -> ApiResult<Response> {
        let object = self.storage.get(&self.key(path), None).await?.ok_or_else(missing)?;
        let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
        let builder = ResponseBuilder::new().with_header("content-type", "application/octet-stream");
        Ok(builder.map_err(ApiError::internal)?.body(body))
    }

    /// A part. Its size is asked for first: what the bucket says about a part beyond the end is only words.
    async fn part(&self, path: &str, wanted: &str) -> ApiResult<Response> {
        let key = self.key(path);
        let size = self.storage.size(&key).await?.ok_or_else(missing)?;
        let part: Part = match range(Some(wanted), size) {
            Ranged::Whole => return self.whole(path).await,
            Ranged::Unsatisfiable => {
                return Err(ApiError::field("Range", format!("the object has {size} bytes"))
                    .with_status(416)
                    .header("content-range", format!("bytes */{size}")));
            }
            Ranged::Part(part) => part,
        };
        let wanted = worker::Range::OffsetWithLength { offset: part.first, length: part.length() };
        let object = self.storage.get(&key, Some(wanted)).await?.ok_or_else(missing)?;
        let body = object.body().ok_or_else(missing)?.response_body().map_err(ApiError::storage)?;
        let builder = ResponseBuilder::new()
            .with_status(206)
            .with_header("content-type", "application/octet-stream")
            .and_then(|builder| {
                builder.with_header("content-range", &format!("bytes {}-{}/{size}", part.first, part.last))
            });
        Ok(builder.map_err(ApiError::internal)?.body(body))
    }

    async fn list(&self, kind: Kind, v2: bool) -> ApiResult<Response> {
        let prefix = self.key(&format!("{}/", kind.as_str()));
        let mut listed: Vec<Listed> = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let page = self.storage.list(&prefix, cursor.take()).await?;
            listed.extend(page.objects().into_iter().filter_map(|object| {
                let name = object.key().strip_prefix(&prefix)?.to_owned();
                Some(Listed { name, size: object.size() })
            }));
            cursor = page.cursor().filter(|_| page.truncated());
            if cursor.is_none() {
                let (body, content_type) = list(&listed, v2).map_err(ApiError::internal)?;
                let builder = ResponseBuilder::new().with_header("content-type", content_type);
                return Ok(builder.map_err(ApiError::internal)?.fixed(body.into_bytes()));
            }
        }
        // Half a list would make a reader believe that packs are missing.
        Err(ApiError::new(
            ErrorCode::QuotaReached,
            format!("the repository has more than {PAGES_MAX} 000 objects of a kind"),
        ))
    }

    async fn write(&self, place: &Place, request: &Request) -> ApiResult<Response> {
        let (path, sha256) = match place {
            // `POST ?create=true` makes directories; a bucket has none.
            Place::Root => return Ok(answer::nothing(200)),
            Place::List(_) => return Err(missing()),
            Place::Config => ("config".to_owned(), None),
            Place::Object(kind, name) => (format!("{}/{}", kind.as_str(), name.hex()), Some(name.bytes())),
        };
        let length = declared_length(request)
            .ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "the object comes without its length"))?;
        if length > OBJECT_MAX {
            return Err(ApiError::new(ErrorCode::BodyTooLarge, "the object has more than 100 MB")
                .hint("Use packs of at most 64 MiB (restic's --pack-size)."));
        }
        let stream = request.inner().body().filter(|_| length > 0);
        let stream = stream.ok_or_else(|| ApiError::new(ErrorCode::InvalidField, "the object is empty"))?;
        if matches!(place, Place::Object(Kind::Keys, _))
            && self.storage.head(&self.key("config")).await?.is_some()
        {
            return Err(closed("keys/ is closed: the repository is made"));
        }
        match self.storage.create(&self.key(&path), stream, sha256).await? {
            Put::Stored => Ok(answer::nothing(200)),
            Put::WrongHash => Err(ApiError::new(
                ErrorCode::InvalidField,
                "the object does not have the SHA-256 that its name says",
            )
            .hint("It was damaged on its way; send it again.")),
            Put::Exists if sha256.is_some() && self.storage.size(&self.key(&path)).await? == Some(length) => {
                // The same again, after an answer that was lost: the stored one was checked against its name.
                Ok(answer::nothing(200))
            }
            Put::Exists => Err(closed("this object exists already")),
        }
    }
}

fn missing() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such object").hint("Lists say which objects exist.")
}

fn closed(message: &str) -> ApiError {
    ApiError::new(ErrorCode::AlreadyExists, message)
}
