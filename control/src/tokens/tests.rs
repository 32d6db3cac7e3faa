//! The pinned token, signatures and digests were computed once with Python's `cryptography` 48 and `hashlib`.

use super::*;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jwt_simple::algorithms::{HS256Key, MACLike};

const START: i64 = 1_800_000_000;

/// `{"alg":"EdDSA","kid":"t1","typ":"JWT"}` with the claims of [`vm_claims`], good from `START` for 300 s.
const PINNED: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6InQxIiwidHlwIjoiSldUIn0.eyJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMDMwMCwiaXNzIjoiaG9tZSIsImF1ZCI6InZtIiwid29ya3NwYWNlIjoiazN2N3EybXphYiIsImdlbmVyYXRpb24iOjMsInRlbmFudCI6Im93bmVyIn0.d9wEFYE6zb1rm1CkGuJ4VTKvc6CfXbINl_G7ymSXVXfcwoogZfd8q407T0XlsjCSkdXOKujfj83hez0dBsVxDA";

/// The same with the claims of [`access_claims`]; the idle-agent's tests open a port with it.
const PINNED_ACCESS: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6InQxIiwidHlwIjoiSldUIn0.eyJpYXQiOjE4MDAwMDAwMDAsImV4cCI6MTgwMDAwMDMwMCwiaXNzIjoiaG9tZSIsImF1ZCI6ImFjY2VzcyIsIndvcmtzcGFjZSI6ImszdjdxMm16YWIiLCJwb3J0IjozMDAwLCJsZXZlbCI6Im93bmVyIn0.fzcN1y40GyZ2tub5AdylkTTbVL6D4DbDuBDPIHP8L7EWsMEefPm-ayOrom_f0ETguzOjgB28fWwwkIGEqlDqBA";

fn seed(first: u8) -> SecretKey {
    std::array::from_fn(|place| first + u8::try_from(place).unwrap()).into()
}

fn keys() -> TokenKeys {
    TokenKeys::new("home", "t1", &seed(0)).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn workspace() -> WorkspaceId {
    "k3v7q2mzab".parse().unwrap()
}

fn vm_claims() -> VmClaims {
    VmClaims { workspace: workspace(), generation: Generation(3), tenant: TenantId::owner() }
}

fn enrolment_claims() -> EnrolmentClaims {
    EnrolmentClaims { workspace: workspace(), generation: Generation(3), tenant: TenantId::owner() }
}

fn access_claims() -> AccessClaims {
    AccessClaims {
        workspace: workspace(),
        port: Some(3000),
        level: AccessLevel::Owner,
        generation: None,
        link: None,
    }
}

fn vm_token(keys: &TokenKeys) -> String {
    keys.issue_vm(&vm_claims(), at(0), minutes(5)).unwrap().token.expose().clone()
}

fn base64url(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and these claims, signed by the key that `kid: t1` stands for.
fn signed(header: &str, claims: &str) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new(*seed(0).expose()));
    let signature = pair.sk.sign(&message, None);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(*signature))
}

#[test]
fn a_token_says_what_was_issued() {
    let issued = keys().issue_vm(&vm_claims(), at(0), minutes(5)).unwrap();
    assert_eq!(issued.expires, at(300));
    assert_eq!(keys().verify_vm(issued.token.expose(), at(1)), Ok(vm_claims()));
    assert_eq!(vm_claims().check(&workspace(), Generation(3)), Ok(()));

    let token = keys().issue_enrolment(&enrolment_claims(), at(0), minutes(15)).unwrap().token;
    assert_eq!(keys().verify_enrolment(token.expose(), at(1), Expiry::Enforced), Ok(enrolment_claims()));
    assert_eq!(enrolment_claims().check(&workspace(), Generation(3)), Ok(()));

    let session =
        SessionClaims { tenant: TenantId::owner(), actor: "owner".into(), signed_in_with: "d1".into() };
    let token = keys().issue_session(&session, at(0), minutes(60)).unwrap().token;
    assert_eq!(keys().verify_session(token.expose(), at(1)), Ok(session));
}

#[test]
fn the_format_is_pinned_because_running_machines_hold_such_tokens() {
    assert_eq!(keys().verify_vm(PINNED, at(1)), Ok(vm_claims()));
    let ours = vm_token(&keys());
    let head_and_claims = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(head_and_claims(&ours), head_and_claims(PINNED));
    let access = keys().issue_access(&access_claims(), at(0), minutes(5)).unwrap().token;
    assert_eq!(head_and_claims(access.expose()), head_and_claims(PINNED_ACCESS));
    assert_eq!(keys().verify("access", PINNED_ACCESS, at(1), Expiry::Enforced), Ok(access_claims()));
}

#[test]
fn a_token_for_one_purpose_is_refused_for_every_other() {
    let keys = keys();
    let session =
        SessionClaims { tenant: TenantId::owner(), actor: "owner".into(), signed_in_with: "d1".into() };
    let life = minutes(5);
    let tokens = [
        ("vm", keys.issue_vm(&vm_claims(), at(0), life)),
        ("enrol", keys.issue_enrolment(&enrolment_claims(), at(0), life)),
        ("access", keys.issue_access(&access_claims(), at(0), life)),
        ("session", keys.issue_session(&session, at(0), life)),
    ]
    .map(|(audience, issued)| (audience, issued.unwrap().token.expose().clone()));
    for (audience, token) in &tokens {
        let answers = [
            ("vm", keys.verify_vm(token, at(1)).map(drop)),
            ("enrol", keys.verify_enrolment(token, at(1), Expiry::Enforced).map(drop)),
            ("enrol", keys.verify_enrolment(token, at(1), Expiry::Ignored).map(drop)),
            ("access", keys.verify::<AccessClaims>("access", token, at(1), Expiry::Enforced).map(drop)),
            ("session", keys.verify_session(token, at(1)).map(drop)),
        ];
        for (wanted, answer) in answers {
            // Where claims differ in shape, the token is unreadable before its audience is looked at.
            match answer {
                Ok(()) => assert_eq!(*audience, wanted),
                Err(error) => {
                    assert_ne!(*audience, wanted, "{error}");
                    assert!(matches!(error, TokenError::WrongAudience | TokenError::Malformed), "{error}");
                }
            }
        }
    }
    // The dangerous pair has the same claims: only the audience tells them apart.
    assert_eq!(keys.verify_vm(&tokens[1].1, at(1)), Err(TokenError::WrongAudience));
    assert_eq!(keys.verify_enrolment(&tokens[0].1, at(1), Expiry::Ignored), Err(TokenError::WrongAudience));
}

#[test]
fn another_workspace_and_every_other_generation_are_refused() {
    let other: WorkspaceId = "aaaaaaaaaa".parse().unwrap();
    assert_eq!(vm_claims().check(&other, Generation(3)), Err(TokenError::OtherWorkspace));
    assert_eq!(enrolment_claims().check(&other, Generation(3)), Err(TokenError::OtherWorkspace));
    for live in [Generation(4), Generation(2)] {
        let refused = Err(TokenError::WrongGeneration { claimed: Generation(3), live });
        assert_eq!(vm_claims().check(&workspace(), live), refused);
        assert_eq!(enrolment_claims().check(&workspace(), live), refused);
    }
}

#[test]
fn a_token_ends_thirty_seconds_after_its_time_and_not_fifteen_minutes() {
    let token = vm_token(&keys());
    let verify = |seconds| keys().verify_vm(&token, at(seconds)).map(drop);
    assert_eq!(verify(300), Ok(()));
    assert_eq!(verify(330), Ok(()));
    assert_eq!(verify(331), Err(TokenError::Expired));
    assert_eq!(verify(1200), Err(TokenError::Expired));
    assert_eq!(verify(-30), Ok(()));
    assert_eq!(verify(-31), Err(TokenError::NotYetValid));
}

#[test]
fn an_enrolment_token_past_its_end_is_still_read_where_the_machine_key_counts() {
    let token = keys().issue_enrolment(&enrolment_claims(), at(0), minutes(15)).unwrap().token;
    let verify = |expiry| keys().verify_enrolment(token.expose(), at(86_400), expiry);
    assert_eq!(verify(Expiry::Enforced), Err(TokenError::Expired));
    assert_eq!(verify(Expiry::Ignored), Ok(enrolment_claims()));
    let mut tampered = token.expose().clone();
    tampered.pop();
    tampered.push(if token.expose().ends_with('A') { 'Q' } else { 'A' });
    assert!(keys().verify_enrolment(&tampered, at(86_400), Expiry::Ignored).is_err());
}

#[test]
fn every_altered_character_is_noticed() {
    let token = vm_token(&keys());
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(bytes).unwrap();
        assert!(keys().verify_vm(&altered, at(1)).is_err(), "character {place}");
        assert!(keys().verify_vm(&token[..place], at(1)).is_err(), "cut at {place}");
    }
    assert!(keys().verify_vm(&format!("{token}A"), at(1)).is_err());
    assert!(keys().verify_vm(&format!("{token}.A"), at(1)).is_err());
}

#[test]
fn a_token_of_another_key_or_of_an_unknown_one_is_refused() {
    let same_id = TokenKeys::new("home", "t1", &seed(100)).unwrap();
    assert_eq!(keys().verify_vm(&vm_token(&same_id), at(1)), Err(TokenError::BadSignature));
    let other_id = TokenKeys::new("home", "t2", &seed(0)).unwrap();
    assert_eq!(keys().verify_vm(&vm_token(&other_id), at(1)), Err(TokenError::UnknownKey));
    let no_id = signed(r#"{"alg":"EdDSA","typ":"JWT"}"#, "{}");
    assert_eq!(keys().verify_vm(&no_id, at(1)), Err(TokenError::UnknownKey));
}

#[test]
fn a_token_of_another_installation_is_refused_although_the_key_is_the_same() {
    let other = TokenKeys::new("work", "t1", &seed(0)).unwrap();
    assert_eq!(keys().verify_vm(&vm_token(&other), at(1)), Err(TokenError::WrongInstall));
}

#[test]
fn the_algorithm_is_ours_to_choose_not_the_tokens() {
    let claims = r#"{"iat":1800000000,"exp":1800000300,"iss":"home","aud":"vm","workspace":"k3v7q2mzab","generation":3,"tenant":"owner"}"#;
    assert_eq!(
        keys().verify_vm(&signed(r#"{"alg":"EdDSA","kid":"t1","typ":"JWT"}"#, claims), at(1)),
        Ok(vm_claims()),
        "the counter-check"
    );
    for algorithm in ["none", "None", "HS256", "ES256", "RS256", "eddsa", ""] {
        let header = format!(r#"{{"alg":"{algorithm}","kid":"t1","typ":"JWT"}}"#);
        assert_eq!(keys().verify_vm(&signed(&header, claims), at(1)), Err(TokenError::WrongAlgorithm));
        let unsigned = format!("{}.{}.", base64url(&header), base64url(claims));
        assert_eq!(keys().verify_vm(&unsigned, at(1)), Err(TokenError::WrongAlgorithm));
    }
    // The classic: the public key, known to all, as the secret of an HMAC.
    let public = BASE64.decode(&keys().public_keys()["t1"]).unwrap();
    let mut hmac = HS256Key::from_bytes(&public);
    hmac = hmac.with_key_id("t1");
    let forged = hmac
        .authenticate(JWTClaims {
            issued_at: Some(unix(at(0))),
            expires_at: Some(unix(at(300))),
            invalid_before: None,
            issuer: Some("home".into()),
            subject: None,
            audiences: Some(Audiences::AsString("vm".into())),
            jwt_id: None,
            nonce: None,
            custom: vm_claims(),
        })
        .unwrap();
    assert_eq!(keys().verify_vm(&forged, at(1)), Err(TokenError::WrongAlgorithm));
}

#[test]
fn a_well_signed_token_without_an_end_is_refused() {
    let header = r#"{"alg":"EdDSA","kid":"t1","typ":"JWT"}"#;
    let claims = r#"{"iat":1800000000,"iss":"home","aud":"vm","workspace":"k3v7q2mzab","generation":3,"tenant":"owner"}"#;
    assert_eq!(keys().verify_vm(&signed(header, claims), at(1)), Err(TokenError::Malformed));
}

#[test]
fn what_is_no_token_is_said_to_be_none() {
    let huge = "a".repeat(10_000);
    for text in ["", ".", "..", "a.b.c", "ebb_0102030405_00", "Bearer x", "é.é.é", &huge] {
        assert_eq!(keys().verify_vm(text, at(1)), Err(TokenError::Malformed), "{text:.20}");
    }
}

#[test]
fn keys_are_rotated_without_refusing_anybody() {
    let old = keys();
    let new = TokenKeys::new("home", "t2", &seed(100)).unwrap().also_verify("t1", &seed(0)).unwrap();
    assert_eq!(new.verify_vm(&vm_token(&old), at(1)), Ok(vm_claims()));
    assert_eq!(old.verify_vm(&vm_token(&new), at(1)), Err(TokenError::UnknownKey));
    assert_eq!(new.public_keys().keys().collect::<Vec<_>>(), ["t1", "t2"]);

    let encode = |first| BASE64.encode(seed(first).expose());
    let parsed = TokenKeys::parse("home", &format!("t2:{} t1:{}", encode(100), encode(0)).into()).unwrap();
    assert_eq!(parsed.public_keys(), new.public_keys());
    assert_eq!(parsed.verify_vm(&vm_token(&new), at(1)), Ok(vm_claims()));
    assert!(TokenKeys::parse("home", &"".into()).is_err());
    assert!(TokenKeys::parse("home", &format!("t1:{}", BASE64.encode([0; 32])).into()).is_err());
}

#[test]
fn a_public_key_is_pinned_to_its_seed() {
    assert_eq!(keys().public_keys()["t1"], "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=");
}

#[test]
fn a_machine_key_signs_for_one_workspace_generation_and_token() {
    const KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    const SIGNATURE: &str =
        "eJ5AmoiC5+56EhvI/vQ4k0sCI7LbeoRQTu3xodKlxVQnAHk2/q+sP6qamtv0rM9TbzErPfyMi2IDtZJWLVVuAg==";
    const RENEWAL: &str =
        "5QBVxlZYYYH13XxEYZgjwTgO1i5BukeZEoUgLrl1gfPfOVnnkyT06ezkEoehtSUJLb1mKsrcLzdoFb0IBmVHBw==";
    let key = MachineKey::parse(KEY).unwrap();
    assert_eq!(key.to_base64(), KEY);
    let verify = |generation, token: &str, signature: &str| {
        key.verify_enrolment(&workspace(), Generation(generation), token, signature)
    };
    assert_eq!(verify(3, "a.b.c", SIGNATURE), Ok(()));
    assert_eq!(verify(3, "", RENEWAL), Ok(()));
    let refused = Err(MachineKeyError::BadSignature);
    assert_eq!(verify(4, "a.b.c", SIGNATURE), refused);
    assert_eq!(verify(3, "a.b.d", SIGNATURE), refused);
    assert_eq!(verify(3, "", SIGNATURE), refused);
    assert_eq!(verify(3, "a.b.c", RENEWAL), refused);
    assert_eq!(verify(3, "a.b.c", ""), refused);
    assert_eq!(verify(3, "a.b.c", "!"), refused);
    let other: WorkspaceId = "aaaaaaaaaa".parse().unwrap();
    assert_eq!(key.verify_enrolment(&other, Generation(3), "a.b.c", SIGNATURE), refused);
    let other_key = MachineKey::parse(&keys_of(100)).unwrap();
    assert_eq!(other_key.verify_enrolment(&workspace(), Generation(3), "a.b.c", SIGNATURE), refused);
}

fn keys_of(first: u8) -> String {
    TokenKeys::new("home", "t1", &seed(first)).unwrap().public_keys()["t1"].clone()
}

#[test]
fn weak_and_malformed_machine_keys_are_refused() {
    let identity = {
        let mut point = [0; 32];
        point[0] = 1;
        BASE64.encode(point)
    };
    for key in ["", "!", "AAAA", &BASE64.encode([0; 32]), &identity, &BASE64.encode([0; 33])] {
        assert_eq!(MachineKey::parse(key), Err(MachineKeyError::BadKey), "{key}");
    }
}

#[test]
fn an_api_key_is_pinned_and_matches_its_digest_alone() {
    let key = ApiKey::from_random([1, 2, 3, 4, 5], [7; 32]);
    let text = key.text().expose().clone();
    assert_eq!(text, format!("ebb_0102030405_{}", "07".repeat(32)));
    assert_eq!(key.digest(), "ed86ad86692ae11d23c44c8aeb96e82cbbee27a6b00baff811138ccb15cbaeb0");
    let parsed = ApiKey::parse(&text).unwrap();
    assert_eq!(parsed.id(), "0102030405");
    assert!(parsed.matches(&key.digest()));
    assert!(!ApiKey::from_random([1, 2, 3, 4, 5], [8; 32]).matches(&key.digest()));
    assert!(!parsed.matches("") && !parsed.matches(&key.digest()[..63]));
    assert!(!format!("{key:?}").contains("0707"));
}

#[test]
fn what_is_no_api_key_is_refused() {
    let secret = "07".repeat(32);
    for text in [
        String::new(),
        "ebb_".into(),
        format!("ebb_{secret}"),
        format!("ebb_010203040_{secret}"),
        format!("ebb_0102030405_{}", &secret[..62]),
        format!("ebb_0102030405_{secret}0"),
        format!("ebb_0102030405_{}", secret.replace('7', "G")),
        format!("ebb_010203040A_{secret}"),
        format!(" ebb_0102030405_{secret}"),
        format!("EBB_0102030405_{secret}"),
    ] {
        assert_eq!(ApiKey::parse(&text).map(drop), Err(InvalidApiKey), "{text}");
    }
}

#[test]
fn secrets_are_compared_whole() {
    assert!(same_secret(&"owner-token".into(), "owner-token"));
    for other in ["", "owner-toke", "owner-token ", "Owner-token"] {
        assert!(!same_secret(&"owner-token".into(), other), "{other}");
    }
}

#[test]
fn debug_output_shows_no_seed() {
    assert_eq!(format!("{:?}", keys()), "TokenKeys(home, [\"t1\"], redacted)");
}

#[test]
fn a_public_key_is_written_as_openssh_writes_it() {
    let expected =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4 ebbtide-home";
    assert_eq!(openssh_public_key(&seed(0), "ebbtide-home").unwrap(), expected);
}
