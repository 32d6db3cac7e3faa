//! The way from inside a machine to the control plane: a listener in the machine's network, a connection on the
//! host's. What is underway waits while the machine's network is down, as packets would be sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that a machine exchanged with the control plane, which do not cross its link.
#[derive(Default)]
pub struct Traffic {
    pub into: AtomicU64,
    pub out: AtomicU64,
}

/// Carries connections from inside a machine to the control plane, as long as the machine's network is up.
pub async fn forward(
    inside: TcpListener,
    outside: SocketAddr,
    network: watch::Receiver<bool>,
    traffic: Arc<Traffic>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((from, _)) = inside.accept().await else {
            // Too many open files, most likely; some will be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (network, traffic) = (network.clone(), traffic.clone());
        connections.spawn(async move {
            if network.clone().wait_for(|up| *up).await.is_err() {
                return;
            }
            // A control plane that is away looks to the machine like a connection that is reset.
            let Ok(to) = TcpStream::connect(outside).await else { return };
            let (from_read, from_write) = from.into_split();
            let (to_read, to_write) = to.into_split();
            tokio::join!(
                pump(from_read, to_write, network.clone(), &traffic.out),
                pump(to_read, from_write, network, &traffic.into),
            );
        });
    }
}

/// Copies until either side ends; while the network is down, what was read waits.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut network: watch::Receiver<bool>,
    counter: &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    // An error on either side ends this direction; dropping the write half tells the other side.
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if network.wait_for(|up| *up).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        counter.fetch_add(read as u64, Ordering::Relaxed);
    }
}
