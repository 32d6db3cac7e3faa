//! Which page a path names. Pure.

use super::buttons::Button;
use ebbtide_api::WorkspaceId;

/// What a browser asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A file under `/static/`.
    Static,
    /// The overview, or the sign-in form.
    Home,
    /// Sends the sign-in form.
    SignIn,
    /// Ends the session.
    SignOut,
    /// The create form, empty or with what was typed.
    New,
    /// Sends the create form.
    Create,
    /// The cost line of the create form.
    Cost,
    /// All secrets.
    Secrets,
    /// Writes a secret.
    PutSecret,
    /// Deletes a secret.
    DeleteSecret,
    /// The keys that sign in over SSH.
    SshKeys,
    /// Adds one.
    PutSshKey,
    /// Deletes one.
    DeleteSshKey,
    /// How a workspace is reached over SSH.
    Ssh(WorkspaceId),
    /// Lets SSH in, or closes it.
    SwitchSsh(WorkspaceId),
    /// Which secrets a workspace gets.
    Choice(WorkspaceId),
    /// Chooses them.
    Choose(WorkspaceId),
    /// A workspace.
    Workspace(WorkspaceId),
    /// What changes on its page.
    Live(WorkspaceId),
    /// Opens one of its ports.
    Open(WorkspaceId, u16),
    /// Opens its terminal.
    Terminal(WorkspaceId),
    /// Asks before it is deleted.
    AskDelete(WorkspaceId),
    /// The button of that name on its page.
    Press(WorkspaceId, String),
    /// A path that exists, asked for in a way that it does not know.
    WrongMethod,
    /// Nothing.
    Unknown,
}

/// How a page is asked for; HEAD counts as GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Looks.
    Get,
    /// Changes.
    Post,
    /// Anything else.
    Other,
}

impl Route {
    /// Finds what a path names.
    pub fn find(verb: Verb, path: &str) -> Self {
        if path.starts_with("/static/") {
            return read(verb, Self::Static);
        }
        let parts: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        match parts.as_slice() {
            [""] => read(verb, Self::Home),
            ["signin"] => match verb {
                Verb::Get => Self::Home,
                Verb::Post => Self::SignIn,
                Verb::Other => Self::WrongMethod,
            },
            ["signout"] => change(verb, Self::SignOut),
            ["new"] => match verb {
                Verb::Get => Self::New,
                Verb::Post => Self::Create,
                Verb::Other => Self::WrongMethod,
            },
            ["new", "cost"] => read(verb, Self::Cost),
            ["secrets"] => match verb {
                Verb::Get => Self::Secrets,
                Verb::Post => Self::PutSecret,
                Verb::Other => Self::WrongMethod,
            },
            ["secrets", "delete"] => change(verb, Self::DeleteSecret),
            ["ssh-keys"] => match verb {
                Verb::Get => Self::SshKeys,
                Verb::Post => Self::PutSshKey,
                Verb::Other => Self::WrongMethod,
            },
            ["ssh-keys", "delete"] => change(verb, Self::DeleteSshKey),
            ["w", id, rest @ ..] => id.parse().map_or(Self::Unknown, |id| Self::below(verb, id, rest)),
            _ => Self::Unknown,
        }
    }

    fn below(verb: Verb, id: WorkspaceId, rest: &[&str]) -> Self {
        match rest {
            [] => read(verb, Self::Workspace(id)),
            ["live"] => read(verb, Self::Live(id)),
            ["open", port] => match port.parse::<u16>() {
                Ok(port) if port > 0 => read(verb, Self::Open(id, port)),
                _ => Self::Unknown,
            },
            ["secrets"] => match verb {
                Verb::Get => Self::Choice(id),
                Verb::Post => Self::Choose(id),
                Verb::Other => Self::WrongMethod,
            },
            ["ssh"] => match verb {
                Verb::Get => Self::Ssh(id),
                Verb::Post => Self::SwitchSsh(id),
                Verb::Other => Self::WrongMethod,
            },
            ["terminal"] => read(verb, Self::Terminal(id)),
            ["delete"] => match verb {
                Verb::Get => Self::AskDelete(id),
                Verb::Post => Self::Press(id, "delete".to_owned()),
                Verb::Other => Self::WrongMethod,
            },
            [name] if Button::find(name).is_some() => change(verb, Self::Press(id, (*name).to_owned())),
            _ => Self::Unknown,
        }
    }
}

fn read(verb: Verb, route: Route) -> Route {
    if verb == Verb::Get { route } else { Route::WrongMethod }
}

fn change(verb: Verb, route: Route) -> Route {
    if verb == Verb::Post { route } else { Route::WrongMethod }
}

/// Where to go after signing in: a page of ours, nothing else.
///
/// A browser reads `//host`, `/\host` and control characters as ways to another site, so only the plainest paths pass.
pub fn safe_next(next: &str) -> &str {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'?' | b'=' | b'&');
    let ours =
        next.starts_with('/') && !next.starts_with("//") && next.len() <= 200 && next.bytes().all(plain);
    if ours { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> WorkspaceId {
        "k3v7q2mzab".parse().unwrap()
    }

    #[test]
    fn paths_name_their_pages() {
        let table = [
            (Verb::Get, "/", Route::Home),
            (Verb::Get, "/signin", Route::Home),
            (Verb::Post, "/signin", Route::SignIn),
            (Verb::Get, "/signout", Route::WrongMethod),
            (Verb::Get, "/new", Route::New),
            (Verb::Post, "/new", Route::Create),
            (Verb::Get, "/new/cost", Route::Cost),
            (Verb::Get, "/secrets", Route::Secrets),
            (Verb::Post, "/secrets", Route::PutSecret),
            (Verb::Post, "/secrets/delete", Route::DeleteSecret),
            (Verb::Get, "/secrets/delete", Route::WrongMethod),
            (Verb::Get, "/w/k3v7q2mzab/secrets", Route::Choice(id())),
            (Verb::Post, "/w/k3v7q2mzab/secrets", Route::Choose(id())),
            (Verb::Get, "/ssh-keys", Route::SshKeys),
            (Verb::Post, "/ssh-keys", Route::PutSshKey),
            (Verb::Post, "/ssh-keys/delete", Route::DeleteSshKey),
            (Verb::Get, "/w/k3v7q2mzab/ssh", Route::Ssh(id())),
            (Verb::Post, "/w/k3v7q2mzab/ssh", Route::SwitchSsh(id())),
            (Verb::Get, "/w/k3v7q2mzab", Route::Workspace(id())),
            (Verb::Get, "/w/k3v7q2mzab/live", Route::Live(id())),
            (Verb::Get, "/w/k3v7q2mzab/open/3000", Route::Open(id(), 3000)),
            (Verb::Get, "/w/k3v7q2mzab/open/0", Route::Unknown),
            (Verb::Get, "/w/k3v7q2mzab/terminal", Route::Terminal(id())),
            (Verb::Get, "/w/k3v7q2mzab/delete", Route::AskDelete(id())),
            (Verb::Post, "/w/k3v7q2mzab/delete", Route::Press(id(), "delete".to_owned())),
            (Verb::Post, "/w/k3v7q2mzab/wake", Route::Press(id(), "wake".to_owned())),
            (Verb::Get, "/static/app.css", Route::Static),
        ];
        for (verb, path, expected) in table {
            assert_eq!(Route::find(verb, path), expected, "{path}");
        }
    }

    #[test]
    fn nothing_is_changed_by_looking() {
        for action in ["sleep", "wake", "retry", "snapshot", "hold", "release", "undelete"] {
            assert_eq!(
                Route::find(Verb::Get, &format!("/w/k3v7q2mzab/{action}")),
                Route::WrongMethod,
                "{action}"
            );
        }
    }

    #[test]
    fn absurd_paths_name_nothing() {
        for path in [
            "/w/../etc",
            "/w/UPPERCASEX",
            "/w/k3v7q2mzab/open/0",
            "/w/k3v7q2mzab/open/65536",
            "/w/k3v7q2mzab/open/-1",
            "/w/k3v7q2mzab/sleep/now",
            "//",
            "/w/",
            "",
            "/admin",
        ] {
            let route = Route::find(Verb::Get, path);
            assert!(route == Route::Unknown || path.is_empty(), "{path}: {route:?}");
        }
    }

    #[test]
    fn signing_in_never_leads_to_another_site() {
        for next in [
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/\n/x",
            "",
            "w",
        ] {
            assert_eq!(safe_next(next), "/", "{next:?}");
        }
        assert_eq!(safe_next("/w/k3v7q2mzab"), "/w/k3v7q2mzab");
        assert_eq!(safe_next("/new?size=cx23&lifetime=2h"), "/new?size=cx23&lifetime=2h");
    }
}
