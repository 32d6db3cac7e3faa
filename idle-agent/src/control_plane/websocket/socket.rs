//! The WebSocket to `/v1/vm/connect`: opened with the VM token, then used without ever blocking.

use crate::control_plane::api_client::{CallError, failure};
use crate::os::secret::Secret;
use ebbtide_api::vm::{Heartbeat, Instruction};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// Longest time for each part of opening.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message in either direction.
const LARGEST_MESSAGE: usize = 1 << 20;
/// Close code by which the control plane says that a newer machine has taken over.
const CLOSE_STALE: u16 = 4410;

/// An open connection.
pub struct Socket {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    unsent: bool,
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// [`CallError`]; a handshake that is answered with a status means the same as in a plain call.
    pub fn open(control_url: &str, token: &Secret) -> Result<Self, CallError> {
        let unreachable = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
        let url = url::Url::parse(control_url).map_err(|error| unreachable(&error))?;
        let (host, port) = (url.host_str().unwrap_or(""), url.port_or_known_default().unwrap_or(443));
        let stream = connect(host, port).map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;

        let target = format!("{}/v1/vm/connect", control_url.replacen("http", "ws", 1));
        let mut request = target.into_client_request().map_err(|error| unreachable(&error))?;
        let bearer = format!("Bearer {}", token.expose())
            .parse()
            .map_err(|_| unreachable(&"a token that is no header"))?;
        request.headers_mut().insert("authorization", bearer);
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .read_buffer_size(8 << 10)
            .write_buffer_size(0);
        let (socket, _) =
            tungstenite::client_tls_with_config(request, stream, Some(config), None).map_err(|error| {
                match error {
                    HandshakeError::Failure(Error::Http(answer)) => {
                        failure(answer.status().as_u16(), answer.body().as_deref().unwrap_or_default())
                    }
                    HandshakeError::Failure(error) => unreachable(&error),
                    HandshakeError::Interrupted(_) => unreachable(&"the handshake took too long"),
                }
            })?;
        let socket = Self { socket, unsent: false };
        socket.stream().set_nonblocking(true).map_err(|error| unreachable(&error))?;
        Ok(socket)
    }

    /// The next instruction that has arrived; `None` where there is none yet.
    ///
    /// # Errors
    /// The connection is over: [`CallError::Fenced`] or unreachable.
    pub fn receive(&mut self) -> Result<Option<Instruction>, CallError> {
        if self.unsent {
            self.flush()?;
        }
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => match serde_json::from_str(&text) {
                    Ok(instruction) => return Ok(Some(instruction)),
                    Err(error) => tracing::warn!(%error, "ignoring an instruction that cannot be read"),
                },
                Ok(Message::Close(frame)) => {
                    let stale = frame.is_some_and(|frame| u16::from(frame.code) == CLOSE_STALE);
                    return Err(if stale {
                        CallError::Fenced
                    } else {
                        CallError::Unreachable("closed".into())
                    });
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(CallError::Unreachable(error.to_string())),
            }
        }
    }

    /// Sends a heartbeat, or begins to.
    ///
    /// # Errors
    /// The connection is over.
    pub fn send(&mut self, heartbeat: &Heartbeat) -> Result<(), CallError> {
        let text =
            serde_json::to_string(heartbeat).map_err(|error| CallError::Unreachable(error.to_string()))?;
        match self.socket.write(Message::text(text)) {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => self.unsent = true,
            Err(error) => return Err(CallError::Unreachable(error.to_string())),
        }
        self.flush()
    }

    /// Whether bytes wait for the network.
    pub fn has_unsent(&self) -> bool {
        self.unsent
    }

    /// What to poll.
    pub fn stream(&self) -> &TcpStream {
        match self.socket.get_ref() {
            MaybeTlsStream::Rustls(stream) => &stream.sock,
            MaybeTlsStream::Plain(stream) => stream,
            _ => unreachable!("no other kind of TLS is compiled in"),
        }
    }

    fn flush(&mut self) -> Result<(), CallError> {
        match self.socket.flush() {
            Ok(()) => {
                self.unsent = false;
                Ok(())
            }
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                self.unsent = true;
                Ok(())
            }
            Err(error) => Err(CallError::Unreachable(error.to_string())),
        }
    }
}

/// Connects to the first address that answers.
fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for address in (host.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, OPEN_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(OPEN_TIMEOUT))?;
                stream.set_write_timeout(Some(OPEN_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
