//! Access tokens: EdDSA JWTs of the control plane, good for one workspace and one port, and short-lived.
//!
//! This is the one place that checks them; the control plane only signs. The format is pinned on both sides by the same
//! token, in the tests here and in those of `control::tokens`.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ebbtide_api::{Generation, WorkspaceId};
use jwt_simple::prelude::{
    Duration, Ed25519PublicKey, EdDSAPublicKeyLike as _, Token, UnixTimeStamp, VerificationOptions,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What a token must be made for.
const AUDIENCE: &str = "access";
/// How far the control plane's clock and ours may differ; the library's default would be 15 minutes.
const TOLERANCE_SECS: u64 = 30;
/// Longest token that is looked at; ours have about 300 bytes.
const TOKEN_BYTES: usize = 4096;

/// What the control plane puts into a token besides the registered claims.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Scope {
    workspace: String,
    /// The one port; absent in tokens for the workspace's own page, which open none.
    #[serde(default)]
    port: Option<u16>,
    /// The machine that it is for; absent in links, and in tokens of older control planes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Which link it is, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
    /// As whom a visitor comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<String>,
}

/// What a token must be made for, and what stands against it here.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose machine this is.
    pub workspace: &'a WorkspaceId,
    /// The port that is asked for.
    pub port: u16,
    /// Which of its machines this is, once that is known.
    pub generation: Option<Generation>,
    /// Links in force; `None` while the control plane has not said.
    pub links: Option<&'a Links>,
}

/// Links in force, as the control plane told them last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Their ids.
    pub ids: BTreeSet<String>,
    /// When that was, in seconds since 1970 by its clock: a link that was made later is in no list yet.
    pub told_at: u64,
}

impl Place<'_> {
    /// Why a token does not open this place, whatever its signature.
    fn refuses(&self, Said { iat, scope, .. }: &Said) -> Option<Invalid> {
        let other_machine =
            scope.generation.zip(self.generation).is_some_and(|(theirs, ours)| theirs != u64::from(ours.0));
        let ended = self.links.is_some_and(|links| match &scope.link {
            Some(link) => !links.ids.contains(link) && *iat < links.told_at,
            // One of a control plane that kept no list.
            None => scope.level.as_deref() == Some("link"),
        });
        if scope.workspace != self.workspace.as_str() || scope.port != Some(self.port) {
            Some(Invalid::OtherPlace)
        } else if other_machine || ended {
            Some(Invalid::Expired)
        } else {
            None
        }
    }
}

/// What a token says of itself, as far as it is looked at before its signature is.
#[derive(serde::Deserialize)]
struct Said {
    exp: u64,
    #[serde(default)]
    iat: u64,
    #[serde(flatten)]
    scope: Scope,
}

/// A token that says all the right things, and whose signature would have to be looked at.
#[derive(Debug)]
pub struct Promising<'a> {
    token: &'a str,
    key: &'a Ed25519PublicKey,
    now: Duration,
}

/// Why a token does not open the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invalid {
    /// Not a token of ours.
    Unknown,
    /// It was one.
    Expired,
    /// It will be one: it was signed later than it is by the clock that it is checked by.
    NotYet,
    /// One of ours, for another workspace or port.
    OtherPlace,
}

/// The keys by which tokens are checked.
#[derive(Debug, Default)]
pub struct Keys {
    by_id: BTreeMap<String, Ed25519PublicKey>,
}

impl Keys {
    /// Reads keys by key id, base64; unusable ones are left out and logged.
    pub fn new(keys: &BTreeMap<String, String>) -> Self {
        let by_id = keys
            .iter()
            .filter_map(|(id, key)| {
                let key =
                    STANDARD.decode(key).ok().and_then(|bytes| Ed25519PublicKey::from_bytes(&bytes).ok());
                if key.is_none() {
                    tracing::error!(key_id = %id, "an access key of the control plane is unusable");
                }
                Some((id.clone(), key?))
            })
            .collect();
        Self { by_id }
    }

    /// What can be said of a token at a time, in seconds since 1970, without looking at its signature. That is the dear
    /// part (a hundred times this one), and anybody can send tokens.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn promising<'a>(
        &'a self,
        token: &'a str,
        place: Place<'_>,
        now: u64,
    ) -> Result<Promising<'a>, Invalid> {
        let said = Some(token).filter(|token| token.len() <= TOKEN_BYTES).and_then(said);
        let said = said.ok_or(Invalid::Unknown)?;
        let metadata = Token::decode_metadata(token).map_err(|_| Invalid::Unknown)?;
        let key = metadata.key_id().and_then(|id| self.by_id.get(id)).ok_or(Invalid::Unknown)?;
        if said.exp.saturating_add(TOLERANCE_SECS) < now {
            return Err(Invalid::Expired);
        }
        if let Some(invalid) = place.refuses(&said) {
            return Err(invalid);
        }
        Ok(Promising { token, key, now: Duration::from_secs(now) })
    }
}

impl Promising<'_> {
    /// Checks the token; answers how many seconds it stays good.
    ///
    /// # Errors
    /// [`Invalid`].
    pub fn check(&self) -> Result<u64, Invalid> {
        let options = VerificationOptions {
            allowed_audiences: Some(HashSet::from([AUDIENCE.to_owned()])),
            artificial_time: Some(self.now),
            time_tolerance: Some(Duration::from_secs(TOLERANCE_SECS)),
            max_token_length: Some(TOKEN_BYTES),
            ..VerificationOptions::default()
        };
        let claims = self.key.verify_token::<Scope>(self.token, Some(options)).map_err(|error| {
            match error.downcast_ref::<jwt_simple::JWTError>() {
                Some(jwt_simple::JWTError::TokenHasExpired) => Invalid::Expired,
                Some(jwt_simple::JWTError::ClockDrift | jwt_simple::JWTError::TokenNotValidYet) => {
                    Invalid::NotYet
                }
                _ => Invalid::Unknown,
            }
        })?;
        // A token that never expires is none of ours.
        let expires: UnixTimeStamp = claims.expires_at.ok_or(Invalid::Unknown)?;
        Ok(expires.as_secs().saturating_sub(self.now.as_secs()))
    }
}

/// What a token says, believed or not.
fn said(token: &str) -> Option<Said> {
    let claims = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use jwt_simple::prelude::{Claims, Clock, Ed25519KeyPair, EdDSAKeyPairLike as _};

    /// Now, in seconds since 1970.
    pub fn now() -> u64 {
        Clock::now_since_epoch().as_secs()
    }

    pub fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::generate().with_key_id("k1")
    }

    /// What is worth a token, its signature included.
    fn checked(keys: &Keys, token: &str, workspace: &WorkspaceId, now: u64) -> Result<u64, Invalid> {
        keys.promising(token, place(workspace), now).and_then(|promising| promising.check())
    }

    fn place(workspace: &WorkspaceId) -> Place<'_> {
        Place { workspace, port: 3000, generation: Some(Generation(7)), links: None }
    }

    /// As the control plane tells it.
    pub fn public(pair: &Ed25519KeyPair) -> BTreeMap<String, String> {
        BTreeMap::from([("k1".to_owned(), STANDARD.encode(pair.public_key().to_bytes()))])
    }

    pub fn keys(pair: &Ed25519KeyPair) -> Keys {
        Keys::new(&public(pair))
    }

    pub fn token(
        pair: &Ed25519KeyPair,
        workspace: &str,
        port: Option<u16>,
        audience: &str,
        good_for: i64,
    ) -> String {
        signed(
            pair,
            audience,
            good_for,
            Scope { workspace: workspace.to_owned(), port, generation: None, link: None, level: None },
        )
    }

    fn signed(pair: &Ed25519KeyPair, audience: &str, good_for: i64, scope: Scope) -> String {
        let mut claims = Claims::with_custom_claims(scope, Duration::from_secs(600)).with_audience(audience);
        let now = i64::try_from(Clock::now_since_epoch().as_secs()).unwrap();
        claims.issued_at = Some(Duration::from_secs(u64::try_from(now - 1000).unwrap()));
        claims.invalid_before = None;
        claims.expires_at = Some(Duration::from_secs(u64::try_from(now + good_for).unwrap()));
        pair.sign(claims).unwrap()
    }

    #[test]
    fn the_token_that_the_control_plane_signs_opens_its_port_until_thirty_seconds_after_its_end() {
        // Computed once with Python's `cryptography` 48; `control::tokens` makes the same.
        const KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
        const TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6InQxIiwidHlwIjoiSldUIn0.eyJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMDMwMCwiaXNzIjoiaG9tZSIsImF1ZCI6ImFjY2VzcyIsIndvcmtzcGFjZSI6ImszdjdxMm16YWIiLCJwb3J0IjozMDAwLCJsZXZlbCI6Im93bmVyIn0.fzcN1y40GyZ2tub5AdylkTTbVL6D4DbDuBDPIHP8L7EWsMEefPm-ayOrom_f0ETguzOjgB28fWwwkIGEqlDqBA";
        let keys = Keys::new(&BTreeMap::from([("t1".to_owned(), KEY.to_owned())]));
        let workspace: WorkspaceId = "k3v7q2mzab".parse().unwrap();
        let at = |secs: i64| checked(&keys, TOKEN, &workspace, 1_800_000_000_u64.saturating_add_signed(secs));
        assert_eq!((at(1), at(300), at(330)), (Ok(299), Ok(0), Ok(0)));
        assert_eq!(at(331), Err(Invalid::Expired));
        assert_eq!((at(-30), at(-31)), (Ok(330), Err(Invalid::NotYet)));
    }

    #[test]
    fn a_token_is_good_for_its_workspace_port_audience_and_time_only() {
        let (ours, theirs) = (pair(), pair());
        let keys = keys(&ours);
        let workspace: WorkspaceId = "k3v7q2mzab".parse().unwrap();
        let check = |token: &str| checked(&keys, token, &workspace, now());
        assert!(
            check(&token(&ours, "k3v7q2mzab", Some(3000), "access", 60))
                .is_ok_and(|left| (50..=60).contains(&left))
        );
        assert!(check(&token(&ours, "k3v7q2mzab", Some(3000), "access", 60)).is_ok());
        assert!(
            check(&token(&ours, "k3v7q2mzab", Some(3000), "access", -20)).is_ok(),
            "within the tolerance"
        );
        let refused = [
            (token(&ours, "k3v7q2mzab", Some(3001), "access", 60), Invalid::OtherPlace),
            (token(&ours, "k3v7q2mzab", None, "access", 60), Invalid::OtherPlace),
            (token(&ours, "aaaaaaaaaa", Some(3000), "access", 60), Invalid::OtherPlace),
            (token(&ours, "k3v7q2mzab", Some(3000), "access", -40), Invalid::Expired),
            (token(&ours, "k3v7q2mzab", Some(3000), "vm", 60), Invalid::Unknown),
            (token(&theirs, "k3v7q2mzab", Some(3000), "access", 60), Invalid::Unknown),
            ("x.y.z".to_owned(), Invalid::Unknown),
            (String::new(), Invalid::Unknown),
        ];
        for (token, why) in refused {
            assert_eq!(check(&token), Err(why), "{token}");
        }
        let mut forged = token(&ours, "k3v7q2mzab", Some(3000), "access", 60);
        let last = forged.pop().unwrap();
        forged.push(if last == 'A' { 'Q' } else { 'A' });
        assert_eq!(check(&forged), Err(Invalid::Unknown));
    }

    #[test]
    fn only_a_token_that_says_all_the_right_things_is_worth_the_look_at_its_signature() {
        let (ours, theirs) = (pair(), pair());
        let keys = keys(&ours);
        let workspace: WorkspaceId = "k3v7q2mzab".parse().unwrap();
        let promises = |token: &str| keys.promising(token, place(&workspace), now()).map(|_| ());
        assert_eq!(promises(&token(&theirs, "k3v7q2mzab", Some(3000), "access", 60)), Ok(()));
        assert_eq!(promises(&token(&theirs, "k3v7q2mzab", Some(3000), "access", -40)), Err(Invalid::Expired));
        assert_eq!(promises(&token(&theirs, "k3v7q2mzab", None, "access", 60)), Err(Invalid::OtherPlace));
        let other = Ed25519KeyPair::generate().with_key_id("k2");
        assert_eq!(promises(&token(&other, "k3v7q2mzab", Some(3000), "access", 60)), Err(Invalid::Unknown));
        let long = token(&theirs, "k3v7q2mzab", Some(3000), "access", 60) + &"A".repeat(TOKEN_BYTES);
        assert_eq!(promises(&long), Err(Invalid::Unknown));
    }

    #[test]
    fn a_token_of_an_earlier_machine_or_an_ended_link_opens_nothing() {
        let ours = pair();
        let keys = keys(&ours);
        let workspace: WorkspaceId = "k3v7q2mzab".parse().unwrap();
        let token = |generation: Option<u64>, link: Option<&str>| {
            let link = link.map(str::to_owned);
            let level = generation.is_none().then(|| "link".to_owned());
            let scope =
                Scope { workspace: "k3v7q2mzab".to_owned(), port: Some(3000), generation, link, level };
            signed(&ours, "access", 60, scope)
        };
        // The tokens here were made a thousand seconds ago.
        let links = Links { ids: BTreeSet::from(["one".to_owned()]), told_at: now() - 500 };
        let older = Links { told_at: now() - 5_000, ..links.clone() };
        let check = |token: &str, links: Option<&Links>| {
            let place = Place { links, ..place(&workspace) };
            keys.promising(token, place, now()).and_then(|promising| promising.check()).map(|_| ())
        };
        for (generation, link, known, expected) in [
            (Some(7), None, Some(&links), Ok(())),
            (Some(6), None, Some(&links), Err(Invalid::Expired)),
            (None, None, Some(&links), Err(Invalid::Expired)),
            (None, None, None, Ok(())),
            (None, Some("one"), Some(&links), Ok(())),
            (None, Some("two"), Some(&links), Err(Invalid::Expired)),
            (None, Some("two"), None, Ok(())),
            (None, Some("two"), Some(&older), Ok(())),
        ] {
            assert_eq!(check(&token(generation, link), known), expected, "{generation:?} {link:?}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    use super::tests::{keys, now, pair, token};

    const WORKSPACE: &str = "k3v7q2mzab";

    #[test]
    fn of_tokens_of_any_kind_the_signed_one_alone_opens_the_door() {
        let pair = pair();
        let (keys, workspace) = (keys(&pair), WORKSPACE.parse().unwrap());
        let good: &'static str = token(&pair, WORKSPACE, Some(3000), "access", 600).leak();
        let of_another: &'static str =
            token(&super::tests::pair(), WORKSPACE, Some(3000), "access", 600).leak();
        let samples: &'static [&'static str] = vec![good, of_another].leak();
        proptest!(|(text in text_like(samples))| {
            let place = Place { workspace: &workspace, port: 3000, generation: Some(Generation(7)), links: None };
            let checked = keys.promising(&text, place, now()).and_then(|promising| promising.check());
            prop_assert_eq!(checked.is_ok(), text == good);
        });
    }
}
