//! Go, Ruby, PHP, Elixir, .NET, Swift and CMake.

use super::java::outermost;
use super::{Part, Purpose, Tree};
use serde_json::Value;

pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let readers = [go, ruby, php, elixir, dotnet, swift, cmake];
    readers.iter().flat_map(|read| read(tree)).collect()
}

fn part(kind: impl Into<String>, commands: &[(Purpose, &str)]) -> Part {
    let mut part = Part { kind: kind.into(), ..Part::default() };
    for (purpose, text) in commands {
        part.command(*purpose, *text);
    }
    part
}

/// Each module is a part of its own: `./...` does not reach into another.
fn go(tree: &Tree) -> Vec<Part> {
    let directories = tree.directories_with(&["go.mod"]);
    let described = directories.into_iter().map(|directory| {
        let text = tree.read(&directory, "go.mod").unwrap_or_default();
        let version = super::version(text.lines().find_map(|line| line.strip_prefix("go ")));
        let mut part = part(
            format!("Go{version}"),
            &[
                (Purpose::Build, "go build ./..."),
                (Purpose::Test, "go test ./..."),
                (Purpose::Lint, "go vet ./..."),
            ],
        );
        if tree.has(&directory, "main.go") {
            part.command(Purpose::Run, "go run .");
        }
        Part { directory, ..part }
    });
    described.collect()
}

fn ruby(tree: &Tree) -> Vec<Part> {
    outermost(tree, &["Gemfile"], |directory| {
        let mut part = part("Ruby", &[(Purpose::Install, "bundle install")]);
        let has = |name: &str| tree.has(directory, name);
        if has("bin/rails") {
            part.command(Purpose::Run, "bin/rails server");
        }
        if has("spec/") {
            part.command(Purpose::Test, "bundle exec rspec");
        } else if has("bin/rails") {
            part.command(Purpose::Test, "bin/rails test");
        } else if has("Rakefile") && has("test/") {
            part.command(Purpose::Test, "bundle exec rake test");
        }
        if has(".rubocop.yml") {
            part.command(Purpose::Lint, "bundle exec rubocop");
        }
        part
    })
}

fn php(tree: &Tree) -> Vec<Part> {
    outermost(tree, &["composer.json"], |directory| {
        let mut part = part("PHP", &[(Purpose::Install, "composer install")]);
        let text = tree.read(directory, "composer.json").unwrap_or_default();
        let manifest = serde_json::from_str::<Value>(&text).unwrap_or_default();
        let script = |name: &str| manifest["scripts"].get(name).is_some();
        if tree.has(directory, "artisan") {
            part.command(Purpose::Run, "php artisan serve");
        }
        if script("test") {
            part.command(Purpose::Test, "composer test");
        } else if tree.first(directory, &["phpunit.xml", "phpunit.xml.dist"]).is_some() {
            part.command(Purpose::Test, "vendor/bin/phpunit");
        }
        if script("lint") {
            part.command(Purpose::Lint, "composer lint");
        }
        part
    })
}

fn elixir(tree: &Tree) -> Vec<Part> {
    outermost(tree, &["mix.exs"], |directory| {
        let mut part = part(
            "Elixir",
            &[
                (Purpose::Install, "mix deps.get"),
                (Purpose::Build, "mix compile"),
                (Purpose::Test, "mix test"),
            ],
        );
        if tree.read(directory, "mix.exs").is_some_and(|text| text.contains(":phoenix,")) {
            part.command(Purpose::Run, "mix phx.server");
        }
        part
    })
}

fn dotnet(tree: &Tree) -> Vec<Part> {
    let has = |ending: &str| tree.has_ending("", ending);
    if ![".sln", ".slnx", ".csproj", ".fsproj"].into_iter().any(has) {
        return Vec::new();
    }
    vec![part(".NET", &[(Purpose::Build, "dotnet build"), (Purpose::Test, "dotnet test")])]
}

fn swift(tree: &Tree) -> Vec<Part> {
    outermost(tree, &["Package.swift"], |_| {
        part("Swift", &[(Purpose::Build, "swift build"), (Purpose::Test, "swift test")])
    })
}

fn cmake(tree: &Tree) -> Vec<Part> {
    outermost(tree, &["CMakeLists.txt"], |directory| {
        let mut part =
            part("C or C++ with CMake", &[(Purpose::Build, "cmake -S . -B build && cmake --build build")]);
        let text = tree.read(directory, "CMakeLists.txt").unwrap_or_default().to_ascii_lowercase();
        if text.contains("enable_testing") || text.contains("include(ctest)") {
            part.command(Purpose::Test, "ctest --test-dir build");
        }
        part
    })
}
