//! A port inside a machine answers at its own name, for those who may.

use crate::common::{LIMIT, cloning, quick, ready, with_machines};
use anyhow::{Result, ensure};
use ebbtide_system_tests::browser::Visitor;
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;

fn serve(stack: &Stack, id: &str, port: u16) -> Result<()> {
    let text = format!(
        "mkdir -p /tmp/{port} && cd /tmp/{port} && echo page-{port} > index.html && \
         tmux new-window -d 'cd /tmp/{port} && exec python3 -m http.server {port} --bind 127.0.0.1'"
    );
    stack.machine_of(id)?.shell("ebb", &text)?;
    wait::until("the port in the list", LIMIT, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        let found =
            workspace.ports.iter().any(|entry| entry.port == port && entry.http && entry.url.is_some());
        if found { Ok(()) } else { Err(format!("{:?}", workspace.ports)) }
    })
}

#[test]
fn a_port_answers_its_owner_and_nobody_else_until_it_is_made_public() -> Result<()> {
    let stack = with_machines("ports", quick())?;
    let workspace = ready(&stack, &cloning())?;
    let id = workspace.id.to_string();
    let host = |port: u16| format!("{port}.{}-{id}.ebb.localhost", workspace.name);
    serve(&stack, &id, 3000)?;
    serve(&stack, &id, 3001 + 1000)?;

    let stranger = Visitor::stranger(&host(3000)).get(&stack, "/")?;
    ensure!([401, 403].contains(&stranger.status), "a stranger got {}: {}", stranger.status, stranger.text());
    ensure!(!stranger.text().contains("page-3000"), "a stranger saw the page");

    let link = Visitor::link(&stack, &id, 3000)?;
    let (owner, page) = wait::until("the page", LIMIT, || {
        let (visitor, answer) = Visitor::open(&stack, &link).map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 {
            Ok((visitor, answer))
        } else {
            Err(format!("{} {}", answer.status, answer.text()))
        }
    })?;
    ensure!(page.text().contains("page-3000"), "{}", page.text());
    ensure!(owner.get(&stack, "/")?.status == 200, "the cookie does not last");
    ensure!(owner.get(&stack, "/missing")?.status == 404, "the app's own answers do not pass");

    // What opens one port opens no other.
    let query = link.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let other = Visitor::stranger(&host(4001)).get(&stack, &format!("/?{query}"))?;
    ensure!(!other.text().contains("page-4001") && other.status != 200, "a link to 3000 opened 4001");

    let access = json!({ "access": "public" });
    let set = stack.api.call("PUT", &format!("/v1/workspaces/{id}/ports/4001"), Some(&access))?;
    ensure!((200..300).contains(&set.status), "{} {}", set.status, set.text());
    wait::until("the public page", LIMIT, || {
        let answer = Visitor::stranger(&host(4001)).get(&stack, "/").map_err(|error| format!("{error:#}"))?;
        if answer.status == 200 && answer.text().contains("page-4001") { Ok(()) } else { Err(answer.text()) }
    })?;
    let still = Visitor::stranger(&host(3000)).get(&stack, "/")?;
    ensure!(still.status != 200, "making one port public opened another");
    stack.stop()
}

/// Waits until a page answers like this.
fn answers(stack: &Stack, visitor: &Visitor, status: u16) -> Result<()> {
    wait::until(&format!("the page to answer {status}"), LIMIT, || {
        let answer = visitor.get(stack, "/").map_err(|error| format!("{error:#}"))?;
        if answer.status == status { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
    })
}

fn enter(stack: &Stack, id: &str, port: u16) -> Result<Visitor> {
    let (visitor, answer) = Visitor::open(stack, &Visitor::link(stack, id, port)?)?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(visitor)
}

#[test]
fn a_link_ends_at_its_owner_s_word_with_its_port_and_with_the_key_that_signed_it() -> Result<()> {
    let mut stack = with_machines("links", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    serve(&stack, &id, 3000)?;
    let path = format!("/v1/workspaces/{id}");
    let links = |stack: &Stack| -> Result<Vec<String>> {
        let listed = stack.api.call("GET", &format!("{path}/links"), None)?.expect(200)?.json();
        let ids = listed["links"].as_array().into_iter().flatten();
        Ok(ids.filter_map(|link| link["id"].as_str().map(str::to_owned)).collect())
    };
    let (first, second) = (enter(&stack, &id, 3000)?, enter(&stack, &id, 3000)?);
    let given = links(&stack)?;
    ensure!(given.len() == 2, "{given:?}");
    stack.api.call("DELETE", &format!("{path}/links/{}", given[0]), None)?.expect(202)?;
    answers(&stack, &first, 401)?;
    ensure!(second.get(&stack, "/")?.status == 200, "ending one link ended another");
    stack.api.call("DELETE", &format!("{path}/links/{}", given[0]), None)?.expect(404)?;

    let closed = json!({ "access": "owner" });
    stack.api.call("PUT", &format!("{path}/ports/3000"), Some(&closed))?.expect(200)?;
    answers(&stack, &second, 401)?;
    ensure!(links(&stack)?.is_empty(), "who closes a port ends its links");

    let third = enter(&stack, &id, 3000)?;
    stack.add_token_key()?;
    wait::until("the machine to know the new key", LIMIT, || {
        enter(&stack, &id, 3000).map_err(|error| format!("{error:#}"))
    })?;
    stack.drop_old_token_keys()?;
    answers(&stack, &third, 401)?;
    stack.stop()
}

#[test]
fn the_machine_s_own_ports_are_never_shown_nor_reached() -> Result<()> {
    let stack = with_machines("reserved", quick())?;
    let workspace = ready(&stack, &cloning())?;
    let id = workspace.id.to_string();
    let control: u16 = stack.url.rsplit(':').next().unwrap_or_default().parse()?;
    for port in [22, 80, 2019, control] {
        ensure!(
            !workspace.ports.iter().any(|entry| entry.port == port),
            "{port} is shown: {:?}",
            workspace.ports
        );
    }
    for port in [22, 2019] {
        let host = format!("{port}.{}-{id}.ebb.localhost", workspace.name);
        let answer = Visitor::stranger(&host).get(&stack, "/")?;
        ensure!(answer.status >= 400, "port {port} answered {}", answer.status);
    }
    stack.stop()
}

#[test]
fn a_name_that_nobody_created_does_not_resolve() -> Result<()> {
    let stack = with_machines("nowhere", quick())?;
    let workspace = ready(&stack, &cloning())?;
    for host in
        ["3000.other-aaaaaaaaaa.ebb.localhost".to_owned(), format!("3000.x-{}.ebb.localhost", workspace.id)]
    {
        let answer = Visitor::stranger(&host).get(&stack, "/")?;
        ensure!(answer.status == 404, "{host} answered {}", answer.status);
    }
    stack.stop()
}
