//! The key by which SSH clients know a workspace: made once, the same at every wake. Sealed under the tenant's key, for
//! that workspace alone; only its live machine is given it.

use super::public_key::{PublicKey, put_string};
use crate::keys::{Aad, DataKey, KeyError, NonceBytes, Purpose, Wrapped, open_key, seal};
use crate::secret::{SecretKey, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ebbtide_api::{TenantId, WorkspaceId};
use ed25519_compact::{KeyPair, Seed};
use zeroize::Zeroizing;

/// Characters on a line of a private key, as `ssh-keygen` writes them.
const LINE: usize = 70;
/// To what the private part is filled up.
const BLOCK: usize = 8;

/// A workspace's key.
pub struct HostKey {
    seed: SecretKey,
    public: PublicKey,
    public_bytes: [u8; 32],
}

impl HostKey {
    /// The key of 32 random bytes.
    pub fn from_seed(seed: SecretKey) -> Self {
        let pair = KeyPair::from_seed(Seed::new(*seed.expose()));
        let public_bytes: [u8; 32] = *pair.pk;
        Self { public: PublicKey::ed25519(&public_bytes), public_bytes, seed }
    }

    /// Opens a key that [`Self::seal`] sealed.
    ///
    /// # Errors
    /// See [`crate::keys::open`].
    pub fn open(
        sealed: &Wrapped,
        key: &DataKey,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        version: u32,
    ) -> Result<Self, KeyError> {
        let opened = open_key(sealed, key, &aad(tenant, workspace, version), "ssh-host-key")?;
        Ok(Self::from_seed(opened.bytes().clone()))
    }

    /// Seals the key for its workspace.
    ///
    /// # Errors
    /// See [`seal`].
    pub fn seal(
        &self,
        key: &DataKey,
        tenant: &TenantId,
        workspace: &WorkspaceId,
        version: u32,
        nonce: NonceBytes,
    ) -> Result<Wrapped, KeyError> {
        seal(self.seed.expose(), key, nonce, &aad(tenant, workspace, version))
    }

    /// What clients are told.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// What `sshd` reads: a file of OpenSSH's own form, without a passphrase.
    pub fn private_key(&self) -> SecretText {
        // Nobody decrypts it, so the two numbers that show whether that went well need not be random.
        let mut private = Zeroizing::new(vec![0; 8]);
        put_string(&mut private, b"ssh-ed25519");
        put_string(&mut private, &self.public_bytes);
        let both = Zeroizing::new([self.seed.expose().as_slice(), &self.public_bytes].concat());
        put_string(&mut private, &both);
        put_string(&mut private, b"");
        let missing = private.len().next_multiple_of(BLOCK) - private.len();
        private.extend((1..=missing).map(|number| number.to_le_bytes()[0]));

        let mut file = Zeroizing::new(b"openssh-key-v1\0".to_vec());
        for text in ["none", "none", ""] {
            put_string(&mut file, text.as_bytes());
        }
        file.extend(1_u32.to_be_bytes());
        put_string(&mut file, self.public.blob());
        put_string(&mut file, &private);
        let encoded = Zeroizing::new(BASE64.encode(&*file));
        let mut text = "-----BEGIN OPENSSH PRIVATE KEY-----\n".to_owned();
        for (place, character) in encoded.chars().enumerate() {
            if place > 0 && place % LINE == 0 {
                text.push('\n');
            }
            text.push(character);
        }
        text.push_str("\n-----END OPENSSH PRIVATE KEY-----\n");
        text.into()
    }
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({}, private half redacted)", self.public)
    }
}

fn aad<'a>(tenant: &'a TenantId, workspace: &'a WorkspaceId, version: u32) -> Aad<'a> {
    Aad { tenant, workspace: Some(workspace), version, purpose: Purpose::SshHostKey }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> HostKey {
        let mut seed = [0; 32];
        (0..).zip(&mut seed).for_each(|(number, byte)| *byte = number);
        HostKey::from_seed(seed.into())
    }

    #[test]
    fn the_public_half_is_that_of_rfc_8032() {
        // As another implementation derives it from the bytes 0 to 31.
        assert_eq!(
            counted().public_key().to_string(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
        );
    }

    #[test]
    fn the_private_half_is_a_file_as_ssh_keygen_writes_it() {
        insta::assert_snapshot!(counted().private_key().expose());
        assert!(!format!("{:?}", counted()).contains("BEGIN"));
    }

    #[test]
    fn it_opens_for_its_own_workspace_alone() {
        let (tenant, key) = (TenantId::owner(), DataKey::new("tenant-1", [5; 32].into()));
        let (one, other) = (WorkspaceId::from_random(1), WorkspaceId::from_random(2));
        let sealed = counted().seal(&key, &tenant, &one, 1, [9; 12]).unwrap();
        let opened = HostKey::open(&sealed, &key, &tenant, &one, 1).unwrap();
        assert_eq!(opened.public_key(), counted().public_key());
        assert_eq!(HostKey::open(&sealed, &key, &tenant, &other, 1).unwrap_err(), KeyError::DoesNotOpen);
        assert_eq!(HostKey::open(&sealed, &key, &tenant, &one, 2).unwrap_err(), KeyError::DoesNotOpen);
    }
}
