//! Known answers were computed once with Python's `cryptography` 48 (`AESGCM(key).encrypt(nonce, plain, aad)`, the
//! associated data built there by hand): they pin what is stored, so changing one locks people out of their backups.

use super::*;

const TENANT_KEY: &str = "V+LHFkygTkH8fU0zNEp89/tfveiltiDry+I916E0wA5mLnbu+XiS1mfl88wQuM32";
const WORKSPACE_KEY: &str = "LU93+GhJrdmsBuhANooDy7sFKf73TaG+IM7jiF+wzfOP/MkC4qbQzoMz5hamgmlI";
const SECRET: &str = "RuEkJNq0iNonVmnyjcXDzt8bHJdQ+A==";

/// 32 bytes counting up from `first`.
fn bytes(first: u8) -> SecretKey {
    std::array::from_fn(|place| first + u8::try_from(place).unwrap()).into()
}

fn master(id: &str, first: u8) -> DataKey {
    DataKey::new(id, bytes(first))
}

fn masters() -> MasterKeys {
    MasterKeys::new(master("m1", 0), Vec::new())
}

fn owner() -> TenantId {
    TenantId::owner()
}

fn workspace() -> WorkspaceId {
    "k3v7q2mzab".parse().unwrap()
}

fn tenant_key() -> DataKey {
    DataKey::new(tenant_key_id(1), bytes(32))
}

fn wrapped_tenant_key() -> Wrapped {
    masters().wrap_tenant_key(&bytes(32), &owner(), 1, [1; 12]).unwrap()
}

#[test]
fn each_step_of_the_hierarchy_gives_the_known_answer() {
    let stored = wrapped_tenant_key();
    assert_eq!(
        serde_json::to_string(&stored).unwrap(),
        format!(r#"{{"v":1,"kid":"m1","nonce":"AQEBAQEBAQEBAQEB","ct":"{TENANT_KEY}"}}"#)
    );
    let tenant_key = masters().unwrap_tenant_key(&stored, &owner(), 1).unwrap();
    assert_eq!((tenant_key.id(), tenant_key.bytes().expose()), ("tenant-1", bytes(32).expose()));

    let stored = tenant_key.wrap_workspace_key(&bytes(64), &owner(), &workspace(), 1, [2; 12]).unwrap();
    assert_eq!((stored.kid.as_str(), stored.ct.as_str()), ("tenant-1", WORKSPACE_KEY));
    let key = tenant_key.unwrap_workspace_key(&stored, &owner(), &workspace(), 1).unwrap();
    assert_eq!((key.id(), key.bytes().expose()), ("workspace-1", bytes(64).expose()));
    assert_eq!(
        key.repository_password().expose(),
        "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
    );

    let stored = tenant_key.seal_secret(&"s3cr3t".into(), "API_KEY", &owner(), None, 7, [3; 12]).unwrap();
    assert_eq!((stored.kid.as_str(), stored.ct.as_str()), ("tenant-1", SECRET));
    let value = tenant_key.open_secret(&stored, "API_KEY", &owner(), None, 7).unwrap();
    assert_eq!(value.expose(), "s3cr3t");
}

#[test]
fn every_altered_field_is_noticed() {
    let good = wrapped_tenant_key();
    let open = |wrapped: &Wrapped| masters().unwrap_tenant_key(wrapped, &owner(), 1).map(drop);
    assert_eq!(open(&good), Ok(()));
    let with = |change: fn(&mut Wrapped)| {
        let mut wrapped = good.clone();
        change(&mut wrapped);
        open(&wrapped)
    };
    assert_eq!(with(|wrapped| wrapped.v = 2), Err(KeyError::UnknownFormat { v: 2 }));
    assert_eq!(with(|wrapped| wrapped.kid = "m9".into()), Err(KeyError::UnknownKey { kid: "m9".into() }));
    assert_eq!(with(|wrapped| wrapped.nonce = BASE64.encode([2; 12])), Err(KeyError::DoesNotOpen));
    for malformed in ["", "!", "AQEB"] {
        let mut wrapped = good.clone();
        wrapped.nonce = malformed.into();
        assert_eq!(open(&wrapped), Err(KeyError::Malformed { part: "nonce" }), "{malformed}");
    }
    assert_eq!(with(|wrapped| wrapped.ct = "!".into()), Err(KeyError::Malformed { part: "ct" }));
    assert_eq!(with(|wrapped| wrapped.ct.clear()), Err(KeyError::DoesNotOpen));

    let sealed = BASE64.decode(&good.ct).unwrap();
    for place in 0..sealed.len() {
        let mut altered = sealed.clone();
        altered[place] ^= 1;
        let wrapped = Wrapped { ct: BASE64.encode(altered), ..good.clone() };
        assert_eq!(open(&wrapped), Err(KeyError::DoesNotOpen), "byte {place}");
        let wrapped = Wrapped { ct: BASE64.encode(&sealed[..place]), ..good.clone() };
        assert_eq!(open(&wrapped), Err(KeyError::DoesNotOpen), "cut at {place}");
    }
}

#[test]
fn a_value_opens_at_its_own_place_only() {
    let key = tenant_key();
    let (tenant, other_tenant) = (owner(), TenantId("other".into()));
    let (here, elsewhere) = (workspace(), "aaaaaaaaaa".parse::<WorkspaceId>().unwrap());
    let place = Aad { tenant: &tenant, workspace: Some(&here), version: 1, purpose: Purpose::Secret("A") };
    let wrapped = seal(b"value", &key, [9; 12], &place).unwrap();
    assert_eq!(open(&wrapped, &key, &place).unwrap().expose(), b"value");
    for wrong in [
        Aad { tenant: &other_tenant, ..place },
        Aad { workspace: Some(&elsewhere), ..place },
        Aad { workspace: None, ..place },
        Aad { version: 2, ..place },
        Aad { purpose: Purpose::Secret("B"), ..place },
        Aad { purpose: Purpose::Secret(""), ..place },
        Aad { purpose: Purpose::WorkspaceKey, ..place },
        Aad { purpose: Purpose::TenantKey, ..place },
    ] {
        assert_eq!(open(&wrapped, &key, &wrong).map(drop), Err(KeyError::DoesNotOpen), "{wrong:?}");
    }
    let same_id = DataKey::new(tenant_key_id(1), bytes(33));
    assert_eq!(open(&wrapped, &same_id, &place).map(drop), Err(KeyError::DoesNotOpen));
    assert_eq!(
        open(&wrapped, &master("m1", 32), &place).map(drop),
        Err(KeyError::UnknownKey { kid: "tenant-1".into() })
    );
}

#[test]
fn fields_that_run_together_stay_apart_in_the_associated_data() {
    let (tenant, longer) = (TenantId("a".into()), TenantId("ab".into()));
    let aad = |tenant, name| Aad { tenant, workspace: None, version: 1, purpose: Purpose::Secret(name) };
    assert_ne!(associated_data(1, "bk", &aad(&tenant, "")), associated_data(1, "k", &aad(&longer, "")));
    assert_ne!(associated_data(1, "k", &aad(&tenant, "x")), associated_data(1, "xk", &aad(&tenant, "")));
}

#[test]
fn a_new_master_key_re_wraps_and_the_old_one_may_go() {
    let stored = wrapped_tenant_key();
    let both = MasterKeys::new(master("m2", 100), vec![master("m1", 0)]);
    let rewrapped = both.rewrap_tenant_key(&stored, &owner(), 1, [4; 12]).unwrap().unwrap();
    assert_eq!(rewrapped.kid, "m2");
    assert_eq!(both.rewrap_tenant_key(&rewrapped, &owner(), 1, [5; 12]), Ok(None), "nothing left to do");

    let new_only = MasterKeys::new(master("m2", 100), Vec::new());
    let key = new_only.unwrap_tenant_key(&rewrapped, &owner(), 1).unwrap();
    assert_eq!(key.bytes().expose(), bytes(32).expose());
    assert_eq!(
        new_only.unwrap_tenant_key(&stored, &owner(), 1).map(drop),
        Err(KeyError::UnknownKey { kid: "m1".into() })
    );
}

#[test]
fn what_is_no_key_is_not_taken_for_one() {
    let (key, tenant) = (master("m1", 0), owner());
    let aad = tenant_aad(&tenant, 1);
    let short = seal(b"short", &key, [6; 12], &aad).unwrap();
    assert_eq!(
        masters().unwrap_tenant_key(&short, &tenant, 1).map(drop),
        Err(KeyError::Malformed { part: "key length" })
    );
}

#[test]
fn configured_keys_are_read_and_examples_refused() {
    let encode = |first| BASE64.encode(bytes(first).expose());
    let keys = MasterKeys::parse(&format!("m2:{},\n m1:{} ", encode(100), encode(0)).into()).unwrap();
    assert_eq!((keys.current().id(), keys.get("m1").unwrap().id()), ("m2", "m1"));
    assert!(keys.get("m3").is_err());

    let good = encode(0);
    for (text, says) in [
        (String::new(), "there is none"),
        (good.clone(), "key number 1 is not of the form id:base64"),
        (format!(":{good}"), "key number 1 has an id"),
        (format!("m/1:{good}"), "key number 1 has an id"),
        ("m1:AAAA".into(), "key number 1 is not 32 bytes in base64"),
        (format!("m1:{}", BASE64.encode([7; 32])), "key number 1 is an example, not a random key"),
        (format!("m1:{good},m1:{}", encode(1)), "key number 2 has the id of an earlier one"),
    ] {
        let error = MasterKeys::parse(&text.as_str().into()).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains(&good), "the error repeats the key");
    }
}

#[test]
fn debug_output_shows_no_key() {
    let text = format!("{:?} {:?}", masters(), tenant_key());
    assert!(text.contains("redacted") && !text.contains("31"), "{text}");
}
