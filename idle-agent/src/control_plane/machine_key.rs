//! The machine's own Ed25519 key: made on the machine before anything is sent, root's alone, never leaves it.
//!
//! The control plane binds the enrolment token to the first key that shows it, so a lost answer is repaired by
//! enrolling again with the same key; hence the key is on disk before the first request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::vm::Enrol;
use ebbtide_api::{Generation, WorkspaceId};
use ed25519_compact::{KeyPair, Seed};
use std::path::Path;

/// The key pair.
pub struct MachineKey(KeyPair);

impl std::fmt::Debug for MachineKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MachineKey(redacted)")
    }
}

impl MachineKey {
    /// Reads the key, or makes it and puts it on disk.
    ///
    /// # Errors
    /// What the file system says; a seed of the wrong length is `InvalidData`, never silently replaced.
    pub fn load_or_create(path: &Path) -> std::io::Result<Self> {
        let seed = match std::fs::read(path) {
            Ok(bytes) => Seed::from_slice(&bytes)
                .map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "not an Ed25519 seed"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut bytes = [0u8; 32];
                getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
                crate::os::atomic_file::write(path, &bytes, 0o600)?;
                Seed::new(bytes)
            }
            Err(error) => return Err(error),
        };
        Ok(Self(KeyPair::from_seed(seed)))
    }

    /// The signed body of an enrolment or renewal.
    pub fn enrol(&self, workspace: &WorkspaceId, generation: Generation, enrolment_token: &str) -> Enrol {
        let message = format!("ebbtide-enrol-v1\n{workspace}\n{generation}\n{enrolment_token}");
        Enrol {
            workspace: workspace.clone(),
            generation,
            enrolment_token: enrolment_token.to_owned(),
            machine_key: STANDARD.encode(*self.0.pk),
            signature: STANDARD.encode(*self.0.sk.sign(message.as_bytes(), None)),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_compact::{PublicKey, Signature};

    #[test]
    fn the_key_is_made_once_and_its_signature_covers_workspace_generation_and_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("machine.key");
        let workspace: WorkspaceId = "k3v7q2mzab".parse().unwrap();
        let first = MachineKey::load_or_create(&path).unwrap().enrol(&workspace, Generation(3), "token");
        let second = MachineKey::load_or_create(&path).unwrap().enrol(&workspace, Generation(3), "");
        assert_eq!(first.machine_key, second.machine_key);

        let public = PublicKey::from_slice(&STANDARD.decode(&first.machine_key).unwrap()).unwrap();
        let check = |message: &str, signature: &str| {
            let signature = Signature::from_slice(&STANDARD.decode(signature).unwrap()).unwrap();
            public.verify(message.as_bytes(), &signature).is_ok()
        };
        assert!(check("ebbtide-enrol-v1\nk3v7q2mzab\n3\ntoken", &first.signature));
        assert!(check("ebbtide-enrol-v1\nk3v7q2mzab\n3\n", &second.signature));
        assert!(!check("ebbtide-enrol-v1\nk3v7q2mzab\n4\ntoken", &first.signature));
    }

    #[test]
    fn a_damaged_key_is_an_error_and_not_a_new_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("machine.key");
        std::fs::write(&path, "short").unwrap();
        assert!(MachineKey::load_or_create(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }
}
