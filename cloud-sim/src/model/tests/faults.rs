//! Each kind of fault: what lands, what is answered, what the caller sees.

use super::*;

fn create_under(fault: FaultKind) -> (World, Response) {
    let mut world = world();
    let rule = Rule::new(fault).on(Provider::Hetzner, "POST", "/servers").times(1);
    world.cloud.faults_mut().add(rule);
    let request =
        Request::new("POST", "/hetzner/v1/servers").bearer("hetzner-token").json(&server_body("one"));
    let response = world.send(&request);
    (world, response)
}

#[test]
fn garbage_lands_and_answers_200_with_what_is_no_json() {
    let (world, response) = create_under(FaultKind::Garbage);
    assert_eq!(response.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&response.body).is_err());
    assert_eq!(world.cloud.servers().count(), 1);
}

#[test]
fn a_refusal_carries_its_status_and_code_and_nothing_lands() {
    let fault = FaultKind::Refuse { status: 503, code: "unavailable".into(), message: "later".into() };
    let (world, response) = create_under(fault);
    assert_eq!((response.status, response.json()["error"]["code"].as_str()), (503, Some("unavailable")));
    assert_eq!(world.cloud.servers().count(), 0);
}

#[test]
fn slow_lands_and_says_how_slow() {
    let (world, response) = create_under(FaultKind::Slow { ms: 700 });
    assert_eq!((response.status, response.delivery), (201, Delivery::AfterMs(700)));
    assert_eq!(world.cloud.servers().count(), 1);
}

#[test]
fn a_rate_limit_carries_the_vendors_headers() {
    let (world, response) = create_under(FaultKind::RateLimited { retry_after_secs: 7 });
    assert_eq!(response.status, 429);
    assert_eq!(response.header("retry-after"), Some("7"));
    assert_eq!(response.header("RateLimit-Remaining"), Some("0"));
    assert!(response.header("RateLimit-Reset").is_some());
    assert_eq!(world.cloud.servers().count(), 0);
}

#[test]
fn capacity_is_refused_in_three_shapes() {
    for (shape, status, code) in [
        (CapacityShape::ResourceUnavailable, 412, "resource_unavailable"),
        (CapacityShape::UnsupportedLocation, 422, "invalid_input"),
        (CapacityShape::ResourceLimitExceeded, 403, "resource_limit_exceeded"),
    ] {
        let (world, response) = create_under(FaultKind::Capacity { shape });
        assert_eq!((response.status, response.json()["error"]["code"].as_str()), (status, Some(code)));
        assert_eq!(world.cloud.servers().count(), 0);
    }
}

#[test]
fn landed_then_error_lands_and_a_retry_meets_the_unique_name() {
    let (mut world, response) = create_under(FaultKind::LandedThenError { status: 500 });
    assert_eq!((response.status, response.json()["error"]["code"].as_str()), (500, Some("server_error")));
    assert_eq!(world.cloud.servers().count(), 1);
    world.refused("POST", "/servers", server_body("one"), 409, "uniqueness_error");
}

#[test]
fn a_lost_response_landed_and_a_lost_request_did_not() {
    let (world, response) = create_under(FaultKind::LostResponse);
    assert!(response.is_lost());
    assert_eq!(world.cloud.servers().count(), 1);
    let (world, response) = create_under(FaultKind::LostRequest);
    assert!(response.is_lost());
    assert_eq!(world.cloud.servers().count(), 0);
}

#[test]
fn a_duplicate_lands_twice_where_the_vendor_allows_it() {
    let (world, response) = create_under(FaultKind::Duplicate);
    assert_eq!(response.status, 201);
    assert_eq!(world.cloud.servers().count(), 1);

    let mut world = World { now: START, ..world };
    world.pass(1_000);
    let id = world.cloud.servers().next().unwrap().id;
    let path = "/servers/*/actions/create_image";
    let rule = Rule::new(FaultKind::Duplicate).on(Provider::Hetzner, "DELETE", "/servers/*");
    world.cloud.faults_mut().add(rule);
    world.cloud.faults_mut().add(Rule::new(FaultKind::Duplicate).on(Provider::Hetzner, "POST", path));
    let (status, _) = world.act(id, "create_image");
    assert_eq!((status, world.cloud.snapshots().count()), (201, 1));
    world.pass(2_000);
    let (status, _) = world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    assert_eq!(status, 200);
}

#[test]
fn a_server_can_be_born_with_a_machine_fault() {
    let (mut world, response) = create_under(FaultKind::Machine { fault: MachineFault::NeverBoot });
    assert_eq!(response.status, 201);
    let id = response.json()["server"]["id"].as_u64().unwrap();
    world.pass(1_000);
    assert_eq!(
        world.took(),
        [
            Effect::MachineFault { server_id: id, fault: MachineFault::NeverBoot },
            Effect::MachineStart { server_id: id },
        ]
    );
    assert_eq!(world.status(id), "running");
    assert!(!world.cloud.server(id).unwrap().is_alive());
    let second = world.server("two");
    assert_eq!(world.cloud.server(second).unwrap().fault, None);
}

#[test]
fn a_machine_loses_and_regains_its_network() {
    let mut world = world();
    let id = world.running_server("one");
    world.cloud.machine_fault(id, MachineFault::LoseNetwork);
    assert!(world.cloud.server(id).unwrap().is_alive());
    let (_, effects) = world.cloud.machine_fault(id, MachineFault::RestoreNetwork);
    assert_eq!(effects, [Effect::MachineFault { server_id: id, fault: MachineFault::RestoreNetwork }]);
    assert_eq!(world.cloud.server(id).unwrap().fault, None);
    assert!(!world.cloud.machine_fault(1, MachineFault::Die).0);
}

#[test]
fn cloudflare_fails_in_its_own_envelope() {
    let mut world = world();
    let fault = FaultKind::LandedThenError { status: 500 };
    world
        .cloud
        .faults_mut()
        .add(Rule::new(fault).on(Provider::Cloudflare, "POST", "/zones/*/dns_records").times(1));
    let body = json!({"type": "A", "name": "w1", "content": "198.18.0.10"});
    let (status, answer) = world.dns("POST", "", body.clone());
    assert_eq!((status, answer["success"].as_bool()), (500, Some(false)));
    assert!(answer["errors"][0]["code"].is_u64());
    assert_eq!(world.cloud.dns_records().count(), 1);
    let (status, answer) = world.dns("POST", "", body);
    assert_eq!((status, answer["errors"][0]["code"].as_u64()), (400, Some(81058)));
}

#[test]
fn the_dice_are_seeded_and_about_right() {
    let run = |seed| {
        let mut world = world_with(Config { seed, ..Config::default() });
        let fault = FaultKind::Refuse { status: 503, code: "unavailable".into(), message: String::new() };
        world.cloud.faults_mut().add(Rule::new(fault).per_mille(250));
        (0..1_000).map(|_| world.hetzner("GET", "/locations", Value::Null).0).collect::<Vec<_>>()
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
    let struck = first.iter().filter(|status| **status == 503).count();
    assert!((200..300).contains(&struck), "{struck}");
}

#[test]
fn rules_are_listed_with_their_strikes_and_removed() {
    let (mut world, _) = create_under(FaultKind::LostResponse);
    let rule = &world.cloud.faults().rules()[0];
    assert_eq!((rule.struck, rule.rule.times), (1, Some(1)));
    let id = rule.id;
    assert!(world.cloud.faults_mut().remove(id));
    assert!(!world.cloud.faults_mut().remove(id));
}

#[test]
fn an_unauthorized_call_spends_no_fault() {
    let mut world = world();
    world.cloud.faults_mut().add(Rule::new(FaultKind::LostRequest).times(1));
    assert_eq!(world.send(&Request::new("GET", "/hetzner/v1/servers")).status, 401);
    assert_eq!(world.cloud.faults().rules()[0].struck, 0);
}
