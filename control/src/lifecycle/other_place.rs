//! Where the next machine begins after a place in which a server could not be started.

use crate::placement::Placement;
use crate::record::Record;

/// Where it is tried next.
pub(super) fn next(record: &Record) -> Option<&Placement> {
    record.spec.fallbacks.iter().find(|place| !record.unstartable.contains(place))
}

/// Begins elsewhere than where a server could not be started, if there is anywhere else.
pub(super) fn avoid(record: &mut Record) {
    if !record.unstartable.contains(&record.spec.placement) {
        return;
    }
    let Some(place) = next(record).cloned() else { return };
    let spec = &mut record.spec;
    spec.fallbacks.retain(|known| *known != place);
    spec.shape = spec.shape.filter(|_| place.size == spec.placement.size);
    spec.placement = place;
}
