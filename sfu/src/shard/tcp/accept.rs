//! New connections: read until the first frame is whole, which must be STUN and names the shard by its user fragment.

use super::strangers::{Stranger, Strangers};
use crate::shard::{Inbox, ShardInput, route};
use sfu_engine::transport::framing::Deframer;
use sfu_engine::{Protocol, Tuple};
use socket2::{Domain, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

/// Connections that wait in the kernel until they are accepted.
const BACKLOG: i32 = 1024;
/// A connection must show its first frame within this time.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(5);
/// After accepting failed, most likely for want of file descriptors: time for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection whose first frame named a shard. Nothing is authenticated yet.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(super) stream: StdTcpStream,
    pub(super) tuple: Tuple,
    pub(super) first: Vec<u8>,
    /// What was read after the first frame.
    pub(super) deframer: Deframer,
    pub(super) stranger: Stranger,
}

/// Binds a listener.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts connections for all shards, for ever.
pub(crate) async fn accept(listener: TcpListener, strangers: Strangers, shards: Vec<Inbox>) {
    let shards: Arc<[Inbox]> = shards.into();
    let mut failing = false;
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            // That connection alone is gone already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept media connections; is the limit of open files (ulimit -n) too low?");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        let Some(stranger) = strangers.enter(remote.ip()) else { continue };
        let shards = shards.clone();
        tokio::spawn(async move {
            if let Ok(Some((shard, accepted))) =
                tokio::time::timeout(FIRST_FRAME_TIMEOUT, prove(stream, remote, stranger)).await
                && let Some(shard) = shards.get(shard)
            {
                shard.give(ShardInput::Tcp(Box::new(accepted)));
            }
        });
    }
}

/// Reads until the first frame is whole and tells which shard it is for.
pub(super) async fn prove(mut stream: TcpStream, remote: SocketAddr, stranger: Stranger) -> Option<(usize, Accepted)> {
    stream.set_nodelay(true).ok()?;
    let local = stream.local_addr().ok()?;
    let tuple = Tuple { protocol: Protocol::Tcp, local, remote };
    let mut deframer = Deframer::new();
    let mut buffer = [0; 2048];
    let first = loop {
        let length = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        deframer.push(&buffer[..length]);
        if let Some(frame) = deframer.pop().ok()? {
            break frame.to_vec();
        }
    };
    let shard = route::shard_of_stun(&first)?;
    let stream = stream.into_std().ok()?;
    Some((shard, Accepted { stream, tuple, first, deframer, stranger }))
}
