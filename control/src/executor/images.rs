//! Rescue images: taken, waited for and deleted at the provider of machines.

use super::{ControlStore, Executor, PutOff, put_off, server_id, vendor_message};
use crate::hetzner::{CreateImage, DeleteImage, ImageId, ImageStatus, Lookup};
use crate::http::Http;
use crate::lifecycle::EffectOutcome;
use crate::record::{Phase, Record, RescueStep, plus};

impl<H: Http, V: ControlStore> Executor<'_, H, V> {
    pub(super) async fn take_image(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let taken = self.outcome(self.hetzner.find_images(&self.selector(record)).await)?;
        if let Some(image) = taken.into_iter().min_by_key(|image| image.id) {
            return Ok(EffectOutcome::ImageStarted { image: image.id.0 });
        }
        // Its workspace ends it when it has been kept; the label is for when nobody else does, and so a little later.
        let kept = self.policy.rescue_image_keep.plus(self.policy.rescue_ceiling);
        let labels = self.labels(record, plus(self.now, kept));
        let description =
            format!("rescue of {} ({}), generation {}", record.name, record.id, record.generation);
        match self.outcome(self.hetzner.create_image(server_id(record)?, &description, &labels).await)? {
            CreateImage::Started { image, .. } => Ok(EffectOutcome::ImageStarted { image: image.id.0 }),
            CreateImage::Gone => Ok(EffectOutcome::Gone),
            CreateImage::Locked(error) => Err(put_off(format!("the server to be unlocked ({error})"))),
            // Its owner may delete an old snapshot, and an image of another workspace may expire.
            CreateImage::LimitExceeded(error) => Err(put_off(format!(
                "room for an image in the provider's project ({})",
                vendor_message(&error)
            ))),
        }
    }

    pub(super) async fn await_image(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let image = match record.phase {
            Phase::Rescuing { step: RescueStep::AwaitImage { image }, .. }
            | Phase::Destroying { late_image: Some(image), .. } => image,
            Phase::Rescuing { step: RescueStep::PowerOff | RescueStep::TakeImage, .. }
            | Phase::Destroying { late_image: None, .. }
            | Phase::Requested
            | Phase::Provisioning { .. }
            | Phase::Booting { .. }
            | Phase::Running
            | Phase::Silent { .. }
            | Phase::Draining { .. }
            | Phase::Asleep
            | Phase::Failed { .. }
            | Phase::Deleted { .. } => return Ok(EffectOutcome::Done),
        };
        match self.outcome(self.hetzner.image(ImageId(image)).await)? {
            Lookup::Found(found) if found.status == ImageStatus::Available => Ok(EffectOutcome::Done),
            Lookup::Found(_) => Err(put_off(format!("the image {image} to be written"))),
            Lookup::Gone => {
                self.believe_gone().await?;
                Ok(EffectOutcome::ImageImpossible { message: format!("the image {image} is gone") })
            }
        }
    }

    pub(super) async fn delete_image(&self, image: u64) -> Result<EffectOutcome, PutOff> {
        match self.outcome(self.hetzner.delete_image(ImageId(image)).await)? {
            DeleteImage::Deleted => Ok(EffectOutcome::Done),
            DeleteImage::Gone => self.believe_gone().await.map(|()| EffectOutcome::Done),
            DeleteImage::Locked(error) => Err(put_off(format!("the image to be free ({error})"))),
        }
    }
}
