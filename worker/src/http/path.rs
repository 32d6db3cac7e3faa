//! Paths with variable parts: `/v1/workspaces/{id}`, and `/v1/vm/backup/{path*}`, whose last part takes the rest. Pure.

/// The variable parts of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(&'static str, String)>);

impl Params {
    /// The part of that name; empty where the route has none.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// The variable parts of a path that has that form; `None` for another. `path` is as it came, percent-encoded: nothing
/// that an endpoint takes needs encoding.
pub fn params(pattern: &'static str, path: &str) -> Option<Params> {
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

    fn check(pattern: &'static str, path: &str, wanted: Option<&str>) {
        let found = params(pattern, path).map(|Params(params)| {
            let params = params.iter().map(|(name, value)| format!("{name}={value}"));
            params.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref(), wanted, "{pattern} {path}");
    }

    #[test]
    fn variable_parts_are_taken_from_the_path() {
        check("/health", "/health", Some(""));
        check("/v1/workspaces/{id}", "/v1/workspaces/k3v7q2mzab", Some("id=k3v7q2mzab"));
        check("/v1/workspaces/{id}/holds/{hold}", "/v1/workspaces/a/holds/b", Some("id=a hold=b"));
        check(
            "/v1/workspaces/{id}/restic/{path*}",
            "/v1/workspaces/a/restic/config",
            Some("id=a path=config"),
        );
        check("/v1/vm/backup/{path*}", "/v1/vm/backup/data/00", Some("path=data/00"));
        check("/v1/vm/backup/{path*}", "/v1/vm/backup/", Some("path="));
        check("/v1/vm/backup/{path*}", "/v1/vm/backup", Some("path="));
    }

    #[test]
    fn other_paths_are_none_of_these() {
        for path in ["", "/", "/health/", "/healthy", "health"] {
            check("/health", path, None);
        }
        for path in ["/v1/workspaces", "/v1/workspaces/", "/v1/workspaces/a/", "/v1/workspaces/a/b"] {
            check("/v1/workspaces/{id}", path, None);
        }
        check("/v1/workspaces/{id}/holds", "/v1/workspaces//holds", None);
    }
}
