//! The table of routes: which method and path leads to which endpoint, and who may go there.
//!
//! The only place where paths are written down. It is pure: the dispatcher asks it, and a test compares it with the
//! OpenAPI document, both ways.

/// What a request is about. Each has one arm in the dispatcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the table below says it all
pub enum Endpoint {
    Health,
    OpenApi,
    Metrics,
    Catalog,
    Usage,
    ListWorkspaces,
    CreateWorkspace,
    GetWorkspace,
    PatchWorkspace,
    DeleteWorkspace,
    Sleep,
    Wake,
    Retry,
    Undelete,
    TakeHold,
    ReleaseHold,
    Events,
    Log,
    ListPorts,
    SetPort,
    LinkPort,
    ListSnapshots,
    TakeSnapshot,
    OwnerRepository,
    CreateRestoreKit,
    UndeleteBackups,
    RotateMasterKey,
    ListKeys,
    CreateKey,
    RevokeKey,
    Audit,
    Sweep,
    RunSweep,
    SetSweep,
    PublishAgent,
    FetchAgent,
    Enrol,
    RenewToken,
    Connect,
    Heartbeat,
    Receipt,
    Drained,
    BeginTidy,
    EndTidy,
    MachineRepository,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// A person or program of a tenant with the scope `read`.
    Read,
    /// Reading backups: the scope `read`, or a restore kit's key for that workspace.
    Restic,
    /// With the scope `write`.
    Write,
    /// With the scope `admin`.
    Admin,
    /// A machine with its VM token.
    Machine,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// Segments are texts, `{name}`, or a last `{name*}` that takes the rest, which may be empty.
    pub path: &'static str,
    /// Where it leads.
    pub endpoint: Endpoint,
    /// Who may go there.
    pub access: Access,
}

const fn route(method: &'static str, path: &'static str, endpoint: Endpoint, access: Access) -> Route {
    Route { method, path, endpoint, access }
}

/// All routes.
pub const ROUTES: &[Route] = &[
    route("GET", "/health", Endpoint::Health, Access::Open),
    route("GET", "/openapi.json", Endpoint::OpenApi, Access::Open),
    route("GET", "/metrics", Endpoint::Metrics, Access::Read),
    route("GET", "/v1/catalog", Endpoint::Catalog, Access::Read),
    route("GET", "/v1/usage", Endpoint::Usage, Access::Read),
    route("GET", "/v1/workspaces", Endpoint::ListWorkspaces, Access::Read),
    route("POST", "/v1/workspaces", Endpoint::CreateWorkspace, Access::Write),
    route("GET", "/v1/workspaces/{id}", Endpoint::GetWorkspace, Access::Read),
    route("PATCH", "/v1/workspaces/{id}", Endpoint::PatchWorkspace, Access::Write),
    route("DELETE", "/v1/workspaces/{id}", Endpoint::DeleteWorkspace, Access::Write),
    route("POST", "/v1/workspaces/{id}/sleep", Endpoint::Sleep, Access::Write),
    route("POST", "/v1/workspaces/{id}/wake", Endpoint::Wake, Access::Write),
    route("POST", "/v1/workspaces/{id}/retry", Endpoint::Retry, Access::Write),
    route("POST", "/v1/workspaces/{id}/undelete", Endpoint::Undelete, Access::Write),
    route("POST", "/v1/workspaces/{id}/holds", Endpoint::TakeHold, Access::Write),
    route("DELETE", "/v1/workspaces/{id}/holds/{hold}", Endpoint::ReleaseHold, Access::Write),
    route("GET", "/v1/workspaces/{id}/events", Endpoint::Events, Access::Read),
    route("GET", "/v1/workspaces/{id}/log", Endpoint::Log, Access::Read),
    route("GET", "/v1/workspaces/{id}/ports", Endpoint::ListPorts, Access::Read),
    route("PUT", "/v1/workspaces/{id}/ports/{port}", Endpoint::SetPort, Access::Write),
    route("POST", "/v1/workspaces/{id}/ports/{port}/link", Endpoint::LinkPort, Access::Write),
    route("GET", "/v1/workspaces/{id}/snapshots", Endpoint::ListSnapshots, Access::Read),
    route("POST", "/v1/workspaces/{id}/snapshots", Endpoint::TakeSnapshot, Access::Write),
    route("GET", "/v1/workspaces/{id}/restic/{path*}", Endpoint::OwnerRepository, Access::Restic),
    route("POST", "/v1/workspaces/{id}/restic/{path*}", Endpoint::OwnerRepository, Access::Restic),
    route("PUT", "/v1/workspaces/{id}/restic/{path*}", Endpoint::OwnerRepository, Access::Restic),
    route("DELETE", "/v1/workspaces/{id}/restic/{path*}", Endpoint::OwnerRepository, Access::Restic),
    route("POST", "/v1/workspaces/{id}/restore-kit", Endpoint::CreateRestoreKit, Access::Write),
    route("POST", "/v1/workspaces/{id}/backups/undelete", Endpoint::UndeleteBackups, Access::Write),
    route("POST", "/v1/master-key/rotate", Endpoint::RotateMasterKey, Access::Admin),
    route("GET", "/v1/keys", Endpoint::ListKeys, Access::Admin),
    route("POST", "/v1/keys", Endpoint::CreateKey, Access::Admin),
    route("DELETE", "/v1/keys/{key}", Endpoint::RevokeKey, Access::Admin),
    route("GET", "/v1/audit", Endpoint::Audit, Access::Admin),
    route("GET", "/v1/sweep", Endpoint::Sweep, Access::Read),
    route("POST", "/v1/sweep", Endpoint::RunSweep, Access::Admin),
    route("PUT", "/v1/sweep", Endpoint::SetSweep, Access::Admin),
    route("PUT", "/v1/vm/agent/{sha256}", Endpoint::PublishAgent, Access::Admin),
    route("GET", "/v1/vm/agent/{sha256}", Endpoint::FetchAgent, Access::Open),
    route("POST", "/v1/vm/enroll", Endpoint::Enrol, Access::Open),
    route("POST", "/v1/vm/token", Endpoint::RenewToken, Access::Open),
    route("GET", "/v1/vm/connect", Endpoint::Connect, Access::Machine),
    route("POST", "/v1/vm/heartbeat", Endpoint::Heartbeat, Access::Machine),
    route("POST", "/v1/vm/receipts", Endpoint::Receipt, Access::Machine),
    route("POST", "/v1/vm/drained", Endpoint::Drained, Access::Machine),
    route("POST", "/v1/vm/tidy", Endpoint::BeginTidy, Access::Machine),
    route("POST", "/v1/vm/tidied", Endpoint::EndTidy, Access::Machine),
    route("GET", "/v1/vm/backup/{path*}", Endpoint::MachineRepository, Access::Machine),
    route("POST", "/v1/vm/backup/{path*}", Endpoint::MachineRepository, Access::Machine),
    route("PUT", "/v1/vm/backup/{path*}", Endpoint::MachineRepository, Access::Machine),
    route("DELETE", "/v1/vm/backup/{path*}", Endpoint::MachineRepository, Access::Machine),
];

/// The variable parts of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The part of that name; empty where the route has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// Where a request leads.
#[derive(Debug, Clone)]
pub enum Found {
    /// Here.
    Route(&'static Route, Params),
    /// The path exists, with other methods.
    OtherMethods(Vec<&'static str>),
    /// No route has that path.
    Nothing,
}

/// Finds the route of a request. `path` is as it came, percent-encoded: nothing that an endpoint takes needs encoding.
pub fn find(method: &str, path: &str) -> Found {
    let wanted = if method == "HEAD" { "GET" } else { method };
    let mut others = Vec::new();
    for route in ROUTES {
        match params(route.path, path) {
            Some(params) if route.method == wanted => return Found::Route(route, params),
            Some(_) => others.push(route.method),
            None => {}
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

fn params(pattern: &'static str, path: &str) -> Option<Params> {
    let mut params = Vec::new();
    let mut rest = path.strip_prefix('/')?;
    let mut segments = pattern.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = segments.next() {
        if let Some(name) = segment.strip_prefix('{').and_then(|name| name.strip_suffix("*}")) {
            params.push((name, rest.to_owned()));
            return Some(Params(params));
        }
        let (head, tail) = rest.split_once('/').map_or((rest, None), |(head, tail)| (head, Some(tail)));
        match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(_) if head.is_empty() => return None,
            Some(name) => params.push((name, head.to_owned())),
            None if segment == head => {}
            None => return None,
        }
        rest = match (tail, segments.peek()) {
            (Some(tail), Some(_)) => tail,
            (None, None) => return Some(Params(params)),
            // `/v1/vm/backup` is the repository's root as much as `/v1/vm/backup/`.
            (None, Some(next)) if next.ends_with("*}") => "",
            (None, Some(_)) | (Some(_), None) => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, wanted: &str) {
        let found = match find(method, path) {
            Found::Route(route, Params(params)) => {
                let params: Vec<String> =
                    params.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{:?} {}", route.endpoint, params.join(" ")).trim_end().to_owned()
            }
            Found::OtherMethods(methods) => format!("405 {}", methods.join(" ")),
            Found::Nothing => "404".to_owned(),
        };
        assert_eq!(found, wanted, "{method} {path}");
    }

    #[test]
    fn requests_find_their_endpoint() {
        check("GET", "/health", "Health");
        check("HEAD", "/health", "Health");
        check("GET", "/v1/workspaces", "ListWorkspaces");
        check("POST", "/v1/workspaces", "CreateWorkspace");
        check("GET", "/v1/workspaces/k3v7q2mzab", "GetWorkspace id=k3v7q2mzab");
        check("DELETE", "/v1/workspaces/a/holds/b", "ReleaseHold id=a hold=b");
        check("POST", "/v1/workspaces/a/ports/3000/link", "LinkPort id=a port=3000");
        check("GET", "/v1/vm/backup/", "MachineRepository path=");
        check("POST", "/v1/vm/backup", "MachineRepository path=");
        check("GET", "/v1/vm/backup/data/00", "MachineRepository path=data/00");
        check("GET", "/v1/workspaces/a/restic/config", "OwnerRepository id=a path=config");
    }

    #[test]
    fn a_wrong_method_is_told_from_a_wrong_path() {
        check("PUT", "/v1/workspaces", "405 GET POST");
        check("GET", "/v1/workspaces/a/sleep", "405 POST");
        check("OPTIONS", "/health", "405 GET");
        check("GET", "/v1/workspaces/", "404");
        check("GET", "/v1/workspaces/a/", "404");
        check("GET", "/v1/workspaces//holds", "404");
        check("GET", "/v1/nothing", "404");
        check("GET", "/healthy", "404");
        check("GET", "", "404");
    }

    #[test]
    fn the_openapi_document_has_every_route_and_no_other() {
        use ebbtide_api::keys::Scope;
        use ebbtide_api::openapi::{Access as Documented, OPERATIONS};
        let routes: std::collections::BTreeSet<String> = ROUTES
            .iter()
            .map(|route| format!("{} {} {:?}", route.method, route.path.replace("*}", "}"), route.access))
            .collect();
        let documented = OPERATIONS.iter().map(|operation| {
            let access = match operation.access {
                Documented::Open => Access::Open,
                Documented::Scope(Scope::Read) => Access::Read,
                Documented::Restic => Access::Restic,
                Documented::Scope(Scope::Write) => Access::Write,
                Documented::Scope(Scope::Admin) => Access::Admin,
                Documented::Machine => Access::Machine,
            };
            format!("{} {} {access:?}", operation.method, operation.path)
        });
        let documented: std::collections::BTreeSet<String> = documented.collect();
        assert_eq!(routes, documented);
    }

    #[test]
    fn no_two_lines_of_the_table_are_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for route in ROUTES {
            assert!(seen.insert((route.method, route.path)), "{route:?}");
        }
    }
}
