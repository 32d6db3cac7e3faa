//! Which of the distribution's packages make a Docker with compose v2 and buildx: their names differ between Debian 12,
//! Debian 13 and Ubuntu. Pure.

use std::collections::BTreeMap;

/// All packages that it may take, asked for by these names.
pub const WANTED: [&str; 6] =
    ["docker.io", "docker-cli", "docker-compose-v2", "docker-compose", "docker-buildx", "apparmor"];

/// What to install, and what the distribution lacks, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Empty where Docker itself cannot be had.
    pub packages: Vec<&'static str>,
    /// What to do about it is said, too.
    pub lacks: Vec<String>,
}

/// Chooses from the versions that can be had.
pub fn choose(candidates: &BTreeMap<&'static str, Option<String>>) -> Choice {
    let version = |name: &str| candidates.get(name).and_then(Option::as_deref);
    let has = |name: &&str| version(name).is_some();
    if !has(&"docker.io") {
        return Choice::default();
    }
    // Without apparmor's own programs no container starts on a kernel that has it.
    let mut choice = Choice { packages: vec!["docker.io"], lacks: Vec::new() };
    choice.packages.extend(["docker-cli", "apparmor"].iter().filter(|name| has(name)));
    // Debian's package was version 1 until Debian 13: another program, in Python, without `docker compose`.
    let is_first = version("docker-compose").is_some_and(|version| version.starts_with("1."));
    match (has(&"docker-compose-v2"), has(&"docker-compose") && !is_first) {
        (true, _) => choice.packages.push("docker-compose-v2"),
        (false, true) => choice.packages.push("docker-compose"),
        (false, false) => choice.lacks.push("this release of the distribution has no compose v2".to_owned()),
    }
    if has(&"docker-buildx") {
        choice.packages.push("docker-buildx");
    } else {
        choice.lacks.push("this release of the distribution has no buildx".to_owned());
    }
    choice
}

/// The version that apt would install, of what `apt-cache policy` says of one package.
pub fn candidate(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?.trim();
    (version != "(none)").then(|| version.to_owned())
}

/// The first word that begins as a version does, `v` and a comma left out.
pub fn version(said: &str) -> Option<String> {
    let words = said.split_whitespace().map(|word| word.trim_start_matches('v').trim_end_matches(','));
    let mut versions =
        words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    versions.next().map(|word| word.chars().take(40).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(had: &[(&'static str, &str)], packages: &str, lacks: &[&str]) {
        let candidates = had.iter().map(|(name, version)| (*name, Some((*version).to_owned()))).collect();
        let choice = choose(&candidates);
        assert_eq!(
            (choice.packages.join(" ").as_str(), choice.lacks.len()),
            (packages, lacks.len()),
            "{choice:?}"
        );
        for (said, wanted) in choice.lacks.iter().zip(lacks) {
            assert!(said.ends_with(wanted), "{said}");
        }
    }

    #[test]
    fn each_distribution_has_names_of_its_own() {
        check(
            &[
                ("docker.io", "26.1.5+dfsg1-9+b9"),
                ("docker-cli", "26.1.5+dfsg1-9+b9"),
                ("docker-compose", "2.26.1-4"),
                ("docker-buildx", "0.13.1+ds1-3"),
                ("apparmor", "4.1.0-1"),
            ],
            "docker.io docker-cli apparmor docker-compose docker-buildx",
            &[],
        );
        check(
            &[("docker.io", "20.10.24+dfsg1-1+b3"), ("docker-compose", "1.29.2-3"), ("apparmor", "3.0.8-3")],
            "docker.io apparmor",
            &["no compose v2", "no buildx"],
        );
        check(
            &[
                ("docker.io", "27.5.1-0ubuntu3"),
                ("docker-compose-v2", "2.33.0"),
                ("docker-compose", "1.29.2-6"),
                ("docker-buildx", "0.20.1"),
                ("apparmor", "4.0"),
            ],
            "docker.io apparmor docker-compose-v2 docker-buildx",
            &[],
        );
        check(&[("docker-compose", "2.26.1-4")], "", &[]);
    }

    #[test]
    fn what_apt_and_docker_say_of_versions_is_understood() {
        let policy = "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5+dfsg1-9+b9\n  Version table:\n";
        assert_eq!(candidate(policy).unwrap(), "26.1.5+dfsg1-9+b9");
        assert_eq!(candidate("x:\n  Installed: (none)\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
        for (said, wanted) in [
            ("Docker version 26.1.5+dfsg1, build a72d7cd\n", "26.1.5+dfsg1"),
            ("2.26.1-4\n", "2.26.1-4"),
            ("github.com/docker/buildx 0.13.1+ds1-3 \n", "0.13.1+ds1-3"),
            ("github.com/docker/buildx v0.20.1 abc\n", "0.20.1"),
        ] {
            assert_eq!(version(said).unwrap(), wanted, "{said}");
        }
        assert_eq!(version("none"), None);
    }
}
