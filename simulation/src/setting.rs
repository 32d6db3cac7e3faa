//! What a walk begins with, and the spells of trouble that may come over its providers.

use super::cloud::{Outside, Spell, servers_url};
use super::faults::{Dice, Kind};
use super::{EPOCH_MS, MINUTE_MS, at};
use ebbtide_api::backups::Persistence;
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::workspace::{OnUnsaved, RescueChoice};
use ebbtide_api::{Duration, Generation, TenantId, WorkspaceId};
use ebbtide_cloud_sim::model::{CapacityShape, FaultKind, MachineFault, Provider, Request, Rule};
use ebbtide_control::names;
use ebbtide_control::policy::Policy;
use ebbtide_control::record::{Ingress, NewWorkspace, Placement, Record, Spec};

/// Durations of the walks: short, so that every deadline is met in each.
pub fn policy() -> Policy {
    Policy {
        drain_ceiling: Duration::from_mins(30),
        rescue_ceiling: Duration::from_mins(10),
        silence_budget: Duration::from_mins(40),
        undo: Duration::from_mins(30),
        ..Policy::default()
    }
}

/// A workspace that was just asked for.
pub fn record(dice: &mut Dice) -> Record {
    let mut rng = dice.plain(0);
    let placement =
        |size: &str, location: &str| Placement { size: size.to_owned(), location: location.to_owned() };
    let spec = Spec {
        repo: Some("https://example.org/r.git".to_owned()),
        branch: None,
        wish: None,
        shape: None,
        placement: placement("cx23", "fsn1"),
        fallbacks: match dice.strike(Kind::Setting, 500) {
            Some(_) => vec![placement("cx33", "nbg1")],
            None => vec![],
        },
        image: "debian-12".to_owned(),
        agents: vec![],
        docker: false,
        idle_timeout: Duration::from_mins(10),
        lifetime: Duration::from_mins(rng.u64(20..180)),
        ingress: Ingress::Direct,
        on_unsaved: match dice.strike(Kind::Setting, 100) {
            Some(_) => OnUnsaved::Hold,
            None => OnUnsaved::Destroy,
        },
        rescue_image: match dice.strike(Kind::Setting, 50) {
            Some(_) => RescueChoice::Refuse,
            None => RescueChoice::Take,
        },
        persistence: match dice.strike(Kind::Setting, 50) {
            Some(_) => Persistence::None,
            None => Persistence::Backup,
        },
        env: vec![],
        secrets: SecretChoice::Everywhere,
        ssh: false,
        retention: None,
    };
    let id = WorkspaceId::from_random(rng.u64(..));
    let host = format!("r-{id}.ebb.localhost");
    let new =
        NewWorkspace { id, tenant: TenantId::owner(), name: "r".to_owned(), host, spec, worst_case: None };
    Record::new(new, at(0))
}

/// Puts a server of another installation into the project, with the same workspace and generation on its labels.
pub fn neighbour(record: &Record, outside: &mut Outside, dice: &mut Dice) {
    if dice.strike(Kind::Setting, 50).is_none() {
        return;
    }
    let labels = names::labels("somebody-else", &record.tenant, &record.id, Generation(1), at(0));
    let body = serde_json::json!({
        "name": "not-ours", "server_type": "cx23", "image": "debian-12", "location": "fsn1", "labels": labels,
    });
    let request = Request::new("POST", &servers_url()).header("authorization", "Bearer hetzner-token");
    let (answer, _) = outside.cloud.borrow_mut().apply(&request.json(&body), EPOCH_MS);
    outside.neighbour = answer.json()["server"]["id"].as_u64();
}

/// The token is one of another project of the same account: nothing of ours is there.
pub const OTHER_PROJECT: &str = "a token of another project";

/// A spell of trouble: what it is called, and what it does. `None` where it concerns no provider.
pub fn trouble(rng: &mut fastrand::Rng, now_ms: i64) -> (&'static str, Option<Spell>, i64) {
    let (hetzner, cloudflare) = (Provider::Hetzner, Provider::Cloudflare);
    let refuse = |status, code: &str| FaultKind::Refuse {
        status,
        code: code.to_owned(),
        message: code.replace('_', " "),
    };
    let down = || refuse(503, "unavailable");
    let capacity = |shape| Rule::new(FaultKind::Capacity { shape }).on(hetzner, "POST", "/servers");
    let all = Rule::new;
    let landed = |status| FaultKind::LandedThenError { status };
    let short_ms = rng.i64(1..25) * MINUTE_MS;
    let long_ms = rng.i64(30..360) * MINUTE_MS;
    let (name, rule, per_mille, lasts_ms) = match rng.u32(..29) {
        0 => ("everything down", all(down()), 1000, short_ms),
        1 => ("create lands, answers 500", all(landed(500)).on(hetzner, "POST", "/servers"), 700, short_ms),
        2 => {
            let rule = all(FaultKind::LostResponse).on(hetzner, "POST", "/servers");
            ("create lands, answer lost", rule, 700, short_ms)
        }
        3 => ("requests lost", all(FaultKind::LostRequest), 400, short_ms),
        4 => ("answers lost", all(FaultKind::LostResponse), 400, short_ms),
        5 => ("sold out (412)", capacity(CapacityShape::ResourceUnavailable), 1000, short_ms),
        6 => ("sold out (422)", capacity(CapacityShape::UnsupportedLocation), 1000, short_ms),
        7 => ("project limit", capacity(CapacityShape::ResourceLimitExceeded), 1000, short_ms),
        8 => {
            let rule = all(refuse(423, "locked")).on(hetzner, "DELETE", "/servers/*");
            ("servers locked", rule, 1000, short_ms)
        }
        9 => ("429", all(FaultKind::RateLimited { retry_after_secs: 30 }), 700, short_ms),
        10 => ("names cannot be written", all(down()).on(cloudflare, "POST", "/**"), 1000, short_ms),
        11 => {
            ("delete lands, answers 502", all(landed(502)).on(hetzner, "DELETE", "/servers/*"), 700, short_ms)
        }
        12 => {
            let rule = all(refuse(404, "not_found")).on(hetzner, "PUT", "/servers/*");
            ("false not-found on writing", rule, 500, short_ms)
        }
        13 => {
            let rule = all(refuse(404, "not_found")).on(hetzner, "GET", "/servers/*");
            ("false not-found on reading", rule, 500, short_ms)
        }
        14 => ("answers after the time-out", all(FaultKind::Slow { ms: 30_000 }), 300, short_ms),
        15 => ("calls land twice", all(FaultKind::Duplicate), 300, short_ms),
        16 => {
            let rule = all(down()).on(hetzner, "DELETE", "/servers/*");
            ("every deletion refused for hours", rule, 1000, long_ms)
        }
        17 => (
            "no image can be asked for",
            all(down()).on(hetzner, "POST", "/servers/*/actions/*"),
            1000,
            long_ms,
        ),
        18 => ("names cannot be deleted", all(down()).on(cloudflare, "DELETE", "/**"), 1000, short_ms),
        19 => ("answers are no JSON", all(FaultKind::Garbage), 300, short_ms),
        20 => return ("storage refuses", None, now_ms + short_ms),
        21 => return ("a cap is reached", None, now_ms + long_ms),
        22 => {
            let rule = all(refuse(404, "not_found")).on(hetzner, "GET", "/images/*");
            ("false not-found of an image", rule, 500, short_ms)
        }
        24 => {
            let full = refuse(403, "resource_limit_exceeded");
            let rule = all(full).on(hetzner, "POST", "/servers/*/actions/create_image");
            ("no room for an image", rule, 1000, long_ms)
        }
        // Complete or not, nobody hears of it before the rescue has had its time.
        25 => ("images are done unheard", all(down()).on(hetzner, "GET", "/images/*"), 1000, long_ms),
        26 => {
            let fault = FaultKind::Machine { fault: MachineFault::FailOneStart };
            ("servers are not started", all(fault).on(hetzner, "POST", "/servers"), 1000, long_ms)
        }
        27 => {
            let fault = FaultKind::Machine { fault: MachineFault::FailStarts };
            ("servers cannot be started", all(fault).on(hetzner, "POST", "/servers"), 600, long_ms)
        }
        23 => return (OTHER_PROJECT, None, now_ms + long_ms),
        _ => return ("many silent at once", None, now_ms + short_ms),
    };
    let until_ms = now_ms + lasts_ms;
    (name, Some(Spell { rule, per_mille, until_ms }), until_ms)
}
