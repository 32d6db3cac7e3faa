//! Creating, reading, changing and deleting servers, as far as the request decides.

use super::*;

fn with(field: &str, value: Value) -> Value {
    let mut body = server_body("one");
    body[field] = value;
    body
}

fn without(field: &str) -> Value {
    let mut body = server_body("one");
    body.as_object_mut().unwrap().remove(field);
    body
}

fn refused_field(body: Value, field: &str) {
    let error = world().refused("POST", "/servers", body, 422, "invalid_input");
    assert_eq!(error["details"]["fields"][0]["name"], field);
}

#[test]
fn a_create_answers_201_with_server_action_and_next_action() {
    let (status, body) = world().hetzner("POST", "/servers", server_body("one"));
    assert_eq!(status, 201);
    assert_eq!(body["server"]["status"], "initializing");
    assert_eq!(body["server"]["labels"]["ebbtide-install"], "i1");
    assert_eq!(body["action"]["command"], "create_server");
    assert_eq!(body["action"]["status"], "running");
    assert_eq!(body["next_actions"][0]["command"], "start_server");
}

#[test]
fn a_server_names_its_location_and_no_datacenter() {
    let mut world = world();
    let id = world.server("one");
    let server = world.get(&format!("/servers/{id}"))["server"].clone();
    assert_eq!(server["location"]["name"], "fsn1");
    assert!(server.get("datacenter").is_none());
    assert_eq!(server["server_type"]["name"], "cx23");
    assert_eq!(server["image"]["name"], "debian-12");
    assert_eq!(server["created"], "2026-11-20T10:00:00Z");
}

#[test]
fn a_name_in_use_is_a_uniqueness_error() {
    let mut world = world();
    world.server("one");
    let error = world.refused("POST", "/servers", server_body("one"), 409, "uniqueness_error");
    assert_eq!(error["details"]["fields"][0]["name"], "name");
    assert_eq!(world.cloud.servers().count(), 1);
}

#[test]
fn a_name_is_free_again_once_its_server_is_gone() {
    let mut world = world();
    let id = world.running_server("one");
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    world.refused("POST", "/servers", server_body("one"), 409, "uniqueness_error");
    world.pass(1_000);
    world.server("one");
}

#[test]
fn required_fields_are_required() {
    for field in ["name", "server_type", "image"] {
        refused_field(without(field), field);
    }
}

#[test]
fn unknown_type_image_and_location_are_named() {
    refused_field(with("server_type", json!("cx22")), "server_type");
    refused_field(with("image", json!("ubuntu-9.10")), "image");
    refused_field(with("location", json!("mars1")), "location");
}

#[test]
fn bad_names_are_refused() {
    for name in ["", "a b", "-a", "a_b", "a..b", &"x".repeat(64)] {
        refused_field(with("name", json!(name)), "name");
    }
}

#[test]
fn bad_labels_are_refused() {
    refused_field(with("labels", json!({"at": "2026-11-20T10:00:00Z"})), "labels");
}

#[test]
fn user_data_of_32_kib_is_taken_and_one_byte_more_refused() {
    let mut world = world();
    let (status, _) = world.hetzner("POST", "/servers", with("user_data", json!("x".repeat(32_768))));
    assert_eq!(status, 201);
    refused_field(with("user_data", json!("x".repeat(32_769))), "user_data");
}

#[test]
fn a_datacenter_is_refused() {
    refused_field(with("datacenter", json!("fsn1-dc14")), "datacenter");
}

#[test]
fn a_type_that_the_location_does_not_offer_is_refused_in_the_words_seen_in_the_field() {
    let error = world().refused("POST", "/servers", with("location", json!("ash")), 422, "invalid_input");
    assert!(error["message"].as_str().unwrap().contains("unsupported location for server type"));
}

#[test]
fn a_sold_out_location_is_412_and_another_one_works() {
    let mut world = world();
    world.cloud.set_sale("cx23", "fsn1", Sale::SoldOut);
    world.refused("POST", "/servers", server_body("one"), 412, "resource_unavailable");
    let (status, _) = world.hetzner("POST", "/servers", with("location", json!("hel1")));
    assert_eq!(status, 201);
    world.cloud.set_sale("cx23", "fsn1", Sale::OnSale);
    world.server("two");
}

#[test]
fn a_withdrawn_type_is_refused_where_it_is_withdrawn() {
    let mut world = world();
    world.cloud.set_sale("cx23", "fsn1", Sale::Withdrawn);
    let error = world.refused("POST", "/servers", server_body("one"), 422, "invalid_input");
    assert!(error["message"].as_str().unwrap().ends_with("server type cx23 is deprecated"));
    let (status, _) = world.hetzner("POST", "/servers", with("location", json!("hel1")));
    assert_eq!(status, 201);
}

#[test]
fn without_a_location_the_first_one_with_room_is_taken() {
    let mut world = world();
    world.cloud.set_sale("cx23", "fsn1", Sale::SoldOut);
    let (_, body) = world.hetzner("POST", "/servers", without("location"));
    assert_eq!(body["server"]["location"]["name"], "nbg1");
}

#[test]
fn the_server_limit_is_a_named_403() {
    let mut world = world_with(Config { server_limit: 1, ..Config::default() });
    world.server("one");
    let error = world.refused("POST", "/servers", server_body("two"), 403, "resource_limit_exceeded");
    assert_eq!(error["details"]["limits"][0]["name"], "server_limit");
}

#[test]
fn an_ssh_key_saves_the_root_password_and_an_unknown_one_is_refused() {
    let mut world = world();
    let (_, body) = world.hetzner("POST", "/servers", server_body("one"));
    assert!(body["root_password"].is_string());
    refused_field(with("ssh_keys", json!(["nobody"])), "ssh_keys");
    let key = json!({"name": "k", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVubm90 me"});
    world.hetzner("POST", "/ssh_keys", key);
    let mut keyed = with("ssh_keys", json!(["k"]));
    keyed["name"] = json!("two");
    let (_, body) = world.hetzner("POST", "/servers", keyed);
    assert!(body["root_password"].is_null());
}

#[test]
fn ids_and_names_both_name_type_image_and_location() {
    let mut body = server_body("one");
    body["server_type"] = json!("114");
    body["image"] = json!(114_690_387);
    body["location"] = json!("1");
    let (status, body) = world().hetzner("POST", "/servers", body);
    assert_eq!(status, 201, "{body}");
    assert_eq!(body["server"]["server_type"]["name"], "cx23");
}

#[test]
fn an_arm_type_gets_the_arm_image_of_the_same_name() {
    let (_, body) = world().hetzner("POST", "/servers", with("server_type", json!("cax11")));
    assert_eq!(body["server"]["image"]["architecture"], "arm");
}

#[test]
fn addresses_are_from_the_benchmark_range_and_differ() {
    let mut world = world();
    let ids: Vec<u64> = (0..20).map(|n| world.server(&format!("s{n}"))).collect();
    let addresses: std::collections::BTreeSet<_> =
        ids.iter().map(|id| world.cloud.server_ipv4(*id).unwrap()).collect();
    assert_eq!(addresses.len(), 20);
    for address in addresses {
        assert!(matches!(address.octets(), [198, 18 | 19, _, 1..=254]), "{address}");
    }
}

#[test]
fn ipv4_can_be_left_out() {
    let body = with("public_net", json!({"enable_ipv4": false, "enable_ipv6": true}));
    let (_, body) = world().hetzner("POST", "/servers", body);
    assert!(body["server"]["public_net"]["ipv4"].is_null());
    assert!(body["server"]["public_net"]["ipv6"]["ip"].as_str().unwrap().ends_with("::/64"));
}

#[test]
fn name_and_labels_can_be_changed_and_are_checked() {
    let mut world = world();
    let id = world.server("one");
    let path = format!("/servers/{id}");
    let (_, body) = world.hetzner("PUT", &path, json!({"labels": {"ebbtide-expires": "1795168800"}}));
    assert_eq!(body["server"]["name"], "one");
    assert_eq!(body["server"]["labels"], json!({"ebbtide-expires": "1795168800"}));
    world.refused("PUT", &path, json!({"labels": {"k": "a:b"}}), 422, "invalid_input");
    world.server("two");
    world.refused("PUT", &path, json!({"name": "two"}), 409, "uniqueness_error");
}

#[test]
fn deleting_twice_is_locked_first_and_then_not_found() {
    let mut world = world();
    let id = world.running_server("one");
    let path = format!("/servers/{id}");
    let (status, body) = world.hetzner("DELETE", &path, Value::Null);
    assert_eq!((status, body["action"]["command"].as_str()), (200, Some("delete_server")));
    assert_eq!(world.status(id), "deleting");
    world.refused("DELETE", &path, Value::Null, 423, "locked");
    world.pass(1_000);
    world.refused("DELETE", &path, Value::Null, 404, "not_found");
}

#[test]
fn a_server_being_built_is_locked() {
    let mut world = world();
    let id = world.server("one");
    world.refused("DELETE", &format!("/servers/{id}"), Value::Null, 423, "locked");
}

#[test]
fn a_protected_server_is_not_deleted() {
    let mut world = world();
    let id = world.running_server("one");
    let path = format!("/servers/{id}/actions/change_protection");
    world.hetzner("POST", &path, json!({"delete": true, "rebuild": true}));
    world.refused("DELETE", &format!("/servers/{id}"), Value::Null, 423, "protected");
    world.refused("POST", &path, json!({"delete": false, "rebuild": true}), 422, "invalid_input");
    world.hetzner("POST", &path, json!({"delete": false, "rebuild": false}));
    let (status, _) = world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    assert_eq!(status, 200);
}

#[test]
fn broken_json_and_wrong_shapes_differ() {
    let mut world = world();
    let request = Request::new("POST", "/hetzner/v1/servers").bearer("hetzner-token").body("{");
    let response = world.send(&request);
    assert_eq!((response.status, response.json()["error"]["code"].as_str()), (400, Some("json_error")));
    world.refused("POST", "/servers", json!({"name": 7}), 422, "invalid_input");
}

#[test]
fn a_missing_or_wrong_token_is_unauthorized() {
    let mut world = world();
    for request in [
        Request::new("GET", "/hetzner/v1/servers"),
        Request::new("GET", "/hetzner/v1/servers").bearer("wrong"),
        Request::new("GET", "/hetzner/v1/servers").header("Authorization", "Basic hetzner-token"),
    ] {
        let response = world.send(&request);
        assert_eq!((response.status, response.json()["error"]["code"].as_str()), (401, Some("unauthorized")));
    }
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let mut world = world();
    world.refused("GET", "/nowhere", Value::Null, 404, "not_found");
    world.refused("PATCH", "/servers", json!({}), 405, "method_not_allowed");
    world.refused("GET", "/servers/1", Value::Null, 404, "not_found");
    world.refused("GET", "/servers/one", Value::Null, 404, "not_found");
}

#[test]
fn datacenters_are_gone() {
    world().refused("GET", "/datacenters", Value::Null, 410, "deprecated_api_endpoint");
}

#[test]
fn every_answer_carries_the_budget_and_the_last_one_is_429() {
    let budget = Budget { limit: 2, window_ms: 3_600_000 };
    let mut world = world_with(Config { hetzner_budget: budget, ..Config::default() });
    let request = Request::new("GET", "/hetzner/v1/locations").bearer("hetzner-token");
    let first = world.send(&request);
    assert_eq!(
        (first.header("RateLimit-Limit"), first.header("RateLimit-Remaining")),
        (Some("2"), Some("1"))
    );
    world.send(&request);
    let third = world.send(&request);
    assert_eq!((third.status, third.json()["error"]["code"].as_str()), (429, Some("rate_limit_exceeded")));
    assert_eq!(third.header("RateLimit-Remaining"), Some("0"));
    assert_eq!(third.header("retry-after"), Some("1800"));
    world.pass(1_800_000);
    assert_eq!(world.send(&request).status, 200);
}
