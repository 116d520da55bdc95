//! What the kernel does for many datagrams at once, found out by trying it on loopback before the first client comes: a
//! kernel can take the option and still not split what it is given (containers, odd virtual devices).

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::time::Duration;

/// Datagrams of the run that is tried, and their size; the last one is shorter.
const DATAGRAMS: usize = 4;
const SIZE: usize = 200;
const LAST: usize = 50;
/// Loopback delivers at once; this is for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(1);

/// What works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Datagrams that one send call may hold (UDP_SEGMENT); 1 where the kernel cannot split.
    pub(crate) segments: usize,
    /// The kernel joins what arrives (UDP_GRO).
    pub(crate) joins: bool,
}

impl Offload {
    /// Nothing but single datagrams.
    pub(crate) const NONE: Offload = Offload { segments: 1, joins: false };

    /// Sends a run to itself and looks what arrives.
    pub(crate) fn try_out() -> Offload {
        attempt().unwrap_or(Offload::NONE)
    }
}

fn attempt() -> io::Result<Offload> {
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    let sending = UdpSocketState::new(UdpSockRef::from(&sender))?;
    let receiving = UdpSocketState::new(UdpSockRef::from(&receiver))?;
    let segments = sending.max_gso_segments();
    if segments < DATAGRAMS {
        return Ok(Offload::NONE);
    }
    let run = vec![7; (DATAGRAMS - 1) * SIZE + LAST];
    let transmit = Transmit {
        destination: receiver.local_addr()?,
        ecn: None,
        contents: &run,
        segment_size: Some(SIZE),
        src_ip: None,
    };
    sending.try_send(UdpSockRef::from(&sender), &transmit)?;
    receiver.set_nonblocking(false)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let (mut lengths, mut joins) = (Vec::new(), false);
    while lengths.len() < DATAGRAMS {
        let mut buffers = vec![[0; 2048]; BATCH_SIZE];
        let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let received = receiving.recv(UdpSockRef::from(&receiver), &mut slices, &mut metas)?;
        for meta in &metas[..received] {
            joins |= meta.len > meta.stride;
            let whole = std::iter::repeat_n(meta.stride, meta.len / meta.stride.max(1));
            lengths.extend(whole.chain(Some(meta.len % meta.stride.max(1)).filter(|rest| *rest > 0)));
        }
    }
    let intact = lengths == [SIZE, SIZE, SIZE, LAST];
    Ok(if intact { Offload { segments, joins } } else { Offload::NONE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_out_ends_and_never_promises_more_than_the_socket_does() {
        let found = Offload::try_out();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).unwrap();
        assert!(found.segments == 1 || found.segments == state.max_gso_segments(), "{found:?}");
        assert!(!found.joins || found.segments > 1, "{found:?}");
    }
}
