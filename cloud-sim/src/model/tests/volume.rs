//! Many lifecycles in one cloud: it stays correct and small, and is quick enough to simulate with.

use super::*;

#[test]
fn two_thousand_lifecycles_leave_nothing_and_a_whole_bill() {
    let budget = Budget { limit: u32::MAX, window_ms: 1_000 };
    let config = Config { hetzner_budget: budget, cloudflare_budget: budget, ..Config::default() };
    let mut world = world_with(config);
    for n in 0..2_000_u64 {
        let id = world.running_server(&format!("ebb-{n}-1"));
        let address = world.cloud.server_ipv4(id).unwrap().to_string();
        let record = world.a_record(&format!("w{n}"), &address);
        world.get("/servers?label_selector=ebbtide-install%3D%3Di1");
        world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
        world.dns("DELETE", &format!("/{record}"), Value::Null);
        world.pass(1_000);
        assert_eq!(world.status(id), "gone");
    }
    assert_eq!(world.cloud.servers().count(), 0);
    assert_eq!(world.cloud.dns_records().count(), 0);
    assert_eq!(world.cloud.primary_ips().count(), 0);
    assert_eq!(world.cloud.pending_count(), 0);
    assert_eq!(world.cloud.inventory(world.now).billed_hours, 2_000);
    assert_eq!(world.took().len(), 4_000);
}
