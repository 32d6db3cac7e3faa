//! Bundles of real programs, brought to a stack as `scripts/programs` brings them to an installation.

use super::Stack;
use crate::paths;
use anyhow::{Context, Result};
use ebbtide_programs::{Installation, Workshop, programs_of};

impl Stack {
    /// Publishes bundles; those that are published already cost nothing. Says how many bytes were uploaded.
    ///
    /// # Errors
    /// One is not in the cache, or is refused.
    pub fn publish(&self, programs: &[&str]) -> Result<u64> {
        let installation = Installation::new(&self.url, &self.owner_token);
        let workshop = workshop();
        let mut sent = 0;
        for name in programs {
            let bundle = workshop.made(name)?;
            let bundle = bundle
                .with_context(|| format!("{name} is not in the cache: scripts/programs make {name}"))?;
            sent += installation.publish(&bundle, &|_| ())?;
        }
        Ok(sent)
    }

    /// Makes bundles of agents, as far as they are not in the cache, and publishes them.
    ///
    /// # Errors
    /// npm or the stack refuses.
    pub fn publish_agents(&self, agents: &[String], say: &dyn Fn(&str)) -> Result<()> {
        let installation = Installation::new(&self.url, &self.owner_token);
        for name in programs_of(agents)? {
            installation.publish(&workshop().make(name, say)?, say)?;
        }
        Ok(())
    }
}

fn workshop() -> Workshop {
    Workshop { sources: paths::root().join("programs"), cache: paths::cache().join("programs") }
}
