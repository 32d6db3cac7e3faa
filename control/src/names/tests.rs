use super::input::{BRANCH_MAX, NAME_MAX, REPO_URL_MAX};
use super::*;

fn id() -> WorkspaceId {
    "k3v7q2mzab".parse().unwrap()
}

/// Whether the provider takes a text as a label's value.
fn is_label_value(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().copied().all(inside) && edge(bytes.first()) && edge(bytes.last())
}

#[test]
fn names_labels_and_comments_are_pinned_because_running_machines_carry_them() {
    assert_eq!(server_name(&id(), Generation(3)), "ebb-k3v7q2mzab-3");
    assert_eq!(record_comment("home", &id(), Generation(3)), "ebbtide home k3v7q2mzab g3");
    let labels = labels(
        "home",
        &TenantId::owner(),
        &id(),
        Generation(3),
        Timestamp::from_second(1_800_000_000).unwrap(),
    );
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        pairs,
        [
            "ebbtide-expires=1800000000",
            "ebbtide-generation=3",
            "ebbtide-install=home",
            "ebbtide-tenant=owner",
            "ebbtide-workspace=k3v7q2mzab",
        ]
    );
    assert!(labels.values().all(|value| is_label_value(value)));
    assert_eq!(
        machine_selector("home", &id(), Generation(3)),
        "ebbtide-install==home,ebbtide-workspace==k3v7q2mzab,ebbtide-generation==3"
    );
    assert_eq!(install_selector("home"), "ebbtide-install==home");
    let comment = record_comment("home", &id(), Generation(3));
    assert!(comment.starts_with(&install_comment_prefix("home")));
    assert!(!comment.starts_with(&install_comment_prefix("hom")));
}

#[test]
fn what_was_written_is_read_back() {
    let expires = Timestamp::from_second(1_800_000_000).unwrap();
    for generation in [Generation(1), Generation(42), Generation(u32::MAX)] {
        let owner = RecordOwner { install: "home".into(), workspace: id(), generation };
        assert_eq!(parse_comment(&record_comment("home", &id(), generation)), Some(owner));
        let owner = ResourceOwner {
            install: "home".into(),
            tenant: TenantId::owner(),
            workspace: id(),
            generation,
            expires: Some(expires),
        };
        assert_eq!(
            parse_labels(&labels("home", &TenantId::owner(), &id(), generation, expires)),
            Some(owner)
        );
    }
}

#[test]
fn nothing_of_other_people_is_taken_for_ours() {
    for comment in [
        "",
        "ebbtide",
        "ebbtide home k3v7q2mzab",
        "ebbtide home k3v7q2mzab 3",
        "ebbtide home k3v7q2mzab g",
        "ebbtide home k3v7q2mzab g3 ",
        "ebbtide home k3v7q2mzab g3 x",
        "ebbtide  k3v7q2mzab g3",
        "Ebbtide home k3v7q2mzab g3",
        " ebbtide home k3v7q2mzab g3",
        "ebbtide home ../../etc/ g3",
    ] {
        assert_eq!(parse_comment(comment), None, "{comment}");
    }
    let whole = labels("home", &TenantId::owner(), &id(), Generation(1), Timestamp::UNIX_EPOCH);
    for key in [LABEL_INSTALL, LABEL_TENANT, LABEL_WORKSPACE, LABEL_GENERATION] {
        let mut part = whole.clone();
        part.remove(key);
        assert_eq!(parse_labels(&part), None, "{key}");
    }
    let mut no_end = whole;
    no_end.insert(LABEL_EXPIRES.into(), "soon".into());
    assert_eq!(parse_labels(&no_end).unwrap().expires, None);
}

#[test]
fn host_names_fit_into_one_label_with_the_longest_name() {
    assert_eq!(workspace_host("demo", &id(), "ebb.localhost"), "demo-k3v7q2mzab.ebb.localhost");
    assert_eq!(port_host(3000, "demo", &id(), "ebb.localhost"), "3000.demo-k3v7q2mzab.ebb.localhost");
    assert_eq!(port_host(3001, "demo", &id(), "ebb.localhost"), "demo-k3v7q2mzab.ebb.localhost");
    assert_eq!(
        port_host_template("demo", &id(), "ebb.localhost").replace("{port}", "3000"),
        port_host(3000, "demo", &id(), "ebb.localhost")
    );
    let longest = "n".repeat(NAME_MAX);
    validate_workspace_name(&longest).unwrap();
    let label = format!("{}--65535", workspace_host(&longest, &id(), "z").split('.').next().unwrap());
    assert!(label.len() <= 63, "{}", label.len());
}

#[test]
fn install_ids_and_label_values_are_checked() {
    for good in ["home", "a", "prod-2", &"x".repeat(32)] {
        assert!(is_install_id(good) && is_label_value(good), "{good}");
    }
    for bad in ["", "-a", "a-", "Home", "a b", "a.b", "a,b", "ü", &"x".repeat(33)] {
        assert!(!is_install_id(bad), "{bad}");
    }
    for bad in ["a b", "a@b", "-a", "a-", "12:30", "ü", &"x".repeat(64)] {
        assert!(!is_label_value(bad), "{bad}");
    }
    assert!(is_label_value("") && is_label_value("A_b.c-1"));
}

#[test]
fn workspace_names() {
    for good in ["a", "7", "demo", "my-app-2", "0day"] {
        assert_eq!(validate_workspace_name(good), Ok(()), "{good}");
    }
    let ten_kb = "n".repeat(10 * 1024);
    for (bad, error) in [
        ("", NameError::Empty),
        (ten_kb.as_str(), NameError::TooLong),
        (&"n".repeat(NAME_MAX + 1), NameError::TooLong),
        ("Demo", NameError::BadCharacter),
        ("$(id)", NameError::BadCharacter),
        ("a.b", NameError::BadCharacter),
        ("a_b", NameError::BadCharacter),
        ("a b", NameError::BadCharacter),
        ("a\n", NameError::BadCharacter),
        ("näh", NameError::BadCharacter),
        ("-a", NameError::DashAtEdge),
        ("--upload-pack=x", NameError::BadCharacter),
        ("--upload-pack", NameError::DashAtEdge),
        ("a-", NameError::DashAtEdge),
        ("a--3000", NameError::DoubleDash),
    ] {
        assert_eq!(validate_workspace_name(bad), Err(error), "{bad:.40}");
    }
}

#[test]
fn a_default_name_is_always_valid() {
    let ten_kb = format!("https://h/{}", "A-".repeat(5 * 1024));
    for (url, name) in [
        ("https://github.com/owner/My.Repo.git", "my-repo"),
        ("https://github.com/owner/repo/", "repo"),
        ("https://github.com/owner/repo.git?x=1#frag", "repo"),
        ("git@github.com:owner/tool.git", "tool"),
        ("git@host:tool", "tool"),
        ("ssh://git@host/~me/___", "workspace"),
        ("https://host/проект", "workspace"),
        ("https://host/--x--y--", "x-y"),
        ("https://host/a/$(id)", "id"),
        ("", "workspace"),
        (ten_kb.as_str(), "a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a"),
    ] {
        assert_eq!(default_name(url), name, "{url:.60}");
        assert_eq!(validate_workspace_name(&default_name(url)), Ok(()), "{url:.60}");
    }
}

#[test]
fn repository_urls_that_machines_may_clone() {
    for good in [
        "https://github.com/owner/name.git",
        "https://github.com/owner/name",
        "http://140.82.121.4:8080/demo.git",
        "http://172.32.0.1/demo.git",
        "http://[2a01:4f8::1]:8080/demo.git",
        "https://localhost.example.org/a/b",
        "HTTPS://git.example.org/a/b",
        "https://git.example.org/a/b%20c.git",
        "https://git.example.org/$(id)",
        "ssh://git@git.example.org:2222/a/b.git",
        "ssh://git.example.org/~me/b.git",
        "git@github.com:owner/name.git",
        "my-user@host_1.internal:path/to/repo",
        "git@host:/srv/git/repo.git",
    ] {
        assert_eq!(validate_repo_url(good), Ok(()), "{good}");
    }
}

#[test]
fn absurd_repository_urls_are_refused_by_name() {
    use RepoUrlError::*;
    let ten_kb = format!("https://h/{}", "a".repeat(10 * 1024));
    let just_too_long = format!("https://h/{}", "a".repeat(REPO_URL_MAX - 9));
    for (bad, error) in [
        ("", Empty),
        (ten_kb.as_str(), TooLong),
        (just_too_long.as_str(), TooLong),
        ("https://h/a b", BadCharacter),
        ("https://h/a\nb", BadCharacter),
        ("https://h/a\0b", BadCharacter),
        ("https://h/a\u{a0}b", BadCharacter),
        ("https://h/a%0ab", BadCharacter),
        ("https://h/a%0D", BadCharacter),
        ("https://h%00/a", BadCharacter),
        ("--upload-pack=x", LooksLikeOption),
        ("-u", LooksLikeOption),
        ("--upload-pack=x@host:path", LooksLikeOption),
        ("git@host:-x", LooksLikeOption),
        ("file:///etc", ForbiddenTransport),
        ("FILE:///etc", ForbiddenTransport),
        ("file:/etc", ForbiddenTransport),
        ("ext::sh", ForbiddenTransport),
        ("ext::git@host:x", ForbiddenTransport),
        ("fd::17", ForbiddenTransport),
        ("https::https://h/a", ForbiddenTransport),
        ("transport::anything", ForbiddenTransport),
        ("git://h/a", UnsupportedScheme),
        ("ftp://h/a", UnsupportedScheme),
        ("git+ssh://h/a", UnsupportedScheme),
        ("javascript://h/a", UnsupportedScheme),
        ("https://token@github.com/a/b", Credentials),
        ("https://user:password@github.com/a/b", Credentials),
        ("https://user:p@ss@github.com/a/b", Credentials),
        ("ssh://git:password@host/a", Credentials),
        ("git:password@host:a", Credentials),
        ("https://", BadHost),
        ("https:///a/b", BadHost),
        ("https://-host/a", BadHost),
        ("ssh://-oProxyCommand=id/a", BadHost),
        ("ssh://-x@host/a", BadHost),
        ("ssh://$(id)/a", BadHost),
        ("https://h`id`/a", BadHost),
        ("https://h:99999/a", BadHost),
        ("https://h:0/a", BadHost),
        ("https://[::1/a", BadHost),
        ("git@-oProxyCommand=id:a", BadHost),
        ("git@$(id):a", BadHost),
        ("http://127.0.0.1:8080/demo.git", UnreachableHost),
        ("http://169.254.169.254/hetzner/v1/metadata", UnreachableHost),
        ("http://2852039166/hetzner/v1/metadata", UnreachableHost),
        ("http://0xa9.0376.43518/a", UnreachableHost),
        ("http://0x7f.1/a", UnreachableHost),
        ("http://0/a", UnreachableHost),
        ("http://10.0.0.1/a", UnreachableHost),
        ("https://172.16.0.1/a", UnreachableHost),
        ("https://192.168.178.1/a", UnreachableHost),
        ("https://100.64.0.1/a", UnreachableHost),
        ("https://224.0.0.1/a", UnreachableHost),
        ("https://255.255.255.255/a", UnreachableHost),
        ("ssh://git@169.254.169.254/a", UnreachableHost),
        ("ssh://git@[fe80::1]/a", UnreachableHost),
        ("git@10.0.0.1:a/b", UnreachableHost),
        ("git@0x7f.1:a/b", UnreachableHost),
        ("http://[::1]/a", UnreachableHost),
        ("http://[::]/a", UnreachableHost),
        ("http://[::ffff:169.254.169.254]/a", UnreachableHost),
        ("http://203.0.113.7/a", UnreachableHost),
        ("http://[2001:db8::1]/a", UnreachableHost),
        ("http://[::169.254.169.254]/a", UnreachableHost),
        ("http://[::a00:1]/a", UnreachableHost),
        ("http://[::ffff:0:10.0.0.1]/a", UnreachableHost),
        ("https://[64:ff9b::a9fe:a9fe]/a", UnreachableHost),
        ("https://[64:ff9b:1::1]/a", UnreachableHost),
        ("https://[2002:a00:1::]/a", UnreachableHost),
        ("https://[2002:a9fe:a9fe::1]/a", UnreachableHost),
        ("https://[2001:0:5ef5:79fd::1]/a", UnreachableHost),
        ("https://[fec0::1]/a", UnreachableHost),
        ("https://[fd00:ec2::254]/a", UnreachableHost),
        ("http://012.0.0.1/a", UnreachableHost),
        ("http://0xA9FEA9FE/a", UnreachableHost),
        ("http://169.254.43518/a", UnreachableHost),
        ("http://127.1./a", UnreachableHost),
        ("http://[fd00::1]/a", UnreachableHost),
        ("http://[ff02::1]/a", UnreachableHost),
        ("http://localhost/a", UnreachableHost),
        ("http://LOCALHOST./a", UnreachableHost),
        ("http://anything.localhost/a", UnreachableHost),
        ("https://github.com", NoPath),
        ("https://github.com/", NoPath),
        ("ssh://git@host", NoPath),
        ("git@host:", NoPath),
        ("git@host:/", NoPath),
        ("$(id)", NotAUrl),
        ("`id`", NotAUrl),
        ("/etc", NotAUrl),
        ("./repo", NotAUrl),
        ("~/repo", NotAUrl),
        ("github.com/owner/name", NotAUrl),
        ("git@github.com/owner/name", NotAUrl),
        ("host:path", NotAUrl),
        ("a/b@host:c", NotAUrl),
        ("@host:a", NotAUrl),
    ] {
        assert_eq!(validate_repo_url(bad), Err(error), "{bad:.60}");
    }
}

/// Compared with `git check-ref-format --branch` (git 2.47) for every row; `@`, which it expands to HEAD, is the exception.
#[test]
fn branches_are_taken_exactly_as_git_takes_them() {
    use BranchError::*;
    for good in [
        "main",
        "feature/x",
        "v1.2.3",
        "$(id)",
        "`id`",
        "a;b",
        "a|b",
        "a'b",
        "a\"b",
        "a&b",
        "<x>",
        "#1",
        "ünïcode",
        "a@b",
        "a{b}",
        "a-",
        "a/-b",
        "refs/heads/main",
        "x.lockx",
        "head",
        "HEAD/x",
        "@a",
        "a@",
        "%0a",
        "a]",
    ] {
        assert_eq!(validate_branch(good), Ok(()), "{good}");
    }
    let ten_kb = "b".repeat(10 * 1024);
    for (bad, error) in [
        ("", Empty),
        (ten_kb.as_str(), TooLong),
        (&"b".repeat(BRANCH_MAX + 1), TooLong),
        ("--upload-pack=x", LooksLikeOption),
        ("-b", LooksLikeOption),
        ("a b", BadCharacter),
        ("a\tb", BadCharacter),
        ("a\nb", BadCharacter),
        ("a\x7fb", BadCharacter),
        ("a~1", BadCharacter),
        ("a^", BadCharacter),
        ("a:b", BadCharacter),
        ("a?", BadCharacter),
        ("a*", BadCharacter),
        ("a[b", BadCharacter),
        ("a\\b", BadCharacter),
        ("a..b", BadSequence),
        ("a@{1}", BadSequence),
        ("@", BadSequence),
        ("/a", BadPart),
        ("a/", BadPart),
        ("a//b", BadPart),
        (".a", BadPart),
        ("a/.b", BadPart),
        ("a.", BadPart),
        ("a.lock", BadPart),
        ("a.lock/b", BadPart),
        ("HEAD", Head),
    ] {
        assert_eq!(validate_branch(bad), Err(error), "{bad:.40}");
    }
}

#[test]
fn no_error_repeats_what_it_refuses() {
    let error = validate_repo_url("https://ghp_secret@github.com/a/b").unwrap_err();
    assert!(!format!("{error} {error:?} {}", error.hint()).contains("ghp_secret"));
    assert!(error.hint().contains("cannot be cloned yet"));
    assert_eq!(BranchError::BadSequence.to_string(), "the branch holds .. or @{, or is a single @");
}
