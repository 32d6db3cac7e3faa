//! A machine's own key, born on the machine, and what it signs to enrol and to renew.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ebbtide_api::{Generation, WorkspaceId};
use ed25519_compact::{PublicKey, Signature};

/// An Ed25519 public key that a machine made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineKey(PublicKey);

/// Why a machine's key or signature is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MachineKeyError {
    #[error("the machine key is not an Ed25519 public key in base64")]
    BadKey,
    #[error("the signature is not by the machine key over this enrolment")]
    BadSignature,
}

impl MachineKey {
    /// Reads a public key from base64.
    ///
    /// # Errors
    /// It is not one, or a weak one.
    pub fn parse(base64: &str) -> Result<Self, MachineKeyError> {
        let bytes = BASE64.decode(base64).map_err(|_| MachineKeyError::BadKey)?;
        let key = PublicKey::from_slice(&bytes).map_err(|_| MachineKeyError::BadKey)?;
        key.validate().map_err(|_| MachineKeyError::BadKey)?;
        Ok(Self(key))
    }

    /// The key in base64, as it is stored.
    pub fn to_base64(&self) -> String {
        BASE64.encode(self.0.as_ref())
    }

    /// Checks a base64 signature over [`enrolment_message`]. The token is the one that was sent; empty where a
    /// machine renews without one.
    ///
    /// # Errors
    /// It is not this key's over exactly this message.
    pub fn verify_enrolment(
        &self,
        workspace: &WorkspaceId,
        generation: Generation,
        token: &str,
        signature: &str,
    ) -> Result<(), MachineKeyError> {
        let bytes = BASE64.decode(signature).map_err(|_| MachineKeyError::BadSignature)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| MachineKeyError::BadSignature)?;
        let message = enrolment_message(workspace, generation, token);
        self.0.verify(message, &signature).map_err(|_| MachineKeyError::BadSignature)
    }
}

/// What a machine signs: `ebbtide-enrol-v1`, workspace, generation and token, one a line. The first line keeps the
/// signature from being one for anything else.
pub fn enrolment_message(workspace: &WorkspaceId, generation: Generation, token: &str) -> Vec<u8> {
    format!("ebbtide-enrol-v1\n{workspace}\n{generation}\n{token}").into_bytes()
}
