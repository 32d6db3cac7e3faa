//! The provider as the control plane meets it: the local cloud's model behind the clients' [`Http`] seam, and the
//! storage that receipts are checked against.

use super::EPOCH_MS;
use super::machine::Packs;
use ebbtide_api::failure::{Failure, FailureCode};
use ebbtide_cloud_sim::model::wire::{Delivery, HETZNER_PREFIX, Response};
use ebbtide_cloud_sim::model::{ActionTimes, Cloud, Config, Request, Rule, Server};
use ebbtide_control::executor::{ControlStore, Project, StoreError};
use ebbtide_control::http::{Http, HttpError, HttpRequest, HttpResponse};
use ebbtide_control::lifecycle::Peers;
use ebbtide_control::record::{Placement, Record, Start};
use ebbtide_control::reservation::{NextMachine, Reserved};
use ebbtide_control::secret::SecretText;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Longest answer that the control plane waits for, as in the Worker.
const TIMEOUT_MS: u64 = 20_000;

/// A bad spell of a provider: a rule of the local cloud, with dice and an end.
pub struct Spell {
    pub rule: Rule,
    /// How often it strikes, in thousandths.
    pub per_mille: u32,
    pub until_ms: i64,
}

/// The world outside: shared by the clients of one walk.
pub struct Outside {
    pub cloud: RefCell<Cloud>,
    pub now_ms: Cell<i64>,
    pub packs: RefCell<Packs>,
    pub spells: RefCell<Vec<Spell>>,
    dice: RefCell<fastrand::Rng>,
    pub struck: Cell<u64>,
    /// Calls made in this invocation.
    pub calls: Cell<u32>,
    /// Storage and the index refuse until this time.
    pub storage_down_until: Cell<i64>,
    /// A cap of the owner's is reached until this time.
    pub cap_reached_until: Cell<i64>,
    /// Machines whose worst case is reserved, by generation, and since when.
    pub reserved: RefCell<BTreeMap<u32, i64>>,
    /// Other workspaces that are silent at the same time as this one, until then.
    pub all_silent_until: Cell<i64>,
    /// A server of another installation.
    pub neighbour: Option<u64>,
    /// The token sees another project until this time, which holds nothing at first.
    pub other_project_until: Cell<i64>,
    other_project: RefCell<Option<Cloud>>,
    /// What the installation remembers of the provider's project.
    pub project: Cell<Option<Project>>,
}

thread_local! {
    /// An empty cloud: its catalogue is rendered once.
    static EMPTY: Cloud = Cloud::new(Config { times: ActionTimes::REALISTIC, ..Config::default() });
}

impl Outside {
    pub fn new(dice: fastrand::Rng) -> Self {
        Self {
            cloud: RefCell::new(EMPTY.with(Cloud::clone)),
            now_ms: Cell::new(0),
            packs: RefCell::default(),
            spells: RefCell::default(),
            dice: RefCell::new(dice),
            struck: Cell::new(0),
            calls: Cell::new(0),
            storage_down_until: Cell::new(0),
            all_silent_until: Cell::new(0),
            cap_reached_until: Cell::new(0),
            reserved: RefCell::new(BTreeMap::from([(1, 0)])),
            neighbour: None,
            project: Cell::new(None),
            other_project_until: Cell::new(0),
            other_project: RefCell::new(None),
        }
    }

    /// Reserves a machine, as the index does: what stands counts as asked for now, and a cap refuses what does not.
    ///
    /// # Errors
    /// The index does not answer.
    pub fn reserve(&self, generation: u32) -> Result<bool, StoreError> {
        let now = self.now_ms.get();
        if now < self.storage_down_until.get() {
            return Err(StoreError::new("D1 answers 503"));
        }
        let mut reserved = self.reserved.borrow_mut();
        let stands = reserved.contains_key(&generation) || now >= self.cap_reached_until.get();
        if stands {
            reserved.insert(generation, now);
        }
        Ok(stands)
    }

    /// Counts a call of this invocation.
    pub fn count_call(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// The servers of this installation.
    pub fn ours<'a>(&'a self, cloud: &'a Cloud) -> impl Iterator<Item = &'a Server> {
        cloud.servers().filter(|server| Some(server.id) != self.neighbour)
    }

    /// Puts the rules of the spells that strike this call into force; says whether there is one that may.
    fn strike(&self, cloud: &mut Cloud) -> bool {
        let now = self.now_ms.get();
        let mut spells = self.spells.borrow_mut();
        spells.retain(|spell| spell.until_ms > now);
        let mut dice = self.dice.borrow_mut();
        let mut any = false;
        for spell in spells.iter().filter(|spell| dice.u32(..1000) < spell.per_mille) {
            cloud.faults_mut().add(spell.rule.clone());
            any = true;
        }
        any
    }
}

impl Http for &Outside {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.count_call();
        let mut url = request.url;
        if url.contains("/metrics?") {
            // A point a minute: 200 a series, as the vendor gives without being asked, would cost more than all else.
            url.push_str("&step=60");
        }
        let mut call = Request::new(request.method.as_str(), &url);
        for (name, value) in &request.headers {
            call = call.header(name, value.expose());
        }
        if let Some(body) = request.body {
            call = call.body(body);
        }
        if self.now_ms.get() < self.other_project_until.get() && call.path.starts_with(HETZNER_PREFIX) {
            // Whatever fails here is none of the control plane's doing.
            self.struck.set(self.struck.get() + 1);
            let mut other = self.other_project.borrow_mut();
            let other = other.get_or_insert_with(|| EMPTY.with(Cloud::clone));
            return delivered(other.apply(&call, EPOCH_MS + self.now_ms.get()).0);
        }
        let mut cloud = self.cloud.borrow_mut();
        let may_strike = self.strike(&mut cloud);
        let (response, _machines) = cloud.apply(&call, EPOCH_MS + self.now_ms.get());
        if may_strike {
            let struck: u64 = cloud.faults().rules().iter().map(|rule| u64::from(rule.struck)).sum();
            self.struck.set(self.struck.get() + struck);
            cloud.faults_mut().clear();
        }
        delivered(response)
    }
}

/// What the control plane hears of an answer.
fn delivered(response: Response) -> Result<HttpResponse, HttpError> {
    match response.delivery {
        Delivery::Lost => Err(HttpError::Unknown { reason: "the connection was cut".to_owned() }),
        Delivery::AfterMs(ms) if ms > TIMEOUT_MS => {
            Err(HttpError::Unknown { reason: "timed out".to_owned() })
        }
        Delivery::AfterMs(_) | Delivery::Now => Ok(HttpResponse {
            status: response.status,
            headers: response.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            body: response.body,
        }),
    }
}

impl ControlStore for &Outside {
    async fn object_size(&self, _record: &Record, path: &str) -> Result<Option<u64>, StoreError> {
        self.count_call();
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err(StoreError::new("R2 answers 503"));
        }
        Ok(self.packs.borrow().objects.get(path).copied())
    }

    async fn shred(&self, _record: &Record) -> Result<(), StoreError> {
        self.count_call();
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err(StoreError::new("R2 answers 503"));
        }
        Ok(())
    }

    async fn user_data(&self, _record: &Record) -> Result<SecretText, StoreError> {
        self.count_call();
        Ok("I2Nsb3VkLWNvbmZpZwo=".to_owned().into())
    }

    async fn reserve(&self, record: &Record) -> Result<Reserved, StoreError> {
        self.count_call();
        if Outside::reserve(self, record.generation.next().0)? {
            return Ok(Reserved::Stands(next_machine(record)));
        }
        let (code, message) = (FailureCode::CapReached, "10.00 EUR a day".to_owned());
        Ok(Reserved::Refused(Failure { code, message, hint: String::new() }))
    }

    async fn project(&self) -> Result<Option<Project>, StoreError> {
        self.count_call();
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err(StoreError::new("R2 answers 503"));
        }
        Ok(self.project.get())
    }

    async fn keep_project(&self, project: Project) -> Result<(), StoreError> {
        self.count_call();
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err(StoreError::new("R2 answers 503"));
        }
        self.project.set(Some(project));
        Ok(())
    }

    async fn ssh_public_key(&self) -> Result<String, StoreError> {
        Ok("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFNpbXVsYXRlZFNpbXVsYXRlZFNpbXVsYXRlZFNp simulated"
            .to_owned())
    }

    async fn peers(&self, _record: &Record) -> Result<Peers, StoreError> {
        self.count_call();
        if self.now_ms.get() < self.storage_down_until.get() {
            return Err(StoreError::new("D1 answers 503"));
        }
        let together = self.now_ms.get() < self.all_silent_until.get();
        Ok(if together { Peers { silent: 9, awake: 0 } } else { Peers { silent: 0, awake: 9 } })
    }
}

/// Where the local cloud's server collection answers.
pub fn servers_url() -> String {
    format!("http://sim{HETZNER_PREFIX}/servers")
}

/// What is offered changes between starts: every other machine goes elsewhere, with a newer image.
fn next_machine(record: &Record) -> NextMachine {
    if record.generation.0.is_multiple_of(2) {
        return NextMachine::default();
    }
    let place =
        |size: &str, location: &str| Placement { size: size.to_owned(), location: location.to_owned() };
    let start = Start {
        placement: place("cx33", "nbg1"),
        fallbacks: vec![place("cx43", "hel1")],
        image: "debian-13".to_owned(),
        shape: None,
    };
    NextMachine { start: Some(start), quote: None }
}
