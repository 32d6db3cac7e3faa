//! Java and Kotlin: Maven and Gradle, by their wrappers where there are any.

use super::{Part, Purpose, Tree, is_within};

/// Gradle's files, those of a build before those of a part of it.
const GRADLE: [&str; 4] = ["settings.gradle", "settings.gradle.kts", "build.gradle", "build.gradle.kts"];

pub(super) fn parts(tree: &Tree) -> Vec<Part> {
    let mut parts = outermost(tree, &["pom.xml"], |directory| {
        let maven = if tree.has(directory, "mvnw") { "./mvnw" } else { "mvn" };
        let mut part = Part { kind: "Java with Maven".into(), ..Part::default() };
        part.command(Purpose::Build, format!("{maven} -q -DskipTests package"));
        part.command(Purpose::Test, format!("{maven} -q test"));
        part
    });
    parts.extend(outermost(tree, &GRADLE, |directory| {
        let gradle = if tree.has(directory, "gradlew") { "./gradlew" } else { "gradle" };
        let mut part = Part { kind: "Java or Kotlin with Gradle".into(), ..Part::default() };
        part.command(Purpose::Build, format!("{gradle} assemble"));
        part.command(Purpose::Test, format!("{gradle} test"));
        part.command(Purpose::Lint, format!("{gradle} check"));
        part
    }));
    parts
}

/// One part for each directory that has such a file and is not below another that has.
pub(super) fn outermost(tree: &Tree, names: &[&str], describe: impl Fn(&str) -> Part) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for directory in tree.directories_with(names) {
        if !parts.iter().any(|part| is_within(&directory, &part.directory)) {
            parts.push(Part { directory: directory.clone(), ..describe(&directory) });
        }
    }
    parts
}
