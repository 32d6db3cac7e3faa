//! Secrets: the list, the form that writes one, and the choice of a workspace. No view holds a value.

use crate::form::Refusal;
use crate::text::{self, Time};
use crate::view::create::RefusalView;
use ebbtide_api::Timestamp;
use ebbtide_api::secrets::{FileMode, PutSecret, SecretChoice, SecretInfo, SecretUse};

/// The page of all secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretsView {
    /// By name.
    pub rows: Vec<SecretRow>,
    /// What became of the last change.
    pub done: Option<String>,
    /// What was wrong with what was typed.
    pub refusals: Vec<RefusalView>,
    /// What was typed, but for the value.
    pub typed: TypedSecret,
    /// What it may be for.
    pub kinds: Vec<KindChoice>,
}

/// A secret of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// What it is for, in words.
    pub what: String,
    /// Who gets it, in words.
    pub who: String,
    /// When its value was written.
    pub written: Time,
}

/// One thing that a secret may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindChoice {
    /// As the API names it.
    pub value: &'static str,
    /// In words.
    pub label: &'static str,
    /// Whether it is chosen.
    pub selected: bool,
}

/// What may be chosen, with what its place means.
const KINDS: [(&str, &str); 5] = [
    ("git_credential", "Git credential for a host"),
    ("environment", "Environment variable"),
    ("file", "File below the home"),
    ("ssh_key", "SSH key"),
    ("git_author", "Author of commits"),
];

/// The form that writes a secret, as it was typed. The value is in none of the fields that are shown again.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TypedSecret {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: String,
    /// Host, variable or path.
    pub place: String,
    /// As whom git signs in.
    pub username: String,
    /// Whether every workspace gets it.
    pub everywhere: bool,
    value: String,
}

impl std::fmt::Debug for TypedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TypedSecret({} {} {}, value redacted)", self.name, self.kind, self.place)
    }
}

impl TypedSecret {
    /// An empty form, with the choices that most want.
    pub fn new() -> Self {
        Self { kind: "git_credential".to_owned(), everywhere: true, ..Self::default() }
    }

    /// Reads a form; `get` answers with the value of a field, empty where there is none.
    pub fn read<'a>(get: impl Fn(&str) -> &'a str) -> Self {
        let line = |name: &str| get(name).trim().chars().take(300).collect::<String>();
        Self {
            name: line("name"),
            kind: line("kind"),
            place: line("place"),
            username: line("username"),
            everywhere: get("everywhere") == "on",
            value: get("value").replace("\r\n", "\n"),
        }
    }

    /// What it stands for; judged by the API's own rules.
    ///
    /// # Errors
    /// It is for nothing that there is.
    pub fn request(&self) -> Result<PutSecret, Refusal> {
        let place = self.place.clone();
        let usage = match self.kind.as_str() {
            "environment" => SecretUse::Environment { variable: place },
            "file" => SecretUse::File {
                path: place.strip_prefix("~/").unwrap_or(&place).to_owned(),
                mode: FileMode::ReadWrite,
            },
            "git_credential" => SecretUse::GitCredential {
                host: place.to_ascii_lowercase(),
                username: match self.username.as_str() {
                    "" => "x-access-token".to_owned(),
                    name => name.to_owned(),
                },
            },
            "ssh_key" => {
                SecretUse::SshKey { host: Some(place.to_ascii_lowercase()).filter(|host| !host.is_empty()) }
            }
            "git_author" => SecretUse::GitAuthor {},
            _ => {
                return Err(Refusal {
                    field: None,
                    message: "it does not say what the secret is for".to_owned(),
                    hint: "Choose one from the list.".to_owned(),
                });
            }
        };
        Ok(PutSecret { r#use: usage, value: self.value.clone(), everywhere: self.everywhere })
    }
}

/// Shows all secrets, and the form.
pub fn secrets(
    secrets: &[SecretInfo],
    typed: TypedSecret,
    refusals: &[Refusal],
    done: Option<String>,
    now: Timestamp,
) -> SecretsView {
    SecretsView {
        rows: secrets.iter().map(|secret| row(secret, now)).collect(),
        done,
        refusals: refusals.iter().map(super::create::refusal_view).collect(),
        kinds: KINDS
            .iter()
            .map(|(value, label)| KindChoice { value, label, selected: *value == typed.kind })
            .collect(),
        typed,
    }
}

fn row(secret: &SecretInfo, now: Timestamp) -> SecretRow {
    SecretRow {
        name: secret.name.clone(),
        what: what(&secret.r#use),
        who: who(secret),
        written: text::time(secret.written_at, now),
    }
}

fn what(usage: &SecretUse) -> String {
    match usage {
        SecretUse::Environment { variable } => format!("Variable {variable}"),
        SecretUse::File { path, .. } => format!("File ~/{path}"),
        SecretUse::GitCredential { host, .. } => format!("Git credential for {host}"),
        SecretUse::SshKey { host: Some(host) } => format!("SSH key for {host}"),
        SecretUse::SshKey { host: None } => "SSH key for every host".to_owned(),
        SecretUse::GitAuthor {} => "Author of commits".to_owned(),
    }
}

fn who(secret: &SecretInfo) -> String {
    let names: Vec<&str> = secret.workspaces.iter().take(3).map(|user| user.name.as_str()).collect();
    let more = secret.workspaces.len().saturating_sub(names.len());
    let named = match (names.is_empty(), more) {
        (true, _) => "no workspace now".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    };
    if secret.everywhere { format!("Everywhere: {named}") } else { format!("Where chosen: {named}") }
}

/// A secret that a workspace may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choosable {
    /// Its name.
    pub name: String,
    /// What it is for, in words.
    pub what: String,
    /// Whether it is chosen.
    pub chosen: bool,
    /// Whether it is marked everywhere.
    pub everywhere: bool,
}

/// What a workspace may choose from, with what it has chosen.
pub fn choosable(secrets: &[SecretInfo], choice: &SecretChoice) -> Vec<Choosable> {
    let choosable = |secret: &SecretInfo| Choosable {
        name: secret.name.clone(),
        what: what(&secret.r#use),
        chosen: choice.includes(&secret.name, secret.everywhere),
        everywhere: secret.everywhere,
    };
    secrets.iter().map(choosable).collect()
}

/// What a form of checkboxes means: exactly those that are everywhere is no choice of one's own, so that what is marked
/// so later comes too.
pub fn chosen<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<SecretChoice> {
    let (mut chosen, mut everywhere, mut is_shown) = (Vec::new(), Vec::new(), false);
    for (field, value) in pairs {
        match field {
            "secret" => chosen.push(value.to_owned()),
            "secret_everywhere" => everywhere.push(value.to_owned()),
            "secrets_shown" => is_shown = true,
            _ => {}
        }
    }
    chosen.sort();
    everywhere.sort();
    match (is_shown, chosen == everywhere) {
        (false, _) => None,
        (true, true) => Some(SecretChoice::Everywhere),
        (true, false) => Some(SecretChoice::Named(chosen)),
    }
}

/// The page on which a workspace's secrets are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChoiceView {
    /// The workspace's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What there is to choose from.
    pub secrets: Vec<Choosable>,
    /// Names that it chose and that are gone.
    pub missing: Vec<String>,
}

/// Shows what a workspace has chosen.
pub fn choice(id: &str, name: &str, secrets: &[SecretInfo], choice: &SecretChoice) -> ChoiceView {
    let is_known = |wanted: &String| secrets.iter().any(|secret| secret.name == *wanted);
    ChoiceView {
        id: id.to_owned(),
        name: name.to_owned(),
        secrets: choosable(secrets, choice),
        missing: choice.names().iter().filter(|name| !is_known(name)).cloned().collect(),
    }
}

/// A choice as a fact of a workspace.
pub fn fact(choice: &SecretChoice) -> String {
    match choice {
        SecretChoice::Everywhere => "those marked everywhere".to_owned(),
        SecretChoice::Named(names) if names.is_empty() => "none".to_owned(),
        SecretChoice::Named(names) => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &'static str)]) -> TypedSecret {
        let fields: std::collections::BTreeMap<String, &'static str> =
            fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        TypedSecret::read(|name| fields.get(name).copied().unwrap_or_default())
    }

    #[test]
    fn a_form_means_what_its_kind_says() {
        let put = |kind: &'static str, place: &'static str| {
            let fields = [("kind", kind), ("place", place), ("value", "v"), ("everywhere", "on")];
            let put = read(&fields).request().unwrap();
            assert!(put.everywhere && put.value == "v");
            put.r#use
        };
        let git = SecretUse::GitCredential { host: "github.com".into(), username: "x-access-token".into() };
        assert_eq!(put("git_credential", "GitHub.com"), git);
        assert_eq!(put("environment", "A"), SecretUse::Environment { variable: "A".into() });
        let file = SecretUse::File { path: ".npmrc".into(), mode: FileMode::ReadWrite };
        assert_eq!(put("file", "~/.npmrc"), file);
        assert_eq!(put("ssh_key", ""), SecretUse::SshKey { host: None });
        assert!(read(&[("kind", "magic")]).request().is_err());
        assert!(!read(&[("kind", "file")]).request().unwrap().everywhere);
    }

    #[test]
    fn a_value_is_not_shown_again_nor_in_debug_output() {
        let typed = read(&[("kind", "environment"), ("value", "hunter2")]);
        assert!(!format!("{typed:?}").contains("hunter2"));
    }

    #[test]
    fn leaving_the_boxes_as_they_are_chooses_nothing_of_one_s_own() {
        let shown = ("secrets_shown", "1");
        assert_eq!(chosen([("secret", "a")]), None);
        assert_eq!(
            chosen([shown, ("secret_everywhere", "a"), ("secret", "a")]),
            Some(SecretChoice::Everywhere)
        );
        assert_eq!(chosen([shown, ("secret_everywhere", "a")]), Some(SecretChoice::Named(vec![])));
        let both = [shown, ("secret", "b"), ("secret_everywhere", "a"), ("secret", "a")];
        assert_eq!(chosen(both), Some(SecretChoice::Named(vec!["a".into(), "b".into()])));
    }
}
