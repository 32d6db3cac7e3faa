//! Tokens: signed statements that end by themselves (Ed25519 JWTs), machine keys, and API keys.
//!
//! `now` is passed in. A token is good for one audience and one installation; the clock tolerance is 30 s, not the
//! library's 15 min. Whether a generation is still the live one is known to the workspace's object alone: after
//! `verify_vm` comes [`VmClaims::check`]. No error repeats a token.
//! Where to read next: [`machine`] (enrolment signatures), [`api_key`].

pub mod api_key;
pub mod machine;

pub use api_key::{ApiKey, InvalidApiKey, same_secret, sha256};
pub use machine::{MachineKey, MachineKeyError, enrolment_message};

use crate::keys::{KeyError, parse_key_list};
use crate::secret::{SecretKey, SecretText};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ebbtide_api::{Generation, TenantId, WorkspaceId};
use jiff::{SignedDuration, Timestamp};
use jwt_simple::JWTError;
use jwt_simple::algorithms::{EdDSAKeyPairLike, EdDSAPublicKeyLike};
use jwt_simple::prelude::{
    Audiences, Duration, Ed25519KeyPair, Ed25519PublicKey, JWTClaims, Token, UnixTimeStamp,
    VerificationOptions,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// How far two clocks may be apart.
pub const TIME_TOLERANCE_SECS: u64 = 30;

/// Longest token that is looked at; ours have about 400 bytes.
const TOKEN_MAX_BYTES: usize = 2048;

/// What a machine may say who it is: good for itself alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmClaims {
    pub workspace: WorkspaceId,
    pub generation: Generation,
    pub tenant: TenantId,
}

/// What user-data carries: good for enrolling one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentClaims {
    pub workspace: WorkspaceId,
    pub generation: Generation,
    pub tenant: TenantId,
}

/// What a visitor of a workspace may see; verified on the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    pub workspace: WorkspaceId,
    /// Absent for the workspace's own page; such a token opens no port.
    pub port: Option<u16>,
    pub level: AccessLevel,
    /// The machine that it is for: whoever is given its address next cannot use it at a later one. Links outlive machines
    /// and have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Which link it is, so that it can be ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// As whom a visitor comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccessLevel {
    Owner,
    Tenant,
    Link,
    Public,
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionClaims {
    pub tenant: TenantId,
    /// Who signed in, for the audit log.
    pub actor: String,
    /// Digest of the credential that they signed in with: another one ends the session. Empty in those of versions that did
    /// not look at it.
    #[serde(default)]
    pub signed_in_with: String,
}

/// A token just made.
#[derive(Debug, Clone)]
pub struct Issued {
    pub token: SecretText,
    pub expires: Timestamp,
}

/// Why a token is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is from the future: check the clocks")]
    NotYetValid,
    #[error("the token is for another purpose")]
    WrongAudience,
    #[error("the token is from another installation")]
    WrongInstall,
    #[error("the token is for another workspace")]
    OtherWorkspace,
    #[error("the token is for generation {claimed}; the live one is {live}")]
    WrongGeneration { claimed: Generation, live: Generation },
    #[error("the token is signed with a key that is not among the live ones")]
    UnknownKey,
    #[error("the token is signed with another algorithm")]
    WrongAlgorithm,
    #[error("the token's signature is wrong")]
    BadSignature,
    #[error("the text is no token of ours")]
    Malformed,
    #[error("the token cannot be signed")]
    NotSigned,
}

/// Whether a token's end counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Enforced,
    /// For enrolment tokens of a machine whose key is enrolled already: the key is what counts.
    Ignored,
}

/// The installation's signing keys: one that signs, several that verify.
pub struct TokenKeys {
    install: String,
    signing: Ed25519KeyPair,
    verifying: BTreeMap<String, Ed25519PublicKey>,
}

impl TokenKeys {
    /// Signs and verifies with one key for one installation.
    ///
    /// # Errors
    /// The seed makes no usable key.
    pub fn new(install: &str, kid: &str, seed: &SecretKey) -> Result<Self, KeyError> {
        let signing = key_pair(kid, seed)?;
        let verifying = BTreeMap::from([(kid.to_owned(), signing.public_key())]);
        Ok(Self { install: install.to_owned(), signing, verifying })
    }

    /// Adds a key that only verifies: an older one, or the next.
    ///
    /// # Errors
    /// The seed makes no usable key.
    pub fn also_verify(mut self, kid: &str, seed: &SecretKey) -> Result<Self, KeyError> {
        self.verifying.insert(kid.to_owned(), key_pair(kid, seed)?.public_key());
        Ok(self)
    }

    /// Reads the configured seeds: `id:base64` pairs separated by commas or blanks, the signing one first.
    ///
    /// # Errors
    /// Missing, malformed, doubled or example seeds; the error repeats none.
    pub fn parse(install: &str, text: &SecretText) -> Result<Self, KeyError> {
        let seeds = parse_key_list(text)?;
        let (first, rest) =
            seeds.split_first().ok_or_else(|| KeyError::Configuration("there is none".to_owned()))?;
        rest.iter().try_fold(Self::new(install, first.id(), first.bytes())?, |keys, seed| {
            keys.also_verify(seed.id(), seed.bytes())
        })
    }

    /// Public keys by id, base64: what a machine needs to verify access tokens.
    pub fn public_keys(&self) -> BTreeMap<String, String> {
        let encode = |key: &Ed25519PublicKey| BASE64.encode(key.to_bytes());
        self.verifying.iter().map(|(kid, key)| (kid.clone(), encode(key))).collect()
    }

    /// Makes a VM token (5 min by default policy).
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn issue_vm(
        &self,
        claims: &VmClaims,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, TokenError> {
        self.issue("vm", claims, now, life)
    }

    /// Checks a VM token; [`VmClaims::check`] comes next.
    ///
    /// # Errors
    /// It is not a live VM token of this installation.
    pub fn verify_vm(&self, token: &str, now: Timestamp) -> Result<VmClaims, TokenError> {
        self.verify("vm", token, now, Expiry::Enforced)
    }

    /// Makes an enrolment token (15 min by default policy).
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn issue_enrolment(
        &self,
        claims: &EnrolmentClaims,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, TokenError> {
        self.issue("enrol", claims, now, life)
    }

    /// Checks an enrolment token. That it is used by one machine key only is the workspace's object's to see to.
    ///
    /// # Errors
    /// It is not an enrolment token of this installation, or its end counts and is past.
    pub fn verify_enrolment(
        &self,
        token: &str,
        now: Timestamp,
        expiry: Expiry,
    ) -> Result<EnrolmentClaims, TokenError> {
        self.verify("enrol", token, now, expiry)
    }

    /// Makes a token for a visitor of one workspace and port. Only the machine checks it: the idle-agent's `access::token`.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn issue_access(
        &self,
        claims: &AccessClaims,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, TokenError> {
        self.issue("access", claims, now, life)
    }

    /// Makes a token for the dashboard's session cookie.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn issue_session(
        &self,
        claims: &SessionClaims,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, TokenError> {
        self.issue("session", claims, now, life)
    }

    /// Checks the dashboard's session cookie.
    ///
    /// # Errors
    /// It is not a live session of this installation.
    pub fn verify_session(&self, token: &str, now: Timestamp) -> Result<SessionClaims, TokenError> {
        self.verify("session", token, now, Expiry::Enforced)
    }

    fn issue<C: Serialize>(
        &self,
        audience: &str,
        claims: &C,
        now: Timestamp,
        life: SignedDuration,
    ) -> Result<Issued, TokenError> {
        let expires = now.checked_add(life).map_err(|_| TokenError::NotSigned)?;
        let claims = JWTClaims {
            issued_at: Some(unix(now)),
            expires_at: Some(unix(expires)),
            invalid_before: None,
            issuer: Some(self.install.clone()),
            subject: None,
            audiences: Some(Audiences::AsString(audience.to_owned())),
            jwt_id: None,
            nonce: None,
            custom: claims,
        };
        let token = self.signing.sign(claims).map_err(|_| TokenError::NotSigned)?;
        Ok(Issued { token: token.into(), expires })
    }

    fn verify<C: Serialize + DeserializeOwned>(
        &self,
        audience: &str,
        token: &str,
        now: Timestamp,
        expiry: Expiry,
    ) -> Result<C, TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let metadata = Token::decode_metadata(token).map_err(|_| TokenError::Malformed)?;
        let key = metadata.key_id().and_then(|kid| self.verifying.get(kid)).ok_or(TokenError::UnknownKey)?;
        let mut options = VerificationOptions {
            artificial_time: Some(unix(now)),
            time_tolerance: Some(Duration::from_secs(TIME_TOLERANCE_SECS)),
            allowed_issuers: Some(HashSet::from([self.install.clone()])),
            allowed_audiences: Some(HashSet::from([audience.to_owned()])),
            max_token_length: Some(TOKEN_MAX_BYTES),
            ..VerificationOptions::default()
        };
        if expiry == Expiry::Ignored {
            // At the beginning of time nothing has expired yet.
            options.artificial_time = Some(Duration::from_secs(TIME_TOLERANCE_SECS));
            options.accept_future = true;
        }
        let claims = key.verify_token::<C>(token, Some(options)).map_err(|error| refusal(&error))?;
        match claims.expires_at {
            Some(_) => Ok(claims.custom),
            None => Err(TokenError::Malformed),
        }
    }
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<&String> = self.verifying.keys().collect();
        write!(f, "TokenKeys({}, {ids:?}, redacted)", self.install)
    }
}

impl VmClaims {
    /// Whether the machine is the live one of that workspace.
    ///
    /// # Errors
    /// Another workspace, or not the live generation (answer 410).
    pub fn check(&self, workspace: &WorkspaceId, live: Generation) -> Result<(), TokenError> {
        check(&self.workspace, self.generation, workspace, live)
    }
}

impl EnrolmentClaims {
    /// Whether the machine is the live one of that workspace.
    ///
    /// # Errors
    /// Another workspace (answer 404), or not the live generation (answer 410).
    pub fn check(&self, workspace: &WorkspaceId, live: Generation) -> Result<(), TokenError> {
        check(&self.workspace, self.generation, workspace, live)
    }
}

fn check(
    of: &WorkspaceId,
    claimed: Generation,
    workspace: &WorkspaceId,
    live: Generation,
) -> Result<(), TokenError> {
    if of != workspace {
        return Err(TokenError::OtherWorkspace);
    }
    if claimed != live {
        return Err(TokenError::WrongGeneration { claimed, live });
    }
    Ok(())
}

fn key_pair(kid: &str, seed: &SecretKey) -> Result<Ed25519KeyPair, KeyError> {
    let unusable = || KeyError::Configuration(format!("the signing seed {kid} makes no key"));
    let pair = ed25519_compact::KeyPair::try_from_seed(ed25519_compact::Seed::new(*seed.expose()))
        .map_err(|_| unusable())?;
    Ed25519KeyPair::from_bytes(&*pair).map(|pair| pair.with_key_id(kid)).map_err(|_| unusable())
}

/// The public half of a seed as OpenSSH writes it. Whoever throws the seed away has a key that opens nothing.
///
/// # Errors
/// The seed makes no usable key.
pub fn openssh_public_key(seed: &SecretKey, comment: &str) -> Result<String, KeyError> {
    const KIND: &str = "ssh-ed25519";
    let public = key_pair(comment, seed)?.public_key().to_bytes();
    let mut blob = Vec::with_capacity(51);
    for part in [KIND.as_bytes(), &public] {
        blob.extend_from_slice(&u32::try_from(part.len()).unwrap_or(0).to_be_bytes());
        blob.extend_from_slice(part);
    }
    Ok(format!("{KIND} {} {comment}", BASE64.encode(blob)))
}

fn unix(at: Timestamp) -> UnixTimeStamp {
    Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
}

fn refusal(error: &jwt_simple::Error) -> TokenError {
    match error.downcast_ref::<JWTError>() {
        Some(JWTError::TokenHasExpired) => TokenError::Expired,
        Some(JWTError::ClockDrift | JWTError::TokenNotValidYet) => TokenError::NotYetValid,
        Some(JWTError::RequiredAudienceMismatch | JWTError::RequiredAudienceMissing) => {
            TokenError::WrongAudience
        }
        Some(JWTError::RequiredIssuerMismatch | JWTError::RequiredIssuerMissing) => TokenError::WrongInstall,
        Some(JWTError::AlgorithmMismatch) => TokenError::WrongAlgorithm,
        Some(JWTError::InvalidSignature | JWTError::InvalidAuthenticationTag) => TokenError::BadSignature,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests;
