//! Rules that make the vendors misbehave, chosen per provider, method and path.
//!
//! A rule counts the calls it matches: `skip` lets the first ones pass, `times` bounds how often it strikes,
//! `per_mille` rolls the cloud's seeded dice. The first rule that strikes wins; nothing here is random.

use serde::{Deserialize, Serialize};

use super::{effect::MachineFault, wire::Provider};

/// What happens to a call that a rule strikes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Answered with this status and vendor code; nothing lands.
    Refuse {
        status: u16,
        code: String,
        #[serde(default)]
        message: String,
    },
    /// Lands; the answer is late.
    Slow { ms: u64 },
    /// 429 with the vendor's headers; nothing lands.
    RateLimited {
        #[serde(default = "one")]
        retry_after_secs: u64,
    },
    /// A capacity refusal in one of the three shapes seen in the field; nothing lands.
    Capacity { shape: CapacityShape },
    /// The change lands, the answer is an error (500 unless told otherwise).
    LandedThenError {
        #[serde(default = "five_hundred")]
        status: u16,
    },
    /// Lands; the answer says 200 and is a proxy's page instead of JSON.
    Garbage,
    /// Lands twice, as a retrying proxy would do it; the first answer is delivered.
    Duplicate,
    /// Lands; the connection drops before the answer.
    LostResponse,
    /// The connection drops before anything lands.
    LostRequest,
    /// A server created by the call gets this machine fault.
    Machine { fault: MachineFault },
}

fn one() -> u64 {
    1
}

fn five_hundred() -> u16 {
    500
}

/// How a provider says that it has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapacityShape {
    /// 412 `resource_unavailable`
    ResourceUnavailable,
    /// 422 `invalid_input`, "unsupported location for server type"
    UnsupportedLocation,
    /// 403 `resource_limit_exceeded`
    ResourceLimitExceeded,
}

/// One rule. Absent fields match everything; `path` is below the provider's prefix, `*` stands for one
/// segment, a final `**` for any rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Matching calls that pass before the rule may strike.
    #[serde(default)]
    pub skip: u32,
    /// How often it strikes; without it, always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Chance of striking, in thousandths; without it, certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_mille: Option<u32>,
    pub fault: FaultKind,
}

impl Rule {
    /// A rule that strikes every call to any path.
    pub fn new(fault: FaultKind) -> Self {
        Self { provider: None, method: None, path: None, skip: 0, times: None, per_mille: None, fault }
    }

    /// Limits the rule to one call shape, such as `POST /servers`.
    pub fn on(mut self, provider: Provider, method: &str, path: &str) -> Self {
        self.provider = Some(provider);
        self.method = Some(method.to_owned());
        self.path = Some(path.to_owned());
        self
    }

    pub fn skip(mut self, calls: u32) -> Self {
        self.skip = calls;
        self
    }

    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    pub fn per_mille(mut self, chance: u32) -> Self {
        self.per_mille = Some(chance);
        self
    }

    fn matches(&self, provider: Provider, method: &str, path: &str) -> bool {
        self.provider.is_none_or(|wanted| wanted == provider)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(|pattern| path_matches(pattern, path))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.trim_matches('/').split('/');
    for wanted in pattern.trim_matches('/').split('/') {
        if wanted == "**" {
            return true;
        }
        match segments.next() {
            Some(segment) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// A rule in force, with what it has done so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveRule {
    pub id: u64,
    #[serde(flatten)]
    pub rule: Rule,
    pub matched: u32,
    pub struck: u32,
}

/// The rules in force, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    rules: Vec<ActiveRule>,
    last_id: u64,
}

impl Faults {
    /// Adds a rule and returns its id.
    pub fn add(&mut self, rule: Rule) -> u64 {
        self.last_id += 1;
        self.rules.push(ActiveRule { id: self.last_id, rule, matched: 0, struck: 0 });
        self.last_id
    }

    /// Removes one rule; says whether it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|active| active.id != id);
        self.rules.len() != before
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    pub fn rules(&self) -> &[ActiveRule] {
        &self.rules
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Finds the fault that strikes this call; `dice` gives a number below 1000.
    pub(crate) fn strike(
        &mut self,
        provider: Provider,
        method: &str,
        path: &str,
        mut dice: impl FnMut() -> u32,
    ) -> Option<FaultKind> {
        for active in &mut self.rules {
            if !active.rule.matches(provider, method, path)
                || active.rule.times.is_some_and(|times| active.struck >= times)
            {
                continue;
            }
            active.matched = active.matched.saturating_add(1);
            if active.matched <= active.rule.skip
                || active.rule.per_mille.is_some_and(|chance| dice() >= chance)
            {
                continue;
            }
            active.struck = active.struck.saturating_add(1);
            return Some(active.rule.fault.clone());
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(rule: Rule, calls: &[(&str, &str)]) -> Vec<bool> {
        let mut faults = Faults::default();
        faults.add(rule);
        calls
            .iter()
            .map(|(method, path)| faults.strike(Provider::Hetzner, method, path, || 500).is_some())
            .collect()
    }

    #[test]
    fn a_pattern_matches_whole_segments_only() {
        for (pattern, path, expect) in [
            ("/servers", "/servers", true),
            ("/servers", "/servers/1", false),
            ("/servers/*", "/servers/1", true),
            ("/servers/*", "/servers/1/actions/reset", false),
            ("/servers/*/actions/*", "/servers/1/actions/reset", true),
            ("/servers/**", "/servers/1/actions/reset", true),
            ("**", "/anything/at/all", true),
            ("/servers/*", "/server_types/1", false),
        ] {
            assert_eq!(path_matches(pattern, path), expect, "{pattern} on {path}");
        }
    }

    #[test]
    fn skip_and_times_choose_the_nth_call() {
        let rule =
            Rule::new(FaultKind::LostResponse).on(Provider::Hetzner, "POST", "/servers").skip(1).times(1);
        let post = ("POST", "/servers");
        assert_eq!(strikes(rule, &[post, ("GET", "/servers"), post, post]), [false, false, true, false]);
    }

    #[test]
    fn chance_is_rolled_with_the_dice_of_the_caller() {
        let rule = |chance| Rule::new(FaultKind::Duplicate).per_mille(chance);
        assert_eq!(strikes(rule(500), &[("GET", "/x")]), [false]);
        assert_eq!(strikes(rule(501), &[("GET", "/x")]), [true]);
    }

    #[test]
    fn a_rule_reads_from_json_with_only_its_fault_named() {
        let rule: Rule = serde_json::from_str(
            r#"{"provider":"hetzner","method":"POST","path":"/servers","times":1,"fault":{"kind":"landed_then_error"}}"#,
        )
        .unwrap();
        assert_eq!(rule.fault, FaultKind::LandedThenError { status: 500 });
        assert_eq!(rule.skip, 0);
    }
}
