//! What time does: actions complete, servers start and stop, images appear, hours are billed.

use super::*;

#[test]
fn a_server_is_initializing_then_starting_then_running() {
    let mut world = world();
    let id = world.server("one");
    assert_eq!(world.status(id), "initializing");
    world.pass(400);
    assert_eq!(world.status(id), "starting");
    world.pass(600);
    assert_eq!(world.status(id), "running");
}

#[test]
fn the_machine_starts_when_the_server_is_built() {
    let mut world = world();
    let id = world.server("one");
    assert_eq!(world.took(), []);
    world.pass(400);
    assert_eq!(world.took(), [Effect::MachineStart { server_id: id }]);
    world.pass(600);
    assert_eq!(world.took(), []);
}

#[test]
fn an_action_shows_its_progress_and_its_end() {
    let mut world = world();
    let (_, body) = world.hetzner("POST", "/servers", server_body("one"));
    let path = format!("/actions/{}", body["action"]["id"]);
    world.pass(200);
    let action = world.get(&path)["action"].clone();
    assert_eq!((action["status"].as_str(), action["progress"].as_u64()), (Some("running"), Some(50)));
    assert!(action["finished"].is_null());
    world.pass(200);
    let action = world.get(&path)["action"].clone();
    assert_eq!((action["status"].as_str(), action["progress"].as_u64()), (Some("success"), Some(100)));
    assert!(action["finished"].is_string());
}

#[test]
fn a_server_can_be_created_without_being_started() {
    let mut world = world();
    let mut body = server_body("one");
    body["start_after_create"] = json!(false);
    let (_, body) = world.hetzner("POST", "/servers", body);
    let id = body["server"]["id"].as_u64().unwrap();
    assert_eq!(body["next_actions"], json!([]));
    world.pass(5_000);
    assert_eq!(world.status(id), "off");
    assert_eq!(world.took(), []);
}

#[test]
fn a_deleted_server_takes_its_machine_at_once_and_its_address_when_gone() {
    let mut world = world();
    let id = world.running_server("one");
    world.took();
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    assert_eq!(world.took(), [Effect::MachineDestroy { server_id: id }]);
    assert_eq!(world.cloud.primary_ips().count(), 2);
    world.pass(300);
    assert_eq!(world.status(id), "gone");
    assert_eq!(world.cloud.primary_ips().count(), 0);
}

#[test]
fn an_implicit_address_can_be_left_behind() {
    let mut world = world_with(Config { implicit_ips_auto_delete: false, ..Config::default() });
    let id = world.running_server("one");
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    world.pass(1_000);
    let left = world.get("/primary_ips")["primary_ips"].clone();
    assert_eq!(left.as_array().unwrap().len(), 2);
    assert_eq!(left[0]["assignee_type"], "unassigned");
    assert!(left[0]["assignee_id"].is_null());
}

#[test]
fn poweroff_and_poweron_keep_the_server() {
    let mut world = world();
    let id = world.running_server("one");
    world.took();
    assert_eq!(world.act(id, "poweroff").0, 201);
    world.refused("POST", &format!("/servers/{id}/actions/poweron"), json!({}), 423, "locked");
    world.pass(300);
    assert_eq!(world.status(id), "off");
    assert!(world.took().contains(&Effect::MachinePowerOff { server_id: id }));
    world.act(id, "poweron");
    world.pass(600);
    assert_eq!(world.status(id), "running");
    assert_eq!(world.took(), [Effect::MachineStart { server_id: id }]);
}

#[test]
fn shutdown_succeeds_at_once_and_the_machine_obeys_later() {
    let mut world = world();
    let id = world.running_server("one");
    let (_, body) = world.act(id, "shutdown");
    world.pass(50);
    let action = world.get(&format!("/actions/{}", body["action"]["id"]));
    assert_eq!(action["action"]["status"], "success");
    assert_eq!(world.status(id), "running");
    world.pass(950);
    assert_eq!(world.status(id), "off");
}

#[test]
fn a_hung_machine_ignores_shutdown_but_not_poweroff() {
    let mut world = world();
    let id = world.running_server("one");
    world.cloud.machine_fault(id, MachineFault::Hang);
    world.act(id, "shutdown");
    world.pass(60_000);
    assert_eq!(world.status(id), "running");
    world.act(id, "poweroff");
    world.pass(300);
    assert_eq!(world.status(id), "off");
}

#[test]
fn a_reset_heals_a_hung_machine_and_not_one_that_never_boots() {
    let mut world = world();
    for (fault, heals) in
        [(MachineFault::Hang, true), (MachineFault::Die, true), (MachineFault::NeverBoot, false)]
    {
        let id = world.running_server(&format!("s{heals}{}", world.now));
        world.cloud.machine_fault(id, fault);
        assert!(!world.cloud.server(id).unwrap().is_alive());
        world.took();
        world.act(id, "reset");
        assert_eq!(world.took(), [Effect::MachineReset { server_id: id }]);
        world.pass(1_000);
        assert_eq!(world.cloud.server(id).unwrap().is_alive(), heals, "{fault:?}");
    }
}

#[test]
fn a_reset_of_a_server_that_is_off_fails_in_its_action() {
    let mut world = world();
    let id = world.running_server("one");
    world.act(id, "poweroff");
    world.pass(300);
    world.took();
    let (_, body) = world.act(id, "reset");
    world.pass(50);
    let action = world.get(&format!("/actions/{}", body["action"]["id"]))["action"].clone();
    assert_eq!(
        (action["status"].as_str(), action["error"]["code"].as_str()),
        (Some("error"), Some("action_failed"))
    );
    assert_eq!(world.status(id), "off");
    assert_eq!(world.took(), []);
}

#[test]
fn a_server_that_switches_off_by_itself_says_off() {
    let mut world = world();
    let id = world.running_server("one");
    let (known, effects) = world.cloud.machine_fault(id, MachineFault::SwitchOff);
    assert!(known);
    assert_eq!(effects, [Effect::MachinePowerOff { server_id: id }]);
    assert_eq!(world.status(id), "off");
}

#[test]
fn an_image_is_created_with_progress_while_the_server_is_locked() {
    let mut world = world();
    let id = world.running_server("one");
    world.took();
    let body = json!({"type": "snapshot", "description": "rescue", "labels": {"ebbtide-expires": "1"}});
    let (status, body) = world.hetzner("POST", &format!("/servers/{id}/actions/create_image"), body);
    assert_eq!(status, 201);
    let image = body["image"]["id"].as_u64().unwrap();
    assert_eq!(body["image"]["status"], "creating");
    assert_eq!(world.took(), [Effect::SaveImage { server_id: id, image_id: image }]);
    world.refused("DELETE", &format!("/servers/{id}"), Value::Null, 423, "locked");
    world.refused("DELETE", &format!("/images/{image}"), Value::Null, 423, "locked");
    world.pass(1_000);
    let action = world.get(&format!("/actions/{}", body["action"]["id"]));
    assert_eq!(action["action"]["progress"], 50);
    world.pass(1_000);
    assert_eq!(world.get(&format!("/images/{image}"))["image"]["status"], "available");
    let (status, _) = world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    assert_eq!(status, 200);
}

#[test]
fn a_server_can_be_made_from_an_image_that_outlived_its_server() {
    let mut world = world();
    let id = world.running_server("one");
    let (_, body) = world.act(id, "create_image");
    let image = body["image"]["id"].as_u64().unwrap();
    let mut second = server_body("two");
    second["image"] = json!(image.to_string());
    world.refused("POST", "/servers", second.clone(), 422, "invalid_input");
    world.pass(2_000);
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    world.pass(1_000);
    let (status, body) = world.hetzner("POST", "/servers", second);
    assert_eq!(status, 201, "{body}");
    let second = body["server"]["id"].as_u64().unwrap();
    assert_eq!(world.cloud.server_snapshot(second), Some(image));
    world.took();
    let (status, _) = world.hetzner("DELETE", &format!("/images/{image}"), Value::Null);
    assert_eq!(status, 204);
    assert_eq!(world.took(), [Effect::DeleteImage { image_id: image }]);
}

#[test]
fn where_images_are_acknowledged_the_clock_completes_none() {
    let mut world = world_with(Config { acknowledge_images: true, ..Config::default() });
    let id = world.running_server("one");
    let (_, body) = world.act(id, "create_image");
    let image = body["image"]["id"].as_u64().unwrap();
    world.pass(3_600_000);
    assert_eq!(world.get(&format!("/images/{image}"))["image"]["status"], "creating");
    world.cloud.image_saved(image, Ok(()), world.now);
    assert_eq!(world.get(&format!("/images/{image}"))["image"]["status"], "available");

    let (_, body) = world.act(id, "create_image");
    let failed = body["image"]["id"].as_u64().unwrap();
    world.cloud.image_saved(failed, Err("disk full"), world.now);
    let action = world.get(&format!("/actions/{}", body["action"]["id"]));
    assert_eq!(action["action"]["error"]["message"], "disk full");
    world.refused("GET", &format!("/images/{failed}"), Value::Null, 404, "not_found");
    assert_eq!(world.get(&format!("/servers/{id}"))["server"]["locked"], false);
}

#[test]
fn in_step_mode_only_steps_move_the_cloud() {
    let mut world = world_with(Config { mode: Mode::Step, ..Config::default() });
    let id = world.server("one");
    world.pass(3_600_000);
    assert_eq!(world.status(id), "initializing");
    assert_eq!(world.cloud.next_due_ms(), None);
    assert!(world.cloud.step(world.now).0);
    assert_eq!(world.status(id), "starting");
    assert!(world.cloud.step(world.now).0);
    assert_eq!(world.status(id), "running");
    assert!(!world.cloud.step(world.now).0);
}

#[test]
fn started_hours_are_billed_until_the_deletion_whatever_the_power_says() {
    let mut world = world();
    let id = world.running_server("one");
    world.act(id, "poweroff");
    world.pass(2 * 3_600_000);
    assert_eq!(world.cloud.inventory(world.now).billed_hours, 3);
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    world.pass(50 * 3_600_000);
    let inventory = world.cloud.inventory(world.now);
    assert_eq!((inventory.live_servers, inventory.billed_hours), (0, 3));
    assert_eq!(inventory.servers[0].status, "deleted");
    assert_eq!(inventory.billed_micros, 3 * 5_600);
}

#[test]
fn metrics_are_busy_while_the_machine_works_and_flat_from_when_it_died() {
    let mut world = world();
    let id = world.running_server("one");
    world.pass(60_000);
    world.cloud.machine_fault(id, MachineFault::Die);
    world.pass(60_000);
    let span = format!("start={}&end={}", clock::rfc3339(START), clock::rfc3339(world.now));
    let metrics =
        world.get(&format!("/servers/{id}/metrics?type=cpu,network&{span}&step=10"))["metrics"].clone();
    let cpu = metrics["time_series"]["cpu"]["values"].as_array().unwrap().clone();
    assert_eq!(cpu.first().unwrap()[1], "8.0000");
    assert_eq!(cpu.last().unwrap()[1], "0.0000");
    let network = &metrics["time_series"]["network.0.bandwidth.out"]["values"];
    assert_eq!(network.as_array().unwrap().last().unwrap()[1], "0.0000");
}

#[test]
fn measured_activity_is_shown_as_measured() {
    let mut world = world();
    let id = world.running_server("one");
    let activity = Activity { cpu_percent: 42.5, ..Activity::default() };
    world.cloud.record_activity(id, activity, world.now);
    world.pass(10_000);
    let span = format!("start={}&end={}", clock::rfc3339(START + 5_000), clock::rfc3339(world.now));
    let body = world.get(&format!("/servers/{id}/metrics?type=cpu&{span}"));
    assert_eq!(body["metrics"]["time_series"]["cpu"]["values"][0][1], "42.5000");
    let span = format!("start={}&end={}", clock::rfc3339(START), clock::rfc3339(START + 1_000));
    let body = world.get(&format!("/servers/{id}/metrics?type=cpu&step=1&{span}"));
    assert_eq!(body["metrics"]["time_series"]["cpu"]["values"].as_array().unwrap().len(), 1);
    world.refused("GET", &format!("/servers/{id}/metrics?type=cpu"), Value::Null, 422, "invalid_input");
}

#[test]
fn a_persisted_cloud_goes_on_where_it_stopped() {
    let mut world = world();
    let id = world.server("one");
    world.a_record("a", "198.18.0.10");
    let state = serde_json::to_vec(&world.cloud).unwrap();
    assert!(!String::from_utf8_lossy(&state).contains("hetzner-token"));
    world.cloud = Cloud::restore(Config::default(), &state).unwrap();
    assert_eq!(world.status(id), "initializing");
    world.pass(1_000);
    assert_eq!(world.status(id), "running");
    assert_eq!(world.took(), [Effect::MachineStart { server_id: id }]);
    assert_eq!(world.cloud.dns_records().count(), 1);
    assert!(world.server("two") > id);
}

#[test]
fn the_version_moves_with_changes_and_not_with_reads() {
    let mut world = world();
    let before = world.cloud.version();
    world.get("/servers");
    assert_eq!(world.cloud.version(), before);
    world.server("one");
    assert!(world.cloud.version() > before);
    let created = world.cloud.version();
    world.pass(400);
    assert!(world.cloud.version() > created);
}

#[test]
fn the_same_calls_give_the_same_cloud() {
    let run = || {
        let mut world = world();
        world.server("one");
        world.a_record("a", "198.18.0.10");
        world.pass(10_000);
        serde_json::to_string(&world.cloud).unwrap()
    };
    assert_eq!(run(), run());
}
