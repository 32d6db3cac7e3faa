//! A plain workspace for tests: one size, one place, every default.

use super::{NewWorkspace, Placement, Record, Spec};
use ebbtide_api::backups::Persistence;
use ebbtide_api::workspace::{OnUnsaved, RescueChoice};
use ebbtide_api::{Duration, TenantId, Timestamp, WorkspaceId};

/// A record as it is after the request for it.
pub(crate) fn record(placement: Placement, now: Timestamp) -> Record {
    let spec = Spec {
        repo: Some("https://example.org/r.git".into()),
        branch: None,
        wish: None,
        placement,
        fallbacks: vec![],
        shape: None,
        image: "debian-12".into(),
        agents: vec![],
        docker: false,
        idle_timeout: Duration::from_mins(30),
        lifetime: Duration::from_hours(24),
        ingress: super::Ingress::Direct,
        on_unsaved: OnUnsaved::Destroy,
        rescue_image: RescueChoice::Take,
        persistence: Persistence::Backup,
        env: vec![],
        secrets: ebbtide_api::secrets::SecretChoice::Everywhere,
        ssh: false,
        retention: None,
    };
    let new = NewWorkspace {
        id: WorkspaceId::from_random(1),
        tenant: TenantId::owner(),
        name: "r".into(),
        host: "r-x.ebb.localhost".into(),
        spec,
        worst_case: None,
    };
    Record::new(new, now)
}
