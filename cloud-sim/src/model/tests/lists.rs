//! Lists: pages, links, filters, sorting.

use super::*;

fn names(body: &Value) -> Vec<&str> {
    let servers = body["servers"].as_array().unwrap();
    servers.iter().map(|server| server["name"].as_str().unwrap()).collect()
}

fn three() -> World {
    let mut world = world();
    for (name, env) in [("b", "dev"), ("a", "prod"), ("c", "dev")] {
        let mut body = server_body(name);
        body["labels"]["env"] = json!(env);
        world.hetzner("POST", "/servers", body);
        world.now += 1_000;
    }
    world
}

#[test]
fn pages_follow_one_another_and_end() {
    let mut world = world();
    for n in 0..53 {
        world.server(&format!("s{n}"));
    }
    let first = world.get("/servers?per_page=50");
    assert_eq!(first["servers"].as_array().unwrap().len(), 50);
    let meta = json!({
        "page": 1, "per_page": 50, "previous_page": null, "next_page": 2, "last_page": 2, "total_entries": 53,
    });
    assert_eq!(first["meta"]["pagination"], meta);
    let second = world.get("/servers?per_page=50&page=2");
    assert_eq!(second["servers"].as_array().unwrap().len(), 3);
    assert!(second["meta"]["pagination"]["next_page"].is_null());
    assert_eq!(second["meta"]["pagination"]["previous_page"], 1);
    assert_eq!(world.get("/servers?page=9")["servers"], json!([]));
}

#[test]
fn a_page_holds_25_unless_told_and_at_most_50() {
    let mut world = world();
    for n in 0..30 {
        world.server(&format!("s{n}"));
    }
    assert_eq!(world.get("/servers")["servers"].as_array().unwrap().len(), 25);
    world.refused("GET", "/servers?per_page=51", Value::Null, 422, "invalid_input");
    world.refused("GET", "/servers?page=0", Value::Null, 422, "invalid_input");
}

#[test]
fn the_link_header_keeps_the_query() {
    let mut world = three();
    let request =
        Request::new("GET", "/hetzner/v1/servers?per_page=2&label_selector=env%3D%3Ddev,ebbtide-install")
            .bearer("hetzner-token");
    let response = world.send(&request);
    assert_eq!(
        response.header("Link"),
        Some(
            "</hetzner/v1/servers?per_page=2&label_selector=env%3D%3Ddev%2Cebbtide-install&page=1>; rel=last"
        )
    );
}

#[test]
fn an_empty_list_has_one_empty_page() {
    let body = world().get("/servers");
    assert_eq!(body["servers"], json!([]));
    assert_eq!(body["meta"]["pagination"]["last_page"], 1);
}

#[test]
fn selectors_choose_by_label() {
    let mut world = three();
    assert_eq!(names(&world.get("/servers?label_selector=env%3D%3Ddev")), ["b", "c"]);
    assert_eq!(names(&world.get("/servers?label_selector=env%20in%20(prod,x)")), ["a"]);
    assert_eq!(names(&world.get("/servers?label_selector=!env")), [""; 0]);
    world.refused("GET", "/servers?label_selector=env%3D%3Da:b", Value::Null, 422, "invalid_input");
}

#[test]
fn name_and_status_choose_too() {
    let mut world = three();
    assert_eq!(names(&world.get("/servers?name=a")), ["a"]);
    assert_eq!(names(&world.get("/servers?status=off&status=deleting")), [""; 0]);
    world.pass(60_000);
    assert_eq!(names(&world.get("/servers?status=running")).len(), 3);
}

#[test]
fn sorting_goes_by_the_first_field_given() {
    let mut world = three();
    assert_eq!(names(&world.get("/servers?sort=name")), ["a", "b", "c"]);
    assert_eq!(names(&world.get("/servers?sort=created:desc")), ["c", "a", "b"]);
    assert_eq!(names(&world.get("/servers?sort=name:desc&sort=id:asc")), ["c", "b", "a"]);
    world.refused("GET", "/servers?sort=colour", Value::Null, 422, "invalid_input");
}

#[test]
fn actions_are_listed_by_id_only() {
    let mut world = world();
    let (_, body) = world.hetzner("POST", "/servers", server_body("one"));
    let id = body["action"]["id"].as_u64().unwrap();
    let next = body["next_actions"][0]["id"].as_u64().unwrap();
    let found = world.get(&format!("/actions?id={id}&id={next}"));
    assert_eq!(found["actions"].as_array().unwrap().len(), 2);
    world.refused("GET", "/actions", Value::Null, 410, "deprecated_api_endpoint");
    let server = body["server"]["id"].as_u64().unwrap();
    let of_server = world.get(&format!("/servers/{server}/actions"));
    assert_eq!(of_server["actions"].as_array().unwrap().len(), 2);
}

#[test]
fn images_are_found_by_type_name_architecture_and_label() {
    let mut world = world();
    let id = world.running_server("one");
    let path = format!("/servers/{id}/actions/create_image");
    world.hetzner("POST", &path, json!({"labels": {"ebbtide-install": "i1"}}));
    let count = |body: Value| body["images"].as_array().unwrap().len();
    assert_eq!(count(world.get("/images?type=system&architecture=x86&name=ubuntu-24.04")), 1);
    assert_eq!(count(world.get("/images?type=system&name=ubuntu-24.04")), 2);
    assert_eq!(count(world.get("/images?type=snapshot")), 1);
    assert_eq!(count(world.get("/images?label_selector=ebbtide-install%3D%3Di1")), 1);
    assert_eq!(count(world.get("/images?type=snapshot&status=available")), 0);
    world.pass(2_000);
    assert_eq!(count(world.get("/images?type=snapshot&status=available")), 1);
    world.refused("DELETE", "/images/114690387", Value::Null, 403, "forbidden");
}

#[test]
fn the_catalogue_has_prices_as_strings_for_each_location() {
    let mut world = world();
    let body = world.get("/server_types?name=cx23");
    let found = &body["server_types"][0];
    assert_eq!(found["prices"][0]["location"], "fsn1");
    assert!(found["prices"][0]["price_hourly"]["gross"].is_string());
    assert_eq!(found["locations"][0]["available"], true);
    assert_eq!(world.get("/locations")["locations"].as_array().unwrap().len(), 6);
    assert_eq!(world.get("/locations/1")["location"]["name"], "fsn1");
    assert_eq!(world.get("/server_types/114")["server_type"]["name"], "cx23");
    let pricing = world.get("/pricing")["pricing"].clone();
    assert_eq!(pricing["currency"], "EUR");
    assert!(pricing["image"]["price_per_gb_month"]["net"].is_string());
}
