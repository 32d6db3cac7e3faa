//! One short test per outcome. Fixtures have the shapes of the provider's API and values of our own.

use super::*;
use crate::http::Retry;
use crate::http::script::{BASE, Script, finish, json, lost, refused_connection};
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/hetzner/", $name, ".json"))
    };
}

fn client(script: &Script) -> Hetzner<&Script> {
    Hetzner::new(script, format!("{BASE}/"), "hunter2".into())
}

/// Runs one call against one answer.
fn one<T>(
    status: u16,
    body: &str,
    call: impl AsyncFnOnce(&Hetzner<&Script>) -> Answer<T>,
) -> Result<T, Failure> {
    let script = Script::new([json(status, body)]);
    finish(call(&client(&script))).outcome
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn labels() -> Labels {
    crate::names::labels(
        "home",
        &ebbtide_api::TenantId::owner(),
        &"k3v7q2mzab".parse().unwrap(),
        ebbtide_api::Generation(3),
        Timestamp::from_second(1_800_000_000).unwrap(),
    )
}

fn spec() -> ServerSpec {
    ServerSpec {
        name: "ebb-k3v7q2mzab-3".into(),
        server_type: "tx23".into(),
        image: ImageRef::Named("ubuntu-24.04".into()),
        location: Some("tide1".into()),
        ssh_keys: vec![SshKeyId(55)],
        firewalls: vec![FirewallId(38)],
        labels: labels(),
        user_data: "#cloud-config\n".into(),
        public_net: PublicNet::V4AndV6,
    }
}

fn create(status: u16, body: &str) -> Result<CreateServer, Failure> {
    one(status, body, async |client| client.create_server(&spec()).await)
}

fn delete(status: u16, body: &str) -> Result<DeleteServer, Failure> {
    one(status, body, async |client| client.delete_server(ServerId(4711)).await)
}

#[test]
fn a_server_is_created_with_the_documented_request() {
    let script = Script::new([json(201, fixture!("create_server.answer"))]);
    let outcome = finish(client(&script).create_server(&spec())).outcome.unwrap();
    assert_eq!(script.lines(), ["POST /servers"]);
    assert_eq!(script.body(0), serde_json::from_str::<Value>(fixture!("create_server.request")).unwrap());
    assert_eq!(script.header(0, "authorization").as_deref(), Some("Bearer hunter2"));
    assert_eq!(script.header(0, "content-type").as_deref(), Some("application/json"));
    let CreateServer::Created { server, action: Some(action) } = outcome else { panic!("{outcome:?}") };
    assert_eq!((server.id, action.id), (ServerId(4711), ActionId(1)));
    assert_eq!(server.status, ServerStatus::Initializing);
    assert_eq!(server.labels, labels());
    assert_eq!(server.ipv4, Some("203.0.113.7".parse().unwrap()));
    assert_eq!(server.ipv4_id, Some(PrimaryIpId(99)));
    assert_eq!(server.ipv6.as_deref(), Some("2001:db8:7::/64"));
    assert_eq!((server.server_type.as_deref(), server.location.as_deref()), (Some("tx23"), Some("tide1")));
    assert_eq!(server.created, Some(at("2026-11-20T10:00:00Z")));
}

#[test]
fn a_server_boots_from_a_snapshot_and_without_what_is_not_given() {
    let script = Script::new([json(201, fixture!("create_server.answer"))]);
    let spec = ServerSpec {
        image: ImageRef::Id(ImageId(9001)),
        location: None,
        ssh_keys: Vec::new(),
        firewalls: Vec::new(),
        public_net: PublicNet::V6Only,
        ..spec()
    };
    finish(client(&script).create_server(&spec)).outcome.unwrap();
    let body = script.body(0);
    assert_eq!(body["image"], "9001");
    assert_eq!(body["public_net"], serde_json::json!({"enable_ipv4": false, "enable_ipv6": true}));
    for absent in ["location", "ssh_keys", "firewalls", "datacenter"] {
        assert_eq!(body.get(absent), None, "{absent}");
    }
}

#[test]
fn every_shortage_is_a_value_to_fall_through_on() {
    use CapacityKind::*;
    for (status, body, kind) in [
        (412, fixture!("error.sold_out"), SoldOut),
        (422, fixture!("error.sold_out"), SoldOut),
        (412, fixture!("error.placement"), Placement),
        (422, fixture!("error.placement"), Placement),
        (422, fixture!("error.unsupported_location"), UnsupportedLocation),
        (412, r#"{"error":{"code":"new_code","message":"no"}}"#, SoldOut),
        (412, r#"{"error":{"code":"resource_unavailable","message":"server location disabled"}}"#, SoldOut),
        (
            422,
            r#"{"error":{"code":"invalid_input","message":"invalid input","details":{"fields":[
                {"name":"location","messages":["Unsupported location for server type"]}]}}}"#,
            UnsupportedLocation,
        ),
    ] {
        let outcome = create(status, body).unwrap();
        assert!(matches!(&outcome, CreateServer::Capacity { kind: k, .. } if *k == kind), "{outcome:?}");
    }
}

#[test]
fn a_taken_name_says_so_and_another_doubled_field_does_not() {
    let outcome = create(409, fixture!("error.name_taken")).unwrap();
    let CreateServer::NameTaken(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.to_string(), "HTTP 409 uniqueness_error: server name is already used");
    let other =
        r#"{"error":{"code":"uniqueness_error","message":"x","details":{"fields":[{"name":"ssh_keys"}]}}}"#;
    assert!(matches!(create(409, other), Ok(CreateServer::Invalid(_))));
}

#[test]
fn a_reached_limit_names_it() {
    for code in ["resource_limit_exceeded", "server_limit_exceeded"] {
        let body = fixture!("error.limit").replace("resource_limit_exceeded", code);
        let outcome = create(403, &body).unwrap();
        assert!(
            matches!(&outcome, CreateServer::LimitExceeded(error) if *error.limits == ["server_limit"]),
            "{outcome:?}"
        );
    }
}

#[test]
fn an_invalid_request_names_the_fields() {
    let outcome = create(422, fixture!("error.invalid")).unwrap();
    let CreateServer::Invalid(error) = outcome else { panic!("{outcome:?}") };
    assert_eq!(error.fields[0].name, "server_type");
    assert_eq!(error.fields[0].messages, ["Could not find server type 'tx99'"]);
    assert!(matches!(create(404, fixture!("error.not_found")), Ok(CreateServer::Invalid(_))));
}

#[test]
fn a_create_that_may_have_landed_says_so() {
    for answer in [
        lost(),
        json(500, fixture!("error.server_error")),
        json(502, "<html>bad gateway</html>"),
        json(504, ""),
        json(201, "{\"server\":"),
        json(201, "{}"),
        json(302, ""),
        json(404, "<html>a proxy's page</html>"),
        json(422, r#"{"error":{"code":"service_error","message":"error within a service"}}"#),
    ] {
        let script = Script::new([answer]);
        let failure = finish(client(&script).create_server(&spec())).outcome.unwrap_err();
        assert!(failure.may_have_landed(), "{failure:?}");
    }
}

#[test]
fn a_request_that_never_left_did_not_land() {
    let script = Script::new([refused_connection()]);
    let failure = finish(client(&script).create_server(&spec())).outcome.unwrap_err();
    assert!(!failure.may_have_landed());
    assert_eq!(failure.retry(), Retry::Backoff);
    assert_eq!(failure.to_string(), "the provider cannot be reached: connection refused");
}

#[test]
fn failures_are_retried_by_the_rules_of_the_providers_own_client() {
    for (status, body, retry) in [
        (401, fixture!("error.unauthorized"), Retry::Never),
        (401, "", Retry::Never),
        (403, fixture!("error.readonly"), Retry::Never),
        (403, r#"{"error":{"code":"forbidden","message":"no"}}"#, Retry::Never),
        (403, fixture!("error.maintenance"), Retry::Later),
        (409, fixture!("error.conflict"), Retry::Backoff),
        (429, fixture!("error.rate_limited"), Retry::Backoff),
        (429, "", Retry::Backoff),
        (500, fixture!("error.server_error"), Retry::Later),
        (503, r#"{"error":{"code":"unavailable","message":"no"}}"#, Retry::Later),
        (502, r#"{"error":{"code":"bad_gateway","message":"no"}}"#, Retry::Backoff),
        (504, r#"{"error":{"code":"timeout","message":"no"}}"#, Retry::Backoff),
        (410, r#"{"error":{"code":"deprecated_api_endpoint","message":"no"}}"#, Retry::Never),
        (418, r#"{"error":{"code":"something_new","message":"no"}}"#, Retry::Never),
    ] {
        let failure = create(status, body).unwrap_err();
        assert_eq!(failure.retry(), retry, "{status} {body}: {failure:?}");
        let landed = status >= 500 || status == 429;
        assert_eq!(failure.may_have_landed(), landed, "{status}");
    }
}

#[test]
fn the_api_budget_comes_with_every_answer() {
    let mut answer = json(200, fixture!("server")).unwrap();
    answer.headers = vec![
        ("RateLimit-Limit".into(), "3600".into()),
        ("RateLimit-Remaining".into(), "2345".into()),
        ("RateLimit-Reset".into(), "1795169000".into()),
    ];
    let mut refused = json(429, fixture!("error.rate_limited")).unwrap();
    refused.headers =
        vec![("ratelimit-remaining".into(), "0".into()), ("ratelimit-reset".into(), "1795169000".into())];
    let script = Script::new([Ok(answer), Ok(refused)]);
    let reset = Timestamp::from_second(1_795_169_000).unwrap();
    let answer = finish(client(&script).server(ServerId(4711)));
    assert_eq!(answer.budget, Some(RateBudget { remaining: 2345, reset: Some(reset) }));
    let answer = finish(client(&script).server(ServerId(4711)));
    assert_eq!(answer.budget, Some(RateBudget { remaining: 0, reset: Some(reset) }));
    assert_eq!(answer.outcome.unwrap_err().retry(), Retry::At(reset));
}

#[test]
fn a_machine_is_found_by_its_labels_over_all_pages() {
    let script = Script::new([json(200, fixture!("servers.page1")), json(200, fixture!("servers.page2"))]);
    let servers =
        finish(client(&script).find_servers("ebbtide-install==home,ebbtide-workspace==k3v7q2mzab")).outcome;
    let ids: Vec<ServerId> = servers.unwrap().iter().map(|server| server.id).collect();
    assert_eq!(ids, [ServerId(4711), ServerId(4712)]);
    let query = "label_selector=ebbtide-install%3D%3Dhome%2Cebbtide-workspace%3D%3Dk3v7q2mzab&sort=id%3Aasc";
    assert_eq!(
        script.lines(),
        [
            format!("GET /servers?{query}&page=1&per_page=50"),
            format!("GET /servers?{query}&page=2&per_page=50")
        ]
    );
}

#[test]
fn a_listing_is_whole_or_an_error() {
    let script =
        Script::new([json(200, fixture!("servers.page1")), json(500, fixture!("error.server_error"))]);
    assert!(finish(client(&script).find_servers("x")).outcome.is_err());

    let list = |body: &str| one(200, body, async |client| client.list_servers("x", 2).await);
    let with_next =
        |next: &str| format!(r#"{{"servers":[],"meta":{{"pagination":{{"next_page":{next}}}}}}}"#);
    assert_eq!(list(&with_next("3")).unwrap().next, Some(3));
    assert_eq!(list(&with_next("null")).unwrap().next, None);
    assert!(list(&with_next("2")).is_err(), "a page that follows itself");
    assert!(list(&with_next("1")).is_err(), "a page that leads back");
    assert!(list(r#"{"meta":null}"#).is_err(), "no entries at all");
    assert!(list(r#"{"servers":[{"name":"without an id"}]}"#).is_err());
    assert_eq!(list(r#"{"servers":[]}"#).unwrap().next, None);
    let full: Vec<Value> = (1..=50).map(|id| serde_json::json!({"id": id})).collect();
    assert!(list(&serde_json::json!({"servers": full}).to_string()).is_err(), "full, and silent about more");
}

#[test]
fn a_listing_that_never_ends_is_an_error() {
    let page = |next: u32| {
        json(
            200,
            &serde_json::json!({"servers": [], "meta": {"pagination": {"next_page": next}}}).to_string(),
        )
    };
    let script = Script::new((2..=5).map(page));
    assert!(finish(client(&script).find_servers("x")).outcome.is_err());
    assert_eq!(script.lines().len(), 4);
}

#[test]
fn a_server_is_read_found_or_gone() {
    let look = |status, body: &str| one(status, body, async |client| client.server(ServerId(4711)).await);
    let Lookup::Found(server) = look(200, fixture!("server")).unwrap() else { panic!() };
    assert_eq!(server.status, ServerStatus::Running);
    assert_eq!(look(404, fixture!("error.not_found")), Ok(Lookup::Gone));
}

#[test]
fn a_404_of_a_proxy_is_not_gone() {
    for body in ["", "<html>not found</html>", "{}", r#"{"error":"not_found"}"#] {
        let outcome = one(404, body, async |client| client.server(ServerId(4711)).await);
        assert!(matches!(outcome, Err(Failure::Unknown { .. })), "{body}");
        assert!(matches!(delete(404, body), Err(Failure::Unknown { .. })), "{body}");
    }
}

#[test]
fn a_server_from_the_future_is_still_read() {
    let look = one(200, fixture!("server.from_the_future"), async |client| client.server(ServerId(1)).await);
    let Lookup::Found(server) = look.unwrap() else { panic!() };
    assert_eq!(server.status, ServerStatus::Other("hibernating".into()));
    assert_eq!((server.ipv4, server.created, server.locked), (None, None, false));
}

#[test]
fn deleting_a_server_that_is_gone_is_done_and_a_locked_one_is_later() {
    let outcome = delete(200, fixture!("action.running")).unwrap();
    assert!(matches!(outcome, DeleteServer::Deleting(Some(Action { id: ActionId(1), .. }))));
    assert_eq!(delete(200, "{}"), Ok(DeleteServer::Deleting(None)));
    assert_eq!(delete(404, fixture!("error.not_found")), Ok(DeleteServer::Gone));
    assert!(matches!(delete(423, fixture!("error.locked")), Ok(DeleteServer::Locked(_))));
    let protected = fixture!("error.locked").replace("\"locked\"", "\"protected\"");
    assert!(matches!(delete(422, &protected), Ok(DeleteServer::Locked(_))));
    assert!(matches!(delete(422, fixture!("error.invalid")), Err(Failure::Refused(_))));
}

#[test]
fn labels_are_replaced() {
    let script = Script::new([
        json(200, fixture!("server")),
        json(404, fixture!("error.not_found")),
        json(423, fixture!("error.locked")),
    ]);
    let outcomes: Vec<UpdateLabels> = (0..3)
        .map(|_| finish(client(&script).update_labels(ServerId(4711), &labels())).outcome.unwrap())
        .collect();
    assert!(matches!(&outcomes[..], [UpdateLabels::Updated(_), UpdateLabels::Gone, UpdateLabels::Locked(_)]));
    assert_eq!(script.lines()[0], "PUT /servers/4711");
    assert_eq!(script.body(0), serde_json::from_str::<Value>(fixture!("update_labels.request")).unwrap());
}

#[test]
fn power_is_switched() {
    for (action, path) in [
        (PowerAction::On, "poweron"),
        (PowerAction::Off, "poweroff"),
        (PowerAction::Shutdown, "shutdown"),
        (PowerAction::Reboot, "reboot"),
        (PowerAction::Reset, "reset"),
    ] {
        let script = Script::new([json(201, fixture!("action.running"))]);
        let outcome = finish(client(&script).power(ServerId(4711), action)).outcome;
        assert!(matches!(outcome, Ok(PowerOutcome::Started(_))));
        assert_eq!(script.lines(), [format!("POST /servers/4711/actions/{path}")]);
    }
    let off = |status, body: &str| one(status, body, async |c| c.power(ServerId(1), PowerAction::Off).await);
    assert_eq!(off(404, fixture!("error.not_found")), Ok(PowerOutcome::Gone));
    assert!(matches!(off(423, fixture!("error.locked")), Ok(PowerOutcome::Locked(_))));
}

#[test]
fn metrics_say_whether_a_silent_machine_is_alive() {
    let script = Script::new([json(200, fixture!("metrics")), json(404, fixture!("error.not_found"))]);
    let (start, end) = (at("2026-11-20T10:00:00Z"), at("2026-11-20T10:05:00Z"));
    let kinds = [MetricKind::Cpu, MetricKind::Network];
    let outcome = finish(client(&script).server_metrics(ServerId(4711), &kinds, start, end)).outcome;
    let Ok(Lookup::Found(metrics)) = outcome else { panic!() };
    assert_eq!(metrics.highest("cpu"), Some(1.25));
    assert_eq!(metrics.highest("network."), Some(812.5));
    assert_eq!(metrics.highest("disk."), None);
    assert_eq!((metrics.start, metrics.end, metrics.step_secs), (Some(start), Some(end), 60.0));
    assert_eq!(
        script.lines(),
        [
            "GET /servers/4711/metrics?type=cpu&type=network&start=2026-11-20T10%3A00%3A00Z&end=2026-11-20T10%3A05%3A00Z"
        ]
    );
    let outcome = finish(client(&script).server_metrics(ServerId(4711), &kinds, start, end)).outcome;
    assert_eq!(outcome, Ok(Lookup::Gone));
}

#[test]
fn a_rescue_image_is_taken() {
    let script = Script::new([json(201, fixture!("create_image.answer"))]);
    let outcome =
        finish(client(&script).create_image(ServerId(4711), "rescue of k3v7q2mzab", &labels())).outcome;
    assert_eq!(script.lines(), ["POST /servers/4711/actions/create_image"]);
    assert_eq!(script.body(0), serde_json::from_str::<Value>(fixture!("create_image.request")).unwrap());
    let Ok(CreateImage::Started { image, action }) = outcome else { panic!() };
    assert_eq!((image.id, action.id, image.status), (ImageId(9001), ActionId(5), ImageStatus::Creating));
    assert_eq!((image.created_from, image.size_mb, image.disk_gb), (Some(ServerId(4711)), None, Some(40)));

    let take =
        |status, body: &str| one(status, body, async |c| c.create_image(ServerId(1), "", &labels()).await);
    assert_eq!(take(404, fixture!("error.not_found")), Ok(CreateImage::Gone));
    assert!(matches!(take(423, fixture!("error.locked")), Ok(CreateImage::Locked(_))));
    assert!(matches!(take(403, fixture!("error.limit")), Ok(CreateImage::LimitExceeded(_))));
}

#[test]
fn images_are_read_listed_and_deleted() {
    let Ok(Lookup::Found(image)) = one(200, fixture!("image"), async |c| c.image(ImageId(9001)).await) else {
        panic!()
    };
    assert_eq!((image.status, image.size_mb), (ImageStatus::Available, Some(2300)));
    assert_eq!(image.labels, labels());
    let gone = one(404, fixture!("error.not_found"), async |c| c.image(ImageId(9001)).await);
    assert_eq!(gone, Ok(Lookup::Gone));

    let script = Script::new([json(200, fixture!("images")), json(200, fixture!("images"))]);
    assert_eq!(finish(client(&script).find_images("a==b")).outcome.unwrap().len(), 1);
    assert_eq!(finish(client(&script).list_images("a==b", 1)).outcome.unwrap().next, None);
    let line = "GET /images?type=snapshot&label_selector=a%3D%3Db&sort=id%3Aasc&page=1&per_page=50";
    assert_eq!(script.lines(), [line, line]);

    let delete = |status, body: &str| one(status, body, async |c| c.delete_image(ImageId(9001)).await);
    assert_eq!(delete(204, ""), Ok(DeleteImage::Deleted));
    assert_eq!(delete(404, fixture!("error.not_found")), Ok(DeleteImage::Gone));
    assert!(matches!(delete(423, fixture!("error.locked")), Ok(DeleteImage::Locked(_))));
    assert!(matches!(delete(422, fixture!("error.in_use")), Ok(DeleteImage::Locked(_))));
}

#[test]
fn an_action_is_read_in_every_state() {
    let look = |body: &str| match one(200, body, async |c| c.action(ActionId(1)).await) {
        Ok(Lookup::Found(action)) => action,
        other => panic!("{other:?}"),
    };
    assert_eq!(look(fixture!("action.running")).progress, 40);
    let failed = look(fixture!("action.error"));
    assert_eq!((failed.status, failed.error.unwrap().code.as_str()), (ActionStatus::Error, "action_failed"));
    assert_eq!(look(fixture!("action.strange")).status, ActionStatus::Other("paused".into()));
    let gone = one(404, fixture!("error.not_found"), async |c| c.action(ActionId(1)).await);
    assert_eq!(gone, Ok(Lookup::Gone));
}

#[test]
fn the_catalog_is_read() {
    let types = one(200, fixture!("server_types"), async |c| c.server_types().await).unwrap();
    assert_eq!((types[0].name.as_str(), types[0].memory_mib, types[0].disk_gb), ("tx23", 4096, 40));
    assert_eq!(types[0].prices[0].price_hourly.net.micros_rounded_up(), Some(6000));
    assert_eq!(types[0].locations[0].available, Some(true));
    assert_eq!(types[0].locations[1].available, Some(false));
    assert_eq!(types[0].locations[1].unavailable_after, Some(at("2027-01-01T00:00:00Z")));
    assert_eq!(types[1].architecture, Architecture::Other("riscv".into()));
    assert_eq!((types[1].memory_mib, types[1].locations.len()), (512, 0));

    let locations = one(200, fixture!("locations"), async |c| c.locations().await).unwrap();
    let names: Vec<&str> = locations.iter().map(|location| location.name.as_str()).collect();
    assert_eq!(names, ["tide1", "tide2"]);

    let pricing = one(200, fixture!("pricing"), async |c| c.pricing().await).unwrap();
    assert_eq!(pricing.currency, "EUR");
    assert_eq!(pricing.image_gb_month.unwrap().gross.to_string(), "0.0130900000");
    assert_eq!(
        (pricing.primary_ips[0].kind.as_str(), pricing.server_types[0].name.as_str()),
        ("ipv4", "tx23")
    );
    assert_eq!(pricing.primary_ips[0].prices[0].location, "tide1");
}

#[test]
fn primary_ips_are_listed_with_their_new_kinds_and_deleted() {
    let page =
        one(200, fixture!("primary_ips"), async |c| c.list_primary_ips("ebbtide-install==home", 1).await)
            .unwrap();
    assert_eq!(page.items[0].assigned_to, Some(ServerId(4711)));
    assert_eq!((page.items[1].assigned_to, page.items[1].auto_delete), (None, Some(false)));

    let delete = |status, body: &str| one(status, body, async |c| c.delete_primary_ip(PrimaryIpId(99)).await);
    assert_eq!(delete(204, ""), Ok(DeletePrimaryIp::Deleted));
    assert_eq!(delete(404, fixture!("error.not_found")), Ok(DeletePrimaryIp::Gone));
    let assigned = fixture!("error.in_use").replace("resource_in_use", "must_be_unassigned");
    assert!(matches!(delete(422, &assigned), Ok(DeletePrimaryIp::InUse(_))));
}

#[test]
fn a_failure_says_nothing_of_the_token_and_keeps_messages_short() {
    let long = format!(r#"{{"error":{{"code":"forbidden","message":"{}"}}}}"#, "x".repeat(10_000));
    let failure = create(403, &long).unwrap_err();
    let text = format!("{failure} {failure:?}");
    assert!(text.len() < 1200 && !text.contains("hunter2"));
}

#[test]
fn a_firewall_lets_in_pages_and_icmp_for_whatever_carries_the_label() {
    let spec = FirewallSpec {
        name: "ebb-home".into(),
        labels: Labels::from([("ebbtide-install".into(), "home".into())]),
        tcp_ports: vec![80, 443],
        covers: "ebbtide-install==home".into(),
    };
    let made =
        r#"{"firewall":{"id":7,"name":"ebb-home","labels":{},"rules":[],"applied_to":[]},"actions":[]}"#;
    let script = Script::new([json(201, made)]);
    let hetzner = Hetzner::new(&script, BASE.to_owned(), "hunter2".into());
    let created = finish(hetzner.create_firewall(&spec)).outcome.unwrap();
    assert!(matches!(created, CreateFirewall::Created(Firewall { id: FirewallId(7), .. })), "{created:?}");
    let rule = |protocol: &str, port: Option<&str>| {
        let mut rule = serde_json::json!({
            "direction": "in", "protocol": protocol, "source_ips": ["0.0.0.0/0", "::/0"],
        });
        if let Some(port) = port {
            rule["port"] = port.into();
        }
        rule
    };
    let expected = serde_json::json!({
        "name": "ebb-home", "labels": { "ebbtide-install": "home" },
        "rules": [rule("tcp", Some("80")), rule("tcp", Some("443")), rule("icmp", None)],
        "apply_to": [{ "type": "label_selector", "label_selector": { "selector": "ebbtide-install==home" } }],
    });
    assert_eq!(script.body(0), expected);
}
