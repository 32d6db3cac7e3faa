//! What Caddy is told: put each request to the agent, pass on what it lets through, and keep what an app answers to its
//! own host.
//!
//! An app is told one story, that of `localhost`: host, origin, and nothing of the public name. What it answers is put
//! into the public name's words on the way out.

use serde_json::{Value, json};
use std::path::Path;

/// Connections from Caddy to the agent, each of which has a thread there. A crowd waits within Caddy, and a person in it
/// for no longer than those before them: an answer takes well under a millisecond.
pub const QUESTIONERS: usize = 8;
/// Longest head that Caddy takes; Go adds 4 KiB to it.
const HEAD_BYTES: usize = 32 << 10;
/// A cookie's `Domain`, which would set it for other workspaces: any attribute whose name holds the word. Browsers take
/// blanks, tabs and every case; no attribute that they know but this one has the word in its name. Without a value it
/// says nothing.
const COOKIE_DOMAIN: &str = "(?i);[^;=]*domain[^;=]*=[^;]*";
/// A URL of this machine's own behind its scheme, as an app writes it: its port, and what comes after.
const LOCAL_URL: &str =
    r"://(?:localhost|127(?:\.[0-9]{1,3}){3}|0\.0\.0\.0|\[::1?\]):([0-9]{1,5})((?:[/?#].*)?)$";

/// The configuration for one listening port.
pub fn configuration(listen_port: u16, access_socket: &Path, log: &Path) -> Value {
    let ask = json!({
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": format!("unix/{}", access_socket.display()) }],
        "transport": {
            "protocol": "http",
            "max_conns_per_host": QUESTIONERS,
            "keep_alive": { "max_idle_conns_per_host": QUESTIONERS, "idle_timeout": "30s" },
            "dial_timeout": "10s",
            "response_header_timeout": "30s",
        },
        // The question is a request of its own; whose it is travels in headers that a client cannot set.
        "rewrite": { "method": "GET", "uri": "/" },
        "headers": { "request": {
            "set": {
                "X-Ebb-Host": ["{http.request.hostport}"],
                "X-Ebb-Method": ["{http.request.method}"],
                "X-Ebb-Uri": ["{http.request.orig_uri}"],
                "X-Ebb-Upgrade": ["{http.request.header.Upgrade}"],
            },
            "delete": ["Connection", "Upgrade", "Sec-WebSocket-Key", "Expect", "Content-Length", "Transfer-Encoding"],
        }},
        "handle_response": [
            { "match": { "status_code": [2], "headers": { "X-Ebb-Strip": ["*"] } }, "routes": [{ "handle": [
                upstream(),
                // Only where there is something to take out: the handler also merges double slashes in the path.
                { "handler": "rewrite", "uri_substring": [{ "find": "{http.reverse_proxy.header.X-Ebb-Strip}", "replace": "" }] },
            ]}]},
            { "match": { "status_code": [2] }, "routes": [{ "handle": [upstream()] }] },
        ],
    });
    // Outermost, so that whatever answers goes past it; but for handshakes, which Caddy 2.6 writes to the browser itself.
    let keep_cookies_here = json!({
        "handler": "headers",
        "response": { "deferred": true, "replace": { "Set-Cookie": [{ "search_regexp": COOKIE_DOMAIN, "replace": "" }] } },
    });
    json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": {
            "level": "ERROR",
            "writer": { "output": "file", "filename": log, "roll_size_mb": 1, "roll_keep": 1 },
        }}},
        "apps": { "http": { "servers": { "ebb": {
            "listen": [format!(":{listen_port}")],
            "automatic_https": { "disable": true },
            "protocols": ["h1"],
            // Somebody who opens connections and says nothing, or little by little, is not waited for.
            "read_header_timeout": "30s",
            "max_header_bytes": HEAD_BYTES,
            "routes": [{ "handle": [keep_cookies_here, ask, pass_on()] }],
        }}}},
    })
}

/// Passes a request on as its server speaks. Of one that speaks TLS the certificate is nobody's, and the agent names it only
/// on loopback; HTTP/1.1, for WebSockets.
fn pass_on() -> Value {
    let tls = json!({
        "protocol": "http",
        "versions": ["1.1"],
        "tls": { "insecure_skip_verify": true, "server_name": "localhost" },
    });
    json!({ "handler": "subroute", "routes": [
        { "match": [{ "vars": { "ebb_scheme": ["https"] } }], "handle": [pass("https", &tls)], "terminal": true },
        { "handle": [pass("http", &json!({ "protocol": "http" }))] },
    ]})
}

/// Passes a request on to a server that speaks this.
fn pass(scheme: &str, transport: &Value) -> Value {
    // An app that speaks TLS may name its plain port; one that speaks none and asks for https means another.
    let schemes = if scheme == "https" { "https?" } else { "http" };
    let local_url = format!("(?i)^{schemes}{LOCAL_URL}");
    json!({
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": "{http.vars.ebb_upstream}" }],
        "transport": transport,
        "flush_interval": -1,
        "handle_response": [{
            "match": { "status_code": [101], "headers": { "Set-Cookie": domain_in_every_case() } },
            "routes": [{ "handle": [{
                "handler": "static_response",
                "status_code": 502,
                "close": true,
                "body": "The handshake of this WebSocket sets a cookie with a Domain. Leave the Domain out.\n",
            }]}],
        }],
        "headers": {
            "request": {
                // Development servers refuse foreign host names; the agent has checked that Origin is the own one.
                "set": { "Host": ["{http.vars.ebb_app_host}"] },
                // One story: a second name for the same host makes frameworks refuse forms as forged.
                "delete": ["X-Ebbtide-Access", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "Forwarded"],
                "replace": {
                    "Cookie": [
                        { "search_regexp": "(^|;\\s*)(__Host-ebb|ebb_access)=[^;]*", "replace": "" },
                        { "search_regexp": "^;\\s*", "replace": "" },
                    ],
                    "Origin": [{ "search": "{http.vars.ebb_origin}", "replace": format!("{scheme}://{{http.vars.ebb_app_host}}") }],
                },
            },
            "response": { "replace": {
                "Location": [{ "search_regexp": &local_url, "replace": "{http.vars.ebb_ports_url}$2" }],
                "Content-Location": [{ "search_regexp": &local_url, "replace": "{http.vars.ebb_ports_url}$2" }],
            }},
        },
    })
}

/// What finds the word in a header: Caddy's patterns for answers know no other way to ignore case.
fn domain_in_every_case() -> Vec<String> {
    "domain"
        .chars()
        .fold(vec![String::new()], |found, letter| {
            let longer =
                |start: String| [letter, letter.to_ascii_uppercase()].map(|one| format!("{start}{one}"));
            found.into_iter().flat_map(longer).collect()
        })
        .into_iter()
        .map(|word| format!("*{word}*"))
        .collect()
}

fn upstream() -> Value {
    json!({
        "handler": "vars",
        "ebb_upstream": "{http.reverse_proxy.header.X-Ebb-Upstream}",
        "ebb_scheme": "{http.reverse_proxy.header.X-Ebb-Scheme}",
        "ebb_app_host": "{http.reverse_proxy.header.X-Ebb-App-Host}",
        "ebb_origin": "{http.reverse_proxy.header.X-Ebb-Origin}",
        "ebb_ports_url": "{http.reverse_proxy.header.X-Ebb-Ports-Url}",
    })
}

#[cfg(test)]
mod tests;
