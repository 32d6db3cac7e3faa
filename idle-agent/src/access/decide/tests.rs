//! The door, case by case.

use super::super::token::tests::{keys, now, pair, public, token};
use super::*;
use jwt_simple::prelude::Ed25519KeyPair;

const WORKSPACE: &str = "k3v7q2mzab";
/// The moment of every request.
const AT: Moment = Moment(500_000);

fn http(address: &str) -> Upstream {
    Upstream { address: address.parse().unwrap(), scheme: Scheme::Http }
}

struct House {
    door: Door,
    pair: Ed25519KeyPair,
}

fn house(scheme: &str) -> House {
    let pair = pair();
    let door = Door {
        workspace: Some(WORKSPACE.parse().unwrap()),
        host: "demo-k3v7q2mzab.ebb.localhost".into(),
        port_host_template: "{port}.demo-k3v7q2mzab.ebb.localhost".into(),
        port_url_template: format!("{scheme}://{{port}}.demo-k3v7q2mzab.ebb.localhost:8930"),
        keys: keys(&pair),
        public_ports: BTreeSet::from([8080]),
        upstreams: BTreeMap::from([(3000, http("127.0.0.1:3000")), (8080, http("[::1]:8080"))]),
        open: true,
        ..Door::default()
    };
    House { door, pair }
}

impl House {
    fn token(&self) -> String {
        token(&self.pair, WORKSPACE, Some(3000), "access", 600)
    }

    fn ask(&self, uri: &str, headers: &[(&str, &str)]) -> Outcome {
        let mut all = vec![
            ("X-Ebb-Host", "3000.demo-k3v7q2mzab.ebb.localhost:8930"),
            ("X-Ebb-Method", "GET"),
            ("X-Ebb-Uri", uri),
        ];
        for (name, value) in headers {
            all.retain(|(known, _)| known != name);
            all.push((name, value));
        }
        decide(
            &self.door,
            &Request::from_headers(|name| all.iter().find(|(n, _)| *n == name).map(|(_, v)| Cow::from(*v))),
            AT,
        )
    }

    fn refusal(&self, uri: &str, headers: &[(&str, &str)]) -> Refusal {
        match self.ask(uri, headers) {
            Outcome::Refuse(refusal) => refusal,
            other => panic!("let in: {other:?}"),
        }
    }

    fn passes(&self, uri: &str, headers: &[(&str, &str)]) -> bool {
        matches!(self.ask(uri, headers), Outcome::Pass { .. })
    }
}

#[test]
fn an_answer_costs_two_signature_checks_at_most_however_many_tokens_come() {
    let house = house("http");
    // Says all the right things, and is signed by somebody else.
    let forged = token(&pair(), WORKSPACE, Some(3000), "access", 600);
    let cookies = |forged_before: usize| {
        let tokens = std::iter::repeat_n(forged.clone(), forged_before).chain([house.token()]);
        tokens.map(|token| format!("ebb_access={token}")).collect::<Vec<_>>().join("; ")
    };
    assert!(house.passes("/", &[("Cookie", &cookies(1))]));
    assert_eq!(house.refusal("/", &[("Cookie", &cookies(2))]), Refusal::SignInAgain);
    // Of what says the wrong things already no signature is looked at.
    let elsewhere = token(&house.pair, WORKSPACE, Some(3001), "access", 600);
    let many =
        format!("{}; ebb_access={}", vec![format!("ebb_access={elsewhere}"); 5].join("; "), house.token());
    assert!(house.passes("/", &[("Cookie", &many)]));
}

#[test]
fn without_a_credential_nobody_comes_in_but_to_public_ports() {
    let house = house("http");
    assert_eq!(house.refusal("/", &[]), Refusal::SignInNeeded);
    assert_eq!(house.refusal("/", &[("Cookie", "a=b; ebb_access=")]), Refusal::SignInNeeded);
    let public = [("X-Ebb-Host", "8080.demo-k3v7q2mzab.ebb.localhost")];
    assert_eq!(
        house.ask("/", &public),
        Outcome::Pass { port: 8080, upstream: http("[::1]:8080"), strip: None, origin: None }
    );
}

#[test]
fn header_query_and_cookie_open_the_door() {
    let house = house("http");
    let token = house.token();
    assert!(house.passes("/", &[("X-Ebbtide-Access", &token)]));
    assert!(house.passes("/", &[("Cookie", &format!("x=1; ebb_access={token}"))]));
    assert!(house.passes("/", &[("Cookie", &format!("__Host-ebb={token}"))]));
    assert!(house.passes(&format!("/?ebb_access={token}"), &[]));
    assert!(house.passes("/", &[("Cookie", &format!("ebb_access=old.old.old; ebb_access={token}"))]));
}

#[test]
fn over_https_only_the_host_cookie_counts() {
    let house = house("https");
    let token = house.token();
    assert_eq!(house.refusal("/", &[("Cookie", &format!("ebb_access={token}"))]), Refusal::SignInNeeded);
    assert!(house.passes("/", &[("Cookie", &format!("__Host-ebb={token}"))]));
}

#[test]
fn a_navigation_moves_the_credential_from_the_url_to_a_cookie() {
    let token = house("http").token();
    for (scheme, name) in [("http", "ebb_access"), ("https", "__Host-ebb")] {
        let house = house(scheme);
        let token = house.token();
        let uri = format!("//evil.example/a%20b?x=1&ebb_access={token}&y=%2F");
        for headers in [[("Sec-Fetch-Mode", "navigate")], [("Accept", "text/html,*/*")]] {
            let Outcome::Enter { location, cookie, .. } = house.ask(&uri, &headers) else {
                panic!("no cookie")
            };
            assert_eq!(location, "/evil.example/a%20b?x=1&y=%2F");
            assert!(cookie.starts_with(&format!("{name}={token}; Max-Age=")), "{cookie}");
            assert!(cookie.contains("Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
            assert_eq!(cookie.ends_with("; Secure"), scheme == "https", "{cookie}");
        }
    }
    let house = house("http");
    assert!(!matches!(
        house.ask(&format!("/?ebb_access={token}"), &[("Accept", "text/html")]),
        Outcome::Enter { .. }
    ));
}

#[test]
fn the_app_does_not_see_the_credential_in_the_query() {
    let table = [
        ("/?ebb_access=t", Some("ebb_access=t")),
        ("/?ebb_access=t&x=1", Some("ebb_access=t&")),
        ("/?x=1&ebb_access=t&y=2", Some("&ebb_access=t")),
        ("/?x=1&ebb_access", Some("&ebb_access")),
        ("/?ebb_accessory=1", None),
        ("/", None),
    ];
    for (uri, expected) in table {
        assert_eq!(strip(uri).as_deref(), expected, "{uri}");
    }
}

#[test]
fn a_credential_for_something_else_or_from_yesterday_is_refused() {
    let house = house("http");
    let table = [
        (token(&house.pair, WORKSPACE, Some(3001), "access", 600), Refusal::NotYours),
        (token(&house.pair, WORKSPACE, None, "access", 600), Refusal::NotYours),
        (token(&house.pair, "aaaaaaaaaa", Some(3000), "access", 600), Refusal::NotYours),
        (token(&house.pair, WORKSPACE, Some(3000), "access", -3600), Refusal::SignInAgain),
        (token(&house.pair, WORKSPACE, Some(3000), "vm", 600), Refusal::SignInAgain),
        (token(&pair(), WORKSPACE, Some(3000), "access", 600), Refusal::SignInAgain),
    ];
    for (token, expected) in table {
        assert_eq!(house.refusal("/", &[("X-Ebbtide-Access", &token)]), expected);
    }
}

#[test]
fn websockets_and_unsafe_methods_need_the_own_origin() {
    let house = house("http");
    let token = house.token();
    let own = "http://3000.demo-k3v7q2mzab.ebb.localhost:8930";
    let sibling = "http://8080.demo-k3v7q2mzab.ebb.localhost:8930";
    let credential = ("X-Ebbtide-Access", token.as_str());
    for act in [("X-Ebb-Method", "POST"), ("X-Ebb-Method", "DELETE"), ("X-Ebb-Upgrade", "websocket")] {
        assert!(house.passes("/", &[credential, act, ("Origin", own)]), "{act:?}");
        assert!(house.passes("/", &[credential, act]), "{act:?}: not a browser");
        for foreign in [sibling, "https://evil.example", "null", ""] {
            assert_eq!(
                house.refusal("/", &[credential, act, ("Origin", foreign)]),
                Refusal::CrossSite,
                "{foreign}"
            );
        }
    }
    assert!(house.passes("/", &[credential, ("Origin", sibling)]), "reading is left to CORS");
}

#[test]
fn a_sibling_port_cannot_fetch_but_can_be_linked_from() {
    let house = house("http");
    let token = house.token();
    let base = [("X-Ebbtide-Access", token.as_str()), ("Sec-Fetch-Site", "same-site")];
    let with = |mode| [base[0], base[1], ("Sec-Fetch-Mode", mode)];
    assert_eq!(house.refusal("/", &with("cors")), Refusal::CrossSite);
    assert_eq!(house.refusal("/", &with("no-cors")), Refusal::CrossSite);
    assert!(house.passes("/", &with("navigate")));
}

#[test]
fn the_workspaces_own_name_is_cloudclis_for_its_owner_alone() {
    let mut house = house("http");
    let host = ("X-Ebb-Host", "demo-k3v7q2mzab.ebb.localhost:8930");
    house.door.public_ports.insert(3001);
    assert_eq!(house.refusal("/", &[host]), Refusal::SignInNeeded);
    for container_listeners in [Some(3000), None] {
        let token = token(&house.pair, WORKSPACE, container_listeners, "access", 600);
        assert_eq!(house.refusal("/", &[host, ("X-Ebbtide-Access", &token)]), Refusal::NotYours);
    }
    let token = token(&house.pair, WORKSPACE, Some(3001), "access", 600);
    let owner = [host, ("X-Ebbtide-Access", token.as_str()), ("X-Ebb-Upgrade", "websocket")];
    assert_eq!(house.refusal("/ws", &owner), Refusal::NothingListens(3001));
    house.door.upstreams.insert(3001, http("127.0.0.1:3001"));
    for (origin, is_own) in [
        ("http://demo-k3v7q2mzab.ebb.localhost:8930", true),
        ("http://3000.demo-k3v7q2mzab.ebb.localhost:8930", false),
    ] {
        let passes = matches!(
            house.ask("/ws", &[owner[0], owner[1], owner[2], ("Origin", origin)]),
            Outcome::Pass { port: 3001, .. }
        );
        assert_eq!(passes, is_own, "{origin}");
    }
}

#[test]
fn odd_host_names_name_no_port() {
    let house = house("http");
    for host in [
        "",
        "3001.demo-k3v7q2mzab.ebb.localhost",
        "03000.demo-k3v7q2mzab.ebb.localhost",
        "+3000.demo-k3v7q2mzab.ebb.localhost",
        "99999.demo-k3v7q2mzab.ebb.localhost",
        "3000.demo-k3v7q2mzab.ebb.localhost.evil.example",
        "x.3000.demo-k3v7q2mzab.ebb.localhost",
        "3000.other-aaaaaaaaaa.ebb.localhost",
    ] {
        assert_eq!(house.refusal("/", &[("X-Ebb-Host", host)]), Refusal::NoSuchHost, "{host}");
    }
    let token = house.token();
    let shouted =
        [("X-Ebb-Host", "3000.DEMO-K3V7Q2MZAB.ebb.localhost:80"), ("X-Ebbtide-Access", token.as_str())];
    assert!(house.passes("/", &shouted));
}

#[test]
fn a_closed_port_and_a_closing_workspace_say_so_to_those_who_may_know() {
    let mut house = house("http");
    let for_4000 = token(&house.pair, WORKSPACE, Some(4000), "access", 600);
    let container_listeners = ("X-Ebb-Host", "4000.demo-k3v7q2mzab.ebb.localhost");
    assert_eq!(house.refusal("/", &[container_listeners]), Refusal::SignInNeeded);
    assert_eq!(
        house.refusal("/", &[container_listeners, ("X-Ebbtide-Access", &for_4000)]),
        Refusal::NothingListens(4000)
    );
    house.door.closed = true;
    assert_eq!(
        house.refusal("/", &[container_listeners, ("X-Ebbtide-Access", &for_4000)]),
        Refusal::GoingToSleep
    );
}

#[test]
fn nobody_comes_in_before_the_control_plane_has_heard_that_the_machine_is_ready() {
    let mut house = house("https");
    house.door.open = false;
    let token = house.token();
    assert_eq!(house.refusal("/", &[("X-Ebbtide-Access", &token)]), Refusal::Starting);
}

#[test]
fn tokens_are_checked_by_the_control_planes_time_whatever_this_machine_takes_it_for() {
    let mut house = house("http");
    let good = house.token();
    let ask = |house: &House| match house.ask("/", &[("X-Ebbtide-Access", &good)]) {
        Outcome::Pass { .. } => None,
        Outcome::Refuse(refusal) => Some(refusal),
        other @ (Outcome::Terminal | Outcome::Enter { .. }) => panic!("{other:?}"),
    };
    assert_eq!(ask(&house), None, "its own clock is right");
    // It was signed 1000 s ago and ends in 600 s. What counts is what was told, and what has passed since.
    let told = |offset: i64, ago: u64| {
        Some(ToldTime::new(now().saturating_add_signed(offset), Moment(AT.0 - ago * 1000)))
    };
    for (time, expected) in [
        (told(0, 0), None),
        (told(-1100, 0), Some(Refusal::NotYet)),
        (told(-1100, 400), None),
        (told(660, 0), Some(Refusal::SignInAgain)),
        (told(300, 400), Some(Refusal::SignInAgain)),
    ] {
        house.door.time = time;
        assert_eq!(ask(&house), expected, "{time:?}");
    }
    assert_eq!(Refusal::NotYet.status(), 401);
    assert!(!Refusal::NotYet.words().1.contains("expired"));
}

#[test]
fn keys_that_the_control_plane_has_replaced_open_nothing_at_once_and_none_are_no_keys() {
    let mut house = house("http");
    let old = house.token();
    let opens = |house: &House, token: &str| {
        let workspace = WORKSPACE.parse().unwrap();
        let place =
            Place { workspace: &workspace, port: 3000, generation: None, links: house.door.links.as_ref() };
        house.door.keys.promising(token, place, now()).is_ok_and(|promising| promising.check().is_ok())
    };
    let new = pair();
    let plan = |keys: BTreeMap<String, String>| AccessPlan { keys, ..AccessPlan::default() };
    house.door.set_access(&plan(BTreeMap::new()), 0);
    assert!(opens(&house, &old), "an answer without keys is no rotation");
    house.door.set_access(&plan(public(&new)), 0);
    assert!(!opens(&house, &old));
    assert!(opens(&house, &token(&new, WORKSPACE, Some(3000), "access", 600)));
}

mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const PATHS: &[&str] =
        &["/", "/a%20b//c", "//evil.example/", "/\\evil.example", "/x;y@z", "/?ebb_access=x&y"];
    const QUERIES: &[&str] = &["", "&y=1", "&ebb_access=x", "#&"];
    const HOSTS: &[&str] =
        &["3000.demo-k3v7q2mzab.ebb.localhost:8930", "demo-k3v7q2mzab.ebb.localhost", "[::1]:80"];
    const ORIGINS: &[&str] =
        &["http://3000.demo-k3v7q2mzab.ebb.localhost:8930", "null", "https://evil.example"];

    #[test]
    fn whatever_is_asked_nobody_is_led_away_and_no_app_sees_the_credential() {
        let house = house("http");
        let token = house.token();
        proptest!(|(
            path in text_like(PATHS),
            query in text_like(QUERIES),
            host in text_like(HOSTS),
            origin in text_like(ORIGINS),
            cookie in text_like(&["ebb_access=x; __Host-ebb=y", ";;a=b;="]),
        )| {
            let uri = format!("{path}?ebb_access={token}{query}");
            let navigation = [("Sec-Fetch-Mode", "navigate"), ("Cookie", cookie.as_str())];
            if let Outcome::Enter { location, .. } = house.ask(&uri, &navigation) {
                prop_assert!(location.starts_with('/') && !location.starts_with("//"), "{}", location);
                prop_assert!(!location.starts_with("/\\"), "{}", location);
            }
            let asked = [("X-Ebb-Host", host.as_str()), ("X-Ebb-Method", "POST"), ("Origin", origin.as_str())];
            if let Outcome::Pass { strip, origin, .. } = house.ask(&uri, &asked) {
                prop_assert!(strip.is_some_and(|strip| uri.contains(&strip)));
                prop_assert!(origin.is_none_or(|origin| origin.contains("3000.demo-k3v7q2mzab")));
            }
        });
    }
}

#[test]
fn whoever_may_have_lost_the_way_in_is_named_by_the_server_and_nobody_else() {
    let mut house = house("http");
    let keys = public(&house.pair);
    let plan = |links: &[(&str, u16)]| AccessPlan {
        keys: keys.clone(),
        links: links.iter().map(|(id, _)| (*id).to_owned()).collect(),
        link_ports: links.iter().map(|(id, port)| ((*id).to_owned(), *port)).collect(),
    };
    let at = |address: &str| address.parse::<SocketAddr>().unwrap();
    let none: Vec<SocketAddr> = vec![];
    let mut admit = |public: &[u16], plan: Option<&AccessPlan>| {
        house.door.admit(public, plan.map(|plan| (plan, 0))).servers
    };
    assert_eq!(admit(&[8080], None), none);
    assert_eq!(admit(&[8080], Some(&plan(&[("one", 3000), ("two", 3000), ("far", 9000)]))), none);
    assert_eq!(
        admit(&[8080], Some(&plan(&[("one", 3000), ("two", 3000), ("new", 8080)]))),
        none,
        "9000 is not there"
    );
    assert_eq!(admit(&[8080], Some(&plan(&[("one", 3000), ("new", 8080)]))), [at("127.0.0.1:3000")]);
    assert_eq!(admit(&[8080], Some(&plan(&[("one", 3000), ("new", 8080)]))), none, "once");
    assert_eq!(admit(&[], Some(&plan(&[("one", 3000), ("new", 8080)]))), [at("[::1]:8080")]);
    let other = AccessPlan { keys: BTreeMap::from([("k9".to_owned(), "AAAA".to_owned())]), ..plan(&[]) };
    assert_eq!(admit(&[], Some(&other)), [at("127.0.0.1:3000"), at("[::1]:8080")], "a key is gone");
}

#[test]
fn the_terminal_has_a_name_of_its_own_and_is_never_public() {
    let mut house = house("http");
    let host = "terminal.demo-k3v7q2mzab.ebb.localhost:8930";
    let own = token(&house.pair, WORKSPACE, Some(TERMINAL_PORT), "access", 600);
    let of_a_port = house.token();
    let socket = |token: &str, origin: &str| {
        [
            ("X-Ebb-Host", host.to_owned()),
            ("X-Ebb-Upgrade", "websocket".to_owned()),
            ("Origin", origin.to_owned()),
            ("Cookie", format!("ebb_access={token}")),
        ]
    };
    let ask = |house: &House, headers: &[(&str, String)]| {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        house.ask("/socket", &headers)
    };
    let own_origin = format!("http://{host}");
    assert_eq!(ask(&house, &socket(&own, &own_origin)), Outcome::Terminal);
    assert_eq!(ask(&house, &socket(&of_a_port, &own_origin)), Outcome::Refuse(Refusal::NotYours));
    let elsewhere = "http://3000.demo-k3v7q2mzab.ebb.localhost:8930";
    assert_eq!(
        ask(&house, &socket(&own, elsewhere)),
        Outcome::Refuse(Refusal::CrossSite),
        "a page on another port"
    );

    house.door.public_ports.insert(TERMINAL_PORT);
    assert_eq!(house.refusal("/", &[("X-Ebb-Host", host)]), Refusal::SignInNeeded);
    let zero = [("X-Ebb-Host", "0.demo-k3v7q2mzab.ebb.localhost")];
    assert_eq!(house.refusal("/", &zero), Refusal::NoSuchHost, "its number is no name");
    house.door.open = false;
    assert_eq!(ask(&house, &socket(&own, &own_origin)), Outcome::Refuse(Refusal::Starting));
    (house.door.open, house.door.closed) = (true, true);
    assert_eq!(ask(&house, &socket(&own, &own_origin)), Outcome::Refuse(Refusal::GoingToSleep));
}

#[test]
fn a_terminal_ends_with_its_link_and_with_the_key_that_signed_it() {
    let mut house = house("http");
    let plan = |links: &[(&str, u16)], key: &str| AccessPlan {
        keys: public(&house.pair).into_values().map(|public| (key.to_owned(), public)).collect(),
        links: links.iter().map(|(id, _)| (*id).to_owned()).collect(),
        link_ports: links.iter().map(|(id, port)| ((*id).to_owned(), *port)).collect(),
    };
    let (with, without, other) = (plan(&[("t", TERMINAL_PORT)], "a"), plan(&[], "a"), plan(&[], "b"));
    let mut ends = |plan: &AccessPlan| house.door.admit(&[], Some((plan, 0))).terminal;
    assert!(!ends(&with));
    assert!(ends(&without), "the link ended");
    assert!(!ends(&without), "once");
    assert!(ends(&other), "the key is gone");
}
