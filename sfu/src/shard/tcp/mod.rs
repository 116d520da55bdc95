//! The media port's TCP side: ICE-TCP passive connections (RFC 6544) with RFC 4571 framing.
//!
//! [`accept()`] runs on the control plane's runtime and finds out whose shard a connection is for. From then on
//! [`TcpPorts`] of that shard owns it: it closes it unless the engine validates its tuple soon, and when the engine
//! forgets the tuple.

mod accept;
mod connection;
mod strangers;

pub(crate) use accept::{Accepted, accept, listen};
pub(crate) use strangers::Strangers;

use super::udp::Run;
use connection::{Link, drive};
use sfu_engine::Tuple;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use strangers::Stranger;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Frames read from all connections of a shard that wait for the engine; readers wait beyond that, so TCP's own window
/// closes.
const INBOUND_FRAMES: usize = 256;

/// What the connections of one shard may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpLimits {
    /// Connections at the same time; more are closed at once.
    pub(crate) connections: usize,
    /// A connection on which no ICE check has succeeded by then is closed.
    pub(crate) validation: Duration,
    /// Bytes that wait for one slow connection; more are dropped, as by a full queue on a link.
    pub(crate) send_queue: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        TcpLimits { connections: 4096, validation: Duration::from_secs(10), send_queue: 512 << 10 }
    }
}

/// What a connection of this shard has to say.
#[derive(Debug)]
pub(crate) enum TcpInput {
    /// A whole frame.
    Frame(Tuple, Vec<u8>),
    /// The connection is over.
    Closed(Tuple),
}

/// The TCP connections of one shard.
pub(crate) struct TcpPorts {
    limits: TcpLimits,
    connections: HashMap<Tuple, Connection>,
    next_id: u64,
    tasks: JoinSet<()>,
    sender: mpsc::Sender<(u64, TcpInput)>,
    receiver: mpsc::Receiver<(u64, TcpInput)>,
}

/// The shard's end of a connection; dropping it closes the connection once what is queued has been sent.
struct Connection {
    /// Tells it from an earlier one between the same addresses, whose last words may still be queued.
    id: u64,
    link: Rc<Link>,
    /// Its place among the strangers, until an ICE check has succeeded.
    stranger: Option<Stranger>,
}

impl TcpPorts {
    pub(crate) fn new(limits: TcpLimits) -> Self {
        let (sender, receiver) = mpsc::channel(INBOUND_FRAMES);
        TcpPorts { limits, connections: HashMap::new(), next_id: 0, tasks: JoinSet::new(), sender, receiver }
    }

    /// Takes a connection over; its frames come out of [`TcpPorts::next`]. Needs a `LocalSet`. Returns the tuple if an
    /// earlier connection between the same addresses was still there: the engine must forget it.
    pub(crate) fn add(&mut self, accepted: Accepted) -> Option<Tuple> {
        while self.tasks.try_join_next().is_some() {}
        let replaced = self.connections.remove(&accepted.tuple).map(|_| accepted.tuple);
        if self.connections.len() >= self.limits.connections {
            return replaced;
        }
        let Ok(stream) = TcpStream::from_std(accepted.stream) else { return replaced };
        let (id, tuple) = (self.next_id, accepted.tuple);
        self.next_id += 1;
        let link = Rc::new(Link::new(self.limits.send_queue));
        let connection = Connection { id, link: link.clone(), stranger: Some(accepted.stranger) };
        self.connections.insert(tuple, connection);
        let (inbound, validation) = (self.sender.clone(), self.limits.validation);
        self.tasks.spawn_local(async move {
            let deliver = async |frame| inbound.send((id, TcpInput::Frame(tuple, frame))).await.is_ok();
            drive(stream, &link, accepted.first, accepted.deframer, validation, deliver).await;
            // The shard is gone too if nobody takes this.
            let _ = inbound.send((id, TcpInput::Closed(tuple))).await;
        });
        replaced
    }

    /// The next frame or end of a connection.
    pub(crate) async fn next(&mut self) -> TcpInput {
        loop {
            // A sender is kept here, so the queue never ends.
            let Some((id, input)) = self.receiver.recv().await else { continue };
            if let Some(input) = self.admit(id, input) {
                return input;
            }
        }
    }

    /// The same, if it is there already.
    pub(crate) fn try_next(&mut self) -> Option<TcpInput> {
        loop {
            let (id, input) = self.receiver.try_recv().ok()?;
            if let Some(input) = self.admit(id, input) {
                return Some(input);
            }
        }
    }

    /// Leaves out what connections said that are closed already.
    fn admit(&mut self, id: u64, input: TcpInput) -> Option<TcpInput> {
        let (TcpInput::Frame(tuple, _) | TcpInput::Closed(tuple)) = &input;
        if self.connections.get(tuple).is_none_or(|connection| connection.id != id) {
            return None;
        }
        if let TcpInput::Closed(tuple) = &input {
            self.connections.remove(tuple);
        }
        Some(input)
    }

    /// An ICE check succeeded on this connection: it may stay, and send long frames.
    pub(crate) fn validated(&mut self, tuple: &Tuple) {
        if let Some(connection) = self.connections.get_mut(tuple) {
            connection.stranger = None;
            connection.link.trust();
        }
    }

    /// The engine forgot the tuple: closes its connection once what is queued has been sent. One that has not been
    /// validated is a newer one between the same addresses, and stays.
    pub(crate) fn forgotten(&mut self, tuple: &Tuple) {
        if self.connections.get(tuple).is_some_and(|connection| connection.stranger.is_none()) {
            self.connections.remove(tuple);
        }
    }

    /// Queues a run of datagrams as frames. Returns how many were dropped because the connection is gone or slow.
    pub(crate) fn send(&self, run: &Run<'_>) -> u64 {
        let link = self.connections.get(&run.tuple).map(|connection| &connection.link);
        let datagrams = run.contents.chunks(run.segment_size.max(1));
        datagrams.map(|datagram| u64::from(!link.is_some_and(|link| link.send(datagram)))).sum()
    }

    /// Connections that are open.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.connections.len()
    }

    /// Closes all connections and waits until what is queued has been sent, or they were given up.
    pub(crate) async fn finish(&mut self) {
        self.connections.clear();
        // Their last frames are taken and thrown away, since a connection ends when nobody takes them.
        while tokio::select! {
            ended = self.tasks.join_next() => ended.is_some(),
            _ = self.receiver.recv() => true,
        } {}
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.close();
    }
}

#[cfg(test)]
mod tests;
