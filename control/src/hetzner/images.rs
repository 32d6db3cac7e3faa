//! Images: rescue images of machines that died with unsaved work.
//!
//! `POST /servers/{id}/actions/create_image`, `GET /images`, `GET|DELETE /images/{id}`. Snapshots outlive their server
//! and are billed by size: whoever makes one labels it with its end.

use super::page::{Listing, Meta};
use super::wire::{open_enum, scaled, time};
use super::{
    Action, Answer, Failure, Hetzner, ImageId, Labels, Lookup, Page, Reply, ServerId, VendorError, decode,
};
use crate::http::{Http, Method};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An image as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "WireImage")]
pub struct Image {
    pub id: ImageId,
    /// `snapshot` for ours.
    pub kind: String,
    pub status: ImageStatus,
    pub description: String,
    pub labels: Labels,
    pub created: Option<Timestamp>,
    /// The server it was taken of.
    pub created_from: Option<ServerId>,
    /// What is billed, in megabytes; absent until it is complete.
    pub size_mb: Option<u64>,
    /// Smallest disk it fits on.
    pub disk_gb: Option<u64>,
}

open_enum! {
    /// Whether an image can be used.
    ImageStatus {
        Available = "available",
        Creating = "creating",
        Unavailable = "unavailable",
    }
}

/// What came of taking an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateImage {
    /// On its way; complete when the action is done.
    Started { image: Image, action: Action },
    /// The server does not exist.
    Gone,
    /// Something else is being done to the server: later.
    Locked(VendorError),
    /// The project may not have more images.
    LimitExceeded(VendorError),
}

/// What came of deleting an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteImage {
    Deleted,
    /// There is no such image: done.
    Gone,
    /// Still being written, in use or protected: later.
    Locked(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// Takes a snapshot of a server's disk. Repeating makes a second one: look by label first.
    pub async fn create_image(
        &self,
        id: ServerId,
        description: &str,
        labels: &Labels,
    ) -> Answer<CreateImage> {
        let body = Body { r#type: "snapshot", description, labels };
        let request = self.request(Method::Post, &format!("/servers/{id}/actions/create_image")).json(&body);
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => {
                let Started { image, action } = decode(&body)?;
                Ok(CreateImage::Started { image, action })
            }
            Reply::Refused(error) if error.is_not_found() => Ok(CreateImage::Gone),
            Reply::Refused(error) if error.is_locked() => Ok(CreateImage::Locked(error)),
            Reply::Refused(error) if error.code == "resource_limit_exceeded" => {
                Ok(CreateImage::LimitExceeded(error))
            }
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }

    /// Reads one image.
    pub async fn image(&self, id: ImageId) -> Answer<Lookup<Image>> {
        self.look_up(&format!("/images/{id}"), |one: One| one.image).await
    }

    /// All snapshots that match a label selector; for selectors that match few.
    pub async fn find_images(&self, label_selector: &str) -> Answer<Vec<Image>> {
        self.all::<Images>("/images", &selection(label_selector)).await
    }

    /// One page (from 1) of the snapshots that match a label selector, oldest id first.
    pub async fn list_images(&self, label_selector: &str, page: u32) -> Answer<Page<Image>> {
        self.page::<Images>("/images", &selection(label_selector), page).await
    }

    /// Deletes an image. Safe to repeat.
    pub async fn delete_image(&self, id: ImageId) -> Answer<DeleteImage> {
        let request = self.request(Method::Delete, &format!("/images/{id}"));
        self.call(Ok(request)).await.and_then(|reply| match reply {
            Reply::Done(_) => Ok(DeleteImage::Deleted),
            Reply::Refused(error) if error.is_not_found() => Ok(DeleteImage::Gone),
            Reply::Refused(error) if error.is_locked() || error.code == "resource_in_use" => {
                Ok(DeleteImage::Locked(error))
            }
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

fn selection(label_selector: &str) -> [(&str, &str); 3] {
    [("type", "snapshot"), ("label_selector", label_selector), ("sort", "id:asc")]
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    description: &'a str,
    labels: &'a Labels,
}

#[derive(Deserialize)]
struct Started {
    image: Image,
    action: Action,
}

#[derive(Deserialize)]
struct One {
    image: Image,
}

#[derive(Deserialize)]
struct Images {
    images: Vec<Image>,
    meta: Option<Meta>,
}

impl Listing for Images {
    type Item = Image;
    fn split(self) -> (Vec<Image>, Option<Meta>) {
        (self.images, self.meta)
    }
}

#[derive(Deserialize)]
struct WireImage {
    id: ImageId,
    r#type: Option<String>,
    status: Option<ImageStatus>,
    description: Option<String>,
    labels: Option<Labels>,
    created: Option<String>,
    created_from: Option<WireSource>,
    image_size: Option<f64>,
    disk_size: Option<f64>,
}

#[derive(Deserialize)]
struct WireSource {
    id: Option<ServerId>,
}

impl From<WireImage> for Image {
    fn from(wire: WireImage) -> Self {
        Self {
            id: wire.id,
            kind: wire.r#type.unwrap_or_default(),
            status: wire.status.unwrap_or_else(|| ImageStatus::Other(String::new())),
            description: wire.description.unwrap_or_default(),
            labels: wire.labels.unwrap_or_default(),
            created: time(wire.created),
            created_from: wire.created_from.and_then(|source| source.id),
            size_mb: wire.image_size.map(|size| scaled(size, 1000.0)),
            disk_gb: wire.disk_size.map(|size| scaled(size, 1.0)),
        }
    }
}
