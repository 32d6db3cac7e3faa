//! Views laid out as HTML: one struct for each page, one template for each struct.
//!
//! Everything is escaped by askama; no template marks anything as safe. No page holds a script, a style or an event
//! handler of its own, so that [`CONTENT_SECURITY_POLICY`] can forbid them.

use crate::asset;
use crate::view::action::DeleteView;
use crate::view::create::CostView;
use crate::view::secrets::{ChoiceView, SecretsView};
use crate::view::ssh::{AccessView, KeysView};
use crate::view::{CreateView, ErrorView, ListView, WorkspaceView};
pub use askama::Template;

/// Sent with every page: nothing but our own style, script and forms.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
     connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What surrounds every page.
#[derive(Debug, Clone)]
pub struct Shell {
    /// In the tab, before the product's name.
    pub title: String,
    /// Proves that a form comes from this session; `None` while nobody is signed in.
    pub csrf: Option<String>,
    product: &'static str,
    style: String,
    morph: String,
    script: String,
    icon: String,
}

impl Shell {
    /// The surroundings of a page; `csrf` where somebody is signed in.
    pub fn new(title: impl Into<String>, csrf: Option<String>) -> Self {
        Self {
            title: title.into(),
            csrf,
            product: ebbtide_api::PRODUCT.name,
            style: asset::STYLE.url(),
            morph: asset::MORPH.url(),
            script: asset::SCRIPT.url(),
            icon: asset::ICON.url(),
        }
    }
}

/// The sign-in form.
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// Why the last attempt was refused.
    pub refusal: Option<&'a ErrorView>,
    /// Where to go afterwards, a path of this site.
    pub next: &'a str,
}

/// The overview.
#[derive(Debug, Template)]
#[template(path = "list.html")]
pub struct ListPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub list: &'a ListView,
}

/// The create form.
#[derive(Debug, Template)]
#[template(path = "create.html")]
pub struct CreatePage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub form: &'a CreateView,
    /// Session proof for the form.
    pub csrf: &'a str,
}

/// The cost line of the create form alone, for the script.
#[derive(Debug, Template)]
#[template(path = "cost.html")]
pub struct CostFragment<'a> {
    /// What it shows.
    pub cost: &'a CostView,
}

/// The workspace page.
#[derive(Debug, Template)]
#[template(path = "workspace.html")]
pub struct WorkspacePage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub w: &'a WorkspaceView,
    /// Session proof for its forms.
    pub csrf: &'a str,
}

/// What changes on the workspace page, alone, for the script: the same template as in the page.
#[derive(Debug, Template)]
#[template(path = "workspace_live.html")]
pub struct WorkspaceFragment<'a> {
    /// What it shows.
    pub w: &'a WorkspaceView,
    /// Session proof for its forms.
    pub csrf: &'a str,
}

/// Asks before a workspace is deleted.
#[derive(Debug, Template)]
#[template(path = "delete.html")]
pub struct DeletePage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub delete: &'a DeleteView,
    /// Session proof for its forms.
    pub csrf: &'a str,
}

/// All secrets.
#[derive(Debug, Template)]
#[template(path = "secrets.html")]
pub struct SecretsPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub s: &'a SecretsView,
    /// Session proof for its forms.
    pub csrf: &'a str,
}

/// The secrets of a workspace.
#[derive(Debug, Template)]
#[template(path = "workspace_secrets.html")]
pub struct ChoicePage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub c: &'a ChoiceView,
    /// Session proof for its form.
    pub csrf: &'a str,
}

/// The keys that sign in over SSH.
#[derive(Debug, Template)]
#[template(path = "ssh_keys.html")]
pub struct SshKeysPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub s: &'a KeysView,
    /// Session proof for its forms.
    pub csrf: &'a str,
}

/// How a workspace is reached over SSH.
#[derive(Debug, Template)]
#[template(path = "workspace_ssh.html")]
pub struct SshPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub a: &'a AccessView,
    /// Session proof for its form.
    pub csrf: &'a str,
}

/// A refusal.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorPage<'a> {
    /// Surroundings.
    pub shell: &'a Shell,
    /// What it shows.
    pub error: &'a ErrorView,
    /// Where to go from here.
    pub back: Link<'a>,
}

/// A link.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// A path of this site.
    pub href: &'a str,
    /// What it says.
    pub label: &'a str,
}
