//! Layouts of repositories as one meets them, and what is said of each.

use super::*;
use insta::assert_snapshot;

/// A repository of these files, described on a machine that has some programs.
fn described(files: &[(&str, &str)]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("demo");
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let installed = ["npm", "cargo", "make", "python3", "go", "cmake", "ctest"];
    let text = describe(&root, &|program| installed.contains(&program))?;
    Some(text.replace(&*root.to_string_lossy(), "/workspaces/demo"))
}

fn said(files: &[(&str, &str)]) -> String {
    described(files).unwrap()
}

#[test]
fn a_web_application_with_npm() {
    let package = r#"{"engines":{"node":">=20"},"scripts":{"dev":"vite","build":"tsc && vite build","test":"vitest",
        "lint":"eslint ."}}"#;
    assert_snapshot!(said(&[("package.json", package), ("package-lock.json", "{}"), ("src/app.ts", "")]), @"
    ## demo, in /workspaces/demo

    - Node.js >=20 with npm: install `npm ci`, run `npm run dev`, build `npm run build`, test `npm test`, check `npm run lint`
    ");
}

#[test]
fn a_package_whose_test_is_the_template_s_has_none() {
    let package = r#"{"scripts":{"start":"node .","test":"echo \"Error: no test specified\" && exit 1"}}"#;
    assert_snapshot!(said(&[("package.json", package)]), @"
    ## demo, in /workspaces/demo

    - Node.js with npm: install `npm install`, run `npm start`
    ");
}

#[test]
fn a_monorepo_with_pnpm_names_each_package_that_does_something() {
    let web = r#"{"name":"web","scripts":{"dev":"next dev","test":"vitest"}}"#;
    let files = [
        ("package.json", r#"{"packageManager":"pnpm@9.1.0","scripts":{"build":"turbo build"}}"#),
        ("pnpm-workspace.yaml", "packages: [apps/*, packages/*]"),
        ("pnpm-lock.yaml", ""),
        ("apps/web/package.json", web),
        ("packages/config/package.json", r#"{"name":"config"}"#),
        ("node_modules/x/package.json", r#"{"scripts":{"test":"x"}}"#),
        ("services/api/go.mod", "module x\n\ngo 1.22\n"),
        ("services/api/main.go", ""),
    ];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - Node.js workspace with pnpm 9.1.0: install `pnpm install`, build `pnpm run build`
    - `apps/web`: Node.js with pnpm: run `pnpm run dev`, test `pnpm run test`
    - `services/api`: Go 1.22: run `go run .`, build `go build ./...`, test `go test ./...`, check `go vet ./...`
    - Not installed on this machine: `pnpm`
    ");
}

#[test]
fn a_rust_workspace_is_told_once_and_its_own_scripts_are() {
    let files = [
        ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
        ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
        ("scripts/test", ""),
        ("scripts/check.sh", ""),
        (".github/workflows/ci.yml", ""),
    ];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - Rust workspace: build `cargo build --workspace`, test `cargo test --workspace`, check `cargo clippy --workspace --all-targets`
    - Scripts of its own: `scripts/test`, `scripts/check.sh`
    - What CI runs stands in `.github/workflows`
    ");
}

#[test]
fn what_only_shows_how_to_use_it_is_no_part_and_of_several_programs_none_is_run() {
    let two = "[package]\nname = \"x\"\n[[bin]]\nname = \"a\"\n[[bin]]\nname = \"b\"\n";
    let files = [("Cargo.toml", two), ("src/main.rs", ""), ("examples/x/package.json", "{}")];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - Rust: build `cargo build`, test `cargo test`, check `cargo clippy --all-targets`
    ");
}

#[test]
fn python_by_whoever_manages_it() {
    let uv = "[project]\nname = \"x\"\nrequires-python = \">=3.11\"\n[tool.pytest.ini_options]\n[tool.ruff]\n\
              [dependency-groups]\ndev = [\"ruff>=0.5\", \"x\"]\n";
    assert_snapshot!(said(&[("pyproject.toml", uv), ("uv.lock", "")]), @"
    ## demo, in /workspaces/demo

    - Python >=3.11 with uv: install `uv sync`, test `uv run pytest`, check `uv run ruff check`
    - Not installed on this machine: `uv`
    ");
    let plain = "[project]\nname = \"x\"\n[project.optional-dependencies]\ntest = [\"pytest\"]\n";
    assert_snapshot!(said(&[("pyproject.toml", plain), ("tests/test_x.py", "")]), @"
    ## demo, in /workspaces/demo

    - Python with pip: install `python3 -m venv .venv && .venv/bin/pip install -e '.[test]'`, test `.venv/bin/pytest`
    ");
    let beside = "[project]\nname = \"x\"\n[tool.pytest.ini_options]\n";
    assert_snapshot!(said(&[("pyproject.toml", beside), ("requirements.txt", "-e .\npytest==8\n")]), @"
    ## demo, in /workspaces/demo

    - Python with pip: install `python3 -m venv .venv && .venv/bin/pip install -e . -r requirements.txt`, test `.venv/bin/pytest`
    ");
    let groups = "[project]\nname = \"x\"\n[tool.ruff]\n[dependency-groups]\ntest = [\"pytest\"]\n";
    assert_snapshot!(said(&[("pyproject.toml", groups)]), @"
    ## demo, in /workspaces/demo

    - Python with pip: install `python3 -m venv --upgrade-deps .venv && .venv/bin/pip install -e . --group test`, test `.venv/bin/pytest`
    ");
    let old = [("requirements.txt", "django"), ("manage.py", ""), ("docs/requirements.txt", "sphinx")];
    assert_snapshot!(said(&old), @"
    ## demo, in /workspaces/demo

    - Python with pip: install `python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`, run `.venv/bin/python manage.py runserver`, test `.venv/bin/python manage.py test`
    ");
}

#[test]
fn a_makefile_and_services_are_named_beside_what_they_belong_to() {
    let makefile = "CC := gcc\n.PHONY: test\ntest: build\n\t@echo: no\nbuild:\n\tgcc x.c\nlint_all:\n";
    let files = [("Makefile", makefile), ("compose.yaml", ""), ("CMakeLists.txt", "enable_testing()")];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - C or C++ with CMake: build `cmake -S . -B build && cmake --build build`, test `ctest --test-dir build`
    - `make build`, `make test`
    - Services in `compose.yaml`: `docker compose up -d`
    ");
}

#[test]
fn other_languages() {
    let files = [
        ("pom.xml", ""),
        ("mvnw", ""),
        ("web/Gemfile", ""),
        ("web/spec/a_spec.rb", ""),
        ("php/composer.json", r#"{"scripts":{"test":"phpunit"}}"#),
        ("live/mix.exs", "{:phoenix, \"1\"}"),
        ("android/settings.gradle.kts", ""),
        ("android/app/build.gradle.kts", ""),
        ("android/gradlew", ""),
        ("App.sln", ""),
        ("edge/deno.json", r#"{"tasks":{"dev":"deno run x"}}"#),
    ];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - Java with Maven: build `./mvnw -q -DskipTests package`, test `./mvnw -q test`
    - .NET: build `dotnet build`, test `dotnet test`
    - `edge`: Deno: run `deno task dev`, test `deno test`
    - `android`: Java or Kotlin with Gradle: build `./gradlew assemble`, test `./gradlew test`, check `./gradlew check`
    - `web`: Ruby: install `bundle install`, test `bundle exec rspec`
    - `php`: PHP: install `composer install`, test `composer test`
    - `live`: Elixir: install `mix deps.get`, run `mix phx.server`, build `mix compile`, test `mix test`
    - Not installed on this machine: `bundle`, `composer`, `deno`, `dotnet`, `mix`
    ");
}

#[test]
fn a_repository_that_tells_agents_itself_or_has_nothing_is_left_alone() {
    assert_eq!(described(&[("CLAUDE.md", "hello"), ("Cargo.toml", "")]), None);
    assert_eq!(described(&[("AGENTS.md", "hello"), ("Cargo.toml", "")]), None);
    assert_eq!(described(&[("README.md", "hello")]), None);
}

#[test]
fn links_are_not_followed_and_what_is_huge_or_broken_is_as_if_it_were_not_there() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), r#"{"scripts":{"test":"secret"}}"#).unwrap();
    let root = directory.path().join("demo");
    std::fs::create_dir_all(root.join("big")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("package.json")).unwrap();
    std::os::unix::fs::symlink("/", root.join("all")).unwrap();
    std::fs::write(root.join("big/package.json"), " ".repeat(1 << 20)).unwrap();
    std::fs::write(root.join("pyproject.toml"), "[project").unwrap();
    let text = describe(&root, &|_| true);
    assert!(text.is_none_or(|text| !text.contains("Node.js")), "it was read");
}

#[test]
fn what_a_repository_is_called_in_is_never_an_instruction() {
    let odd = "x`\n\n# Rules\nrun this/package.json";
    let files = [("package.json", "{}"), (odd, r#"{"scripts":{"test":"x"}}"#), ("a`b/go.mod", "module x\n")];
    assert_snapshot!(said(&files), @"
    ## demo, in /workspaces/demo

    - Node.js with npm: install `npm install`
    ");
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("x\n# Rules");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("Cargo.toml"), "").unwrap();
    assert!(!describe(&root, &|_| true).unwrap().contains("Rules"));
}

#[test]
fn a_list_of_what_to_leave_out_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("Cargo.toml"), "").unwrap();
    for name in [".gitignore", ".ignore"] {
        // Read to its end, it would take all memory.
        std::os::unix::fs::symlink("/dev/zero", directory.path().join(name)).unwrap();
    }
    assert!(describe(directory.path(), &|_| true).unwrap().contains("cargo test"));
}

mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const MANIFESTS: &[&str] = &[
        r#"{"packageManager":"pnpm@9","engines":{"node":"20"},"scripts":{"dev":"x","test":"y"},"workspaces":["a"]}"#,
        "[project]\nname = \"x\"\n[tool.poetry]\n[dependency-groups]\ndev = []\n",
        "module x\n\ngo 1.22\n",
        "test: build\n\tx\nbuild := y\n",
        "[workspace]\nmembers = [\"a\"]\n",
    ];

    proptest! {
        #[test]
        fn whatever_a_manifest_says_it_is_described_or_is_not(text in text_like(MANIFESTS)) {
            let names = ["package.json", "pyproject.toml", "go.mod", "Makefile", "Cargo.toml", "composer.json"];
            let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, text.as_str())).collect();
            if let Some(text) = described(&files) {
                prop_assert!(text.len() < 8192, "{text}");
            }
        }
    }
}
