//! For whom something is done: a tenant, by somebody who may do so much, from somewhere.
//!
//! `auth` makes them of credentials; everything below acts for the actor's tenant alone.

use ebbtide_api::keys::Scope;
use ebbtide_api::{TenantId, WorkspaceId};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Whose things may be touched.
    pub tenant: TenantId,
    /// Who it is, for the audit log: `owner`, `key:{id}`, `session:…`.
    pub name: String,
    /// What may be done.
    pub scopes: Vec<Scope>,
    /// The one workspace whose backups may be read: set for a restore kit's key, which has no scope.
    pub repository: Option<WorkspaceId>,
    /// From which address, for the audit log.
    pub address: String,
}

impl Actor {
    /// Somebody who may do everything with a tenant's things.
    pub fn unlimited(tenant: TenantId, name: String, address: &str) -> Self {
        let scopes = vec![Scope::Read, Scope::Write, Scope::Admin];
        Self { tenant, name, scopes, repository: None, address: address.to_owned() }
    }

    /// Whether a scope is covered: `admin` covers `write`, and `write` covers `read`.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own >= scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_cover_those_below_them() {
        let actor = |scopes: &[Scope]| Actor {
            scopes: scopes.to_vec(),
            ..Actor::unlimited(TenantId::owner(), String::new(), "")
        };
        assert!(actor(&[Scope::Write]).may(Scope::Read));
        assert!(!actor(&[Scope::Write]).may(Scope::Admin));
        assert!(actor(&[Scope::Admin]).may(Scope::Write));
        assert!(!actor(&[]).may(Scope::Read));
    }
}
