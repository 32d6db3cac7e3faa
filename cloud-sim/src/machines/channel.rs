//! cloud-sim's end of the packet sockets to the mount helper and to the keepers: numbered requests, their answers,
//! and what the other side says unasked. Ends when the other side is gone; every waiting request then fails.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::raw;
use super::wire::{self, Answer, Failure, Message, Request};

/// An answer and the descriptors that came with it.
pub type Answered = (Result<Answer, Failure>, Vec<OwnedFd>);
/// Something said unasked.
pub type Said = (Message, Vec<OwnedFd>);

/// Who waits for which answer; `None` once the other side is gone.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answered>>>>>;

pub struct Channel {
    socket: Arc<AsyncFd<OwnedFd>>,
    waiting: Waiting,
    next_id: std::sync::atomic::AtomicU64,
    reader: AbortHandle,
}

impl Channel {
    /// Takes the socket into use. The receiver yields what is said unasked, and ends with the other side.
    pub fn new(socket: OwnedFd) -> io::Result<(Self, mpsc::UnboundedReceiver<Said>)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let socket = Arc::new(raw::watch_socket(socket)?);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (said, unasked) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(socket.clone(), waiting.clone(), said)).abort_handle();
        Ok((Self { socket, waiting, next_id: 1.into(), reader }, unasked))
    }

    /// Sends a request and waits for its answer; `None` when the other side is gone.
    pub async fn call<T: Serialize>(&self, body: T) -> Option<Answered> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.insert(id, answer);
        let request = Request { id, body };
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| wire::send(socket, &request, &[])).await;
        if sent.is_err() {
            return None;
        }
        answered.await.ok()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(socket: Arc<AsyncFd<OwnedFd>>, waiting: Waiting, said: mpsc::UnboundedSender<Said>) {
    loop {
        let received = socket.async_io(Interest::READABLE, |socket| wire::receive::<Message>(socket)).await;
        let (message, descriptors) = match received {
            Ok(Some(received)) => received,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "a packet from a machine's keeper or the mount helper is unusable");
                break;
            }
        };
        match message {
            Message::Answer { id, result } => {
                let answer = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .and_then(|all| all.remove(&id));
                if let Some(answer) = answer {
                    // Whoever asked may have stopped waiting; then nobody needs the answer.
                    let _ = answer.send((result, descriptors));
                }
            }
            message => {
                let _ = said.send((message, descriptors));
            }
        }
    }
    // Dropping the senders wakes those who wait.
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}
