//! How long each page may be, in words outside code blocks: what somebody reads at a sitting.

/// Pages and their limits.
pub const LIMITS: &[(&str, usize)] = &[
    ("README.md", 500),
    ("CONTRIBUTING.md", 500),
    ("docs/README.md", 150),
    ("docs/architecture.md", 2800),
    ("docs/faq.md", 900),
    ("docs/glossary.md", 350),
    ("docs/start/local.md", 500),
    ("docs/start/real.md", 700),
    ("docs/use/create.md", 500),
    ("docs/use/secrets.md", 550),
    ("docs/use/connect.md", 500),
    ("docs/use/ssh.md", 550),
    ("docs/use/agents.md", 500),
    ("docs/use/docker.md", 400),
    ("docs/use/awake.md", 600),
    ("docs/use/ports.md", 350),
    ("docs/use/files.md", 700),
    ("docs/use/end.md", 300),
    ("docs/operate/deploy.md", 900),
    ("docs/operate/upgrade.md", 400),
    ("docs/operate/money.md", 700),
    ("docs/operate/keys.md", 600),
    ("docs/operate/monitor.md", 600),
    ("docs/operate/trouble.md", 1400),
    ("docs/reference/api.md", 300),
    ("docs/reference/states.md", 400),
    ("docs/reference/repository.md", 900),
    ("docs/reference/idle.md", 1300),
    ("docs/design/providers.md", 900),
    ("docs/design/sweep.md", 1500),
    ("docs/design/backups.md", 1300),
    ("docs/design/security.md", 1750),
    ("docs/design/limits.md", 500),
    ("docs/assumptions.md", 1350),
    ("docs/design/compare.md", 700),
];

/// The limit of a page, where it has one.
pub fn limit(path: &str) -> Option<usize> {
    LIMITS.iter().find(|(name, _)| *name == path).map(|(_, words)| *words)
}

/// Whether a page explains or proves, and is free of the limits for sentences and paragraphs.
pub fn is_free(path: &str) -> bool {
    const FREE: &[&str] = &["docs/design/", "docs/evidence/", "docs/decisions/"];
    FREE.iter().any(|directory| path.starts_with(directory))
        || matches!(path, "docs/architecture.md" | "CHANGELOG.md")
}
