//! What the configuration reads like, and what its expressions make of what apps answer.

use super::*;
use proptest::prelude::*;
use regex_automata::meta::Regex;

#[test]
fn the_configuration_reads_like_this() {
    let mut config = configuration(
        80,
        Path::new("/run/ebbtide/access.sock"),
        Path::new("/var/lib/ebbtide/caddy/caddy.log"),
    );
    for route in 0..2 {
        let path =
            format!("/apps/http/servers/ebb/routes/0/handle/2/routes/{route}/handle/0/handle_response/0");
        let words =
            config.pointer_mut(&(path + "/match/headers/Set-Cookie")).and_then(Value::as_array_mut).unwrap();
        assert_eq!(words.len(), 64);
        words.truncate(2);
    }
    insta::assert_json_snapshot!(config);
}

/// Caddy's engine and this one read the same expressions the same way.
fn without_domain(header: &str) -> String {
    let expression = Regex::new(COOKIE_DOMAIN).unwrap();
    let (mut kept, mut from) = (String::new(), 0);
    for found in expression.find_iter(header) {
        kept.push_str(&header[from..found.start()]);
        from = found.end();
    }
    kept + &header[from..]
}

/// A `Set-Cookie` as RFC 6265bis, 5.6 reads it: the name-value pair, and the attributes in their order.
fn parse(header: &str) -> (&str, Vec<(String, &str)>) {
    const BLANK: [char; 2] = [' ', '\t'];
    let (pair, unparsed) = header.split_once(';').map_or((header, None), |(pair, rest)| (pair, Some(rest)));
    let attributes = unparsed.into_iter().flat_map(|rest| rest.split(';')).map(|attribute| {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        (name.trim_matches(BLANK).to_ascii_lowercase(), value.trim_matches(BLANK))
    });
    (pair, attributes.collect())
}

/// Whether a browser keeps the cookie for the host alone: the last `Domain` counts, and an empty one is none.
fn is_for_this_host_alone(header: &str) -> bool {
    let (_, attributes) = parse(header);
    attributes.iter().rev().find(|(name, _)| name == "domain").is_none_or(|(_, value)| value.is_empty())
}

#[test]
fn a_domain_goes_however_it_is_written_and_nothing_else_does() {
    let table = [
        ("x=1; Domain=zone", "x=1"),
        ("x=1; Domain =zone; Path=/", "x=1; Path=/"),
        ("x=1;\tDOMAIN\t=\t.zone;HttpOnly", "x=1;HttpOnly"),
        ("x=1;domain=a; domain = b;;;DoMaIn=c", "x=1;;"),
        ("x=1; Domain=; Domain", "x=1; Domain"),
        ("x=1; Domain==zone", "x=1"),
        ("x=1;\rDomain\u{b}=zone", "x=1"),
        ("; Domain=zone", ""),
        ("x=\"; Domain=zone\"", "x=\""),
        ("domain=zone", "domain=zone"),
        ("domain=zone; Path=/domain", "domain=zone; Path=/domain"),
        ("x=domain=1; SameSite=Lax", "x=domain=1; SameSite=Lax"),
    ];
    for (header, expected) in table {
        assert_eq!(without_domain(header), expected, "{header}");
    }
}

fn attribute() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        3 => "(?i)domain",
        1 => "(?i)(path|expires|max-age|secure|httponly|samesite|partitioned|priority)",
        1 => "[a-z ]{0,4}",
    ];
    (name, "[ \t]{0,2}", "[ \t]{0,2}", "(=[ \t]{0,2}[^;]{0,6})?")
        .prop_map(|(name, before, after, value)| format!(";{before}{name}{after}{value}"))
}

proptest! {
    #[test]
    fn a_browser_keeps_what_passes_for_the_host_alone(
        pair in "[^;]{0,8}",
        attributes in proptest::collection::vec(attribute(), 0..6),
        tail in "[;= \tdomain]{0,12}",
    ) {
        let header = pair + &attributes.concat() + &tail;
        let kept = without_domain(&header);
        prop_assert!(is_for_this_host_alone(&kept), "{header:?} became {kept:?}");
        let known = |header: &str| {
            let (pair, attributes) = parse(header);
            let others: Vec<(String, String)> = attributes
                .into_iter()
                .filter(|(name, _)| !name.contains("domain") && !name.is_empty())
                .map(|(name, value)| (name, value.to_owned()))
                .collect();
            (pair.to_owned(), others)
        };
        prop_assert_eq!(known(&header), known(&kept), "everything else stays");
    }
}

#[test]
fn only_a_whole_url_of_this_machine_is_one() {
    let expression = Regex::new(&format!("(?i)^http{LOCAL_URL}")).unwrap();
    let local = [
        "http://localhost:3000",
        "HTTP://LocalHost:3000/login?next=/a#b",
        "http://127.0.0.1:8000/",
        "http://0.0.0.0:5173?x",
        "http://[::1]:3000/",
    ];
    let others = [
        "/login",
        "http://localhost/",
        "https://localhost:3000/",
        "http://localhost:3000@evil.example/",
        "http://localhost:3000.evil.example/",
        "http://localhost.evil.example:3000/",
        "http://evil.example/?u=http://localhost:3000/",
        "http://127.0.0.1.evil.example:80/",
    ];
    for url in local {
        assert!(expression.is_match(url), "{url}");
    }
    for url in others {
        assert!(!expression.is_match(url), "{url}");
    }
}
