//! One SCTP association over DTLS, as its passive side: the only file that touches `rtc-sctp`.
//!
//! Clients open channels by DCEP (RFC 8832); the two that are lanes are accepted, others are closed.

use super::Lane;
use super::frame::MAX_FRAME;
use super::guard::{Guard, MAX_STREAMS, RECEIVE_BUFFER, Verdict};
use crate::drops::DropReason;
use bytes::Bytes;
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_ack::DataChannelAck;
use rtc_datachannel::message::message_channel_open::{ChannelType, DataChannelOpen};
use rtc_sctp::{
    AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    ReliabilityType, ServerConfig, StreamEvent, StreamId, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::{Marshal, Unmarshal};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The protocol that both channels name in DCEP.
pub(super) const PROTOCOL: &[u8] = b"sluice-data-1";
/// Their labels.
const RELIABLE: &[u8] = b"reliable";
const LOSSY: &[u8] = b"lossy";
/// `rtc-sctp` keeps associations by address. There is one here, and the transport knows where it really is.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// An association with one participant. Sans-IO: packets in, packets and frames out.
#[derive(Default)]
pub(super) struct Association {
    guard: Guard,
    sctp: Option<Sctp>,
    /// What was answered to the INIT.
    init_ack: Option<Bytes>,
    reliable: Option<StreamId>,
    lossy: Option<StreamId>,
    /// Streams on which something can be read.
    readable: BTreeSet<StreamId>,
    outgoing: VecDeque<Bytes>,
}

struct Sctp {
    endpoint: Endpoint,
    association: Option<rtc_sctp::Association>,
}

/// A user message that came in.
pub(super) enum Inbound {
    /// On one of the lanes.
    Frame(Lane, Bytes),
    /// Something that no lane carries.
    Foreign,
}

impl Association {
    /// Takes a packet out of DTLS. An error is to be counted.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: Bytes) -> Result<(), DropReason> {
        match self.guard.admit(&packet) {
            Verdict::Refuse => return Err(DropReason::SctpRefused),
            Verdict::Abort => {
                self.end(now);
                return Err(DropReason::SctpRefused);
            }
            Verdict::AnswerAgain => {
                self.outgoing.extend(self.init_ack.clone());
                return Ok(());
            }
            Verdict::Begin => {
                *self = Association { guard: std::mem::take(&mut self.guard), sctp: Some(listen()), ..Self::default() }
            }
            Verdict::Pass => {}
        }
        let Some(sctp) = &mut self.sctp else { return Err(DropReason::SctpRefused) };
        if isolated(|| sctp.handle(now, packet)).is_none() {
            self.sctp = None;
            self.close_lanes();
            return Err(DropReason::SctpFailed);
        }
        self.collect(now);
        if self.init_ack.is_none() {
            self.init_ack = self.outgoing.front().cloned();
        }
        Ok(())
    }

    /// Whether a lane is open.
    pub(super) fn is_open(&self, lane: Lane) -> bool {
        self.stream_of(lane).is_some()
    }

    /// The next user message, of the reliable lane only if `takes_reliable`.
    pub(super) fn read(&mut self, now: Instant, takes_reliable: bool) -> Option<Inbound> {
        loop {
            let id = *self.readable.iter().find(|id| takes_reliable || Some(**id) != self.reliable)?;
            let sctp = self.sctp.as_mut()?.association.as_mut()?;
            let chunks = sctp.stream(id).ok().and_then(|mut stream| stream.read_sctp().ok()?);
            let Some(chunks) = chunks else {
                self.readable.remove(&id);
                continue;
            };
            self.guard.note_read(chunks.len(), chunks.chunks.len());
            let lane = if Some(id) == self.reliable { Some(Lane::Reliable) } else { None };
            let lane = lane.or_else(|| (Some(id) == self.lossy).then_some(Lane::Lossy));
            let Ok(payload) = chunks.to_payload(MAX_FRAME) else { return Some(Inbound::Foreign) };
            match (chunks.ppi, lane) {
                (PayloadProtocolIdentifier::Dcep, _) => self.handle_dcep(now, id, payload.freeze()),
                (PayloadProtocolIdentifier::Binary, Some(lane)) => {
                    return Some(Inbound::Frame(lane, payload.freeze()));
                }
                _ => return Some(Inbound::Foreign),
            }
        }
    }

    /// Sends a frame on an open lane. False where it is not open.
    pub(super) fn write(&mut self, now: Instant, lane: Lane, frame: &Bytes) -> bool {
        let Some(id) = self.stream_of(lane) else { return false };
        let sctp = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut());
        let stream = sctp.and_then(|sctp| sctp.stream(id).ok());
        stream.is_some_and(|mut s| s.write_chunk_with_ppi(now, frame, PayloadProtocolIdentifier::Binary).is_ok())
    }

    /// Bytes written to a lane that the peer has not acknowledged.
    pub(super) fn buffered(&mut self, lane: Lane) -> usize {
        let Some(id) = self.stream_of(lane) else { return 0 };
        let sctp = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut());
        sctp.and_then(|sctp| sctp.stream(id).ok()?.buffered_amount().ok()).unwrap_or(0)
    }

    /// The next packet for DTLS.
    pub(super) fn poll_packet(&mut self, now: Instant) -> Option<Bytes> {
        if self.outgoing.is_empty() {
            self.collect(now);
        }
        self.outgoing.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sctp.as_ref()?.association.as_ref()?.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(sctp) = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut())
            && sctp.poll_timeout().is_some_and(|at| at <= now)
        {
            sctp.handle_timeout(now);
            self.collect(now);
        }
    }

    fn stream_of(&self, lane: Lane) -> Option<StreamId> {
        match lane {
            Lane::Reliable => self.reliable,
            Lane::Lossy => self.lossy,
        }
    }

    /// Takes what the crate has to send and to say.
    fn collect(&mut self, now: Instant) {
        let Some(sctp) = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut()) else { return };
        while let Some(transmit) = sctp.poll_transmit(now) {
            let Payload::RawEncode(packets) = transmit.message else { continue };
            for packet in packets {
                self.guard.note_sent(&packet);
                self.outgoing.push_back(packet);
            }
        }
        while sctp.accept_stream().is_some() {}
        while sctp.poll_endpoint_event().is_some() {}
        while let Some(event) = sctp.poll() {
            match event {
                Event::Stream(StreamEvent::Readable { id }) => {
                    self.readable.insert(id);
                }
                // Said of each stream that is reset, also where the association goes on.
                Event::AssociationLost { id, .. } => {
                    self.readable.remove(&id);
                    self.reliable = self.reliable.filter(|lane| *lane != id);
                    self.lossy = self.lossy.filter(|lane| *lane != id);
                }
                _ => {}
            }
        }
    }

    /// Accepts the lanes, once each.
    fn handle_dcep(&mut self, now: Instant, id: StreamId, mut message: Bytes) {
        let Ok(Message::DataChannelOpen(open)) = Message::unmarshal(&mut message) else { return };
        let Some(sctp) = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut()) else { return };
        let Ok(mut stream) = sctp.stream(id) else { return };
        let free = Some(id) != self.reliable && Some(id) != self.lossy;
        match lane_of(&open).filter(|_| free) {
            Some(Lane::Reliable) if self.reliable.is_none() => self.reliable = Some(id),
            Some(Lane::Lossy) if self.lossy.is_none() => {
                if stream.set_reliability_params(true, ReliabilityType::Rexmit, 0).is_err() {
                    return;
                }
                self.lossy = Some(id);
            }
            _ => {
                let _ = stream.close(now);
                return;
            }
        }
        if let Ok(ack) = Message::DataChannelAck(DataChannelAck {}).marshal() {
            let _ = stream.write_chunk_with_ppi(now, &ack.freeze(), PayloadProtocolIdentifier::Dcep);
        }
    }

    /// Aborts the association; its peer can begin another one only in a new peer connection.
    fn end(&mut self, now: Instant) {
        if let Some(sctp) = self.sctp.as_mut().and_then(|sctp| sctp.association.as_mut()) {
            let _ = sctp.abort();
        }
        self.collect(now);
        self.sctp = None;
        self.close_lanes();
    }

    fn close_lanes(&mut self) {
        (self.reliable, self.lossy) = (None, None);
        self.readable.clear();
    }
}

impl Sctp {
    fn handle(&mut self, now: Instant, packet: Bytes) {
        match self.endpoint.handle(now, PEER, None, packet) {
            Some((AssociationHandle(_), DatagramEvent::NewAssociation(association))) => {
                self.association = Some(association);
            }
            Some((_, DatagramEvent::AssociationEvent(event))) => {
                if let Some(association) = &mut self.association {
                    association.handle_event(event);
                }
            }
            _ => {}
        }
    }
}

/// An endpoint that waits for an INIT.
fn listen() -> Sctp {
    let config = TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_BUFFER)
        .with_max_message_size(MAX_FRAME as u32)
        .with_max_num_inbound_streams(MAX_STREAMS)
        .with_max_num_outbound_streams(MAX_STREAMS);
    let server = Some(Arc::new(ServerConfig::new(config)));
    let endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), server);
    Sctp { endpoint, association: None }
}

fn lane_of(open: &DataChannelOpen) -> Option<Lane> {
    match (open.label.as_slice(), open.channel_type, open.reliability_parameter) {
        _ if open.protocol != PROTOCOL => None,
        (RELIABLE, ChannelType::Reliable, _) => Some(Lane::Reliable),
        (LOSSY, ChannelType::PartialReliableRexmitUnordered, 0) => Some(Lane::Lossy),
        _ => None,
    }
}

/// What `rtc-sctp` makes of input that a client chose; none where it panicked. That is the end of one participant's
/// association, which is not looked at again, and not of everybody's calls.
fn isolated<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
