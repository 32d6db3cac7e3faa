//! The installation's configuration, from plain variables and secrets.
//!
//! What is wrong with it stops what needs it and nothing else ([`Reach`]): a typing error in `POLICY` starts no machine
//! and ends every one on time. `/health` names what is wrong and never repeats a value. There is no development branch.

use crate::log::Level;
use ebbtide_api::sweep::SweepMode;
use ebbtide_control::keys::{KeyError, MasterKeys};
use ebbtide_control::names;
use ebbtide_control::policy::Policy;
use ebbtide_control::secret::SecretText;
use ebbtide_control::tokens::TokenKeys;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// Shortest owner token that is accepted, in characters.
const OWNER_TOKEN_MIN: usize = 24;

/// The configuration: one field a variable, of the same name in capitals. The comments are what an operator reads in
/// `docs/reference/policy.md`.
#[derive(Debug)]
pub struct Config {
    /// Public address of this Worker, without a trailing slash; browsers and machines use it. Not below
    /// `ZONE`.
    pub control_url: String,
    /// A short name of this installation: it marks servers, names and images as ours. Never change it.
    pub install_id: String,
    /// Domain below which workspaces answer, such as `ws.example.org`.
    pub zone: String,
    /// The id of that domain's zone at Cloudflare.
    pub zone_id: String,
    /// Base address of the provider of machines: `https://api.hetzner.cloud/v1`.
    pub hetzner_url: String,
    /// Base address of the provider of names: `https://api.cloudflare.com/client/v4`.
    pub cloudflare_url: String,
    /// How a browser reaches a workspace's host; holds `{host}`, as in `http://{host}`.
    pub port_url_template: String,
    /// Port on which machines serve pages.
    pub ingress_port: u16,
    /// Server type where a request names none.
    pub default_size: String,
    /// Location where a request names none.
    pub default_location: String,
    /// Image of new servers.
    pub default_image: String,
    /// Durations, limits and caps: see below.
    pub policy: Policy,
    /// The most that the sweep may do: `on`, `dry-run` or `off`.
    pub sweep: SweepMode,
    /// Least level that is logged: `error`, `warn`, `info` or `debug`.
    pub log: Level,
    /// Signs the owner in, 24 characters at least.
    pub owner_token: SecretText,
    /// Token of the provider of machines, with read and write access.
    pub hetzner_token: SecretText,
    /// Token of the provider of names, with edit access to the zone's DNS.
    pub cloudflare_token: SecretText,
    /// Wrap the owner's keys: `{"current":"k1","keys":{"k1":"…"}}`, 32 random bytes each in base64. Keep a
    /// copy off line.
    pub master_keys: Option<MasterKeys>,
    /// Sign machines' tokens, sessions and links; the same form.
    pub token_keys: Option<TokenKeys>,
    problems: Vec<Problem>,
}

/// What a configuration is good for; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Nothing: it is not known whose machines are ours, or nobody lets us at them.
    Nothing,
    /// Machines end at their deadlines and the sweep goes on.
    Ending,
    /// Machines report, and back up.
    Machines,
    /// People see, change and end what they have.
    People,
    /// Machines are started.
    Everything,
}

/// One thing that is wrong, and how far the configuration reaches in spite of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    reach: Reach,
    what: String,
}

/// What is wrong with the configuration: variable and reason, values never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(pub Vec<String>);

impl ConfigProblems {
    fn of<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Self {
        Self(problems.into_iter().map(|problem| problem.what.clone()).collect())
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the installation is not configured: {}", self.0.join("; "))
    }
}

impl std::error::Error for ConfigProblems {}

thread_local! {
    /// An isolate's environment never changes, so a configuration that was read once stands.
    static READ: RefCell<Option<Rc<Config>>> = const { RefCell::new(None) };
}

impl Config {
    /// The configuration of this isolate, which reaches to [`Reach::Ending`] at least.
    ///
    /// # Errors
    /// Everything that is wrong with it, where no machine can be ended with it.
    pub fn from_env(env: &worker::Env) -> Result<Rc<Self>, ConfigProblems> {
        if let Some(config) = READ.with_borrow(Clone::clone) {
            return Ok(config);
        }
        let config = Rc::new(Self::read(|name| env.var(name).ok().map(|value| value.to_string()))?);
        crate::log::set_least(config.log);
        // With a policy that is not the installation's it is read again, so that the one that was kept is found.
        if !config.lacks_policy() {
            READ.set(Some(Rc::clone(&config)));
        }
        Ok(config)
    }

    /// The keys that wrap the owner's.
    ///
    /// # Errors
    /// They are not configured.
    pub fn master_keys(&self) -> Result<&MasterKeys, ConfigProblems> {
        self.master_keys.as_ref().ok_or_else(|| ConfigProblems::of(&self.problems))
    }

    /// The keys that sign tokens.
    ///
    /// # Errors
    /// They are not configured.
    pub fn token_keys(&self) -> Result<&TokenKeys, ConfigProblems> {
        self.token_keys.as_ref().ok_or_else(|| ConfigProblems::of(&self.problems))
    }

    /// That it reaches so far.
    ///
    /// # Errors
    /// Everything that stands in the way.
    pub fn ensure(&self, reach: Reach) -> Result<(), ConfigProblems> {
        let in_the_way: Vec<&Problem> =
            self.problems.iter().filter(|problem| problem.reach < reach).collect();
        if in_the_way.is_empty() { Ok(()) } else { Err(ConfigProblems::of(in_the_way)) }
    }

    /// Lets this isolate live by another policy than the one that cannot be read.
    pub fn stand_in(env: &worker::Env, policy: Policy) {
        if let Ok(config) = Self::read(|name| env.var(name).ok().map(|value| value.to_string())) {
            READ.set(Some(Rc::new(Self { policy, ..config })));
        }
    }

    /// Whether nobody said yet what to live by instead of a policy that cannot be read.
    pub fn awaits_policy(&self) -> bool {
        self.lacks_policy() && READ.with_borrow(Option::is_none)
    }

    /// Whether the policy is not what the installation says: the default, or the last good one.
    pub fn lacks_policy(&self) -> bool {
        self.problems.iter().any(|problem| problem.what.starts_with("POLICY "))
    }

    /// Reads the configuration from named texts. What cannot be used is left at its default, if it has one.
    ///
    /// # Errors
    /// Everything that is wrong with it, where no machine can be ended with it.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigProblems> {
        let mut reader = Reader { variable, reach: Reach::Nothing, problems: Vec::new() };
        let install_id = reader.checked("INSTALL_ID", names::is_install_id, "1 to 32 of a-z, 0-9 and dashes");
        let hetzner_url = reader.url("HETZNER_URL");
        let hetzner_token = reader.secret("HETZNER_TOKEN");
        reader.reach = Reach::Ending;
        let master_keys = reader.keys("MASTER_KEYS", MasterKeys::parse);
        let token_keys = reader.keys("TOKEN_KEYS", |text| TokenKeys::parse(&install_id, text));
        let control_url = reader.url("CONTROL_URL");
        let is_template = |text: &str| text.contains("{host}");
        let port_url_template = reader.checked("PORT_URL_TEMPLATE", is_template, "a URL with {host} in it");
        reader.reach = Reach::Machines;
        let owner_token = reader.secret("OWNER_TOKEN");
        if !owner_token.expose().is_empty() && owner_token.expose().chars().count() < OWNER_TOKEN_MIN {
            reader.problem("OWNER_TOKEN", "is shorter than 24 characters");
        }
        let is_plain = |text: &str| !text.is_empty();
        let zone = reader.checked("ZONE", is_domain, "a domain in lower case");
        let zone_id = reader.checked("ZONE_ID", is_plain, "the zone's id");
        let cloudflare_url = reader.url("CLOUDFLARE_URL");
        let cloudflare_token = reader.secret("CLOUDFLARE_TOKEN");
        reader.reach = Reach::People;
        let policy = Policy::parse(&reader.optional("POLICY", "")).unwrap_or_else(|error| {
            reader.problem("POLICY", &error.to_string());
            Policy::unread()
        });
        let ingress_port = reader.optional("INGRESS_PORT", "80").parse().unwrap_or_else(|_| {
            reader.problem("INGRESS_PORT", "is no port");
            80
        });
        // Whoever wrote something else than `on` wanted less than that, and so nothing is ended by it.
        let sweep = SweepMode::parse(&reader.optional("SWEEP", "on")).unwrap_or_else(|| {
            reader.problem("SWEEP", "is not one of on, dry-run and off");
            SweepMode::DryRun
        });
        let default_size = reader.optional("DEFAULT_SIZE", "cx23");
        let default_location = reader.optional("DEFAULT_LOCATION", "fsn1");
        let default_image = reader.optional("DEFAULT_IMAGE", "debian-13");
        let log = Level::parse(&reader.optional("LOG", "info"));
        let problems = reader.problems;
        if problems.iter().any(|problem| problem.reach == Reach::Nothing) {
            return Err(ConfigProblems::of(&problems));
        }
        Ok(Self {
            control_url,
            install_id,
            zone,
            zone_id,
            hetzner_url,
            cloudflare_url,
            port_url_template,
            ingress_port,
            default_size,
            default_location,
            default_image,
            policy,
            sweep,
            log,
            owner_token,
            hetzner_token,
            cloudflare_token,
            master_keys,
            token_keys,
            problems,
        })
    }
}

/// Collects what is wrong instead of stopping at the first.
struct Reader<V> {
    variable: V,
    /// How far a configuration reaches in which the next variable is unusable.
    reach: Reach,
    problems: Vec<Problem>,
}

impl<V: Fn(&str) -> Option<String>> Reader<V> {
    fn problem(&mut self, name: &str, what: &str) {
        self.problems.push(Problem { reach: self.reach, what: format!("{name} {what}") });
    }

    fn optional(&self, name: &str, default: &str) -> String {
        (self.variable)(name).filter(|text| !text.trim().is_empty()).unwrap_or_else(|| default.to_owned())
    }

    fn required(&mut self, name: &str) -> Option<String> {
        match (self.variable)(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
            Some(text) => Some(text),
            None => {
                self.problem(name, "is missing");
                None
            }
        }
    }

    fn checked(&mut self, name: &str, is_usable: impl Fn(&str) -> bool, wanted: &str) -> String {
        let Some(text) = self.required(name) else { return String::new() };
        if !is_usable(&text) {
            self.problem(name, &format!("is not {wanted}"));
        }
        text
    }

    fn url(&mut self, name: &str) -> String {
        let is_usable = |text: &str| {
            url::Url::parse(text).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none()
            })
        };
        let text = self.checked(name, is_usable, "an http or https URL");
        text.trim_end_matches('/').to_owned()
    }

    fn secret(&mut self, name: &str) -> SecretText {
        let Some(text) = self.required(name) else { return String::new().into() };
        let lower = text.to_ascii_lowercase();
        if ["example", "changeme", "change-me"].iter().any(|placeholder| lower.contains(placeholder)) {
            self.problem(name, "is an example value");
        }
        text.into()
    }

    fn keys<T>(&mut self, name: &str, parse: impl FnOnce(&SecretText) -> Result<T, KeyError>) -> Option<T> {
        let text = self.secret(name);
        if text.expose().is_empty() {
            return None;
        }
        match key_list(&text).and_then(|list| Ok(parse(&list)?)) {
            Ok(keys) => Some(keys),
            Err(error) => {
                self.problem(name, &format!("is unusable: {error}"));
                None
            }
        }
    }
}

#[derive(Deserialize)]
struct KeyRing {
    current: String,
    keys: BTreeMap<String, String>,
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
enum KeyListError {
    // Without the parser's words: they may repeat a key.
    #[error("it is no JSON of the form {{current, keys}}")]
    NoRing,
    #[error("its current key is not among its keys")]
    NoCurrent,
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Brings `{"current":"k1","keys":{"k1":"…"}}` into the form that `control` reads: `id:base64` pairs, the current one
/// first. A text in that form already is left as it is.
fn key_list(text: &SecretText) -> Result<SecretText, KeyListError> {
    if !text.expose().starts_with('{') {
        return Ok(text.clone());
    }
    let KeyRing { current, keys } = serde_json::from_str(text.expose()).map_err(|_| KeyListError::NoRing)?;
    let first = keys.get(&current).ok_or(KeyListError::NoCurrent)?;
    let others = keys.iter().filter(|(id, _)| **id != current);
    let pairs = std::iter::once((&current, first)).chain(others).map(|(id, key)| format!("{id}:{key}"));
    Ok(pairs.collect::<Vec<_>>().join(",").into())
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A whole configuration for tests, with one variable replaced.
    pub(crate) fn variables(name: &str, value: Option<&str>) -> BTreeMap<String, String> {
        let ring = |byte: u8| {
            use base64::Engine;
            let key: Vec<u8> = (0..32).map(|place| byte.wrapping_add(place)).collect();
            format!(
                r#"{{"current":"k1","keys":{{"k1":"{}"}}}}"#,
                base64::prelude::BASE64_STANDARD.encode(key)
            )
        };
        let mut variables: BTreeMap<String, String> = [
            ("CONTROL_URL", "http://127.0.0.1:8787/"),
            ("INSTALL_ID", "test"),
            ("ZONE", "ebb.localhost"),
            ("ZONE_ID", "z1"),
            ("HETZNER_URL", "http://127.0.0.1:1/v1"),
            ("CLOUDFLARE_URL", "http://127.0.0.1:1/client/v4"),
            ("PORT_URL_TEMPLATE", "http://{host}:8930"),
            ("OWNER_TOKEN", "0123456789abcdef0123456789abcdef"),
            ("HETZNER_TOKEN", "h"),
            ("CLOUDFLARE_TOKEN", "c"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.insert("MASTER_KEYS".to_owned(), ring(7));
        variables.insert("TOKEN_KEYS".to_owned(), ring(99));
        match value {
            Some(value) => variables.insert(name.to_owned(), value.to_owned()),
            None => variables.remove(name),
        };
        variables
    }

    /// What is wrong, whatever can be done in spite of it.
    fn problems(variables: &BTreeMap<String, String>) -> ConfigProblems {
        match read(variables) {
            Ok(config) => config.ensure(Reach::Everything).unwrap_err(),
            Err(problems) => problems,
        }
    }

    pub(crate) fn read(variables: &BTreeMap<String, String>) -> Result<Config, ConfigProblems> {
        Config::read(|name| variables.get(name).cloned())
    }

    #[test]
    fn a_whole_configuration_is_read_and_urls_lose_their_trailing_slash() {
        let config = read(&variables("LOG", Some("debug"))).unwrap();
        assert_eq!(config.control_url, "http://127.0.0.1:8787");
        assert_eq!(config.default_size, "cx23");
        assert_eq!(config.log, Level::Debug);
        assert_eq!(config.policy, Policy::default());
        assert_eq!(config.ensure(Reach::Everything), Ok(()));
    }

    #[test]
    fn each_missing_or_unusable_variable_is_named_stops_what_needs_it_and_no_value_is_repeated() {
        use Reach::{Ending, Machines, Nothing, People};
        let table = [
            ("OWNER_TOKEN", None, Machines, "OWNER_TOKEN is missing"),
            ("OWNER_TOKEN", Some("tiny-token"), Machines, "OWNER_TOKEN is shorter than 24 characters"),
            (
                "OWNER_TOKEN",
                Some("example-owner-token-0123456789"),
                Machines,
                "OWNER_TOKEN is an example value",
            ),
            ("HETZNER_TOKEN", Some("ChangeMe"), Nothing, "HETZNER_TOKEN is an example value"),
            ("HETZNER_URL", None, Nothing, "HETZNER_URL is missing"),
            ("MASTER_KEYS", None, Ending, "MASTER_KEYS is missing"),
            (
                "MASTER_KEYS",
                Some("{}"),
                Ending,
                "MASTER_KEYS is unusable: it is no JSON of the form {current, keys}",
            ),
            ("TOKEN_KEYS", Some("k1:c2hvcnQ="), Ending, "TOKEN_KEYS is unusable: "),
            ("CONTROL_URL", Some("ftp://x"), Ending, "CONTROL_URL is not an http or https URL"),
            ("INSTALL_ID", Some("Not Good"), Nothing, "INSTALL_ID is not 1 to 32 of a-z, 0-9 and dashes"),
            ("ZONE", Some("nodots"), Machines, "ZONE is not a domain in lower case"),
            ("CLOUDFLARE_TOKEN", None, Machines, "CLOUDFLARE_TOKEN is missing"),
            (
                "PORT_URL_TEMPLATE",
                Some("https://x"),
                Ending,
                "PORT_URL_TEMPLATE is not a URL with {host} in it",
            ),
            ("INGRESS_PORT", Some("99999"), People, "INGRESS_PORT is no port"),
            ("POLICY", Some(r#"{"idle":"1s"}"#), People, "POLICY unknown field `idle`"),
            ("SWEEP", Some("offf"), People, "SWEEP is not one of on, dry-run and off"),
        ];
        for (name, value, reach, wanted) in table {
            let variables = variables(name, value);
            let problems = problems(&variables);
            assert_eq!(problems.0.len(), 1, "{problems}");
            assert!(problems.to_string().contains(wanted), "{problems}");
            if let Some(value) = value.filter(|_| name.ends_with("TOKEN") || name.ends_with("KEYS")) {
                assert!(value == "{}" || !problems.to_string().contains(value), "{problems}");
            }
            for up_to in [Ending, Machines, People, Reach::Everything] {
                let stands = read(&variables).is_ok_and(|config| config.ensure(up_to).is_ok());
                assert_eq!(stands, up_to <= reach, "{name} {value:?} {up_to:?}");
            }
        }
    }

    #[test]
    fn what_is_unusable_is_never_taken_for_more_than_its_default() {
        let policy = read(&variables("POLICY", Some("{"))).unwrap();
        assert_eq!(policy.policy, Policy::unread());
        assert!(policy.lacks_policy() && !read(&variables("SWEEP", Some("x"))).unwrap().lacks_policy());
        assert_eq!(read(&variables("SWEEP", Some("offf"))).unwrap().sweep, SweepMode::DryRun);
        let without = read(&variables("TOKEN_KEYS", None)).unwrap();
        assert!(without.token_keys().is_err() && without.master_keys().is_ok());
    }

    #[test]
    fn the_current_key_of_a_ring_comes_first() {
        let list = key_list(&r#"{"current":"b","keys":{"a":"AAAA","b":"BBBB"}}"#.into()).unwrap();
        assert_eq!(list.expose(), "b:BBBB,a:AAAA");
    }
}
