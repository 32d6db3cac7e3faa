//! What a person gets to read: every page in every state, pinned as HTML, and what must hold for all of them.

mod sample;

/// Versions of static files change with their content and say nothing about a page.
fn without_versions(html: &str) -> String {
    let mut parts = html.split("?v=");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| format!("{text}?v=…{}", part.get(16..).unwrap_or_default()))
}

#[test]
fn every_page_in_every_state() {
    for (name, html) in sample::pages() {
        insta::assert_snapshot!(name, without_versions(&html));
    }
}

#[test]
fn no_page_needs_what_its_content_security_policy_forbids() {
    let hostile = sample::hostile_others().into_iter().map(|html| ("hostile", html));
    for (name, html) in sample::pages().into_iter().chain(hostile) {
        assert!(!html.contains(" style="), "{name}: a style attribute");
        assert!(!html.contains("<style"), "{name}: a style element");
        assert!(!html.contains("javascript:") || name == "hostile", "{name}: a script URL");
        for tag in tags(&html) {
            assert!(
                !attributes(tag).iter().any(|attribute| attribute.starts_with("on")),
                "{name}: an event handler in <{tag}>"
            );
            assert!(!tag.starts_with("script") || tag.contains("src=\"/static/"), "{name}: <{tag}>");
            assert!(!tag.contains("href=\"javascript"), "{name}: <{tag}>");
        }
    }
}

#[test]
fn hostile_names_stay_text_on_every_page() {
    for html in sample::hostile_others().into_iter().chain([sample::hostile_page()]) {
        assert!(html.contains("&#60;script&#62;alert(1)&#60;/script&#62;"), "shown as it is");
        assert_eq!(html.matches("<script").count(), 2, "those that we serve alone");
        assert!(!html.contains("\"onload="), "a quote stays inside its attribute");
        assert!(!html.contains("onclick='x'"), "a single quote too");
        assert!(html.contains("&#38;amp;"), "an entity is not taken for one");
        assert!(html.contains("{{ 7*7 }}") || html.contains("{{ 7*7"), "no second templating");
        for tag in tags(&html) {
            assert!(!tag.contains("href=\"javascript:"), "{tag}");
        }
    }
}

#[test]
fn list_and_page_answer_why_in_the_line_that_the_machine_gives() {
    let line = sample::line();
    let line = line.strip_prefix('a').unwrap_or(&line);
    for name in ["list", "running"] {
        let page = sample::pages().into_iter().find(|(known, _)| *known == name).map(|(_, html)| html);
        assert!(
            page.unwrap_or_default().contains(&format!("<p class=\"because\">A{line}.")),
            "{name}: {line}"
        );
    }
}

#[test]
fn no_page_shows_calls_of_the_api_or_points_in_time_as_machines_write_them() {
    for (name, html) in sample::pages() {
        let shown: String =
            html.split('<').map(|part| part.split_once('>').map_or("", |(_, text)| text)).collect();
        for call in ["GET ", "POST ", "DELETE ", "/v1/"] {
            assert!(!shown.contains(call), "{name}: {call}");
        }
        let is_machine = |text: &str| {
            text.split('T').skip(1).any(|rest| rest.get(2..3) == Some(":") && rest.get(5..6) == Some(":"))
        };
        assert!(!is_machine(&shown), "{name}: a point in time with seconds and Z");
    }
}

#[test]
fn every_field_has_a_label_and_every_described_by_has_its_text() {
    for (name, html) in sample::pages() {
        for tag in tags(&html).into_iter().filter(|tag| is(tag, "input") || is(tag, "select")) {
            if tag.contains("type=\"hidden\"") {
                continue;
            }
            let id = value(tag, "id").unwrap_or_default();
            assert!(html.contains(&format!("<label for=\"{id}\"")), "{name}: <{tag}> has no label");
        }
        for reference in ["aria-describedby", "aria-labelledby"] {
            for tag in tags(&html) {
                for id in value(tag, reference).unwrap_or_default().split_whitespace() {
                    assert!(html.contains(&format!("id=\"{id}\"")), "{name}: nothing is called {id}");
                }
            }
        }
    }
}

#[test]
fn ids_are_unique_and_every_changing_form_proves_its_session() {
    for (name, html) in sample::pages() {
        let mut seen = std::collections::BTreeSet::new();
        for id in tags(&html).into_iter().filter_map(|tag| value(tag, "id")) {
            assert!(seen.insert(id), "{name}: {id} twice");
        }
        for form in html.split("<form").skip(1).filter(|form| !form.contains("action=\"/signin\"")) {
            let form = form.split("</form>").next().unwrap_or_default();
            assert!(form.contains("name=\"csrf\""), "{name}: {form}");
        }
        assert!(!html.contains("<html") || html.contains("<main id=\"main\""), "{name}: no main landmark");
        assert!(html.matches("<h1").count() <= 1, "{name}");
    }
}

/// The inside of every opening tag.
fn tags(html: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for part in html.split('<').skip(1) {
        // No attribute of ours holds a '>' that is not escaped.
        if let Some((tag, _)) = part.split_once('>')
            && !tag.starts_with(['/', '!'])
        {
            found.push(tag);
        }
    }
    found
}

fn is(tag: &str, name: &str) -> bool {
    tag.split_whitespace().next() == Some(name)
}

/// Names of a tag's attributes, values left out.
fn attributes(tag: &str) -> Vec<&str> {
    tag.split('"')
        .step_by(2)
        .flat_map(str::split_whitespace)
        .skip(1)
        .map(|attribute| attribute.trim_end_matches('='))
        .collect()
}

fn value<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}
