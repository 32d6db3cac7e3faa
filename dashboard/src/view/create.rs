//! The create form: choices with their prices, what was typed, refusals beside their fields, and the worst case.

use crate::form::{Field, Refusal, Typed};
use crate::text;
use crate::view::secrets::{Choosable, choosable};
use ebbtide_api::catalog::{Catalog, CatalogSize};
use ebbtide_api::money::Cost;
use ebbtide_api::secrets::SecretInfo;
use ebbtide_api::ssh::SshKeyInfo;
use ebbtide_api::{Agent, Duration};

/// What is taken where nothing is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Server type.
    pub size: String,
    /// Where it runs.
    pub location: String,
    /// How long nothing may happen.
    pub idle_timeout: Duration,
    /// How long after a wake it is drained.
    pub lifetime: Duration,
    /// Coding agents.
    pub agents: Vec<String>,
}

/// What one choice would cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Server type that it is for.
    pub size: String,
    /// Location that it is for.
    pub location: String,
    /// How many other places the machine may go to where that one is sold out; the worst case is about the dearest.
    pub fallbacks: usize,
    /// The worst case.
    pub worst: Cost,
}

/// The form, ready to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateView {
    /// Refusals that belong to no field.
    pub refusals: Vec<RefusalView>,
    /// What to clone.
    pub repo: FieldView,
    /// Branch or tag.
    pub branch: FieldView,
    /// The readable name.
    pub name: FieldView,
    /// Server type.
    pub size: FieldView,
    /// Where it runs.
    pub location: FieldView,
    /// How long nothing may happen.
    pub idle_timeout: FieldView,
    /// How long after a wake it is drained.
    pub lifetime: FieldView,
    /// Coding agents that can be ticked; none where none is published.
    pub agents: Vec<Choice>,
    /// Whether Docker is ticked.
    pub docker: bool,
    /// Whether sizes and locations can be chosen from a list.
    pub choosable: bool,
    /// What it costs at worst.
    pub cost: CostView,
    /// Secrets that it may get; empty where there are none.
    pub secrets: Vec<Choosable>,
    /// Whether SSH can be let in: there is a key that could sign in.
    pub ssh_offered: bool,
    /// Whether it is to be.
    pub ssh: bool,
    /// Makes a second submission of the same page answer like the first.
    pub idempotency_key: String,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldView {
    /// As typed.
    pub value: String,
    /// What is taken where it is empty.
    pub default: String,
    /// Choices, where there is a list.
    pub choices: Vec<Choice>,
    /// What was wrong with it.
    pub refusal: Option<RefusalView>,
}

/// One choice of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What is sent.
    pub value: String,
    /// What is read.
    pub label: String,
    /// Whether it is the one chosen.
    pub selected: bool,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalView {
    /// What was wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

/// The cost line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostView {
    /// `€0.1820`, or a few words where it is not known.
    pub amount: String,
    /// What it is made of.
    pub detail: String,
}

/// Shows the form; without a catalog, sizes and locations are typed.
pub fn create(
    typed: &Typed,
    refusals: &[Refusal],
    defaults: &Defaults,
    catalog: Option<&Catalog>,
    published: &[Agent],
    quote: Option<&Quote>,
    idempotency_key: &str,
) -> CreateView {
    let field = |field: Field, default: String, choices: Vec<Choice>| FieldView {
        value: typed.value(field).to_owned(),
        default,
        choices,
        refusal: refusals.iter().find(|refusal| refusal.field == Some(field)).map(refusal_view),
    };
    CreateView {
        refusals: refusals.iter().filter(|refusal| refusal.field.is_none()).map(refusal_view).collect(),
        repo: field(Field::Repo, String::new(), Vec::new()),
        branch: field(Field::Branch, String::new(), Vec::new()),
        name: field(Field::Name, String::new(), Vec::new()),
        size: field(
            Field::Size,
            defaults.size.clone(),
            catalog.map_or_else(Vec::new, |catalog| sizes(typed, catalog)),
        ),
        location: field(
            Field::Location,
            defaults.location.clone(),
            catalog.map_or_else(Vec::new, |catalog| locations(typed, catalog)),
        ),
        idle_timeout: field(Field::IdleTimeout, defaults.idle_timeout.to_string(), Vec::new()),
        lifetime: field(Field::Lifetime, defaults.lifetime.to_string(), Vec::new()),
        agents: boxes(typed.agents.as_ref().unwrap_or(&defaults.agents), published),
        docker: typed.docker,
        choosable: catalog.is_some_and(|catalog| !catalog.sizes.is_empty() && !catalog.locations.is_empty()),
        cost: cost(quote),
        secrets: Vec::new(),
        ssh_offered: false,
        ssh: typed.ssh,
        idempotency_key: idempotency_key.to_owned(),
    }
}

/// A box for each agent that can be had.
fn boxes(ticked: &[String], published: &[Agent]) -> Vec<Choice> {
    let choice = |agent: &Agent| Choice {
        value: agent.to_string(),
        label: agent.profile().title.to_owned(),
        selected: ticked.iter().any(|name| name == agent.as_str()),
    };
    published.iter().map(choice).collect()
}

impl CreateView {
    /// Offers these secrets, those chosen that were before, or else those that are everywhere.
    #[must_use]
    pub fn with_secrets(mut self, secrets: &[SecretInfo], typed: &Typed) -> Self {
        let choice = typed.secrets.clone().unwrap_or_default();
        self.secrets = choosable(secrets, &choice);
        self
    }

    /// Offers to let SSH in, where one of these keys could sign in.
    #[must_use]
    pub fn with_ssh(mut self, keys: &[SshKeyInfo]) -> Self {
        self.ssh_offered = !keys.is_empty();
        self
    }
}

/// Shows what a choice costs at worst.
pub fn cost(quote: Option<&Quote>) -> CostView {
    match quote {
        Some(quote) => {
            let elsewhere = if quote.fallbacks > 0 { " or the dearest size that may replace it" } else { "" };
            CostView {
                amount: text::money(&quote.worst.gross, &quote.worst.currency),
                detail: format!(
                    "The most this can cost: {} of {} in {}{elsewhere}, tax and IPv4 included. It usually sleeps earlier.",
                    text::hours(quote.worst.hours),
                    quote.size,
                    quote.location,
                ),
            }
        }
        None => CostView {
            amount: "not known right now".to_owned(),
            detail: "The provider gave no price for this choice. The workspace page shows the worst case once it does.".to_owned(),
        },
    }
}

pub(super) fn refusal_view(refusal: &Refusal) -> RefusalView {
    RefusalView {
        message: crate::view::sentence(&refusal.message),
        hint: crate::view::sentence(&refusal.hint),
    }
}

fn sizes(typed: &Typed, catalog: &Catalog) -> Vec<Choice> {
    let currency = catalog.currency.as_deref().unwrap_or_default();
    let listed = catalog.sizes.iter().map(|size| (size.name.as_str(), size_label(size, currency)));
    choices(listed, &typed.size)
}

/// `cx23 · 2 cores, 4 GB memory, 40 GB disk · €0.0084 an hour`, or `from` the lowest price where they differ.
fn size_label(size: &CatalogSize, currency: &str) -> String {
    let memory = match (size.memory_mib / 1024, size.memory_mib % 1024) {
        (gib, 0) => format!("{gib}\u{a0}GB"),
        (_, _) => format!("{}\u{a0}MB", size.memory_mib),
    };
    let cores = text::plural(size.cores.into(), "core", "cores");
    let mut label = format!("{} · {cores}, {memory} memory, {}\u{a0}GB disk", size.name, size.disk_gb);
    let mut prices: Vec<_> =
        size.locations.iter().filter_map(|offer| offer.hourly_gross.as_deref()).collect();
    prices.sort_by(|a, b| by_amount(a).total_cmp(&by_amount(b)));
    prices.dedup_by(|a, b| by_amount(a).total_cmp(&by_amount(b)).is_eq());
    if let Some(lowest) = prices.first() {
        let from = if prices.len() > 1 { "from " } else { "" };
        label.push_str(&format!(" · {from}{} an hour", text::money(lowest, currency)));
    }
    if !size.locations.is_empty() && size.locations.iter().all(|offer| offer.available == Some(false)) {
        label.push_str(" · sold out");
    }
    label
}

/// For comparing prices; what is shown and billed stays the provider's decimal.
fn by_amount(decimal: &str) -> f64 {
    decimal.parse().unwrap_or(f64::MAX)
}

fn locations(typed: &Typed, catalog: &Catalog) -> Vec<Choice> {
    let listed = catalog
        .locations
        .iter()
        .map(|location| (location.name.as_str(), format!("{} · {}", location.name, location.description)));
    choices(listed, &typed.location)
}

/// The list, and what was typed where the list does not hold it: nothing typed is silently replaced.
fn choices<'a>(listed: impl Iterator<Item = (&'a str, String)>, typed: &str) -> Vec<Choice> {
    let choice =
        |value: &str, label: String| Choice { value: value.to_owned(), label, selected: value == typed };
    let mut choices: Vec<_> = listed.map(|(value, label)| choice(value, label)).collect();
    if !choices.is_empty() && !typed.is_empty() && !choices.iter().any(|choice| choice.selected) {
        choices.push(choice(typed, typed.to_owned()));
    }
    choices
}
