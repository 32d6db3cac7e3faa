//! What cloud-sim, the mount helper and the keepers of machines say to each other, and how: one JSON text per packet
//! over `SOCK_SEQPACKET` sockets, with open descriptors beside it. Never leaves one host and one build of this crate.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A machine to start, as the helper needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootOrder {
    pub server_id: u64,
    pub name: String,
    pub ipv4: Ipv4Addr,
    /// Base64 of the bytes of `MachineSpec::user_data`.
    pub user_data: String,
    pub disk_from: Option<u64>,
}

/// What cloud-sim asks of the helper.
#[derive(Debug, Serialize, Deserialize)]
pub enum HelperRequest {
    /// Is answered with one descriptor: the socket of the machine's keeper.
    Boot(BootOrder),
    Destroy {
        server_id: u64,
    },
    SaveImage {
        server_id: u64,
        image_id: u64,
    },
    DeleteImage {
        image_id: u64,
    },
}

/// What cloud-sim asks of a machine's keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum KeeperRequest {
    /// Is answered with one descriptor: a fresh TCP socket on the internet side of the machine's link.
    Socket,
    Usage,
    Stop,
    SetNetwork {
        up: bool,
    },
    Kill,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Request<T> {
    pub id: u64,
    pub body: T,
}

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    PoweredOff,
    Rebooted,
    /// Killed by the keeper or from outside, or its init failed.
    Died,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The helper is ready; its first message.
    Ready,
    Answer {
        id: u64,
        result: Result<Answer, Failure>,
    },
    /// The machine runs. Two descriptors: a listener on the control plane's address inside it, one for the git host.
    Booted,
    BootFailed {
        reason: String,
    },
    Ended(Ending),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Usage(super::Usage),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Failure {
    NoDisk,
    Other(String),
}

/// Packets are at most this long: user-data of 32 KiB, twice in base64, and room to spare.
const MAX_PACKET_BYTES: usize = 128 * 1024;
const MAX_DESCRIPTORS: usize = 2;

/// A pair of connected packet sockets.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

pub fn send<T: Serialize>(socket: impl AsFd, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > MAX_PACKET_BYTES {
        return Err(io::Error::other("message too long for one packet"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one packet"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(&text)], &mut beside, SendFlags::NOSIGNAL) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return sent.map(|_| ()).map_err(io::Error::from),
        }
    }
}

/// The next packet; `None` when the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; MAX_PACKET_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    text.truncate(received.bytes);
    Ok(Some((serde_json::from_slice(&text)?, descriptors)))
}
