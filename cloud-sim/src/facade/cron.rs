//! Fires the control plane's cron: a GET at a fixed interval, as the platform's scheduler would.
//!
//! Runs do not overlap: a slow run delays the next one. A failed run is logged and nothing more.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::MissedTickBehavior};

/// How long one run may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a run was not answered.
#[derive(Debug, thiserror::Error)]
enum CronError {
    #[error("its URL names no host")]
    NoHost,
    #[error("the control plane cannot be reached")]
    Connect(#[from] std::io::Error),
    #[error("the request could not be built")]
    Request(#[from] hyper::http::Error),
    #[error("the call broke off")]
    Call(#[from] hyper::Error),
}

/// What is called, and how often.
#[derive(Debug, Clone)]
pub struct Cron {
    pub url: url::Url,
    pub every: Duration,
}

impl Cron {
    /// Fires for ever, the first time after one interval.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match tokio::time::timeout(TIMEOUT, self.fire()).await {
                Ok(Ok(status)) if status.is_success() => tracing::debug!(%status, "cron fired"),
                Ok(Ok(status)) => tracing::warn!(%status, "the cron was answered with an error"),
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the cron could not be fired");
                }
                Err(_) => tracing::warn!("the cron did not answer in time"),
            }
        }
    }

    async fn fire(&self) -> Result<hyper::StatusCode, CronError> {
        let host = self.url.host_str().ok_or(CronError::NoHost)?;
        let port = self.url.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let target = match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        };
        let request = hyper::Request::get(target)
            .header(hyper::header::HOST, format!("{host}:{port}"))
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        driver.abort();
        Ok(status)
    }
}
