//! Images: the system ones from the catalogue, and snapshots made from servers.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    catalog,
    labels::{self, Labels},
    page::{self, Page},
    refusal::{Refusal, Reply},
    servers::selector,
    state::Snapshot,
    view::{self, ImageView},
};
use crate::model::{
    Cloud,
    effect::Effect,
    wire::{Call, Response},
};

#[derive(Deserialize)]
struct Update {
    description: Option<String>,
    labels: Option<Labels>,
}

#[derive(Serialize)]
struct One<'a> {
    image: Option<ImageView<'a>>,
}

impl Cloud {
    pub(super) fn list_images(&self, call: &Call<'_>) -> Reply {
        let selector = selector(call)?;
        let (types, statuses, archs) = (call.all("type"), call.all("status"), call.all("architecture"));
        let wanted = |list: &[&str], value: &str| list.is_empty() || list.contains(&value);
        let name = call.one("name");
        let mut found: Vec<u64> = Vec::new();
        if wanted(&types, "system") && wanted(&statuses, "available") && selector.matches(&Labels::new()) {
            let system = catalog::SYSTEM_IMAGES.iter();
            found.extend(
                system
                    .filter(|image| wanted(&archs, image.arch) && name.is_none_or(|name| name == image.name))
                    .map(|image| image.id),
            );
        }
        if wanted(&types, "snapshot") && name.is_none() {
            let mut snapshots: Vec<&Snapshot> = self
                .project
                .images
                .values()
                .filter(|image| wanted(&archs, &image.arch) && selector.matches(&image.labels))
                .filter(|image| wanted(&statuses, if image.available { "available" } else { "creating" }))
                .collect();
            page::sort(call, &mut snapshots)?;
            found.extend(snapshots.into_iter().map(|image| image.id));
        }
        Ok(Page::cut(call, found)?.render(call, "images", |id| self.image_view(id)))
    }

    pub(super) fn get_image(&self, id: u64) -> Reply {
        match self.image_view(id) {
            Some(view) => Ok(Response::of(200, &One { image: Some(view) })),
            None => Err(Refusal::not_found("image", id)),
        }
    }

    pub(super) fn update_image(&mut self, call: &Call<'_>, id: u64) -> Reply {
        let update: Update = call.parse()?;
        if let Some(problem) = update.labels.as_ref().and_then(labels::problem) {
            return Err(Refusal::invalid("labels", problem));
        }
        let image = self.project.images.get_mut(&id).ok_or_else(|| Refusal::not_found("image", id))?;
        image.description = update.description.unwrap_or_else(|| std::mem::take(&mut image.description));
        image.labels = update.labels.unwrap_or_else(|| std::mem::take(&mut image.labels));
        Ok(Response::of(200, &json!({"image": view::snapshot_json(image)})))
    }

    pub(super) fn delete_image(&mut self, id: u64) -> Reply {
        if self.catalog.images.contains_key(&id) {
            return Err(Refusal::new(403, "forbidden", "system images cannot be deleted"));
        }
        let image = self.project.images.get(&id).ok_or_else(|| Refusal::not_found("image", id))?;
        if image.protected {
            return Err(Refusal::protected("image"));
        }
        if !image.available {
            return Err(Refusal::new(423, "locked", "image is being created"));
        }
        self.project.images.remove(&id);
        self.effects.push(Effect::DeleteImage { image_id: id });
        Ok(Response::empty(204))
    }
}
