//! Reserving the money for machines before they are asked for, and the part of the sweep that mends what got lost.
//!
//! Whoever starts a machine or lets one live longer comes through here: a creation, a wake, a retry, a longer lifetime.
//! A refusal names the cap, what is used of it, and what to do. Nothing here starts anything; the object does, and it is
//! the object that gives back what is not needed any more.

use crate::actor::Actor;
use crate::app::App;
use crate::config::Reach;
use crate::d1::{AuditNote, Intent, Reservation, Reserved as Found};
use crate::durable_objects::rpc::Call;
use crate::error::{ApiError, ApiResult};
use crate::log::{self, Level};
use crate::workspaces::catalog::{self, Choice, Defaults};
use crate::workspaces::wish::{self, WishChange};
use ebbtide_api::failure::Failure;
use ebbtide_api::money::Cost;
use ebbtide_api::{Duration, ErrorCode, FailureCode, Generation, Hint, TenantId, WorkspaceId};
use ebbtide_control::money::caps::{Caps, Demand};
use ebbtide_control::money::{Amount, PriceQuote, Worst, reserved};
use ebbtide_control::record::{Placement, Record, Spec, Start, Wish, minus};
use ebbtide_control::reservation::{NextMachine, ReservationRequest, Reserved};
use serde_json::Value;

/// Workspaces whose account is mended in a run of the sweep.
const MENDED_MAX: u64 = 3;

/// Reserves the first machine of a new workspace, with the intent to create it.
///
/// # Errors
/// `cap_reached`; `provider_unavailable` where a price is needed and not to be had.
pub async fn new_workspace(
    app: &App,
    spec: &Spec,
    quote: Option<&PriceQuote>,
    intent: &Intent<'_>,
    note: &AuditNote<'_>,
) -> ApiResult<()> {
    app.config.ensure(Reach::Everything).map_err(ApiError::not_configured)?;
    let caps = Caps::of(&app.config.policy);
    let reservation = Reservation {
        workspace: intent.id,
        generation: Generation(1),
        tenant: intent.tenant,
        worst: worst(app, quote, spec.lifetime)?,
        quote,
        placement: &spec.placement,
        now: intent.now,
    };
    let found = app.d1()?.reserve_new(&reservation, &caps, intent, note).await?;
    granted(app, &found, Demand { workspaces: 1, machines: 1, amount: reservation.worst.amount })
}

/// A machine that may be started.
pub struct PendingReservation {
    /// How it starts and at what rates.
    pub next: NextMachine,
    /// What was reserved just now and nobody else counts on.
    made: Option<Generation>,
}

/// Reserves the machine that a wake or a retry would start, where it would start one. A wish that comes with the request
/// goes before the one that is kept.
///
/// # Errors
/// As [`new_workspace`]; what is wished for cannot be had; or the object does not answer.
pub async fn next_machine(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    snapshot: Option<&str>,
    change: &WishChange,
) -> ApiResult<(PendingReservation, Option<Wish>)> {
    let snapshot = snapshot.map(str::to_owned);
    let mut terms: ReservationRequest =
        app.workspace(&actor.tenant, id).ask(Call::Terms { snapshot }).await?;
    if !change.is_empty() && terms.next.is_none() {
        return Err(ApiError::new(ErrorCode::WrongState, "a size or location holds from the next start on")
            .hint(Hint::ChangeThePlace));
    }
    let wish = change.over(&terms.wish);
    if let Some(wish) = &wish {
        wish::check(app, wish).await?;
    }
    terms.wish = wish.clone().unwrap_or(terms.wish);
    Ok((begin(app, &actor.tenant, id, terms).await?, wish))
}

/// The same for a machine that its object begins by itself: after a wait, or after a salvage. A cap refuses it as it
/// would refuse its owner.
///
/// # Errors
/// The index or the provider's prices are not to be had.
pub async fn waited_for(app: &App, record: &Record) -> ApiResult<Reserved> {
    match begin(app, &record.tenant, &record.id, ReservationRequest::of(record, app.now())).await {
        Ok(ticket) => Ok(Reserved::Stands(ticket.next)),
        Err(error) => {
            let code = match error.code() {
                ErrorCode::CapReached => FailureCode::CapReached,
                ErrorCode::CapacityUnavailable => FailureCode::Capacity,
                ErrorCode::InvalidField => FailureCode::Refused,
                ErrorCode::BadJson
                | ErrorCode::UnknownField
                | ErrorCode::NotBuilt
                | ErrorCode::UnexpectedBody
                | ErrorCode::BodyTooLarge
                | ErrorCode::LengthRequired
                | ErrorCode::Unauthorized
                | ErrorCode::TokenExpired
                | ErrorCode::KeysShredded
                | ErrorCode::Forbidden
                | ErrorCode::CsrfMismatch
                | ErrorCode::NotFound
                | ErrorCode::MethodNotAllowed
                | ErrorCode::WrongState
                | ErrorCode::RecordLost
                | ErrorCode::NameTaken
                | ErrorCode::IdempotencyMismatch
                | ErrorCode::IdempotencyInProgress
                | ErrorCode::StaleGeneration
                | ErrorCode::EnrolmentRefused
                | ErrorCode::AlreadyExists
                | ErrorCode::DeletionRefused
                | ErrorCode::QuotaReached
                | ErrorCode::RebootTooSoon
                | ErrorCode::RateLimited
                | ErrorCode::ProviderUnavailable
                | ErrorCode::StorageUnavailable
                | ErrorCode::NotConfigured
                | ErrorCode::Internal => return Err(error),
            };
            let ebbtide_api::ErrorBody { message, hint, .. } = error.body(&app.request_id);
            Ok(Reserved::Refused(Failure { code, message, hint }))
        }
    }
}

/// How a workspace starts today, and at what rates; nothing of it is known while the provider does not say.
async fn place(app: &App, terms: &ReservationRequest) -> ApiResult<NextMachine> {
    let Some(offers) = catalog::offers(app).await else { return Ok(NextMachine::default()) };
    let config = &app.config;
    let defaults = Defaults { size: &config.default_size, location: &config.default_location };
    let Choice { placement, fallbacks } = catalog::choose_again(&offers, terms, defaults, app.now())?;
    let quote = catalog::quote(&offers, std::iter::once(&placement).chain(&fallbacks));
    let shape = catalog::shape(&offers, &placement.size);
    let start = Start { placement, fallbacks, image: config.default_image.clone(), shape };
    Ok(NextMachine { start: Some(start), quote })
}

async fn begin(
    app: &App,
    tenant: &TenantId,
    id: &WorkspaceId,
    terms: ReservationRequest,
) -> ApiResult<PendingReservation> {
    let (Some(generation), Some(last)) = (terms.next, terms.placements.first()) else {
        return Ok(PendingReservation { next: NextMachine::default(), made: None });
    };
    app.config.ensure(Reach::Everything).map_err(ApiError::not_configured)?;
    let next = place(app, &terms).await?;
    let quote = next.quote.as_ref();
    let reservation = Reservation {
        workspace: id,
        generation,
        tenant,
        worst: worst(app, quote, terms.lifetime)?,
        quote,
        placement: next.start.as_ref().map_or(last, |start| &start.placement),
        now: app.now(),
    };
    let found = app.d1()?.reserve_next(&reservation, &Caps::of(&app.config.policy)).await?;
    granted(app, &found, Demand { workspaces: 0, machines: 1, amount: reservation.worst.amount })?;
    Ok(PendingReservation { made: found.made.then_some(generation), next })
}

/// Gives back what was reserved for a machine that the object would not start. Not where that machine was begun all the
/// same, by the object itself or for somebody else: then it is that machine's.
pub async fn give_back(app: &App, actor: &Actor, id: &WorkspaceId, made: Option<Generation>) {
    let Some(generation) = made else { return };
    let given_back = async {
        let terms: ReservationRequest =
            app.workspace(&actor.tenant, id).ask(Call::Terms { snapshot: None }).await?;
        if terms.next != Some(generation) {
            return Ok(());
        }
        app.d1()?.release_reservation(id, generation).await
    };
    let given_back: ApiResult<()> = given_back.await;
    if let Err(error) = given_back {
        error.log(Level::Warn, "a reservation is left to the sweep", &[("workspace.id", id.as_str())]);
    }
}

impl PendingReservation {
    /// What is to be given back where the machine is refused.
    pub fn made(&self) -> Option<Generation> {
        self.made
    }
}

/// A lifetime that may be set.
pub struct Extension {
    /// What the machine costs at worst with it, where that is known.
    pub worst_case: Option<Cost>,
    /// Reserved before, where a machine exists: to be reserved again where the object refuses.
    pub before: Option<(Generation, Worst)>,
}

/// Reserves what a changed lifetime costs beyond what is reserved, where a machine exists.
///
/// # Errors
/// As [`new_workspace`]; or the object does not answer.
pub async fn lifetime(
    app: &App,
    actor: &Actor,
    id: &WorkspaceId,
    lifetime: Duration,
) -> ApiResult<Extension> {
    let terms: ReservationRequest =
        app.workspace(&actor.tenant, id).ask(Call::Terms { snapshot: None }).await?;
    let policy = &app.config.policy;
    // A machine keeps the rates at which it was made; without one, today's are shown and nothing is reserved.
    let quote = match terms.quote.clone().filter(|_| terms.current.is_some()) {
        Some(quote) => Some(quote),
        None => catalog::offers(app).await.and_then(|offers| catalog::quote(&offers, &terms.placements)),
    };
    let (Some(generation), Some(placement)) = (terms.current, terms.placements.first()) else {
        let worst_case = quote.map(|quote| quote.worst(lifetime, policy).into());
        return Ok(Extension { worst_case, before: None });
    };
    // A lifetime that is over already ends now.
    let awake = app.now().duration_since(terms.woke_at).as_secs();
    let lifetime = lifetime.max(Duration::from_secs(u64::try_from(awake).unwrap_or(0)));
    let reservation = |worst| Reservation {
        workspace: id,
        generation,
        tenant: &actor.tenant,
        worst,
        quote: quote.as_ref(),
        placement,
        now: app.now(),
    };
    let before = Worst {
        amount: reserved(terms.worst_case.as_ref()),
        hours: 0,
        currency: quote.as_ref().map(|quote| quote.currency.clone()).unwrap_or_default(),
    };
    let wanted = worst(app, quote.as_ref(), lifetime)?;
    let more = wanted.amount.minus(before.amount);
    let found = app.d1()?.raise(&reservation(wanted.clone()), &Caps::of(policy)).await?;
    granted(app, &found, Demand { workspaces: 0, machines: 0, amount: more })?;
    let worst_case = quote.is_some().then(|| wanted.into());
    Ok(Extension { worst_case, before: Some((generation, before)) })
}

/// Reserves what was reserved before a lifetime that the object refused.
pub async fn take_back(app: &App, actor: &Actor, id: &WorkspaceId, before: Option<(Generation, Worst)>) {
    let Some((generation, worst)) = before else { return };
    let placement = Placement { size: String::new(), location: String::new() };
    let reservation = Reservation {
        workspace: id,
        generation,
        tenant: &actor.tenant,
        worst,
        quote: None,
        placement: &placement,
        now: app.now(),
    };
    // It was within the caps before, and the object's next change says the same.
    let lowered = match app.d1() {
        Ok(index) => index.raise(&reservation, &<_>::default()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = lowered {
        let fields = [("workspace.id", id.as_str())];
        error.log(Level::Warn, "a reservation is left to the workspace's next change", &fields);
    }
}

/// What a machine costs at worst. Without a price nothing can be promised, and nothing starts that a cap should bound.
fn worst(app: &App, quote: Option<&PriceQuote>, lifetime: Duration) -> ApiResult<Worst> {
    let policy = &app.config.policy;
    match quote {
        Some(quote) => Ok(quote.worst(lifetime, policy)),
        None if Caps::of(policy).day.is_none() && Caps::of(policy).month.is_none() => {
            Ok(Worst { amount: Amount(0), hours: 0, currency: String::new() })
        }
        None => Err(ApiError::new(
            ErrorCode::ProviderUnavailable,
            "the provider does not say what this machine costs, so that no cap on spending could be kept",
        )
        .hint(Hint::PricesLater)),
    }
}

fn granted(app: &App, found: &Found, demand: Demand) -> ApiResult<()> {
    if found.stands {
        return Ok(());
    }
    let refusal = Caps::of(&app.config.policy).refuse(&found.usage, demand);
    let (message, hint) = match refusal {
        Some(refusal) => (refusal.message, refusal.hint),
        // What was used a moment ago has been given back since.
        None => ("a cap was reached".to_owned(), "Send the request again.".to_owned()),
    };
    Err(ApiError::new(ErrorCode::CapReached, message).hint(hint))
}

/// Part of the sweep, with at most two calls and one for each workspace that is mended: reservations that no machine
/// came of are removed, and workspaces whose account differs from their row are asked to bring both in line. It ends
/// nothing, so no switch turns it off.
pub async fn mend(app: &App) {
    if let Err(error) = account(app).await {
        let fields = [("request.id", app.request_id.as_str())];
        error.log(Level::Error, "the accounts were not mended", &fields);
    }
}

async fn account(app: &App) -> ApiResult<()> {
    let index = app.d1()?;
    let before = minus(app.now(), app.config.policy.reservation_grace);
    let forgotten = index.forget_reservations(before).await?;
    if forgotten > 0 {
        let fields = [("reservations", forgotten.to_string())];
        let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));
        log::write(Level::Info, "reservations that no machine came of were removed", &fields);
    }
    for (tenant, id) in index.out_of_account(MENDED_MAX).await? {
        let fields = [("workspace.id", id.as_str())];
        match app.workspace(&tenant, &id).ask::<Value>(Call::Nudge).await {
            Ok(_) => log::write(Level::Info, "a workspace's account was mended", &fields),
            Err(error) => error.log(Level::Warn, "a workspace's account could not be mended", &fields),
        }
    }
    Ok(())
}
