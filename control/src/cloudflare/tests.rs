//! One short test per outcome. Fixtures have the shapes of the provider's API and values of our own.

use super::*;
use crate::http::script::{BASE, Script, finish, json, lost, refused_connection};
use crate::http::{HttpResponse, Retry};
use jiff::Timestamp;
use serde_json::Value;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../tests/fixtures/cloudflare/", $name, ".json"))
    };
}

const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const NAME: &str = "demo-k3v7q2mzab.example.dev";

fn client(script: &Script) -> Cloudflare<&Script> {
    Cloudflare::new(script, BASE, "hunter2".into())
}

fn spec() -> RecordSpec {
    RecordSpec::a(NAME, "203.0.113.7".parse().unwrap(), 60, "ebbtide home k3v7q2mzab g3")
}

fn id(number: u128) -> RecordId {
    RecordId(format!("{number:032x}"))
}

type Scripted = Result<HttpResponse, HttpError>;

fn ensure(answers: impl IntoIterator<Item = Scripted>) -> (Result<EnsureRecord, Failure>, Vec<String>) {
    let script = Script::new(answers);
    let outcome = finish(client(&script).ensure_record(ZONE, &spec()));
    let lines =
        script.lines().iter().map(|line| line.replace(&format!("/zones/{ZONE}/dns_records"), "…")).collect();
    (outcome, lines)
}

fn create(status: u16, body: &str) -> Result<CreateRecord, Failure> {
    let script = Script::new([json(status, body)]);
    finish(client(&script).create_record(ZONE, &spec()))
}

fn delete(status: u16, body: &str) -> Result<DeleteRecord, Failure> {
    let script = Script::new([json(status, body)]);
    finish(client(&script).delete_record(ZONE, &id(1)))
}

const LOOK: &str = "GET …?name=demo-k3v7q2mzab.example.dev&page=1&per_page=100";

#[test]
fn a_record_is_created_with_the_documented_request() {
    let script = Script::new([json(200, fixture!("record"))]);
    let outcome = finish(client(&script).create_record(ZONE, &spec()));
    assert!(matches!(outcome, Ok(CreateRecord::Created(record)) if record.id == id(1)));
    assert_eq!(script.lines(), [format!("POST /zones/{ZONE}/dns_records")]);
    assert_eq!(script.body(0), serde_json::from_str::<Value>(fixture!("record.request")).unwrap());
    assert_eq!(script.header(0, "authorization").as_deref(), Some("Bearer hunter2"));
}

#[test]
fn each_refusal_has_its_name() {
    assert_eq!(create(400, fixture!("error.identical")), Ok(CreateRecord::AlreadyExists));
    assert_eq!(create(400, fixture!("error.exists")), Ok(CreateRecord::AlreadyExists));
    assert!(matches!(create(400, fixture!("error.quota")), Err(Failure::QuotaReached(_))));
    assert!(matches!(create(403, fixture!("error.auth")), Err(Failure::Auth(_))));
    assert!(matches!(create(401, ""), Err(Failure::Auth(_))));
    assert!(matches!(create(404, fixture!("error.no_zone")), Err(Failure::Auth(_))));
    assert!(matches!(create(400, fixture!("error.invalid")), Err(Failure::Other(_))));
    assert!(matches!(create(200, fixture!("error.invalid")), Err(Failure::Other(_))), "no within a 200");
    assert!(matches!(create(400, fixture!("error.rate")), Err(Failure::RateLimited { .. })));
    assert!(matches!(create(502, "<html>"), Err(Failure::Unknown { .. })));
    assert!(matches!(create(404, "<html>"), Err(Failure::Unknown { .. })));
    assert!(matches!(create(200, "{\"success\":true"), Err(Failure::Unknown { .. })));
}

#[test]
fn what_may_have_landed_and_when_to_try_again() {
    let now = Timestamp::from_second(1_000).unwrap();
    let script = Script::new([lost(), refused_connection()]);
    let failure = finish(client(&script).create_record(ZONE, &spec())).unwrap_err();
    assert_eq!((failure.may_have_landed(), failure.retry(now)), (true, Retry::Backoff));
    let failure = finish(client(&script).create_record(ZONE, &spec())).unwrap_err();
    assert_eq!((failure.may_have_landed(), failure.retry(now)), (false, Retry::Backoff));

    let mut answer = json(429, "").unwrap();
    answer.headers = vec![("Retry-After".into(), "60".into())];
    let script = Script::new([Ok(answer)]);
    let failure = finish(client(&script).create_record(ZONE, &spec())).unwrap_err();
    assert_eq!(failure.retry(now), Retry::At(Timestamp::from_second(1_060).unwrap()));
    assert_eq!(create(400, fixture!("error.quota")).unwrap_err().retry(now), Retry::Later);
    assert_eq!(create(403, fixture!("error.auth")).unwrap_err().retry(now), Retry::Never);
    let endless = Failure::RateLimited { retry_after_secs: Some(u64::MAX) };
    assert_eq!(endless.retry(now), Retry::Later);
}

#[test]
fn a_zone_with_records_of_unknown_types_is_still_listed() {
    let script = Script::new([json(200, fixture!("list.strange_zone"))]);
    let filter = RecordFilter::CommentPrefix("ebbtide home ".into());
    let records = finish(client(&script).list_records(ZONE, &filter)).unwrap();
    let ids: Vec<&RecordId> = records.iter().map(|record| &record.id).collect();
    assert_eq!(ids, [&id(1)], "whose comment starts exactly so, case included");
    assert_eq!(
        script.lines(),
        [format!("GET /zones/{ZONE}/dns_records?comment.startswith=ebbtide+home+&page=1&per_page=100")]
    );
}

#[test]
fn a_listing_covers_all_pages_or_fails() {
    let filter = RecordFilter::CommentPrefix("ebbtide home ".into());
    let script = Script::new([json(200, fixture!("list.page1")), json(200, fixture!("list.page2"))]);
    assert_eq!(finish(client(&script).list_records(ZONE, &filter)).unwrap().len(), 2);

    let script = Script::new([json(200, fixture!("list.page1")), json(500, "")]);
    assert!(finish(client(&script).list_records(ZONE, &filter)).is_err());

    let endless = fixture!("list.page1").replace("\"total_pages\": 2", "\"total_pages\": 9999");
    let script = Script::new((0..35).map(|_| json(200, &endless)));
    assert!(finish(client(&script).list_records(ZONE, &filter)).is_err());
}

#[test]
fn a_missing_record_is_created() {
    let (outcome, lines) = ensure([json(200, fixture!("list.empty")), json(200, fixture!("record"))]);
    assert!(matches!(outcome, Ok(EnsureRecord::Created(_))));
    assert_eq!(lines, [LOOK, "POST …"]);
}

#[test]
fn a_record_that_is_right_is_kept() {
    let (outcome, lines) = ensure([json(200, fixture!("list.one"))]);
    assert!(matches!(outcome, Ok(EnsureRecord::Kept(_))));
    assert_eq!(lines, [LOOK]);
}

#[test]
fn a_create_whose_answer_was_lost_is_adopted() {
    let (outcome, _) = ensure([json(200, fixture!("list.empty")), lost()]);
    assert!(outcome.unwrap_err().may_have_landed());
    let (outcome, lines) = ensure([json(200, fixture!("list.one"))]);
    assert!(matches!(outcome, Ok(EnsureRecord::Kept(_))), "the second run finds it");
    assert_eq!(lines.len(), 1);
    let (outcome, lines) = ensure([
        json(200, fixture!("list.empty")),
        json(400, fixture!("error.identical")),
        json(200, fixture!("list.one")),
    ]);
    assert!(matches!(outcome, Ok(EnsureRecord::Kept(_))), "or the refusal leads to it");
    assert_eq!(lines, [LOOK, "POST …", LOOK]);
}

#[test]
fn a_refusal_for_a_record_that_is_not_listed_is_no_success() {
    let (outcome, _) = ensure([
        json(200, fixture!("list.empty")),
        json(400, fixture!("error.exists")),
        json(200, fixture!("list.empty")),
    ]);
    assert!(matches!(outcome, Err(Failure::Unknown { .. })));
}

#[test]
fn records_of_older_machines_are_changed_and_doubles_deleted() {
    let (outcome, lines) = ensure([
        json(200, fixture!("list.older_generation")),
        json(200, fixture!("deleted")),
        json(200, fixture!("record")),
    ]);
    assert!(matches!(outcome, Ok(EnsureRecord::Updated(record)) if record.content == "203.0.113.7"));
    let (first, second) = (id(1), id(2));
    assert_eq!(lines, [LOOK.to_owned(), format!("DELETE …/{second}"), format!("PATCH …/{first}")]);
}

#[test]
fn somebody_elses_record_is_left_alone() {
    let (outcome, lines) = ensure([json(200, fixture!("list.foreign"))]);
    assert!(matches!(outcome, Ok(EnsureRecord::Foreign(_))));
    assert_eq!(lines, [LOOK]);
    let other_install = fixture!("list.one").replace("ebbtide home ", "ebbtide work ");
    assert!(matches!(ensure([json(200, &other_install)]).0, Ok(EnsureRecord::Foreign(_))));
    let other_workspace = fixture!("list.one").replace("ebbtide home k3v7q2mzab", "ebbtide home aaaaaaaaaa");
    assert!(matches!(ensure([json(200, &other_workspace)]).0, Ok(EnsureRecord::Foreign(_))));
}

#[test]
fn a_text_record_at_the_name_is_in_nobodys_way() {
    let (outcome, _) = ensure([json(200, fixture!("list.txt_beside")), json(200, fixture!("record"))]);
    assert!(matches!(outcome, Ok(EnsureRecord::Created(_))));
}

#[test]
fn deleting_a_record_that_is_gone_is_done() {
    assert_eq!(delete(200, fixture!("deleted")), Ok(DeleteRecord::Deleted));
    assert_eq!(delete(404, fixture!("error.not_found")), Ok(DeleteRecord::Gone));
    assert_eq!(delete(400, fixture!("error.not_found")), Ok(DeleteRecord::Gone));
}

#[test]
fn a_404_of_a_proxy_or_of_another_zone_is_not_gone() {
    assert!(matches!(delete(404, fixture!("error.no_zone")), Err(Failure::Auth(_))));
    assert!(matches!(delete(404, "<html>not found</html>"), Err(Failure::Unknown { .. })));
    assert!(matches!(delete(404, ""), Err(Failure::Unknown { .. })));
}

#[test]
fn several_changes_are_made_in_one_call() {
    let script = Script::new([json(200, fixture!("batch.answer")), json(400, fixture!("error.not_found"))]);
    let batch = Batch { deletes: vec![id(1)], posts: vec![spec()] };
    let done = finish(client(&script).batch(ZONE, &batch)).unwrap();
    assert_eq!((done.deletes.len(), done.posts.len()), (1, 1));
    assert_eq!(script.lines(), [format!("POST /zones/{ZONE}/dns_records/batch")]);
    assert_eq!(script.body(0), serde_json::from_str::<Value>(fixture!("batch.request")).unwrap());
    assert!(matches!(finish(client(&script).batch(ZONE, &batch)), Err(Failure::NotFound(_))));
}
