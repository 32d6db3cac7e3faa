//! A connection with one end for all that is said on it: whoever sends a byte now and then holds nobody for longer.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a server may take for a connection.
const CONNECTED_WITHIN: Duration = Duration::from_millis(300);

/// How long is waited.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For each word.
    pub each: Duration,
    /// For all of them, over all connections.
    pub end: Instant,
}

impl Patience {
    /// So long for each word, and thrice as long for all.
    pub fn from_now(each: Duration) -> Self {
        Self { each, end: Instant::now() + each * 3 }
    }

    /// What is left for the next word; an error where all is over.
    fn left(self) -> Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now()).min(self.each);
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// The connection.
#[derive(Debug)]
pub struct TimedStream {
    stream: TcpStream,
    patience: Patience,
}

impl TimedStream {
    /// Connects.
    ///
    /// # Errors
    /// What the system says, and that there is no time left.
    pub fn connect(address: SocketAddr, patience: Patience) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience.left()?.min(CONNECTED_WITHIN))?;
        Ok(Self { stream, patience })
    }

    /// Gives what is left to be said no more than this.
    pub fn end_within(&mut self, time: Duration) {
        self.patience.end = self.patience.end.min(Instant::now() + time);
    }
}

impl Read for TimedStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.stream.set_read_timeout(Some(self.patience.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for TimedStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.stream.set_write_timeout(Some(self.patience.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.stream.flush()
    }
}

/// Whether an error says that nothing came in time.
pub fn is_silence(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
