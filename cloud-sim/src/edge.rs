//! The edge of the simulated internet: an HTTP/1.1 proxy on the host's loopback that sends each request to port 80 of
//! the machine its `Host` resolves to, and passes upgrades (WebSockets) through.
//!
//! It stands for the network, not for a server: it adds no header, changes no path and keeps no state. One client
//! connection may speak to several hosts, so every request is resolved anew and gets a connection of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE,
};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::machines::{MachineError, Machines};

/// Answers which server a host name (lower case, without port) leads to.
pub type Resolver = Arc<dyn Fn(&str) -> Option<u64> + Send + Sync>;

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// The port of every machine that the edge leads to.
const MACHINE_PORT: u16 = 80;

/// Serves until dropped.
pub async fn serve(listener: TcpListener, resolver: Resolver, machines: Arc<dyn Machines>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Too many open files, most likely; some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (resolver, machines) = (resolver.clone(), machines.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (resolver, machines) = (resolver.clone(), machines.clone());
                async move { Ok::<_, Infallible>(answer(&resolver, machines.as_ref(), request).await) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .preserve_header_case(true)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection to the edge broke off");
            }
        });
    }
}

async fn answer(resolver: &Resolver, machines: &dyn Machines, request: Request<Incoming>) -> Answer {
    let Some(host) = host_name(&request) else {
        return page(StatusCode::BAD_REQUEST, "the request names no host\n".into());
    };
    let Some(server_id) = resolver(&host) else {
        return page(
            StatusCode::NOT_FOUND,
            format!("{host} does not resolve: the zone has no record for it\n"),
        );
    };
    let stream = match machines.connect(server_id, MACHINE_PORT).await {
        Ok(stream) => stream,
        Err(error) => return page(StatusCode::BAD_GATEWAY, unreachable(&host, &error)),
    };
    match pass_on(stream, request).await {
        Ok(answer) => answer,
        Err(error) => {
            page(StatusCode::BAD_GATEWAY, format!("{host} resolves, but its machine broke off: {error}\n"))
        }
    }
}

fn unreachable(host: &str, error: &MachineError) -> String {
    format!("{host} resolves, but its machine does not answer: {error}\n")
}

/// The name a request is for, in lower case and without the port.
fn host_name<B>(request: &Request<B>) -> Option<String> {
    let host = match request.uri().host() {
        Some(host) => host,
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    (!name.is_empty()).then(|| name.to_ascii_lowercase())
}

async fn pass_on(stream: TcpStream, mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a machine broke off its answer");
        }
    });
    let client_upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    parts.uri = origin_form(&parts.uri);
    parts.version = hyper::Version::HTTP_11;
    drop_hop_headers(&mut parts.headers);
    let mut answer = sender.send_request(Request::from_parts(parts, body)).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client) = client_upgrade {
            tokio::spawn(splice(client, hyper::upgrade::on(&mut answer)));
        }
    } else {
        drop_hop_headers(answer.headers_mut());
    }
    Ok(answer.map(BodyExt::boxed))
}

/// What a server expects in a request line.
fn origin_form(uri: &Uri) -> Uri {
    uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// Removes what concerns one connection only. An upgrade concerns both, and stays.
fn drop_hop_headers(headers: &mut HeaderMap) {
    for name in ["keep-alive", "proxy-connection", "te", "trailer"] {
        headers.remove(HeaderName::from_static(name));
    }
    // The body's framing is chosen anew on each side.
    headers.remove(TRANSFER_ENCODING);
    if headers.contains_key(UPGRADE) {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    } else {
        headers.remove(CONNECTION);
    }
}

async fn splice(client: hyper::upgrade::OnUpgrade, machine: hyper::upgrade::OnUpgrade) {
    let (client, machine) = match tokio::try_join!(client, machine) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade failed"),
    };
    // Either side may end it, cleanly or not; nobody else has to know.
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(machine)).await;
}

fn page(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_in_lower_case_without_a_port() {
        let host = |uri: &str, header: Option<&str>| {
            let mut request = Request::builder().uri(uri);
            if let Some(header) = header {
                request = request.header(HOST, header);
            }
            request.body(()).ok().and_then(|request| host_name(&request))
        };
        assert_eq!(host("/x", Some("A.ebb.localhost:8080")).as_deref(), Some("a.ebb.localhost"));
        assert_eq!(host("/x", Some("a.ebb.localhost")).as_deref(), Some("a.ebb.localhost"));
        assert_eq!(host("http://b.ebb.localhost:1/x", Some("a")).as_deref(), Some("b.ebb.localhost"));
        assert_eq!(host("/x", None), None);
        assert_eq!(host("/x", Some(":80")), None);
    }

    #[test]
    fn the_request_line_names_no_host() {
        assert_eq!(origin_form(&Uri::from_static("http://a.test/x?y=1")), Uri::from_static("/x?y=1"));
        assert_eq!(origin_form(&Uri::from_static("/x")), Uri::from_static("/x"));
    }
}
