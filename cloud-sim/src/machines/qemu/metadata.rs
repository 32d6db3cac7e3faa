//! Hetzner's metadata service as a guest sees it: what cloud-init's data source asks for, and what each answer is.
//!
//! Answers are pure ([`answer`]); [`serve`] puts them behind a socket in the machine's own directory, because user-data
//! holds a token. Only the machine's bridge connects to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use super::command::mac_address;
use crate::machines::MachineSpec;

/// Where everything lies.
const BASE: &str = "/hetzner/v1/";

/// What the service says to a path: a status and a text.
pub fn answer(spec: &MachineSpec, path: &str) -> (StatusCode, Vec<u8>) {
    let Some(wanted) = path.strip_prefix(BASE) else {
        return (StatusCode::NOT_FOUND, b"not found\n".into());
    };
    match wanted.trim_end_matches('/') {
        "metadata" => (StatusCode::OK, metadata(spec)),
        "metadata/instance-id" => (StatusCode::OK, spec.server_id.to_string().into()),
        "metadata/hostname" => (StatusCode::OK, spec.name.clone().into()),
        "metadata/public-ipv4" => (StatusCode::OK, spec.ipv4.to_string().into()),
        // In YAML, as everything here: an empty list.
        "metadata/private-networks" => (StatusCode::OK, b"[]".into()),
        "userdata" if spec.user_data.is_empty() => (StatusCode::NO_CONTENT, Vec::new()),
        "userdata" => (StatusCode::OK, spec.user_data.clone()),
        _ => (StatusCode::NOT_FOUND, b"not found\n".into()),
    }
}

/// The one document. It is YAML, of which JSON is a part, so that no value can end its string.
fn metadata(spec: &MachineSpec) -> Vec<u8> {
    let network = json!({
        "version": 1,
        "config": [{
            "type": "physical",
            "name": "eth0",
            "mac_address": mac_address(spec.server_id),
            "subnets": [{ "type": "dhcp", "ipv4": true }],
        }],
    });
    let document = json!({
        "hostname": spec.name,
        "instance-id": spec.server_id,
        "public-ipv4": spec.ipv4,
        "local-ipv4": "",
        "availability-zone": "fsn1-dc14",
        "region": "eu-central",
        "public-keys": [],
        "vendor_data": "",
        "network-config": network,
    });
    document.to_string().into()
}

/// Answers a machine until dropped.
pub async fn serve(listener: UnixListener, spec: Arc<MachineSpec>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, most likely; some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let spec = spec.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = respond(&spec, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection to the metadata service broke off");
            }
        });
    }
}

fn respond(spec: &MachineSpec, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match *request.method() {
        Method::GET | Method::HEAD => answer(spec, request.uri().path()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, Vec::new()),
    };
    tracing::info!(server.id = spec.server_id, path = request.uri().path(), %status, "metadata was asked for");
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(user_data: &str) -> MachineSpec {
        MachineSpec {
            server_id: 4711,
            name: "quiet-otter-1".into(),
            ipv4: [203, 0, 113, 7].into(),
            user_data: user_data.into(),
            disk_from: None,
        }
    }

    #[test]
    fn the_instance_is_the_server_and_its_card_is_the_one_that_it_has() {
        let (status, text) = answer(&spec("x"), "/hetzner/v1/metadata");
        assert_eq!(status, StatusCode::OK);
        let said: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(said["instance-id"], 4711);
        assert_eq!(said["hostname"], "quiet-otter-1");
        assert_eq!(said["network-config"]["config"][0]["mac_address"], mac_address(4711));
        assert_eq!(answer(&spec("x"), "/hetzner/v1/metadata/instance-id").1, b"4711");
    }

    #[test]
    fn user_data_is_given_as_it_came() {
        let sent = "H4sIAAAA+/=\n";
        assert_eq!(answer(&spec(sent), "/hetzner/v1/userdata"), (StatusCode::OK, sent.into()));
        assert_eq!(answer(&spec(""), "/hetzner/v1/userdata").0, StatusCode::NO_CONTENT);
    }

    #[test]
    fn there_is_nothing_else() {
        for path in
            ["/", "/hetzner/v1/", "/hetzner/v1/metadata/nothing", "/latest/meta-data", "/hetzner/v2/metadata"]
        {
            assert_eq!(answer(&spec("x"), path).0, StatusCode::NOT_FOUND, "{path}");
        }
    }
}
