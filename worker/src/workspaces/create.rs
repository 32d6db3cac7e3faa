//! A workspace is created: the request is checked whole, the intent recorded, then the object called.
//!
//! Nothing is left half created: everything that can be refused is refused before the first write, and a creation that
//! broke off goes on with the same id when the request comes again with its Idempotency-Key. Without the key, the
//! sweep asks what became of the intent.

use crate::actor::Actor;
use crate::app::App;
use crate::config::Config;
use crate::d1::Intent;
use crate::durable_objects::rpc::Call;
use crate::error::{ApiError, ApiResult};
use crate::r2::programs;
use crate::random::random;
use crate::workspaces::agents;
use crate::workspaces::catalog::{self, Choice, Defaults, Offers};
use crate::workspaces::reservation;
use crate::workspaces::{secrets, ssh};
use ebbtide_api::backups::Retention;
use ebbtide_api::env;
use ebbtide_api::money::Cost;
use ebbtide_api::programs::ProgramList;
use ebbtide_api::workspace::{CreateWorkspace, Workspace};
use ebbtide_api::{Duration, Hint, Timestamp, WorkspaceId};
use ebbtide_control::money::PriceQuote;
use ebbtide_control::names;
use ebbtide_control::policy::Policy;
use ebbtide_control::record::{Ingress, NewWorkspace, Placement, Spec, Wish, plus};
use std::collections::BTreeMap;

/// After this long the sweep asks what became of an intent.
const INTENT_DEADLINE: Duration = Duration::from_secs(60);

/// A request that can be carried out.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Readable name.
    pub name: String,
    /// What is wanted, complete.
    pub spec: Spec,
    /// Values to be sealed.
    pub env: BTreeMap<String, String>,
    /// At what rates, wherever it goes; `None` where a price is not known.
    pub quote: Option<PriceQuote>,
    /// What it costs at worst.
    pub worst_case: Option<Cost>,
}

/// Draws the id of a new workspace.
///
/// # Errors
/// There is no randomness.
pub fn new_id() -> ApiResult<WorkspaceId> {
    Ok(WorkspaceId::from_random(u64::from_le_bytes(random()?)))
}

/// Checks a request against the rules and the provider's offers.
///
/// # Errors
/// The first field that cannot be used.
pub async fn check(app: &App, actor: &Actor, request: CreateWorkspace) -> ApiResult<Checked> {
    // The cheap rules first: a request that is wrong costs no call.
    check_fields(&request, &app.config.policy)?;
    if let Some(choice) = &request.secrets {
        secrets::check_chosen(app, actor, choice).await?;
    }
    ssh::check_wish(app, actor, request.ssh).await?;
    let offers = catalog::offers(app).await;
    let published = match agents::is_none(request.agents.as_deref()) {
        true => ProgramList::default(),
        false => programs::published(&app.r2()?).await?,
    };
    complete(request, offers.as_deref(), &published, &app.config, app.now())
}

/// Creates a workspace under an id. Repeatable with the same id.
///
/// # Errors
/// Storage or the object does not answer: then it may exist, and the same call finishes it.
pub async fn create(app: &App, actor: &Actor, id: &WorkspaceId, checked: Checked) -> ApiResult<Workspace> {
    let Checked { name, spec, env, quote, worst_case } = checked;
    let now = app.now();
    let intent = Intent {
        id,
        tenant: &actor.tenant,
        name: &name,
        repo: spec.repo.as_deref(),
        size: &spec.placement.size,
        location: &spec.placement.location,
        now,
        next_deadline: plus(now, INTENT_DEADLINE),
    };
    let note = app.audit_note(actor, "workspace.create", id.as_str());
    reservation::new_workspace(app, &spec, quote.as_ref(), &intent, &note).await?;
    app.keychain()?.seal_env(&actor.tenant, id, env).await?;
    let host = names::workspace_host(&name, id, &app.config.zone);
    let record = NewWorkspace { id: id.clone(), tenant: actor.tenant.clone(), name, host, spec, worst_case };
    app.workspace(&actor.tenant, id).ask(Call::Create { record: Box::new(record), quote }).await
}

/// The rules that need nobody else.
fn check_fields(request: &CreateWorkspace, policy: &Policy) -> ApiResult<()> {
    if let Some(name) = &request.name {
        names::validate_workspace_name(name)
            .map_err(|error| ApiError::field("name", error).hint(error.hint()))?;
    }
    if let Some(repo) = &request.repo {
        names::validate_repo_url(repo).map_err(|error| ApiError::field("repo", error).hint(error.hint()))?;
    }
    if let Some(branch) = &request.branch {
        names::validate_branch(branch)
            .map_err(|error| ApiError::field("branch", error).hint(error.hint()))?;
        if request.repo.is_none() {
            return Err(
                ApiError::field("branch", "there is no repository to take it from").hint("Add `repo`.")
            );
        }
    }
    check_durations(request.idle_timeout, request.lifetime, policy)?;
    check_retention(request.retention)?;
    check_env(&request.env)
}

/// Checks durations that may be set at creation and later.
///
/// # Errors
/// One is outside the installation's bounds.
pub fn check_durations(
    idle_timeout: Option<Duration>,
    lifetime: Option<Duration>,
    policy: &Policy,
) -> ApiResult<()> {
    let (shortest, longest) = (policy.idle_timeout_min, policy.lifetime_ceiling);
    for (field, duration) in [("idle_timeout", idle_timeout), ("lifetime", lifetime)] {
        match duration {
            Some(duration) if duration < shortest => {
                return Err(ApiError::field(field, format!("{duration} is too short"))
                    .hint(format!("It is at least {shortest}.")));
            }
            Some(duration) if duration > longest => {
                return Err(ApiError::field(field, format!("{duration} is too long"))
                    .hint(format!("It is at most {longest}; more is a policy of the installation.")));
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// Says which rule of retention cannot be kept to.
///
/// # Errors
/// `invalid_field`.
pub fn check_retention(retention: Option<Retention>) -> ApiResult<()> {
    match retention {
        Some(rule) if rule.most() > Retention::MOST => {
            Err(ApiError::field("retention", format!("it keeps {} snapshots", rule.most()))
                .hint(format!("The four numbers add up to at most {}.", Retention::MOST)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Checks an environment, at creation and later.
///
/// # Errors
/// `invalid_field`, which never repeats a value.
pub fn check_env(values: &BTreeMap<String, String>) -> ApiResult<()> {
    if values.len() > env::MOST {
        return Err(ApiError::field("env", format!("more than {} values", env::MOST)));
    }
    for (name, value) in values {
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = !name.is_empty()
            && name.len() <= env::NAME_MAX
            && name.bytes().all(usual)
            && !name.starts_with(|c: char| c.is_ascii_digit());
        if !is_name {
            return Err(ApiError::field(
                "env",
                "a name holds something other than letters, digits and _, or is too long",
            )
            .hint("Use names such as DATABASE_URL, at most 128 characters."));
        }
        if env::RESERVED.contains(&name.as_str()) {
            return Err(ApiError::field(&format!("env.{name}"), "the machine sets this itself")
                .hint("Set it in the workspace's shell profile instead."));
        }
        if value.len() > env::VALUE_MAX || value.contains('\0') {
            return Err(ApiError::field(
                &format!("env.{name}"),
                "the value is too long or holds a zero byte",
            )
            .hint("A value has at most 16 KiB."));
        }
    }
    Ok(())
}

/// Fills in the defaults of a request whose fields were checked.
fn complete(
    request: CreateWorkspace,
    offers: Option<&Offers>,
    published: &ProgramList,
    config: &Config,
    now: Timestamp,
) -> ApiResult<Checked> {
    check_fields(&request, &config.policy)?;
    let CreateWorkspace {
        name,
        repo,
        branch,
        size,
        location,
        agents,
        docker,
        idle_timeout,
        lifetime,
        env,
        secrets,
        ssh,
        on_unsaved,
        rescue_image,
        persistence,
        retention,
    } = request;
    let policy = &config.policy;
    let lifetime = lifetime.unwrap_or(policy.lifetime);
    let defaults = Defaults { size: &config.default_size, location: &config.default_location };
    let wish = Wish { size: size.clone(), location: location.clone() };
    let choice = match offers {
        Some(offers) => catalog::choose(offers, size.as_deref(), location.as_deref(), defaults, now)?,
        None => unchecked(size, location, defaults)?,
    };
    let places = std::iter::once(&choice.placement).chain(&choice.fallbacks);
    let quote = offers.and_then(|offers| catalog::quote(offers, places));
    let worst_case = quote.as_ref().map(|quote| quote.worst(lifetime, policy).into());
    Ok(Checked {
        name: name.unwrap_or_else(|| names::default_name(repo.as_deref().unwrap_or_default())),
        worst_case,
        quote,
        spec: Spec {
            repo,
            branch,
            wish: Some(wish),
            shape: offers.and_then(|offers| catalog::shape(offers, &choice.placement.size)),
            placement: choice.placement,
            fallbacks: choice.fallbacks,
            image: config.default_image.clone(),
            agents: agents::chosen(agents.as_deref(), published)?,
            docker,
            idle_timeout: idle_timeout.unwrap_or(policy.idle_timeout),
            lifetime,
            ingress: Ingress::Direct,
            on_unsaved: on_unsaved.unwrap_or_default(),
            rescue_image: rescue_image.unwrap_or_default(),
            persistence: persistence.unwrap_or_default(),
            env: env.keys().cloned().collect(),
            secrets: secrets.unwrap_or_default(),
            ssh: ssh.unwrap_or_default(),
            retention,
        },
        env,
    })
}

/// Takes the user's word for it while the provider does not say what it offers: it checks when it creates.
fn unchecked(size: Option<String>, location: Option<String>, defaults: Defaults<'_>) -> ApiResult<Choice> {
    let plain = |field: &str, text: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(())
        } else {
            Err(ApiError::field(field, format!("this is not a Hetzner {field}")).hint(Hint::SeeCatalog))
        }
    };
    let size = size.unwrap_or_else(|| defaults.size.to_owned());
    let location = location.unwrap_or_else(|| defaults.location.to_owned());
    plain("size", &size)?;
    plain("location", &location)?;
    Ok(Choice { placement: Placement { size, location }, fallbacks: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::{read, variables};
    use ebbtide_api::backups::Persistence;
    use ebbtide_api::workspace::OnUnsaved;

    fn complete_json(body: &str) -> ApiResult<Checked> {
        let config = read(&variables("LOG", None)).unwrap();
        complete(
            crate::http::json::parse(body.as_bytes())?,
            None,
            &ProgramList::default(),
            &config,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn check(body: &str, wanted: &str) {
        let refusal = complete_json(body).unwrap_err();
        assert_eq!(refusal.to_string(), wanted, "{body}");
    }

    #[test]
    fn an_empty_request_gets_the_defaults() {
        let Checked { name, spec, env, worst_case, .. } = complete_json("").unwrap();
        assert_eq!((name.as_str(), env.len(), worst_case), ("workspace", 0, None));
        assert_eq!(spec.placement, Placement { size: "cx23".into(), location: "fsn1".into() });
        assert_eq!((spec.idle_timeout, spec.lifetime), (Duration::from_mins(30), Duration::from_hours(24)));
        assert_eq!((spec.on_unsaved, spec.persistence), (OnUnsaved::Destroy, Persistence::Backup));
    }

    #[test]
    fn the_name_comes_from_the_repository() {
        let checked =
            complete_json(r#"{"repo":"https://github.com/owner/My_App.git","branch":"$(id)"}"#).unwrap();
        assert_eq!(checked.name, "my-app");
        assert_eq!(checked.spec.branch.as_deref(), Some("$(id)"));
    }

    #[test]
    fn unusable_fields_are_refused_by_name() {
        check(
            r#"{"name":"Bad Name"}"#,
            "invalid_field: name: the name holds something other than lower-case letters, digits and dashes",
        );
        check(r#"{"repo":"--upload-pack=x"}"#, "invalid_field: repo: the repository URL starts with a dash");
        check(
            r#"{"repo":"file:///etc"}"#,
            "invalid_field: repo: the repository URL names a transport that runs commands or reads local files",
        );
        check(r#"{"branch":"main"}"#, "invalid_field: branch: there is no repository to take it from");
        check(
            r#"{"agents":["claude"]}"#,
            "invalid_field: agents: Claude Code is not published in this installation",
        );
        check(r#"{"idle_timeout":"9s"}"#, "invalid_field: idle_timeout: 9s is too short");
        check(r#"{"lifetime":"169h"}"#, "invalid_field: lifetime: 169h is too long");
        check(r#"{"size":"../x"}"#, "invalid_field: size: this is not a Hetzner size");
        check(
            r#"{"env":{"1A":"x"}}"#,
            "invalid_field: env: a name holds something other than letters, digits and _, or is too long",
        );
        check(r#"{"env":{"LD_PRELOAD":"x"}}"#, "invalid_field: env.LD_PRELOAD: the machine sets this itself");
        check(
            r#"{"env":{"A":"\u0000"}}"#,
            "invalid_field: env.A: the value is too long or holds a zero byte",
        );
        check(
            &format!(r#"{{"name":"{}"}}"#, "a".repeat(10_000)),
            "invalid_field: name: the name has more than 40 characters",
        );
    }

    #[test]
    fn a_secret_value_is_in_no_refusal() {
        let refusal = complete_json(r#"{"env":{"PATH":"hunter2"}}"#).unwrap_err();
        assert!(!format!("{refusal:?}").contains("hunter2"));
    }

    #[test]
    fn values_of_the_environment_are_kept_apart_from_the_record() {
        let checked = complete_json(r#"{"env":{"TOKEN":"hunter2"}}"#).unwrap();
        assert_eq!(checked.spec.env, ["TOKEN"]);
        assert!(!serde_json::to_string(&checked.spec).unwrap().contains("hunter2"));
    }
}
