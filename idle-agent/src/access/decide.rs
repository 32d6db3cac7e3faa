//! The decision about one request: pure, from the door's state and what the request says.

use super::token::{Invalid, Keys, Links, Place};
use crate::os::clock::{Moment, ToldTime};
use ebbtide_api::vm::{AccessPlan, CLOUDCLI_PORT, IngressPlan, TERMINAL_LABEL, TERMINAL_PORT};
use ebbtide_api::{Generation, WorkspaceId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Query parameter and plain-http cookie that carry a token.
const PARAMETER: &str = "ebb_access";
/// Cookie that carries a token over https.
const COOKIE: &str = "__Host-ebb";
/// How many tokens of one request are looked at. Browsers send one; a page on another port of this workspace may have
/// planted more.
const TOKENS: usize = 8;
/// How many of them have their signature checked: the rest said the wrong things already.
const SIGNATURES: usize = 2;

/// What decides who comes in.
#[derive(Debug, Default)]
pub struct Door {
    /// Whose door it is.
    pub workspace: Option<WorkspaceId>,
    /// Host name of the workspace itself.
    pub host: String,
    /// Host names of ports, with `{port}`.
    pub port_host_template: String,
    /// URLs of ports, with `{port}`.
    pub port_url_template: String,
    /// Which of the workspace's machines this is.
    pub generation: Option<Generation>,
    /// Keys by which tokens are checked.
    pub keys: Keys,
    /// What the keys were made from.
    known_keys: BTreeMap<String, String>,
    /// Which port each link in force opens, as far as it was told.
    link_ports: BTreeMap<String, u16>,
    /// Links in force; `None` while the control plane has not said.
    pub links: Option<Links>,
    /// Ports that anybody may reach.
    pub public_ports: BTreeSet<u16>,
    /// Where each port that speaks HTTP listens, and how it speaks it.
    pub upstreams: BTreeMap<u16, Upstream>,
    /// The control plane has heard that the machine is ready: before that it counts as holding no work, so nobody may
    /// come in to do any.
    pub open: bool,
    /// The last backup is being taken: nobody comes in any more.
    pub closed: bool,
    /// The control plane's time, by which its tokens are checked; this machine's own until it is told.
    pub time: Option<ToldTime>,
}

/// What somebody may be connected to who would not be let in any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Servers of ports.
    pub servers: Vec<SocketAddr>,
    /// The terminal.
    pub terminal: bool,
}

/// A server on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it speaks.
    pub scheme: Scheme,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP.
    Http,
    /// HTTP within TLS, with a certificate that nobody checks: the server is on this machine.
    Https,
}

impl Scheme {
    /// As in URLs.
    pub fn words(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Door {
    /// Takes over how ports are named and who signs tokens.
    pub fn set_plan(&mut self, workspace: &WorkspaceId, generation: Generation, plan: &IngressPlan) {
        self.workspace = Some(workspace.clone());
        self.generation = Some(generation);
        self.host = plan.host.to_ascii_lowercase();
        self.port_host_template = plan.port_host_template.to_ascii_lowercase();
        self.port_url_template = plan.port_url_template.clone();
        self.set_keys(&plan.access_keys);
    }

    /// Takes over who may come in from now on, as of a time of the control plane's clock. Answers with the servers that
    /// somebody may be connected to who would not be let in any more.
    pub fn admit(&mut self, public_ports: &[u16], access: Option<(&AccessPlan, u64)>) -> Left {
        let before = std::mem::replace(&mut self.public_ports, public_ports.iter().copied().collect());
        let mut left: BTreeSet<u16> = before.difference(&self.public_ports).copied().collect();
        if let Some((plan, told_at)) = access {
            let is_gone = |id: &String| !plan.links.contains(id);
            left.extend(self.link_ports.iter().filter(|(id, _)| is_gone(id)).map(|(_, port)| *port));
            let a_key_is_gone = self.known_keys.keys().any(|id| !plan.keys.contains_key(id));
            if a_key_is_gone && !plan.keys.is_empty() {
                left.extend(self.upstreams.keys());
                left.insert(TERMINAL_PORT);
            }
            self.link_ports.clone_from(&plan.link_ports);
            self.set_access(plan, told_at);
        }
        let servers =
            left.iter().filter_map(|port| self.upstreams.get(port)).map(|upstream| upstream.address);
        Left { servers: servers.collect(), terminal: left.contains(&TERMINAL_PORT) }
    }

    /// Takes over whose signature counts and which links are in force.
    fn set_access(&mut self, plan: &AccessPlan, told_at: u64) {
        self.set_keys(&plan.keys);
        self.links = Some(Links { ids: plan.links.iter().cloned().collect(), told_at });
    }

    fn set_keys(&mut self, keys: &BTreeMap<String, String>) {
        // A control plane that names none is broken: nobody would come in any more.
        if *keys != self.known_keys && !keys.is_empty() {
            self.keys = Keys::new(keys);
            self.known_keys.clone_from(keys);
        }
    }

    /// Seconds since 1970 at a moment.
    fn unix_time(&self, at: Moment) -> u64 {
        let own = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.time.map_or_else(own, |told| told.at(at))
    }

    /// Whether browsers come over https.
    fn is_https(&self) -> bool {
        !self.port_url_template.starts_with("http://")
    }

    /// Which port a host name means: the workspace's own name is CloudCLI's, which has no other.
    fn port_of(&self, host: &str) -> Option<u16> {
        if host == self.host {
            return Some(CLOUDCLI_PORT);
        }
        let (before, after) = self.port_host_template.split_once("{port}")?;
        let digits = host.strip_prefix(before)?.strip_suffix(after)?;
        if digits == TERMINAL_LABEL {
            return Some(TERMINAL_PORT);
        }
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        digits.parse().ok().filter(|port| is_plain && *port != CLOUDCLI_PORT)
    }

    /// Whether anybody may reach a port. CloudCLI's never: its first visitor becomes its owner. Nor the terminal.
    fn is_public(&self, port: u16) -> bool {
        ![CLOUDCLI_PORT, TERMINAL_PORT].contains(&port) && self.public_ports.contains(&port)
    }

    /// The URL of a port, as browsers name it.
    fn url_of(&self, port: u16) -> String {
        url_of(&self.port_url_template, port)
    }
}

/// The URL of a port.
pub fn url_of(template: &str, port: u16) -> String {
    match port {
        CLOUDCLI_PORT => template.replace("{port}.", ""),
        TERMINAL_PORT => template.replace("{port}", TERMINAL_LABEL),
        port => template.replace("{port}", &port.to_string()),
    }
}

/// What Caddy tells about a request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `Host` as sent, lower case.
    pub host: String,
    /// Method in upper case.
    pub method: String,
    /// Path and query as sent.
    pub uri: String,
    /// `Upgrade`, lower case.
    pub upgrade: String,
    /// `Origin`, lower case.
    pub origin: Option<String>,
    /// `Origin` in the case it was sent in.
    pub origin_as_sent: Option<String>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: String,
    /// `Sec-Fetch-Mode`.
    pub fetch_mode: String,
    /// `Sec-Fetch-User`: `?1` where somebody clicked or typed.
    pub fetch_user: String,
    /// `Accept`.
    pub accept: String,
    /// `Sec-WebSocket-Protocol`.
    pub websocket_protocol: String,
    /// `Cookie`.
    pub cookie: String,
    /// `X-Ebbtide-Access`.
    pub access_header: Option<String>,
}

impl Request {
    /// Reads what Caddy put into the question's headers.
    pub fn from_headers<'a>(header: impl Fn(&str) -> Option<Cow<'a, str>>) -> Self {
        let text = |name: &str| header(name).unwrap_or_default().into_owned();
        Self {
            host: text("X-Ebb-Host").to_ascii_lowercase(),
            method: text("X-Ebb-Method").to_ascii_uppercase(),
            uri: text("X-Ebb-Uri"),
            upgrade: text("X-Ebb-Upgrade").to_ascii_lowercase(),
            origin: header("Origin").map(|origin| origin.to_ascii_lowercase()),
            origin_as_sent: header("Origin").map(Cow::into_owned),
            fetch_site: text("Sec-Fetch-Site"),
            fetch_mode: text("Sec-Fetch-Mode"),
            fetch_user: text("Sec-Fetch-User"),
            accept: text("Accept"),
            websocket_protocol: text("Sec-WebSocket-Protocol"),
            cookie: text("Cookie"),
            access_header: header("X-Ebbtide-Access").map(Cow::into_owned),
        }
    }

    /// Whether a browser goes to a page.
    pub fn is_navigation(&self) -> bool {
        let by_browser = if self.fetch_mode.is_empty() {
            self.accept.contains("text/html")
        } else {
            self.fetch_mode == "navigate"
        };
        by_browser && self.upgrade.is_empty()
    }

    /// Whether the method promises to change nothing.
    pub fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS") && self.upgrade.is_empty()
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        self.uri.split('?').next().unwrap_or("")
    }

    fn hostname(&self) -> &str {
        match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &self.host,
        }
    }

    fn query_token(&self) -> Option<&str> {
        let (_, query) = self.uri.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(PARAMETER)?.strip_prefix('='))
    }

    fn cookies<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.cookie.split(';').filter_map(move |pair| {
            let (found, value) = pair.trim().split_once('=')?;
            (found == name).then_some(value)
        })
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on to the port.
    Pass {
        /// Which port it is for.
        port: u16,
        /// Where that listens.
        upstream: Upstream,
        /// The part of the query that holds the credential.
        strip: Option<String>,
        /// The own origin as the browser named it; the app is told its local one.
        origin: Option<String>,
    },
    /// It goes on to the terminal.
    Terminal,
    /// The credential moves from the URL to a cookie.
    Enter {
        /// Which port it is for.
        port: u16,
        /// The clean URL.
        location: String,
        /// The cookie.
        cookie: String,
    },
    /// It goes nowhere.
    Refuse(Refusal),
}

/// Why a request goes nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The host name names no port of this workspace.
    NoSuchHost,
    /// No credential.
    SignInNeeded,
    /// A credential that has expired, or is none.
    SignInAgain,
    /// A credential that is not good yet, by the time that this machine has.
    NotYet,
    /// A credential for something else.
    NotYours,
    /// Another site tries to act through the visitor's browser.
    CrossSite,
    /// Nothing listens there.
    NothingListens(u16),
    /// Not ready yet, as far as the control plane knows.
    Starting,
    /// The last backup is being taken.
    GoingToSleep,
}

impl Refusal {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::NoSuchHost | Self::NothingListens(_) => 404,
            Self::SignInNeeded | Self::SignInAgain | Self::NotYet => 401,
            Self::NotYours | Self::CrossSite => 403,
            Self::Starting | Self::GoingToSleep => 503,
        }
    }

    /// Title and text for a person; nothing in them comes from the request but a number.
    pub fn words(&self) -> (String, String) {
        let (title, text) = match self {
            Self::NoSuchHost => ("No such name", "This name belongs to no port of the workspace.".to_owned()),
            Self::SignInNeeded => (
                "Sign-in needed",
                "This port is private. Open it from the workspace's page in the dashboard; the link there signs you in."
                    .to_owned(),
            ),
            Self::SignInAgain => (
                "Sign in again",
                "Your access has expired. Open this port again from the workspace's page in the dashboard.".to_owned(),
            ),
            Self::NotYet => (
                "The clock of this workspace is behind",
                "Your access is newer than the time that the workspace has. It is told the time within a minute: wait, and \
                 load this page again."
                    .to_owned(),
            ),
            Self::NotYours => (
                "Not with this link",
                "This access was given for another workspace or port. Open this port from its own workspace's page in \
                 the dashboard."
                    .to_owned(),
            ),
            Self::CrossSite => (
                "Refused",
                "Another site asked for this through your browser. Open the port's own address instead.".to_owned(),
            ),
            Self::NothingListens(CLOUDCLI_PORT) => (
                "CloudCLI does not run",
                "This is CloudCLI's address, and CloudCLI does not run in the workspace, or is not installed there: npm \
                 install --global --prefix ~/.local @cloudcli-ai/cloudcli"
                    .to_owned(),
            ),
            Self::NothingListens(port) => (
                "Nothing listens here",
                format!("Nothing in the workspace listens on port {port}. Start a server; it appears within a second."),
            ),
            Self::Starting => (
                "Still starting",
                "The workspace is not ready yet. Its page in the dashboard shows how far it is.".to_owned(),
            ),
            Self::GoingToSleep => (
                "Going to sleep",
                "The workspace is taking its last backup before it sleeps. Wake it from the dashboard.".to_owned(),
            ),
        };
        (title.to_owned(), text)
    }
}

/// Decides about one request at a moment.
pub fn decide(door: &Door, request: &Request, at: Moment) -> Outcome {
    let now = door.unix_time(at);
    let (Some(workspace), Some(port)) = (&door.workspace, door.port_of(request.hostname())) else {
        return Outcome::Refuse(Refusal::NoSuchHost);
    };
    if !door.is_public(port) {
        let (token, good_for) = match credential(door, request, workspace, port, now) {
            Ok(good) => good,
            Err(refusal) => return Outcome::Refuse(refusal),
        };
        if is_cross_site(door, request, port) {
            return Outcome::Refuse(Refusal::CrossSite);
        }
        if request.query_token() == Some(token) && request.is_navigation() && request.method == "GET" {
            let cookie = if door.is_https() {
                format!("{COOKIE}={token}; Max-Age={good_for}; Path=/; HttpOnly; SameSite=Lax; Secure")
            } else {
                format!("{PARAMETER}={token}; Max-Age={good_for}; Path=/; HttpOnly; SameSite=Lax")
            };
            return Outcome::Enter { port, location: clean_location(&request.uri), cookie };
        }
    }
    if !door.open {
        return Outcome::Refuse(Refusal::Starting);
    }
    if door.closed {
        return Outcome::Refuse(Refusal::GoingToSleep);
    }
    match door.upstreams.get(&port) {
        _ if port == TERMINAL_PORT => Outcome::Terminal,
        Some(upstream) => Outcome::Pass {
            port,
            upstream: *upstream,
            strip: strip(&request.uri),
            origin: request.origin_as_sent.clone().filter(|_| is_own_origin(door, request, port)),
        },
        None => Outcome::Refuse(Refusal::NothingListens(port)),
    }
}

/// Looks for a good credential in query, header and cookie; answers with it, and for how many seconds it is good.
fn credential<'a>(
    door: &Door,
    request: &'a Request,
    workspace: &WorkspaceId,
    port: u16,
    now: u64,
) -> Result<(&'a str, u64), Refusal> {
    let plain_cookie = (!door.is_https()).then_some(PARAMETER);
    let cookies = [Some(COOKIE), plain_cookie];
    let cookies = cookies.into_iter().flatten().flat_map(|name| request.cookies(name));
    let candidates = request.query_token().into_iter().chain(request.access_header.as_deref()).chain(cookies);
    let (mut worst, mut signatures) = (None, 0);
    for token in candidates.filter(|token| !token.is_empty()).take(TOKENS) {
        let place = Place { workspace, port, generation: door.generation, links: door.links.as_ref() };
        let checked = door.keys.promising(token, place, now).and_then(|promising| {
            signatures += 1;
            if signatures > SIGNATURES { Err(Invalid::Unknown) } else { promising.check() }
        });
        match checked {
            Ok(good_for) => return Ok((token, good_for)),
            Err(invalid) => worst = worst.max(Some(invalid)),
        }
    }
    Err(match worst {
        None => Refusal::SignInNeeded,
        Some(Invalid::Unknown | Invalid::Expired) => Refusal::SignInAgain,
        Some(Invalid::NotYet) => Refusal::NotYet,
        Some(Invalid::OtherPlace) => Refusal::NotYours,
    })
}

/// Whether another site acts through the visitor's browser. Names of one workspace's ports share a site, so cookies
/// travel between them; hence the two checks.
fn is_cross_site(door: &Door, request: &Request, port: u16) -> bool {
    if request.fetch_site == "same-site" && !request.is_navigation() {
        return true;
    }
    request.origin.is_some() && !request.is_safe() && !is_own_origin(door, request, port)
}

/// Whether `Origin` names the host that was asked.
fn is_own_origin(door: &Door, request: &Request, port: u16) -> bool {
    let authority =
        request.origin.as_deref().and_then(|origin| origin.split_once("://")).map_or("", |(_, rest)| rest);
    let own = door.url_of(port).to_ascii_lowercase();
    let own = own.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(""));
    !authority.is_empty() && (authority == request.host || authority == own)
}

/// The URL without the credential; always a path of this host.
fn clean_location(uri: &str) -> String {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let kept: Vec<_> = query.split('&').filter(|pair| !pair.is_empty() && !is_credential(pair)).collect();
    let path = path.trim_start_matches(['/', '\\']);
    if kept.is_empty() { format!("/{path}") } else { format!("/{path}?{}", kept.join("&")) }
}

fn is_credential(pair: &str) -> bool {
    pair.strip_prefix(PARAMETER).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The text to take out of the query so that the app does not see the credential.
fn strip(uri: &str) -> Option<String> {
    let (_, query) = uri.split_once('?')?;
    let pair = query.split('&').find(|pair| is_credential(pair))?;
    Some(if query == pair {
        pair.to_owned()
    } else if query.starts_with(pair) {
        format!("{pair}&")
    } else {
        format!("&{pair}")
    })
}

#[cfg(test)]
mod tests;
