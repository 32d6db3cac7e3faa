//! Python: who manages the environment, and what tests and checks run in it.

use super::{Part, Purpose, Tree, is_within};
use toml::{Table, Value};

/// What makes a directory a project.
const MANIFESTS: [&str; 5] = ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"];
/// What projects call the packages that their tests take.
const FOR_TESTS: [&str; 4] = ["dev", "test", "tests", "testing"];

pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for directory in tree.directories_with(&MANIFESTS) {
        // Requirements below a project are those of its documentation, or of a part of its tests.
        let is_own = tree.first(&directory, &MANIFESTS[..3]).is_some();
        if !is_own && parts.iter().any(|part| is_within(&directory, &part.directory)) {
            continue;
        }
        let project = Project::read(tree, &directory);
        parts.extend(project.part(tree, directory));
    }
    parts
}

struct Project {
    manifest: Table,
    /// All that names packages, as text.
    text: String,
}

impl Project {
    fn read(tree: &Tree, directory: &str) -> Self {
        let text = tree.read(directory, "pyproject.toml").unwrap_or_default();
        let manifest = text.parse::<Table>().unwrap_or_default();
        let besides =
            ["setup.py", "setup.cfg", "requirements.txt", "requirements-dev.txt", "Pipfile", "tox.ini"];
        let besides: String = besides.iter().filter_map(|name| tree.read(directory, name)).collect();
        Self { manifest, text: text + &besides }
    }

    fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.manifest.get(*first)?, |value, name| value.get(*name))
    }

    /// Whether a package is among what is installed: some projects run a checker from elsewhere.
    fn asks_for(&self, package: &str) -> bool {
        let mut words = self.text.lines().flat_map(|line| line.split(['"', '\'', ',']).map(str::trim));
        words.any(|word| {
            word.strip_prefix(package)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', '>', '<', '~', ' ', '[']))
        })
    }

    /// Whether it can be installed as it is.
    fn is_package(&self, tree: &Tree, directory: &str) -> bool {
        self.at(&["project"]).is_some()
            || self.at(&["build-system"]).is_some()
            || tree.has(directory, "setup.py")
            || tree.has(directory, "setup.cfg")
    }

    fn part(&self, tree: &Tree, directory: String) -> Option<Part> {
        let version = self.at(&["project", "requires-python"]).and_then(Value::as_str);
        let version = super::version(version);
        let (manager, install, prefix) = self.manager(tree, &directory)?;
        let mut part = Part { kind: format!("Python{version} with {manager}"), ..Part::default() };
        part.command(Purpose::Install, install);
        if tree.has(&directory, "manage.py") {
            part.command(Purpose::Run, format!("{prefix}python manage.py runserver"));
        }
        if let Some(test) = self.test(tree, &directory, prefix) {
            part.command(Purpose::Test, test);
        }
        for (program, check) in [("ruff", "ruff check"), ("mypy", "mypy")] {
            if self.at(&["tool", program]).is_some() && self.asks_for(program) {
                part.command(Purpose::Lint, format!("{prefix}{check}"));
                break;
            }
        }
        part.directory = directory;
        Some(part)
    }

    /// Who manages it, how it is installed, and what a command in its environment begins with.
    fn manager(&self, tree: &Tree, directory: &str) -> Option<(&'static str, String, &'static str)> {
        let has = |name: &str| tree.has(directory, name);
        let tool = |name: &str| self.at(&["tool", name]).is_some();
        Some(if has("uv.lock") || tool("uv") {
            ("uv", "uv sync".into(), "uv run ")
        } else if has("poetry.lock") || tool("poetry") {
            ("poetry", "poetry install".into(), "poetry run ")
        } else if has("pdm.lock") || tool("pdm") {
            ("pdm", "pdm install".into(), "pdm run ")
        } else if has("Pipfile") {
            ("pipenv", "pipenv install --dev".into(), "pipenv run ")
        } else {
            let what = self.pip_installs(tree, directory)?;
            // Groups of dependencies are younger than the pip of some releases.
            let newest = if what.contains(" --group ") { " --upgrade-deps" } else { "" };
            let install = format!("python3 -m venv{newest} .venv && .venv/bin/pip install {what}");
            ("pip", install, ".venv/bin/")
        })
    }

    fn pip_installs(&self, tree: &Tree, directory: &str) -> Option<String> {
        let requirements = ["requirements-dev.txt", "requirements.txt"];
        if !self.is_package(tree, directory) {
            return tree.first(directory, &requirements).map(|name| format!("-r {name}"));
        }
        let named = |path: &[&str]| {
            let table = self.at(path).and_then(Value::as_table)?;
            FOR_TESTS.iter().find(|name| table.contains_key(**name)).map(|name| (*name).to_owned())
        };
        let extra = named(&["project", "optional-dependencies"]);
        let group = named(&["dependency-groups"]);
        let project = extra.map_or_else(|| "-e .".to_owned(), |name| format!("-e '.[{name}]'"));
        let group = group.map(|name| format!(" --group {name}")).unwrap_or_default();
        // What tests take may stand in a file of its own.
        let has_tests = |name: &&&str| tree.read(directory, name).is_some_and(|text| text.contains("pytest"));
        let file = requirements.iter().find(has_tests).map(|name| format!(" -r {name}"));
        Some(format!("{project}{group}{}", file.unwrap_or_default()))
    }

    fn test(&self, tree: &Tree, directory: &str, prefix: &str) -> Option<String> {
        let has = |name: &str| tree.has(directory, name);
        let is_pytest = self.at(&["tool", "pytest"]).is_some()
            || has("pytest.ini")
            || has("conftest.py")
            || has("tests/conftest.py")
            || self.text.contains("pytest");
        if has("manage.py") && !is_pytest {
            return Some(format!("{prefix}python manage.py test"));
        }
        if is_pytest {
            return Some(format!("{prefix}pytest"));
        }
        if has("noxfile.py") {
            return Some("nox".into());
        }
        if has("tox.ini") {
            return Some("tox".into());
        }
        let tests = ["tests/", "test/"].into_iter().find(|name| has(name))?;
        Some(format!("{prefix}python -m unittest discover {}", tests.trim_end_matches('/')))
    }
}
