//! The façade over machines that only write down what was asked of them.

use std::{sync::Mutex, time::Instant};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::broadcast};

use super::*;
use crate::{
    machines::{self, MachineError, MachineEvent, MachineSpec, Usage},
    model::{MachineFault, Request},
};

struct Recorder {
    calls: Mutex<Vec<String>>,
    events: broadcast::Sender<MachineEvent>,
    image_fails: bool,
}

impl Recorder {
    fn new(image_fails: bool) -> Arc<Self> {
        let events = broadcast::channel(8).0;
        Arc::new(Self { calls: Mutex::default(), events, image_fails })
    }

    fn note(&self, call: String) -> Result<(), MachineError> {
        self.calls.lock().unwrap().push(call);
        Ok(())
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

#[async_trait]
impl Machines for Recorder {
    async fn power_on(&self, spec: &MachineSpec) -> Result<(), MachineError> {
        let from = spec.disk_from.map_or(String::new(), |_| " from an image".to_owned());
        self.note(format!("on {}{from}", spec.name))
    }
    async fn power_off(&self, _: u64) -> Result<(), MachineError> {
        self.note("off".into())
    }
    async fn destroy(&self, _: u64) -> Result<(), MachineError> {
        self.note("destroy".into())
    }
    async fn save_image(&self, server_id: u64, _: u64) -> Result<(), MachineError> {
        self.note("save".into())?;
        if self.image_fails { Err(MachineError::NoDisk(server_id)) } else { Ok(()) }
    }
    async fn delete_image(&self, _: u64) -> Result<(), MachineError> {
        self.note("delete image".into())
    }
    async fn connect(&self, server_id: u64, _: u16) -> Result<TcpStream, MachineError> {
        Err(MachineError::NotOn(server_id))
    }
    async fn fault(&self, _: u64, fault: machines::MachineFault) -> Result<(), MachineError> {
        self.note(format!("{fault:?}"))
    }
    async fn usage(&self, _: u64) -> Option<Usage> {
        None
    }
    async fn list(&self) -> Vec<u64> {
        Vec::new()
    }
    fn events(&self) -> broadcast::Receiver<MachineEvent> {
        self.events.subscribe()
    }
    async fn close(&self) {
        let _ = self.note("close".into());
    }
}

struct Stage {
    facade: Arc<Facade>,
    machines: Arc<Recorder>,
    dir: tempfile::TempDir,
}

fn config() -> Config {
    let times = crate::model::ActionTimes::LOCAL.quicker(100.0);
    Config { times, acknowledge_images: true, ..Config::default() }
}

fn stage(image_fails: bool) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let machines = Recorder::new(image_fails);
    let facade = Facade::start(config(), dir.path().to_owned(), machines.clone()).unwrap();
    Stage { facade, machines, dir }
}

impl Stage {
    fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::new(method, &format!("/hetzner/v1{path}")).bearer("hetzner-token").json(&body);
        let response = self.facade.change(|cloud, now| cloud.apply(&request, now));
        (response.status, response.json())
    }

    fn create(&self, body: Value) -> u64 {
        let (status, answer) = self.call("POST", "/servers", body);
        assert_eq!(status, 201, "{answer}");
        answer["server"]["id"].as_u64().unwrap()
    }

    fn status(&self, id: u64) -> String {
        let (status, body) = self.call("GET", &format!("/servers/{id}"), Value::Null);
        if status == 404 { "gone".into() } else { body["server"]["status"].as_str().unwrap().into() }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "never happened: {what}; {:?}",
                self.machines.calls()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn until_calls(&self, expect: &[&str]) {
        self.until(&format!("{expect:?}"), |stage| stage.machines.calls() == expect).await;
    }
}

fn body(name: &str) -> Value {
    json!({"name": name, "server_type": "cx23", "image": "debian-12", "user_data": "#cloud-config"})
}

#[tokio::test]
async fn effects_reach_a_machine_in_order() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    stage.call("POST", &format!("/servers/{id}/actions/reset"), json!({}));
    stage
        .until("unlocked", |stage| stage.call("DELETE", &format!("/servers/{id}"), Value::Null).0 == 200)
        .await;
    stage.until_calls(&["on one", "off", "on one", "destroy"]).await;
    stage.until("it is gone", |stage| stage.status(id) == "gone").await;
}

#[tokio::test]
async fn a_restarted_cloud_boots_what_was_running_and_finishes_what_it_had_begun() {
    let first = stage(false);
    let running = first.create(body("one"));
    let deleted = first.create(body("two"));
    first.until("both run", |s| s.status(running) == "running" && s.status(deleted) == "running").await;
    first.call("DELETE", &format!("/servers/{deleted}"), Value::Null);
    let Stage { facade, dir, .. } = first;
    let rest = Arc::downgrade(&facade);
    drop(facade);
    while rest.strong_count() > 0 {
        tokio::task::yield_now().await;
    }

    let machines = Recorder::new(false);
    let facade = Facade::start(config(), dir.path().to_owned(), machines.clone()).unwrap();
    let second = Stage { facade, machines, dir };
    let happened = |stage: &Stage| {
        let mut calls = stage.machines.calls();
        calls.sort();
        calls == ["destroy", "on one"]
    };
    second.until("the machine boots", happened).await;
    assert_eq!(second.status(running), "running");
    second.until("the other is gone", |stage| stage.status(deleted) == "gone").await;
}

#[tokio::test]
async fn a_fault_outlives_power_cycles_that_do_not_heal_it() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    stage.facade.change(|cloud, _| cloud.machine_fault(id, MachineFault::LoseNetwork));
    stage.call("POST", &format!("/servers/{id}/actions/reset"), json!({}));
    stage.until_calls(&["on one", "LoseNetwork", "off", "on one", "LoseNetwork"]).await;
}

#[tokio::test]
async fn a_machine_born_to_never_boot_is_told_before_its_power() {
    let stage = stage(false);
    let rule = crate::model::Rule::new(crate::model::FaultKind::Machine { fault: MachineFault::NeverBoot });
    stage.facade.change(|cloud, _| (cloud.faults_mut().add(rule.times(1)), Vec::new()));
    stage.create(body("one"));
    stage.until_calls(&["NeverBoot", "on one"]).await;
}

#[tokio::test]
async fn an_image_is_available_when_it_was_saved() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    let (_, answer) = stage.call("POST", &format!("/servers/{id}/actions/create_image"), json!({}));
    let image = answer["image"]["id"].clone();
    let available = |stage: &Stage| {
        stage.call("GET", &format!("/images/{image}"), Value::Null).1["image"]["status"] == "available"
    };
    stage.until("the image is available", available).await;
    let mut second = body("two");
    second["image"] = image;
    stage.create(second);
    stage.until_calls(&["on one", "save", "on two from an image"]).await;
}

#[tokio::test]
async fn an_image_that_could_not_be_saved_fails_its_action() {
    let stage = stage(true);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    let (_, answer) = stage.call("POST", &format!("/servers/{id}/actions/create_image"), json!({}));
    let path = format!("/actions/{}", answer["action"]["id"]);
    stage.until("it fails", |s| s.call("GET", &path, Value::Null).1["action"]["status"] == "error").await;
}

#[tokio::test]
async fn a_machine_shut_down_from_inside_is_off() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    let heard =
        |stage: &Stage| stage.machines.events.send(MachineEvent::PoweredOff { server_id: id }).is_ok();
    stage.until("somebody listens", heard).await;
    stage.until("it is off", |stage| stage.status(id) == "off").await;
}

#[tokio::test]
async fn ending_the_cloud_ends_machines_and_their_servers() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    stage.facade.stop(OnExit::Destroy).await;
    assert_eq!(stage.machines.calls(), ["on one", "destroy", "close"]);
    assert_eq!(stage.status(id), "gone");
}

#[tokio::test]
async fn ending_the_cloud_can_keep_what_it_holds() {
    let stage = stage(false);
    let id = stage.create(body("one"));
    stage.until("it runs", |stage| stage.status(id) == "running").await;
    stage.facade.stop(OnExit::Keep).await;
    assert_eq!(stage.machines.calls(), ["on one", "off", "close"]);
    assert_eq!(stage.status(id), "running");
}

#[tokio::test]
async fn a_data_directory_serves_one_cloud_at_a_time() {
    let stage = stage(false);
    let Err(error) = Facade::start(config(), stage.dir.path().to_owned(), Recorder::new(false)) else {
        panic!("two clouds on one directory");
    };
    assert!(error.to_string().contains("another cloud-sim"), "{error}");
}

#[tokio::test]
async fn a_state_file_of_something_else_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    std::fs::write(&path, "[]").unwrap();
    let Err(error) = Facade::start(config(), dir.path().to_owned(), Recorder::new(false)) else {
        panic!("started on a foreign state");
    };
    assert!(error.to_string().contains("holds no state of this local cloud"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "[]");
}
