//! Zones and DNS records, one at a time and in batches, and how host names resolve through them.

use super::*;

fn code(body: &Value) -> u64 {
    assert_eq!(body["success"], false, "{body}");
    body["errors"][0]["code"].as_u64().unwrap()
}

fn ids(body: &Value) -> Vec<&str> {
    let records = body["result"].as_array().unwrap();
    records.iter().map(|record| record["name"].as_str().unwrap()).collect()
}

#[test]
fn the_zone_is_found_by_name_and_by_id() {
    let mut world = world();
    let (_, body) = world.cloudflare("GET", "/zones?name=ebb.localhost", Value::Null);
    let id = world.cloud.zone_id();
    assert_eq!(body["result"][0]["id"], id);
    assert_eq!(body["result_info"]["total_count"], 1);
    let (_, body) = world.cloudflare("GET", "/zones?name=other.example", Value::Null);
    assert_eq!(body["result"], json!([]));
    let (_, body) = world.cloudflare("GET", &format!("/zones/{id}"), Value::Null);
    assert_eq!(body["result"]["name"], "ebb.localhost");
    let (status, body) = world.cloudflare("GET", "/zones/0123/dns_records", Value::Null);
    assert_eq!((status, code(&body)), (404, 1001));
}

#[test]
fn a_token_is_verified_or_refused() {
    let mut world = world();
    let (status, body) = world.cloudflare("GET", "/user/tokens/verify", Value::Null);
    assert_eq!((status, body["result"]["status"].as_str()), (200, Some("active")));
    let verify = |token| Request::new("GET", "/cloudflare/client/v4/user/tokens/verify").bearer(token);
    assert_eq!(world.send(&verify("wrong")).status, 401);
    let zones = Request::new("GET", "/cloudflare/client/v4/zones");
    let missing = world.send(&zones);
    assert_eq!((missing.status, code(&missing.json())), (401, 10000));
    let wrong = world.send(&zones.bearer("hetzner-token"));
    assert_eq!((wrong.status, code(&wrong.json())), (403, 10000));
}

#[test]
fn a_record_is_created_read_and_deleted() {
    let mut world = world();
    let body = json!({"type": "A", "name": "W1", "content": "198.18.0.10", "ttl": 60, "comment": "ebbtide i1 w1 g1"});
    let (status, body) = world.dns("POST", "", body);
    assert_eq!(status, 200, "{body}");
    let record = &body["result"];
    assert_eq!(record["name"], "w1.ebb.localhost");
    assert_eq!(record["comment"], "ebbtide i1 w1 g1");
    assert_eq!((record["proxied"].as_bool(), record["ttl"].as_u64()), (Some(false), Some(60)));
    let path = format!("/{}", record["id"].as_str().unwrap());
    assert_eq!(world.dns("GET", &path, Value::Null).0, 200);
    let (_, body) = world.dns("DELETE", &path, Value::Null);
    assert_eq!(body["result"], json!({"id": &path[1..]}));
    let (status, body) = world.dns("DELETE", &path, Value::Null);
    assert_eq!((status, code(&body)), (404, 81044));
}

#[test]
fn an_identical_record_is_refused_and_a_second_address_is_not() {
    let mut world = world();
    world.a_record("w1", "198.18.0.10");
    let twin = json!({"type": "A", "name": "w1.ebb.localhost", "content": "198.18.0.10", "ttl": 1});
    let (status, body) = world.dns("POST", "", twin);
    assert_eq!((status, code(&body)), (400, 81058));
    world.a_record("w1", "198.18.0.11");
    assert_eq!(world.cloud.dns_records().count(), 2);
}

#[test]
fn a_cname_shares_its_name_with_no_address() {
    let mut world = world();
    world.a_record("w1", "198.18.0.10");
    let (_, body) = world.dns("POST", "", json!({"type": "CNAME", "name": "w1", "content": "x.example"}));
    assert_eq!(code(&body), 81053);
    world.dns("POST", "", json!({"type": "CNAME", "name": "w2", "content": "x.example"}));
    let (_, body) = world.dns("POST", "", json!({"type": "A", "name": "w2", "content": "198.18.0.1"}));
    assert_eq!(code(&body), 81054);
}

#[test]
fn bad_records_are_refused_each_with_its_code() {
    let long = "x".repeat(101);
    for (field, value, expect) in [
        ("content", json!("198.18.0.256"), 9005),
        ("type", json!("BOGUS"), 1004),
        ("name", json!(""), 9000),
        ("ttl", json!(59), 9021),
        ("ttl", json!(86_401), 9021),
        ("ttl", json!(60.5), 9021),
        ("comment", json!(long), 1004),
        ("tags", json!(["a:b"]), 9300),
        ("ttl", json!("60"), 9207),
    ] {
        let mut body = json!({"type": "A", "name": "w1", "content": "198.18.0.10", "ttl": 60});
        body[field] = value;
        let (status, body) = world().dns("POST", "", body);
        assert_eq!((status, code(&body)), (400, expect), "{field}");
    }
}

#[test]
fn ttl_may_be_automatic_or_absent() {
    let mut world = world();
    for (name, ttl) in [("a", json!(1)), ("b", json!(60)), ("c", json!(86_400)), ("d", json!(120.0))] {
        let body = json!({"type": "A", "name": name, "content": "198.18.0.10", "ttl": ttl});
        assert_eq!(world.dns("POST", "", body).0, 200, "{name}");
    }
    let (_, body) = world.dns("POST", "", json!({"type": "A", "name": "e", "content": "198.18.0.10"}));
    assert_eq!(body["result"]["ttl"], 1);
}

#[test]
fn records_of_every_type_are_kept() {
    let mut world = world();
    let https =
        json!({"type": "HTTPS", "name": "@", "data": {"priority": 1, "target": ".", "value": "alpn=\"h2\""}});
    let (status, body) = world.dns("POST", "", https);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["result"]["data"]["priority"], 1);
    let mx = json!({"type": "MX", "name": "@", "content": "mail.example", "priority": 10});
    assert_eq!(world.dns("POST", "", mx).1["result"]["priority"], 10);
}

#[test]
fn the_zone_is_full_at_its_limit() {
    let mut world = world_with(Config { record_limit: 2, ..Config::default() });
    let first = world.a_record("a", "198.18.0.10");
    world.a_record("b", "198.18.0.10");
    let body = json!({"type": "A", "name": "c", "content": "198.18.0.10"});
    let (status, answer) = world.dns("POST", "", body.clone());
    assert_eq!((status, code(&answer)), (400, 81045));
    let swap = json!({"deletes": [{"id": first}], "posts": [body]});
    assert_eq!(world.dns("POST", "/batch", swap).0, 200);
}

#[test]
fn patch_keeps_what_is_not_given_and_put_does_not() {
    let mut world = world();
    let body = json!({"type": "A", "name": "w1", "content": "198.18.0.10", "ttl": 60, "comment": "mine"});
    let (_, body) = world.dns("POST", "", body);
    let path = format!("/{}", body["result"]["id"].as_str().unwrap());
    let (_, body) = world.dns("PATCH", &path, json!({"content": "198.18.0.11"}));
    assert_eq!(
        (body["result"]["ttl"].as_u64(), body["result"]["comment"].as_str()),
        (Some(60), Some("mine"))
    );
    let (_, body) = world.dns("PATCH", &path, json!({"comment": null}));
    assert!(body["result"]["comment"].is_null());
    let (_, body) = world.dns("PUT", &path, json!({"type": "A", "name": "w1", "content": "198.18.0.12"}));
    assert_eq!(
        (body["result"]["ttl"].as_u64(), body["result"]["content"].as_str()),
        (Some(1), Some("198.18.0.12"))
    );
    assert_eq!(world.cloud.dns_records().count(), 1);
}

#[test]
fn lists_are_filtered() {
    let mut world = world();
    for (name, content, comment) in [
        ("w1", "198.18.0.10", Some("ebbtide i1 w1 g1")),
        ("*.w1", "198.18.0.10", Some("ebbtide i1 w1 g1")),
        ("w2", "198.18.0.11", Some("ebbtide i2 w2 g1")),
        ("www", "198.18.0.12", None),
    ] {
        let body = json!({"type": "A", "name": name, "content": content, "comment": comment});
        assert_eq!(world.dns("POST", "", body).0, 200);
    }
    for (query, expect) in [
        ("comment.startswith=ebbtide%20i1%20", vec!["w1", "*.w1"]),
        ("comment.exact=EBBTIDE%20i1%20w1%20g1", vec!["w1", "*.w1"]),
        ("comment=ebbtide%20i2%20w2%20g1", vec!["w2"]),
        ("comment.absent=", vec!["www"]),
        ("comment.contains=w2", vec!["w2"]),
        ("name=w1.ebb.localhost", vec!["w1"]),
        ("name.exact=*.w1.ebb.localhost", vec!["*.w1"]),
        ("name.endswith=w1.ebb.localhost", vec!["w1", "*.w1"]),
        ("content=198.18.0.10&type=A", vec!["w1", "*.w1"]),
        ("type=TXT", vec![]),
        ("match=any&name=www.ebb.localhost&content=198.18.0.11", vec!["w2", "www"]),
        ("order=content&direction=desc&per_page=1", vec!["www"]),
        ("search=0.11", vec!["w2"]),
    ] {
        let (status, body) = world.dns("GET", &format!("?{query}"), Value::Null);
        assert_eq!(status, 200, "{query}");
        let expect: Vec<String> = expect.iter().map(|name| format!("{name}.ebb.localhost")).collect();
        assert_eq!(ids(&body), expect, "{query}");
    }
}

#[test]
fn lists_are_paged() {
    let mut world = world();
    for n in 0..5 {
        world.a_record(&format!("w{n}"), "198.18.0.10");
    }
    let (_, body) = world.dns("GET", "?page=2&per_page=2", Value::Null);
    assert_eq!(ids(&body), ["w2.ebb.localhost", "w3.ebb.localhost"]);
    let info = json!({"page": 2, "per_page": 2, "count": 2, "total_count": 5, "total_pages": 3});
    assert_eq!(body["result_info"], info);
}

#[test]
fn a_batch_runs_deletes_patches_puts_posts() {
    let mut world = world();
    let first = world.a_record("a", "198.18.0.10");
    let second = world.a_record("b", "198.18.0.10");
    let batch = json!({
        "posts": [{"type": "A", "name": "a", "content": "198.18.0.10", "ttl": 60}],
        "patches": [{"id": second, "content": "198.18.0.99"}],
        "deletes": [{"id": first}],
    });
    let (status, body) = world.dns("POST", "/batch", batch);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["result"]["deletes"][0]["id"], first);
    assert_eq!(body["result"]["patches"][0]["content"], "198.18.0.99");
    assert_eq!(body["result"]["posts"][0]["name"], "a.ebb.localhost");
    assert_eq!(world.cloud.dns_records().count(), 2);
}

#[test]
fn a_batch_with_one_bad_change_changes_nothing() {
    let mut world = world();
    let first = world.a_record("a", "198.18.0.10");
    let batch =
        json!({"deletes": [{"id": first}], "posts": [{"type": "A", "name": "b", "content": "nonsense"}]});
    let (status, body) = world.dns("POST", "/batch", batch);
    assert_eq!((status, code(&body)), (400, 9005));
    assert_eq!(world.dns("GET", &format!("/{first}"), Value::Null).0, 200);
    let batch = json!({"deletes": [{"id": first}, {"id": "unknown"}]});
    assert_eq!(world.dns("POST", "/batch", batch).0, 404);
    assert_eq!(world.cloud.dns_records().count(), 1);
}

#[test]
fn a_batch_of_201_changes_is_refused() {
    let posts: Vec<Value> =
        (0..201).map(|n| json!({"type": "A", "name": format!("w{n}"), "content": "198.18.0.10"})).collect();
    let mut world = world();
    assert_eq!(world.dns("POST", "/batch", json!({"posts": posts})).0, 400);
    assert_eq!(world.cloud.dns_records().count(), 0);
    assert_eq!(world.dns("POST", "/batch", json!({"posts": posts[..200]})).0, 200);
}

#[test]
fn a_host_name_leads_to_the_server_whose_address_its_record_holds() {
    let mut world = world();
    let id = world.running_server("one");
    let address = world.cloud.server_ipv4(id).unwrap().to_string();
    world.a_record("w1", &address);
    world.a_record("*.w1", &address);
    for host in ["w1.ebb.localhost", "3000.w1.ebb.localhost", "a.b.W1.ebb.localhost."] {
        assert_eq!(world.cloud.resolve_server(host), Some(id), "{host}");
    }
    for host in ["w2.ebb.localhost", "ebb.localhost", "w1.example", "3000.w2.ebb.localhost"] {
        assert_eq!(world.cloud.resolve_server(host), None, "{host}");
    }
    world.hetzner("DELETE", &format!("/servers/{id}"), Value::Null);
    assert_eq!(world.cloud.resolve_server("w1.ebb.localhost"), None);
}

#[test]
fn a_record_at_or_below_a_name_ends_the_wildcard_above_it() {
    let mut world = world();
    world.a_record("*", "198.18.0.1");
    assert_eq!(world.cloud.resolve("ws1.ebb.localhost").len(), 1);
    world.dns("POST", "", json!({"type": "TXT", "name": "_acme-challenge.ws1", "content": "x"}));
    assert_eq!(world.cloud.resolve("ws1.ebb.localhost"), [] as [std::net::Ipv4Addr; 0]);
    assert_eq!(world.cloud.resolve("3000.ws1.ebb.localhost"), [] as [std::net::Ipv4Addr; 0]);
    assert_eq!(world.cloud.resolve("ws2.ebb.localhost").len(), 1);
}

#[test]
fn an_alias_is_followed_and_a_loop_is_not_for_ever() {
    let mut world = world();
    world.a_record("a", "198.18.0.1");
    for (name, content) in [("b", "a.ebb.localhost"), ("c", "d.ebb.localhost"), ("d", "c.ebb.localhost")] {
        world.dns("POST", "", json!({"type": "CNAME", "name": name, "content": content}));
    }
    assert_eq!(world.cloud.resolve("b.ebb.localhost").len(), 1);
    assert_eq!(world.cloud.resolve("c.ebb.localhost").len(), 0);
}
