//! The listener: each connection is served by the router, or dropped where an answer was to be lost.

use std::{io, sync::Arc};

use axum::body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::{Facade, provider::Dropped, sim};

/// Serves both vendors and `/_sim` until dropped.
pub async fn serve(listener: TcpListener, facade: Arc<Facade>) {
    let router = sim::router(facade);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let router = router.clone();
                async move {
                    let response = match router.oneshot(request.map(Body::new)).await {
                        Ok(response) => response,
                        Err(never) => match never {},
                    };
                    if response.extensions().get::<Dropped>().is_some() {
                        // An error ends the connection without a byte of an answer.
                        return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
                    }
                    Ok(response)
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}
