//! What people and programs send that cannot be used. Each refusal has its status and stable code, a sentence and a
//! hint; nothing comes of it, neither at the vendors nor in the list.

use crate::common::{is_limited, quick_with, settled, without_machines_and};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, bail, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::Api;
use ebbtide_system_tests::http::Answer;
use ebbtide_system_tests::{Runner, Stack, wait};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

static SYSTEM: Turns = Turns::bringing_up(|| {
    // Whose proxy in front reads a body to its end, as Cloudflare's does: workerd alone hangs up on one that is too large.
    let policy = quick_with(json!({ "gone_after_create": "1s", "lifetime_ceiling": "48h" }));
    without_machines_and(Runner::Wrangler, "bad-input", policy)
});

/// How long a workspace without a machine may take from one rest to the next.
const LIMIT: Duration = Duration::from_secs(60);
/// An id of the right form that no workspace has.
const NOBODY: &str = "a2a2a2a2a2";

/// Everything that would show that something came of a request: servers, records, vendor calls that change something,
/// and the list of workspaces.
#[derive(Debug)]
struct World {
    servers: BTreeSet<u64>,
    records: usize,
    /// By their place in the vendors' journal, which forgets its oldest entries.
    changes: BTreeMap<u64, String>,
    listed: BTreeSet<String>,
}

fn world(stack: &Stack) -> Result<World> {
    let inventory = stack.cloud.inventory()?;
    let journal = stack.cloud.journal()?;
    let changes = journal.iter().filter(|entry| entry["method"] != "GET");
    Ok(World {
        servers: inventory.servers.iter().map(|server| server.id).collect(),
        records: inventory.dns_records.len(),
        changes: changes
            .filter_map(|entry| {
                Some((entry["seq"].as_u64()?, format!("{} {}", entry["method"], entry["path"])))
            })
            .collect(),
        listed: listed(&stack.api)?,
    })
}

/// What is different, for a failure's sentence; `None` where nothing is. What the journal has forgotten is no difference.
fn difference(before: &World, now: &World) -> Option<String> {
    let last = before.changes.last_key_value().map_or(0, |(seq, _)| *seq);
    let new: Vec<&String> = now.changes.range(last.saturating_add(1)..).map(|(_, change)| change).collect();
    let is_same = new.is_empty()
        && (&before.servers, before.records, &before.listed) == (&now.servers, now.records, &now.listed);
    (!is_same).then(|| {
        format!(
            "the vendors were told {new:?}; servers {:?} then {:?}, records {} then {}, workspaces {:?} then {:?}",
            before.servers, now.servers, before.records, now.records, before.listed, now.listed
        )
    })
}

/// The world once a run of the sweep has found nothing to do. What an earlier test left under way may still land when its
/// workspace is deleted already (a name, for one, whose request was given up under load), and the sweep then ends it.
fn rested(stack: &Stack) -> Result<World> {
    let look = || Ok::<_, anyhow::Error>((last_sweep(&stack.api)?, world(stack)?));
    let mut seen = look()?;
    wait::until("a run of the sweep that changes nothing", LIMIT, || {
        let now = look().map_err(|error| format!("{error:#}"))?;
        if now.0 == seen.0 {
            return Err(format!("the sweep has not run since {}", now.0));
        }
        let before = std::mem::replace(&mut seen, now);
        difference(&before.1, &seen.1).map_or(Ok(()), Err)
    })?;
    Ok(seen.1)
}

fn last_sweep(api: &Api) -> Result<Value> {
    Ok(api.call("GET", "/v1/sweep", None)?.expect(200)?.json()["last_run_at"].clone())
}

fn nothing_came_of_it(stack: &Stack, before: &World) -> Result<()> {
    match difference(before, &world(stack)?) {
        None => Ok(()),
        Some(difference) => bail!("something came of it: {difference}"),
    }
}

fn listed(api: &Api) -> Result<BTreeSet<String>> {
    let list = api.call("GET", "/v1/workspaces", None)?.expect(200)?.json();
    let ids = list["workspaces"].as_array().context("a list")?.iter();
    Ok(ids.filter_map(|workspace| workspace["id"].as_str()).map(str::to_owned).collect())
}

/// Checks that an answer is a refusal a person can do something with.
fn check(what: &str, answer: &Answer, status: u16, code: &str) -> Result<()> {
    let body = answer.json();
    ensure!(
        answer.status == status && body["code"] == code,
        "{what}: wanted {status} {code}, got {} {}",
        answer.status,
        answer.text()
    );
    for field in ["message", "hint", "request_id"] {
        let text = body[field].as_str().unwrap_or_default();
        ensure!(!text.is_empty(), "{what}: no {field} in {body}");
        ensure!(text.len() < 1_000, "{what}: {field} repeats what was sent: {} bytes", text.len());
    }
    Ok(())
}

/// Sends creations that must all be refused with a status and a code.
fn refused(stack: &Stack, status: u16, code: &str, requests: &[Value]) -> Result<()> {
    for request in requests {
        let answer = stack.api.call("POST", "/v1/workspaces", Some(request))?;
        let shown: String = request.to_string().chars().take(100).collect();
        check(&shown, &answer, status, code)?;
    }
    Ok(())
}

/// A workspace without a machine behind its server, at rest in `booting`: its names are made too.
fn booting(stack: &Stack, request: &Value) -> Result<String> {
    let id = stack.api.create(request)?.id.to_string();
    settled(stack, &id)?;
    Ok(id)
}

#[test]
fn unusable_fields_are_refused_by_name_and_nothing_is_created() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        let long = "a".repeat(10_000);
        let repo = |url: &str| json!({ "repo": url });
        refused(
            stack,
            422,
            "invalid_field",
            &[
                repo(""),
                repo("file:///etc"),
                repo("file:/etc/passwd"),
                repo("/etc"),
                repo("ext::sh -c id"),
                repo("ext::sh%20-c%20id"),
                repo("fd::17"),
                repo("--upload-pack=x"),
                repo("-oProxyCommand=id"),
                repo("ssh://-oProxyCommand=id/x"),
                repo("git@-oProxyCommand=id:x"),
                repo("git://example.org/x.git"),
                repo("ftp://example.org/x.git"),
                repo("https://"),
                repo("https://example.org"),
                repo("https://user:hunter2@example.org/x.git"),
                repo("https://ghp_hunter2@example.org/x.git"),
                repo("https://example.org/x\n.git"),
                repo("https://example.org/%0ax.git"),
                repo("https://exa mple.org/x.git"),
                repo("https://example.org:99999/x.git"),
                repo(&format!("https://example.org/{long}")),
                repo("http://169.254.169.254/hetzner/v1/metadata"),
                repo("http://10.0.0.1/x.git"),
                repo("http://127.0.0.1:8787/x.git"),
                repo("git@192.168.1.1:x.git"),
                repo("just words"),
            ],
        )?;
        let branch = |name: &str| json!({ "repo": "https://example.org/x.git", "branch": name });
        refused(
            stack,
            422,
            "invalid_field",
            &[
                branch(""),
                branch("--upload-pack=x"),
                branch("-b"),
                branch(&long),
                branch("a\u{0}b"),
                branch("a\u{1b}[31m"),
                branch("a\nb"),
                branch("a..b"),
                branch("HEAD"),
                branch("a b"),
                json!({ "branch": "main" }),
            ],
        )?;
        let name = |name: &str| json!({ "name": name });
        refused(
            stack,
            422,
            "invalid_field",
            &[
                name(""),
                name("Upper"),
                name("a--b"),
                name("-a"),
                name("a-"),
                name("a.b"),
                name("ä"),
                name(&long),
            ],
        )?;
        refused(
            stack,
            422,
            "invalid_field",
            &[
                json!({ "agents": "claude" }),
                json!({ "env": { "1A": "x" } }),
                json!({ "env": { "LD_PRELOAD": "hunter2" } }),
                json!({ "env": { "A": "hunter2\u{0}" } }),
                json!({ "env": { "A": 1 } }),
                json!({ "env": { "A": "x".repeat(17_000) } }),
                json!({ "on_unsaved": "pray" }),
                json!({ "persistence": "maybe" }),
            ],
        )?;
        refused(stack, 422, "not_built", &[json!({ "agents": ["aider"] })])?;
        refused(
            stack,
            422,
            "invalid_field",
            &[json!({ "agents": ["claude"] }), json!({ "agents": ["hal"] })],
        )?;
        nothing_came_of_it(stack, &before)?;
        Ok(())
    });
}

#[test]
fn a_refusal_never_repeats_a_credential() {
    SYSTEM.run(|stack| {
        for request in [
            json!({ "repo": "https://user:hunter2@example.org/x.git" }),
            json!({ "env": { "PATH": "hunter2" } }),
            json!({ "env": { "TOKEN": ["hunter2"] } }),
        ] {
            let answer = stack.api.call("POST", "/v1/workspaces", Some(&request))?;
            ensure!(answer.status == 422, "{request}: {}", answer.text());
            ensure!(!answer.text().contains("hunter2"), "{}", answer.text());
        }
        let log = std::fs::read_to_string(stack.log("worker"))?;
        ensure!(!log.contains("hunter2"), "the Worker's log holds a refused credential");
        Ok(())
    });
}

#[test]
fn an_unknown_size_or_location_is_answered_with_those_that_exist() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        for (request, offered) in [
            (json!({ "size": "cx99" }), "cx23"),
            (json!({ "size": "cx99", "location": "fsn1" }), "cx23"),
            (json!({ "location": "mars1" }), "fsn1"),
            (json!({ "size": "cx23", "location": "ash" }), "fsn1"),
            (json!({ "size": "../servers" }), "cx23"),
            (json!({ "size": "" }), "cx23"),
            (json!({ "size": "x".repeat(10_000) }), "cx23"),
        ] {
            let answer = stack.api.call("POST", "/v1/workspaces", Some(&request))?;
            let shown: String = request.to_string().chars().take(100).collect();
            check(&shown, &answer, 422, "invalid_field")?;
            let hint = answer.json()["hint"].to_string();
            ensure!(hint.contains(offered), "{shown}: the hint does not name {offered}: {hint}");
        }
        nothing_came_of_it(stack, &before)?;
        Ok(())
    });
}

#[test]
fn an_unusable_timeout_is_refused_and_not_replaced_by_a_default() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({ "name": "durations" }))?;
        let before = rested(stack)?;
        let shown = stack.api.get(&id)?;
        for field in ["idle_timeout", "lifetime"] {
            for value in [
                json!("soon"),
                json!(""),
                json!("-5m"),
                json!("0s"),
                json!("5s"),
                json!("1e9h"),
                json!("99999999999999999999h"),
                json!("400d"),
                json!("49h"),
                json!("1m".repeat(5_000)),
                json!(300),
                json!(0.5),
                json!(["5m"]),
                json!({ "secs": 300 }),
                json!(true),
            ] {
                let request = json!({ field: value });
                refused(stack, 422, "invalid_field", std::slice::from_ref(&request))?;
                let answer = stack.api.call("PATCH", &format!("/v1/workspaces/{id}"), Some(&request))?;
                check(
                    &format!("PATCH {}", &request.to_string()[..20.min(request.to_string().len())]),
                    &answer,
                    422,
                    "invalid_field",
                )?;
            }
        }
        let patch = format!("/v1/workspaces/{id}");
        check("PATCH {}", &stack.api.call("PATCH", &patch, Some(&json!({})))?, 422, "invalid_field")?;
        let unknown = json!({ "idle_timout": "5m" });
        check("PATCH", &stack.api.call("PATCH", &patch, Some(&unknown))?, 422, "unknown_field")?;
        let holds = format!("/v1/workspaces/{id}/holds");
        for hold in [
            json!({}),
            json!({ "for": "soon" }),
            json!({ "for": "0s" }),
            json!({ "for": "49h" }),
            json!({ "for": "5m", "reason": "x".repeat(5_000) }),
        ] {
            let what: String = hold.to_string().chars().take(60).collect();
            check(&what, &stack.api.call("POST", &holds, Some(&hold))?, 422, "invalid_field")?;
        }
        let now = stack.api.get(&id)?;
        ensure!((now.idle_timeout, now.lifetime) == (shown.idle_timeout, shown.lifetime), "{now:?}");
        ensure!(now.holds.is_empty(), "{:?}", now.holds);
        nothing_came_of_it(stack, &before)?;
        discarded(stack, &id)
    });
}

#[test]
fn broken_bodies_are_refused_with_the_place_of_the_fault() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let deep_field = format!(r#"{{"name":{deep}}}"#);
        let large = format!(r#"{{"name":"{}"}}"#, "a".repeat(70_000));
        let huge = format!(r#"{{"name":"{}"}}"#, "a".repeat(3_000_000));
        let cases: &[(&[u8], u16, &str)] = &[
            (b"{", 400, "bad_json"),
            (b"{\"name\":", 400, "bad_json"),
            (b"{name: 1}", 400, "bad_json"),
            (b"{} {}", 400, "bad_json"),
            (b"[]", 400, "bad_json"),
            (b"null", 400, "bad_json"),
            (b"\"x\"", 400, "bad_json"),
            (b"17", 400, "bad_json"),
            (b"<workspace/>", 400, "bad_json"),
            (b"name=x&repo=y", 400, "bad_json"),
            (b"{\"name\":\"\xff\xfe\"}", 400, "bad_json"),
            (b"\x1f\x8b\x08\x00", 400, "bad_json"),
            (deep.as_bytes(), 400, "bad_json"),
            (b"{\"naem\":\"x\"}", 422, "unknown_field"),
            (b"{\"name\":\"x\",\"tenant\":\"other\"}", 422, "unknown_field"),
            (b"{\"name\":\"x\",\"name\":\"y\"}", 422, "invalid_field"),
            (b"{\"name\":1}", 422, "invalid_field"),
            (large.as_bytes(), 413, "body_too_large"),
            (huge.as_bytes(), 413, "body_too_large"),
        ];
        for (body, status, code) in cases {
            let shown: String = String::from_utf8_lossy(body).chars().take(60).collect();
            let headers = [("content-type", "application/json")];
            let answer = stack.api.raw("POST", "/v1/workspaces", &headers, Some(body))?;
            check(&shown, &answer, *status, code)?;
        }
        // What is wrong in which way depends on the parser; that it is refused does not.
        let answer = stack.api.raw("POST", "/v1/workspaces", &[], Some(deep_field.as_bytes()))?;
        ensure!(matches!(answer.status, 400 | 422), "{} {}", answer.status, answer.text());
        nothing_came_of_it(stack, &before)?;
        Ok(())
    });
}

#[test]
fn without_the_right_token_nothing_is_shown_and_guessing_is_slowed_down() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        let id = before.listed.iter().next().cloned().unwrap_or_else(|| NOBODY.to_owned());
        let anybody = stack.api.with_token("");
        let paths = [
            ("GET", "/v1/workspaces".to_owned()),
            ("POST", "/v1/workspaces".to_owned()),
            ("GET", format!("/v1/workspaces/{id}")),
            ("DELETE", format!("/v1/workspaces/{id}")),
            ("POST", format!("/v1/workspaces/{id}/wake")),
            ("GET", format!("/v1/workspaces/{id}/events")),
            ("GET", format!("/v1/workspaces/{id}/log")),
            ("GET", format!("/v1/workspaces/{id}/restic/config")),
            ("GET", "/v1/catalog".to_owned()),
            ("GET", "/v1/keys".to_owned()),
            ("POST", "/v1/keys".to_owned()),
            ("GET", "/v1/audit".to_owned()),
            ("PUT", format!("/v1/vm/agent/{}", "0".repeat(64))),
            ("POST", "/v1/vm/heartbeat".to_owned()),
            ("POST", "/v1/vm/drained".to_owned()),
            ("GET", "/v1/vm/backup/config".to_owned()),
        ];
        for (method, path) in &paths {
            let body: Option<&[u8]> = matches!(*method, "POST" | "PUT").then_some(b"{}");
            let answer = anybody.raw(method, path, &[], body)?;
            check(&format!("{method} {path} without a token"), &answer, 401, "unauthorized")?;
        }
        // The owner's token is no machine's.
        let answer = stack.api.call("POST", "/v1/vm/heartbeat", Some(&json!({})))?;
        check("a heartbeat with the owner's token", &answer, 401, "unauthorized")?;
        let nearly = &stack.owner_token[..stack.owner_token.len() - 1];
        for token in ["wrong", nearly, "ebk_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaa", "eyJhbGciOiJub25lIn0.e30."] {
            let answer = stack.api.with_token(token).call("GET", "/v1/workspaces", None)?;
            check(&format!("the token {}", &token[..5]), &answer, 401, "unauthorized")?;
        }
        let basic = [("authorization", "Basic b3duZXI6d3Jvbmc=")];
        check("Basic", &anybody.raw("GET", "/v1/workspaces", &basic, None)?, 401, "unauthorized")?;
        let slowed = wait::until("a guesser to be slowed down", LIMIT, || {
            let guess = stack.api.with_token("another-wrong-token").call("GET", "/v1/workspaces", None);
            let answer = guess.map_err(|error| format!("{error:#}"))?;
            if answer.status == 429 { Ok(answer) } else { Err(answer.status.to_string()) }
        })?;
        check("guessing", &slowed, 429, "rate_limited")?;
        ensure!(slowed.header("retry-after").is_some(), "{:?}", slowed.headers);
        is_limited(&anybody)?;
        // The owner, from the same address, gets in all the same.
        nothing_came_of_it(stack, &before)?;
        Ok(())
    });
}

#[test]
fn unknown_paths_methods_and_ids_are_told_apart() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        for (method, path) in [
            ("PUT", "/v1/workspaces"),
            ("DELETE", "/v1/workspaces"),
            ("PATCH", "/v1/workspaces"),
            ("GET", &format!("/v1/workspaces/{NOBODY}/sleep")),
            ("PUT", &format!("/v1/workspaces/{NOBODY}")),
            ("POST", "/health"),
            ("DELETE", "/v1/catalog"),
            ("GET", "/v1/vm/enroll"),
        ] {
            let body: Option<&[u8]> = matches!(method, "POST" | "PUT" | "PATCH").then_some(b"{}");
            let answer = stack.api.raw(method, path, &[], body)?;
            check(&format!("{method} {path}"), &answer, 405, "method_not_allowed")?;
            ensure!(answer.header("allow").is_some_and(|allow| !allow.is_empty()), "{:?}", answer.headers);
        }
        for path in [
            "/v1",
            "/v1/",
            "/v1/nothing",
            "/v1/workspaces/",
            "/v1/workspaces//events",
            "/v1/workspaces/a/b/c",
            "/v1/vm",
            "/v1/vm/nothing",
        ] {
            check(path, &stack.api.call("GET", path, None)?, 404, "not_found")?;
        }
        for id in [NOBODY, "x", "..%2f..%2fetc", "%00", "a2a2a2a2a2%20", "A2A2A2A2A2", &"a".repeat(5_000)] {
            let path = format!("/v1/workspaces/{id}");
            check(&path[..30.min(path.len())], &stack.api.call("GET", &path, None)?, 404, "not_found")?;
        }
        let hold = json!({ "for": "5m" });
        let link = json!({ "for": "5m" });
        let access = json!({ "access": "public" });
        let none = json!({});
        for (method, rest, body) in [
            ("PATCH", "", Some(&json!({ "idle_timeout": "5m" }))),
            ("DELETE", "", None),
            ("DELETE", "?discard=true", None),
            ("POST", "/sleep", Some(&none)),
            ("POST", "/wake", Some(&none)),
            ("POST", "/retry", Some(&none)),
            ("POST", "/undelete", Some(&none)),
            ("POST", "/holds", Some(&hold)),
            ("DELETE", "/holds/abc", None),
            ("GET", "/events", None),
            ("GET", "/log", None),
            ("GET", "/ports", None),
            ("PUT", "/ports/3000", Some(&access)),
            ("POST", "/ports/3000/link", Some(&link)),
            ("GET", "/snapshots", None),
            ("POST", "/snapshots", Some(&none)),
            ("GET", "/restic/config", None),
            ("GET", "/restic/keys/", None),
        ] {
            let path = format!("/v1/workspaces/{NOBODY}{rest}");
            check(&format!("{method} {path}"), &stack.api.call(method, &path, body)?, 404, "not_found")?;
        }
        nothing_came_of_it(stack, &before)?;
        Ok(())
    });
}

#[test]
fn wishes_that_make_no_sense_for_a_live_workspace_change_nothing() {
    SYSTEM.run(|stack| {
        let id = booting(stack, &json!({ "name": "sensible" }))?;
        let before = (rested(stack)?, stack.api.get(&id)?);
        let access = json!({ "access": "public" });
        let forever = json!({ "for": "8d" });
        let link = json!({ "for": "5m" });
        let absent = json!({ "snapshot": "ab".repeat(32) });
        let odd = json!({ "snapshot": "../../config" });
        let (none, unknown, list) = (json!({}), json!({ "force": true }), json!([1]));
        let invalid = (422, "invalid_field");
        let wrong_state = (409, "wrong_state");
        let not_found = (404, "not_found");
        for (method, rest, body, (status, code)) in [
            ("GET", "?wait=breakfast", None, invalid),
            ("GET", "?wait=ready&timeout=soon", None, invalid),
            ("GET", "/events?after=-1", None, invalid),
            ("GET", "/events?after=yesterday", None, invalid),
            ("DELETE", "?discard=perhaps", None, invalid),
            ("PUT", "/ports/0", Some(&access), invalid),
            ("PUT", "/ports/22", Some(&access), invalid),
            ("PUT", "/ports/2019", Some(&access), invalid),
            ("PUT", "/ports/3001", Some(&access), invalid),
            ("PUT", "/ports/65536", Some(&access), invalid),
            ("PUT", "/ports/-1", Some(&access), invalid),
            ("PUT", "/ports/http", Some(&access), invalid),
            ("PUT", "/ports/3000", Some(&link), (422, "unknown_field")),
            ("POST", "/ports/3000/link", Some(&forever), invalid),
            ("POST", "/ports/3000/link", Some(&none), invalid),
            ("POST", "/ports/22/link", Some(&link), invalid),
            ("POST", "/wake", Some(&absent), not_found),
            ("POST", "/wake", Some(&odd), not_found),
            ("POST", "/wake", Some(&unknown), (422, "unknown_field")),
            ("POST", "/sleep", Some(&unknown), (422, "unknown_field")),
            ("POST", "/sleep", Some(&list), (400, "bad_json")),
            ("POST", "/retry", Some(&none), wrong_state),
            ("POST", "/undelete", Some(&none), wrong_state),
            ("POST", "/snapshots", Some(&none), wrong_state),
            ("DELETE", "/holds/nobody-s", None, not_found),
            ("DELETE", "/holds/..%2f..", None, not_found),
        ] {
            let path = format!("/v1/workspaces/{id}{rest}");
            check(&format!("{method} {rest}"), &stack.api.call(method, &path, body)?, status, code)?;
        }
        let cursor = stack.api.call("GET", "/v1/workspaces?cursor=garbage", None)?;
        check("a cursor", &cursor, 422, "invalid_field")?;
        let now = (world(stack)?, stack.api.get(&id)?);
        ensure!(
            difference(&before.0, &now.0).is_none(),
            "something came of it: {:?}",
            difference(&before.0, &now.0)
        );
        ensure!(
            (now.1.state, now.1.generation, &now.1.since)
                == (before.1.state, before.1.generation, &before.1.since),
            "{:?}",
            now.1
        );
        discarded(stack, &id)
    });
}

fn create_with_key(api: &Api, key: &str, body: &Value) -> Result<Answer> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    api.raw("POST", "/v1/workspaces", &headers, Some(body.to_string().as_bytes()))
}

#[test]
fn a_creation_sent_twice_with_its_key_is_one_workspace() {
    SYSTEM.run(|stack| {
        let before = listed(&stack.api)?;
        let body = json!({ "name": "once" });
        let first = create_with_key(&stack.api, "the-same-key", &body)?.expect(202)?;
        let again = create_with_key(&stack.api, "the-same-key", &body)?.expect(202)?;
        ensure!(first.body == again.body, "{} then {}", first.text(), again.text());
        ensure!(again.header("idempotent-replay") == Some("true"), "{:?}", again.headers);
        let other = create_with_key(&stack.api, "the-same-key", &json!({ "name": "other" }))?;
        check("another body", &other, 409, "idempotency_mismatch")?;
        for key in ["", &"k".repeat(201), "tab\there"] {
            let answer = create_with_key(&stack.api, key, &body)?;
            check(&format!("key {key:?}"), &answer, 422, "invalid_field")?;
        }
        // A refusal leaves the key free for the corrected request.
        let bad = create_with_key(&stack.api, "free-again", &json!({ "name": "Bad" }))?;
        check("a bad name", &bad, 422, "invalid_field")?;
        let corrected = create_with_key(&stack.api, "free-again", &body)?.expect(202)?;
        let mut made = listed(&stack.api)?;
        made.retain(|id| !before.contains(id));
        ensure!(made.len() == 2, "{made:?}");
        for answer in [first, corrected] {
            let id = answer.json()["id"].as_str().context("an id")?.to_owned();
            stack.api.wait_for(&id, State::Booting, LIMIT)?;
            discarded(stack, &id)?;
        }
        Ok(())
    });
}

#[test]
fn twenty_creations_at_once_with_one_key_are_one_workspace_and_one_server() {
    SYSTEM.run(|stack| {
        let before = rested(stack)?;
        let body = json!({ "name": "crowd" });
        let api = &stack.api;
        let answers: Vec<Result<Answer>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..20).map(|_| scope.spawn(|| create_with_key(api, "a-crowd", &body))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic in a request")).collect()
        });
        let mut ids = BTreeSet::new();
        for answer in answers {
            let answer = answer?;
            match answer.status {
                202 => drop(ids.insert(answer.json()["id"].to_string())),
                409 => check("one of a crowd", &answer, 409, "idempotency_in_progress")?,
                _ => bail!("{} {}", answer.status, answer.text()),
            }
        }
        let last = create_with_key(api, "a-crowd", &body)?.expect(202)?;
        ids.insert(last.json()["id"].to_string());
        ensure!(ids.len() == 1, "{ids:?}");
        let id = last.json()["id"].as_str().context("an id")?.to_owned();
        api.wait_for(&id, State::Booting, LIMIT)?;
        let after = world(stack)?;
        let made: Vec<_> = after.listed.difference(&before.listed).collect();
        ensure!(made == [&id], "{made:?}");
        ensure!(after.servers.difference(&before.servers).count() == 1, "{:?}", after.servers);
        discarded(stack, &id)
    });
}
