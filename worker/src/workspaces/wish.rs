//! What an owner wishes for from the next start on: a size, a location, or that either is left open again.

use crate::app::App;
use crate::error::ApiResult;
use crate::workspaces::catalog::{self, Defaults};
use ebbtide_api::ErrorCode;
use ebbtide_control::record::Wish;

/// What takes a wish back.
const ANY: &str = "any";

/// A change of a wish; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WishChange {
    /// A size, or `any`.
    pub size: Option<String>,
    /// A location, or `any`.
    pub location: Option<String>,
}

impl WishChange {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.size.is_none() && self.location.is_none()
    }

    /// The wish with this change; `None` where nothing is changed.
    pub fn over(&self, wish: &Wish) -> Option<Wish> {
        let named = |change: &Option<String>, kept: &Option<String>| match change.as_deref() {
            None => kept.clone(),
            Some(ANY) => None,
            Some(name) => Some(name.to_owned()),
        };
        (!self.is_empty()).then(|| Wish {
            size: named(&self.size, &wish.size),
            location: named(&self.location, &wish.location),
        })
    }
}

/// Checks that a wish names what the provider offers. That it is sold out at the moment is no reason to refuse it.
///
/// # Errors
/// `invalid_field` with what there is.
pub async fn check(app: &App, wish: &Wish) -> ApiResult<()> {
    let Some(offers) = catalog::offers(app).await else { return Ok(()) };
    let config = &app.config;
    let defaults = Defaults { size: &config.default_size, location: &config.default_location };
    let (size, location) = (wish.size.as_deref(), wish.location.as_deref());
    match catalog::choose(&offers, size, location, defaults, app.now()) {
        Err(error) if error.code() != ErrorCode::CapacityUnavailable => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_any_takes_a_wish_back() {
        let kept = Wish { size: Some("cx33".into()), location: Some("nbg1".into()) };
        let over = |size: Option<&str>, location: Option<&str>| {
            let change = WishChange { size: size.map(Into::into), location: location.map(Into::into) };
            change.over(&kept).map(|wish| (wish.size, wish.location))
        };
        assert_eq!(over(None, None), None);
        assert_eq!(over(Some("cx43"), None), Some((Some("cx43".into()), Some("nbg1".into()))));
        assert_eq!(over(Some("any"), None), Some((None, Some("nbg1".into()))));
        assert_eq!(over(None, Some("any")), Some((Some("cx33".into()), None)));
    }
}
