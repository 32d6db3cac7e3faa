use super::*;
use crate::secret::SecretKey;
use ebbtide_api::secrets::{FileMode, PutSecret};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key() -> DataKey {
    DataKey::new("tenant-1", SecretKey::new([7; 32]))
}

fn put(usage: &str, value: &str) -> PutSecret {
    let body =
        format!(r#"{{"use":{usage},"value":{},"everywhere":true}}"#, serde_json::to_string(value).unwrap());
    serde_json::from_str(&body).unwrap()
}

fn taken(usage: &str, value: &str) -> Result<String, SecretError> {
    check("a", put(usage, value)).map(|secret| secret.value.expose().clone())
}

fn opened(name: &str, usage: &str, everywhere: bool) -> OpenedSecret {
    let usage = serde_json::from_str(usage).unwrap();
    let value = SecretText::from(format!("value of {name}").as_str());
    OpenedSecret {
        name: name.into(),
        version: 1,
        written_at: at(0),
        secret: Secret { usage, everywhere, value },
    }
}

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\n-----END OPENSSH PRIVATE KEY-----";

#[test]
fn names_paths_hosts_and_values_are_held_to_their_rules() {
    let variable = |name: &str| taken(&format!(r#"{{"kind":"environment","variable":"{name}"}}"#), "x");
    assert_eq!(variable("DATABASE_URL").unwrap(), "x");
    assert_eq!(variable("LD_PRELOAD"), Err(SecretError::Reserved("LD_PRELOAD".into())));
    for name in ["", "1A", "a b", "a=b", "a;b", &"a".repeat(129)] {
        assert_eq!(variable(name), Err(SecretError::Variable), "{name}");
    }
    let path = |path: &str| taken(&format!(r#"{{"kind":"file","path":"{path}"}}"#), "x\ny");
    for good in [".npmrc", ".aws/credentials", "a/b-c@d+e_f"] {
        assert_eq!(path(good).unwrap(), "x\ny", "{good}");
    }
    for bad in [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        ".",
        "a/.",
        "a b",
        "~/x",
        "$(id)",
        &"a".repeat(201),
    ] {
        assert_eq!(path(bad), Err(SecretError::Path), "{bad}");
    }
    let host = |host: &str| taken(&format!(r#"{{"kind":"git_credential","host":"{host}"}}"#), "token\r\n");
    for good in ["github.com", "git.example.org:8443", "http://git.local", "http://10.0.0.1:3000"] {
        assert_eq!(host(good).unwrap(), "token", "{good}");
    }
    for bad in [
        "",
        "GitHub.com",
        "https://github.com",
        "a/b",
        "u@h",
        "h:",
        "h:0",
        "h:65536",
        "-h",
        "h.",
        "*.h",
        "h:1:2",
    ] {
        assert_eq!(host(bad), Err(SecretError::Host), "{bad}");
    }
    let user =
        |name: &str| taken(&format!(r#"{{"kind":"git_credential","host":"h","username":"{name}"}}"#), "t");
    assert!(user("x-token-auth").is_ok());
    for bad in ["", "a:b", "a b", "a\\nb"] {
        assert_eq!(user(bad), Err(SecretError::Username), "{bad}");
    }
    for name in ["", "-a", ".a", "A", "a/b", "a b", &"a".repeat(65)] {
        assert_eq!(
            check(name, put(r#"{"kind":"ssh_key"}"#, KEY)).map(drop),
            Err(SecretError::Name),
            "{name}"
        );
    }
}

#[test]
fn a_value_is_what_its_kind_needs_and_is_in_no_refusal() {
    let git = r#"{"kind":"git_credential","host":"h"}"#;
    for (value, wanted) in [
        ("", SecretError::Length),
        ("\n", SecretError::Length),
        ("hunter2\nusername=x", SecretError::Characters),
        ("hunter2\0", SecretError::Characters),
        (&"x".repeat(16_385), SecretError::Length),
    ] {
        let refusal = taken(git, value).unwrap_err();
        assert_eq!(refusal, wanted);
        assert!(!format!("{refusal:?}{refusal}{}{}", refusal.hint(), refusal.field()).contains("hunter2"));
    }
    let ssh = r#"{"kind":"ssh_key","host":"github.com"}"#;
    assert_eq!(taken(ssh, &KEY.replace('\n', "\r\n")).unwrap(), format!("{KEY}\n"));
    for bad in ["ssh-ed25519 AAAA", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"] {
        assert_eq!(taken(ssh, bad), Err(SecretError::PrivateKey));
    }
    let author = r#"{"kind":"git_author"}"#;
    assert_eq!(taken(author, "Ada <a@b>").unwrap(), "Ada <a@b>");
    assert_eq!(taken(author, "Ada"), Err(SecretError::Author));
    assert_eq!(taken(r#"{"kind":"ssh_key","host":"*"}"#, KEY), Err(SecretError::Host));
}

#[test]
fn a_choice_names_secrets_that_exist_once_each() {
    let named = |names: &[&str]| SecretChoice::Named(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(check_choice(&SecretChoice::Everywhere, []), Ok(()));
    assert_eq!(check_choice(&named(&["b", "a"]), ["a", "b"]), Ok(()));
    assert_eq!(check_choice(&named(&["a", "a"]), ["a"]), Err(SecretError::Twice("a".into())));
    assert_eq!(check_choice(&named(&["c", "a", "b"]), ["a"]), Err(SecretError::Unknown("b, c".into())));
    assert_eq!(check_choice(&named(&["ghp_HUNTER2"]), ["a"]), Err(SecretError::Name));
}

#[test]
fn what_is_stored_holds_neither_the_value_nor_what_it_is_for_and_opens_in_its_place_alone() {
    let (tenant, mut stored) = (TenantId::owner(), StoredSecrets::default());
    let usage = r#"{"kind":"git_credential","host":"example.org"}"#;
    stored.put("a", check("a", put(usage, "hunter2")).unwrap(), &tenant, &key(), [1; 12], at(5)).unwrap();
    let text = serde_json::to_string(&stored).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("example"), "{text}");
    assert!(
        text.starts_with(
            r#"{"secrets":{"a":{"version":1,"written_at":"1970-01-01T00:00:05Z","sealed":{"v":1,"#
        ),
        "{text}"
    );
    let read: StoredSecrets = serde_json::from_str(&text).unwrap();
    let all = read.open(&tenant, &key()).unwrap();
    assert_eq!(all[0].secret.value.expose(), "hunter2");
    assert!(all[0].secret.everywhere);
    let other = TenantId("other".into());
    assert!(read.open(&other, &key()).is_err(), "another tenant");
    let mut moved = read.clone();
    let secret = moved.secrets.remove("a").unwrap();
    moved.secrets.insert("b".into(), secret);
    assert!(moved.open(&tenant, &key()).is_err(), "under another name");
    let mut older = read;
    older.secrets.get_mut("a").unwrap().version = 2;
    assert!(older.open(&tenant, &key()).is_err(), "as another version");
}

#[test]
fn versions_rise_over_a_removal() {
    let (tenant, mut stored) = (TenantId::owner(), StoredSecrets::default());
    let write = |stored: &mut StoredSecrets| {
        let secret = check("a", put(r#"{"kind":"ssh_key"}"#, KEY)).unwrap();
        stored.put("a", secret, &tenant, &key(), [1; 12], at(0)).unwrap();
        stored.secrets["a"].version
    };
    assert_eq!([write(&mut stored), write(&mut stored)], [1, 2]);
    stored.remove("a");
    stored.remove("a");
    assert!(stored.secrets.is_empty());
    assert_eq!(write(&mut stored), 3);
    assert!(stored.past.is_empty());
}

#[test]
fn a_workspace_gets_what_it_names_or_what_is_everywhere_and_its_own_variables_go_first() {
    let secrets = [
        opened("a", r#"{"kind":"environment","variable":"A"}"#, true),
        opened("b", r#"{"kind":"environment","variable":"B"}"#, false),
        opened("b2", r#"{"kind":"environment","variable":"B"}"#, false),
        opened("c", r#"{"kind":"file","path":".npmrc","mode":"0400"}"#, true),
        opened("d", r#"{"kind":"ssh_key","host":"github.com"}"#, true),
        opened("e", r#"{"kind":"git_credential","host":"github.com"}"#, true),
    ];
    let own = || vec![NamedSecret { name: "A".into(), value: "own".into() }];
    let shown = |choice: &SecretChoice| {
        let settings = settings(9, own(), &secrets, choice);
        let variables: Vec<_> = settings
            .variables
            .iter()
            .map(|variable| format!("{}={}", variable.name, variable.value))
            .collect();
        let files: Vec<_> =
            settings.files.iter().map(|file| format!("{}:{:o}", file.path, file.mode.bits())).collect();
        let keys: Vec<_> =
            settings.ssh_keys.iter().map(|key| format!("{}@{:?}", key.name, key.host)).collect();
        format!("{} {variables:?} {files:?} {keys:?}", settings.revision)
    };
    assert_eq!(shown(&SecretChoice::Everywhere), r#"9 ["A=own"] [".npmrc:400"] ["d@Some(\"github.com\")"]"#);
    let named = |names: &[&str]| SecretChoice::Named(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(shown(&named(&["b", "b2"])), r#"9 ["A=own", "B=value of b"] [] []"#);
    assert_eq!(shown(&named(&[])), r#"9 ["A=own"] [] []"#);
    assert_eq!(FileMode::Read.bits(), 0o400);
}

#[test]
fn git_is_answered_for_its_own_host_and_protocol_alone() {
    let secrets = [
        opened("a", r#"{"kind":"git_credential","host":"github.com","username":"u"}"#, true),
        opened("b", r#"{"kind":"git_credential","host":"git.example.org:8443"}"#, true),
        opened("c", r#"{"kind":"git_credential","host":"http://plain.example"}"#, true),
        opened("d", r#"{"kind":"git_credential","host":"other.example"}"#, false),
        opened("e", r#"{"kind":"environment","variable":"A"}"#, true),
        opened("f", r#"{"kind":"git_credential","host":"github.com","username":"second"}"#, true),
    ];
    let asked = |protocol: &str, host: &str| {
        git_credential(protocol, host, &secrets, &SecretChoice::Everywhere).map(|found| found.password)
    };
    for (protocol, host, wanted) in [
        ("https", "github.com", Some("value of a")),
        ("https", "GitHub.com", Some("value of a")),
        ("https", "github.com.", Some("value of a")),
        ("https", "github.com:443", Some("value of a")),
        ("https", "git.example.org:8443", Some("value of b")),
        ("http", "plain.example", Some("value of c")),
        ("http", "plain.example:80", Some("value of c")),
        ("http", "github.com", None),
        ("https", "plain.example", None),
        ("https", "git.example.org", None),
        ("https", "evil.github.com", None),
        ("https", "github.com.evil.example", None),
        ("https", "github.com:8443", None),
        ("https", "other.example", None),
        ("ssh", "github.com", None),
        ("", "", None),
    ] {
        assert_eq!(asked(protocol, host).as_deref(), wanted, "{protocol}://{host}");
    }
    let named = SecretChoice::Named(vec!["f".into()]);
    let found = git_credential("https", "github.com", &secrets, &named).unwrap();
    assert_eq!(found.username, "second");
    assert!(git_credential("https", "github.com", &secrets, &SecretChoice::Named(vec![])).is_none());
}
