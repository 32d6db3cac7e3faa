//! The create form: what was typed, what it asks for, and which field a refusal belongs to.
//!
//! Typed values are kept as typed and shown again. Only what the API's types refuse is refused here (durations);
//! everything else is judged by the same code as `POST /v1/workspaces`, so that there is one set of rules.

use crate::view::secrets;
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::workspace::CreateWorkspace;
use ebbtide_api::{Duration, ErrorCode, Hint};

/// A field of the form; its name in HTML is its name in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// What to clone.
    Repo,
    /// Branch or tag.
    Branch,
    /// The readable name.
    Name,
    /// Server type.
    Size,
    /// Where it runs.
    Location,
    /// How long nothing may happen.
    IdleTimeout,
    /// How long after a wake it is drained.
    Lifetime,
}

impl Field {
    /// In the order of the form.
    pub const ALL: &[Self] = &[
        Self::Repo,
        Self::Branch,
        Self::Name,
        Self::Size,
        Self::Location,
        Self::IdleTimeout,
        Self::Lifetime,
    ];

    /// Its name in HTML and in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Branch => "branch",
            Self::Name => "name",
            Self::Size => "size",
            Self::Location => "location",
            Self::IdleTimeout => "idle_timeout",
            Self::Lifetime => "lifetime",
        }
    }
}

/// What was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Typed {
    /// What to clone.
    pub repo: String,
    /// Branch or tag.
    pub branch: String,
    /// The readable name.
    pub name: String,
    /// Server type.
    pub size: String,
    /// Where it runs.
    pub location: String,
    /// How long nothing may happen.
    pub idle_timeout: String,
    /// How long after a wake it is drained.
    pub lifetime: String,
    /// Which coding agents are ticked; `None` where no boxes were shown.
    pub agents: Option<Vec<String>>,
    /// Whether Docker is ticked.
    pub docker: bool,
    /// Which secrets it gets, where the form offered any.
    pub secrets: Option<SecretChoice>,
    /// Whether SSH is let in.
    pub ssh: bool,
}

/// Name of the boxes for coding agents. One without a box, and without a value, says that boxes were shown.
pub const AGENTS: &str = "agents";
/// Name of the box that lets SSH in.
pub const SSH: &str = "ssh";
/// Name of the box for Docker.
pub const DOCKER: &str = "docker";
/// Most agents that are read.
const AGENTS_MAX: usize = 16;

/// Longest text that a field keeps, in characters: a URL of 2 000 fits, and a page stays a page.
const KEPT: usize = 2048;

impl Typed {
    /// Reads decoded form pairs; unknown names are ignored, the last of a repeated name counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<(N, V)> = pairs.into_iter().collect();
        let chosen = secrets::chosen(pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
        let mut typed = Self { secrets: chosen, ..Self::default() };
        for (name, value) in pairs {
            if name.as_ref() == SSH {
                typed.ssh = value.as_ref() == "on";
            } else if name.as_ref() == AGENTS {
                let ticked = typed.agents.get_or_insert_default();
                if !value.as_ref().is_empty() && ticked.len() < AGENTS_MAX {
                    ticked.push(value.as_ref().chars().take(KEPT).collect());
                }
            } else if name.as_ref() == DOCKER {
                typed.docker = value.as_ref() == "true";
            } else if let Some(field) = Field::ALL.iter().find(|field| field.name() == name.as_ref()) {
                *typed.value_mut(*field) = value.as_ref().trim().chars().take(KEPT).collect();
            }
        }
        typed
    }

    /// What was typed into a field.
    pub fn value(&self, field: Field) -> &str {
        match field {
            Field::Repo => &self.repo,
            Field::Branch => &self.branch,
            Field::Name => &self.name,
            Field::Size => &self.size,
            Field::Location => &self.location,
            Field::IdleTimeout => &self.idle_timeout,
            Field::Lifetime => &self.lifetime,
        }
    }

    fn value_mut(&mut self, field: Field) -> &mut String {
        match field {
            Field::Repo => &mut self.repo,
            Field::Branch => &mut self.branch,
            Field::Name => &mut self.name,
            Field::Size => &mut self.size,
            Field::Location => &mut self.location,
            Field::IdleTimeout => &mut self.idle_timeout,
            Field::Lifetime => &mut self.lifetime,
        }
    }

    /// The request that it stands for; an empty field is an absent one.
    ///
    /// # Errors
    /// Every field that is no value of the API's types.
    pub fn request(&self) -> Result<CreateWorkspace, Vec<Refusal>> {
        let text = |field: Field| Some(self.value(field)).filter(|text| !text.is_empty()).map(str::to_owned);
        let mut refusals = Vec::new();
        let mut duration = |field: Field| {
            let parsed = text(field).map(|text| text.parse::<Duration>()).transpose();
            parsed.unwrap_or_else(|invalid| {
                refusals.push(Refusal {
                    field: Some(field),
                    message: invalid.to_string(),
                    hint: "Leave it empty for the default.".to_owned(),
                });
                None
            })
        };
        let request = CreateWorkspace {
            name: text(Field::Name),
            repo: text(Field::Repo),
            branch: text(Field::Branch),
            size: text(Field::Size),
            location: text(Field::Location),
            agents: self.agents.clone(),
            docker: self.docker,
            idle_timeout: duration(Field::IdleTimeout),
            lifetime: duration(Field::Lifetime),
            env: std::collections::BTreeMap::new(),
            secrets: self.secrets.clone().filter(|choice| *choice != SecretChoice::Everywhere),
            ssh: self.ssh.then_some(true),
            on_unsaved: None,
            rescue_image: None,
            persistence: None,
            retention: None,
        };
        if refusals.is_empty() { Ok(request) } else { Err(refusals) }
    }
}

/// A refusal as the form shows it: beside its field, or above the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it is shown; `None` above the form.
    pub field: Option<Field>,
    /// What was wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Refusal {
    /// Makes a refusal of what the API answered. The field is the first one that the message names.
    pub fn from_api(code: ErrorCode, message: &str, hint: &str) -> Self {
        let field = match code {
            ErrorCode::NameTaken => Some(Field::Name),
            ErrorCode::CapacityUnavailable => Some(Field::Size),
            ErrorCode::InvalidField | ErrorCode::UnknownField | ErrorCode::BadJson => named_in(message),
            _ => None,
        };
        // Beside its field, a message need not name it again.
        let message =
            field.and_then(|field| message.strip_prefix(field.name())?.strip_prefix(": ")).unwrap_or(message);
        Self { field, message: message.to_owned(), hint: Hint::page_form(hint).into_owned() }
    }
}

/// The field whose API name stands first in a message, as a word of its own.
fn named_in(message: &str) -> Option<Field> {
    message
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .find_map(|word| Field::ALL.iter().copied().find(|field| field.name() == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_is_wanted_by_whoever_ticks_it() {
        let docker =
            |pairs: &[(&str, &str)]| Typed::from_pairs(pairs.iter().copied()).request().unwrap().docker;
        assert!(!docker(&[]));
        assert!(docker(&[("docker", "true")]));
        assert!(!docker(&[("docker", "yes")]));
    }

    #[test]
    fn an_empty_form_asks_for_every_default() {
        let request = Typed::from_pairs([("repo", " "), ("size", ""), ("unknown", "x")]).request().unwrap();
        assert_eq!(summary(&request), "None None None");
    }

    fn summary(request: &CreateWorkspace) -> String {
        format!("{:?} {:?} {:?}", request.repo, request.size, request.lifetime)
    }

    #[test]
    fn typed_values_become_the_request() {
        let typed = Typed::from_pairs([
            ("repo", " https://h/r.git "),
            ("branch", "$(id)"),
            ("idle_timeout", "90m"),
            ("lifetime", "2h"),
        ]);
        let request = typed.request().unwrap();
        assert_eq!(request.repo.as_deref(), Some("https://h/r.git"));
        assert_eq!(request.branch.as_deref(), Some("$(id)"), "judged by the API, kept as typed");
        assert_eq!(request.idle_timeout, Some(Duration::from_mins(90)));
        assert_eq!(request.lifetime, Some(Duration::from_hours(2)));
    }

    #[test]
    fn boxes_that_were_shown_and_left_empty_ask_for_no_agent() {
        let agents =
            |pairs: &[(&str, &str)]| Typed::from_pairs(pairs.iter().copied()).request().unwrap().agents;
        assert_eq!(agents(&[]), None);
        assert_eq!(agents(&[("agents", "")]), Some(vec![]));
        let ticked = agents(&[("agents", ""), ("agents", "claude"), ("agents", "codex")]);
        assert_eq!(ticked, Some(vec!["claude".to_owned(), "codex".to_owned()]));
    }

    #[test]
    fn an_unusable_duration_is_refused_beside_its_field_and_never_replaced_by_a_default() {
        let refusals =
            Typed::from_pairs([("idle_timeout", "soon"), ("lifetime", "0s")]).request().unwrap_err();
        let fields: Vec<_> = refusals.iter().map(|refusal| refusal.field).collect();
        assert_eq!(fields, [Some(Field::IdleTimeout), Some(Field::Lifetime)]);
        assert!(refusals.iter().all(|refusal| !refusal.message.is_empty() && !refusal.hint.is_empty()));
    }

    #[test]
    fn a_refusal_of_the_api_finds_its_field() {
        let table = [
            (ErrorCode::InvalidField, "repo: the scheme file is not accepted", Some(Field::Repo)),
            (ErrorCode::InvalidField, "`idle_timeout` is shorter than 10s", Some(Field::IdleTimeout)),
            (ErrorCode::InvalidField, "no server type cx99 (field size)", Some(Field::Size)),
            (ErrorCode::InvalidField, "renamed branches are odd", None),
            (ErrorCode::NameTaken, "a workspace demo exists", Some(Field::Name)),
            (ErrorCode::CapReached, "name your price", None),
        ];
        for (code, message, field) in table {
            assert_eq!(Refusal::from_api(code, message, "h").field, field, "{message}");
        }
        let catalog = Refusal::from_api(ErrorCode::InvalidField, "size: m", Hint::SeeCatalog.for_api());
        assert_eq!(catalog.hint, Hint::SeeCatalog.for_page());
        let beside = Refusal::from_api(ErrorCode::InvalidField, "repo: the scheme file is not accepted", "h");
        assert_eq!(beside.message, "the scheme file is not accepted");
    }

    #[test]
    fn absurdly_long_texts_are_cut() {
        let typed = Typed::from_pairs([("name", "x".repeat(10_000))]);
        assert_eq!(typed.name.len(), KEPT);
    }
}
