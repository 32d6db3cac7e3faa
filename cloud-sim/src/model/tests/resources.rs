//! The resources around servers: SSH keys, primary IPs, firewalls, snapshots' labels.

use super::*;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVubm90aWNlZA first@example";

#[test]
fn the_same_key_under_another_name_is_refused() {
    let mut world = world();
    let (status, body) = world.hetzner("POST", "/ssh_keys", json!({"name": "one", "public_key": KEY}));
    assert_eq!(status, 201);
    assert_eq!(body["ssh_key"]["fingerprint"].as_str().unwrap().len(), 47);
    let same = json!({"name": "two", "public_key": KEY.replace("first", "second")});
    let error = world.refused("POST", "/ssh_keys", same, 409, "uniqueness_error");
    assert_eq!(error["details"]["fields"][0]["name"], "public_key");
    world.refused("POST", "/ssh_keys", json!({"name": "x", "public_key": "hello"}), 422, "invalid_input");
}

#[test]
fn a_key_is_relabelled_found_and_deleted() {
    let mut world = world();
    let (_, body) = world.hetzner("POST", "/ssh_keys", json!({"name": "one", "public_key": KEY}));
    let path = format!("/ssh_keys/{}", body["ssh_key"]["id"]);
    world.hetzner("PUT", &path, json!({"labels": {"k": "v"}}));
    assert_eq!(world.get("/ssh_keys?label_selector=k%3D%3Dv")["ssh_keys"][0]["name"], "one");
    assert_eq!(world.hetzner("DELETE", &path, Value::Null).0, 204);
    world.refused("DELETE", &path, Value::Null, 404, "not_found");
}

#[test]
fn an_implicit_primary_ip_belongs_to_its_server_and_goes_with_it() {
    let mut world = world();
    let id = world.server("one");
    let ip = world.get("/primary_ips")["primary_ips"][0].clone();
    assert_eq!((ip["assignee_id"].as_u64(), ip["auto_delete"].as_bool()), (Some(id), Some(true)));
    assert!(ip.get("datacenter").is_none());
    let path = format!("/primary_ips/{}", ip["id"]);
    world.refused("DELETE", &path, Value::Null, 422, "resource_in_use");
}

#[test]
fn an_own_primary_ip_survives_its_server_unassigned() {
    let mut world = world();
    let body =
        json!({"name": "mine", "type": "ipv4", "location": "fsn1", "labels": {"ebbtide-install": "i1"}});
    let (status, body) = world.hetzner("POST", "/primary_ips", body);
    assert_eq!(status, 201, "{body}");
    let ip = body["primary_ip"]["id"].as_u64().unwrap();
    assert_eq!(body["primary_ip"]["assignee_type"], "unassigned");
    let mut server = server_body("one");
    server["public_net"] = json!({"ipv4": ip});
    let (_, body) = world.hetzner("POST", "/servers", server);
    let id = body["server"]["id"].as_u64().unwrap();
    assert_eq!(body["server"]["public_net"]["ipv4"]["id"], ip);
    let mut taken = server_body("two");
    taken["public_net"] = json!({"ipv4": ip});
    world.refused("POST", "/servers", taken, 422, "primary_ip_assigned");
    world.pass(1_000);
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    world.pass(1_000);
    let left = world.get("/primary_ips?label_selector=ebbtide-install%3D%3Di1");
    assert_eq!(left["primary_ips"][0]["assignee_type"], "unassigned");
    assert_eq!(world.hetzner("DELETE", &format!("/primary_ips/{ip}"), Value::Null).0, 204);
}

#[test]
fn a_firewall_bound_by_label_covers_every_matching_server() {
    let mut world = world();
    let rule =
        json!({"direction": "in", "protocol": "tcp", "port": "443", "source_ips": ["0.0.0.0/0", "::/0"]});
    let apply = json!([{"type": "label_selector", "label_selector": {"selector": "ebbtide-install==i1"}}]);
    let body = json!({"name": "fw", "rules": [rule], "apply_to": apply, "labels": {"k": "v"}});
    let (status, body) = world.hetzner("POST", "/firewalls", body);
    assert_eq!(status, 201, "{body}");
    let path = format!("/firewalls/{}", body["firewall"]["id"]);
    let server = world.running_server("one");
    let shown = world.get(&format!("/servers/{server}"))["server"]["public_net"]["firewalls"].clone();
    assert_eq!(shown, json!([{"id": body["firewall"]["id"], "status": "applied"}]));
    let applied = world.get(&path)["firewall"]["applied_to"].clone();
    assert_eq!(applied[0]["applied_to_resources"][0]["server"]["id"], server);
    world.refused("DELETE", &path, Value::Null, 422, "resource_in_use");
    world.hetzner("DELETE", &format!("/servers/{server}"), Value::Null);
    world.pass(1_000);
    assert_eq!(world.hetzner("DELETE", &path, Value::Null).0, 204);
}

#[test]
fn firewall_names_are_unique_and_rules_are_checked() {
    let mut world = world();
    world.hetzner("POST", "/firewalls", json!({"name": "fw"}));
    world.refused("POST", "/firewalls", json!({"name": "fw"}), 409, "uniqueness_error");
    let rules = json!([{"direction": "in", "protocol": "tcp", "source_ips": ["::/0"]}]);
    world.refused("POST", "/firewalls", json!({"name": "x", "rules": rules}), 422, "invalid_input");
}

#[test]
fn firewall_actions_change_rules_and_targets() {
    let mut world = world();
    let (_, body) = world.hetzner("POST", "/firewalls", json!({"name": "fw"}));
    let path = format!("/firewalls/{}", body["firewall"]["id"]);
    let server = world.running_server("one");
    let target = json!([{"type": "server", "server": {"id": server}}]);
    world.hetzner("POST", &format!("{path}/actions/apply_to_resources"), json!({"apply_to": target}));
    assert_eq!(world.get(&path)["firewall"]["applied_to"][0]["server"]["id"], server);
    world.hetzner("POST", &format!("{path}/actions/remove_from_resources"), json!({"remove_from": target}));
    assert_eq!(world.get(&path)["firewall"]["applied_to"], json!([]));
    let rules = json!([{"direction": "in", "protocol": "icmp", "source_ips": ["::/0"]}]);
    world.hetzner("POST", &format!("{path}/actions/set_rules"), json!({"rules": rules}));
    assert_eq!(world.get(&path)["firewall"]["rules"][0]["protocol"], "icmp");
}

#[test]
fn a_snapshot_can_be_relabelled() {
    let mut world = world();
    let id = world.running_server("one");
    let (_, body) = world.act(id, "create_image");
    world.pass(2_000);
    let path = format!("/images/{}", body["image"]["id"]);
    let (_, body) = world.hetzner("PUT", &path, json!({"labels": {"ebbtide-expires": "1795168800"}}));
    assert_eq!(body["image"]["labels"]["ebbtide-expires"], "1795168800");
}
