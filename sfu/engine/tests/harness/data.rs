//! A client's data channels: SCTP (`rtc-sctp`), DCEP by hand, and frames as docs/data.md has them.

use bytes::Bytes;
use rtc::sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier as Ppid, ReliabilityType, TransportConfig,
};
use rtc::shared::TransportProtocol;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
pub const RELIABLE: u16 = 0;
pub const LOSSY: u16 = 2;
const FRAME: usize = 16 * 1024;

/// A message as it arrived. An empty sender is the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub from: String,
    pub topic: String,
    pub payload: Vec<u8>,
    pub is_lossy: bool,
}

pub struct Data {
    endpoint: Endpoint,
    handle: AssociationHandle,
    pub association: Association,
    /// Messages that arrived.
    pub messages: Vec<Message>,
    /// Messages that the server says it dropped.
    pub lost: u32,
    open: BTreeMap<String, (String, Vec<u8>)>,
    acknowledged: Vec<u16>,
    waiting: VecDeque<(u16, Bytes)>,
    is_started: bool,
    now: Instant,
    /// The server's verification tag, and the last TSN sent: read off our packets.
    pub association_tag: u32,
    last_tsn: u32,
}

impl Data {
    pub fn new(now: Instant) -> Data {
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None);
        let config = ClientConfig::new(TransportConfig::default());
        let (handle, association) = endpoint.connect(now, config, PEER).unwrap();
        Data {
            endpoint,
            handle,
            association,
            messages: Vec::new(),
            lost: 0,
            open: BTreeMap::new(),
            acknowledged: Vec::new(),
            waiting: VecDeque::new(),
            is_started: false,
            now,
            association_tag: 0,
            last_tsn: 0,
        }
    }

    pub fn is_open(&self) -> bool {
        self.acknowledged.len() == 2
    }

    /// Sends a message on the reliable lane, in frames.
    pub fn send(&mut self, topic: &str, to: &[&str], payload: &[u8]) {
        for frame in frames(topic, to, payload) {
            self.send_frame(RELIABLE, frame);
        }
    }

    pub fn send_lossy(&mut self, topic: &str, to: &[&str], payload: &[u8]) {
        let frame = frames(topic, to, payload).remove(0);
        self.send_frame(LOSSY, frame);
    }

    /// Sends whatever it is, once the lanes are open.
    pub fn send_frame(&mut self, stream: u16, frame: Vec<u8>) {
        self.waiting.push_back((stream, frame.into()));
        self.flush();
    }

    /// Bytes that the server has not acknowledged.
    pub fn buffered(&mut self) -> usize {
        let waiting: usize = self.waiting.iter().map(|(_, frame)| frame.len()).sum();
        waiting + self.association.stream(RELIABLE).map_or(0, |stream| stream.buffered_amount().unwrap_or(0))
    }

    /// The TSN that comes next.
    pub fn next_tsn(&self) -> u32 {
        self.last_tsn.wrapping_add(1)
    }

    pub fn payloads(&self) -> Vec<&[u8]> {
        self.messages.iter().map(|message| message.payload.as_slice()).collect()
    }

    pub fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        self.now = now;
        if let Some((handle, DatagramEvent::AssociationEvent(event))) = self.endpoint.handle(now, PEER, None, packet) {
            assert_eq!(handle, self.handle);
            self.association.handle_event(event);
        }
        self.start();
        self.read();
    }

    pub fn poll_packets(&mut self, now: Instant) -> Vec<Bytes> {
        self.now = now;
        self.flush();
        while self.association.poll().is_some() {}
        let mut out = Vec::new();
        while let Some(transmit) = self.association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                out.extend(packets);
            }
        }
        for packet in &out {
            let long = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            self.association_tag = long(4);
            let mut at = 12;
            while at + 4 <= packet.len() {
                if packet[at] == 0 {
                    self.last_tsn = long(at + 4);
                }
                at += usize::from(u16::from_be_bytes([packet[at + 2], packet[at + 3]])).next_multiple_of(4);
            }
        }
        out
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.association.poll_timeout()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.association.poll_timeout().is_some_and(|at| at <= now) {
            self.association.handle_timeout(now);
        }
    }

    /// Opens the lanes (RFC 8832 section 5.1).
    fn start(&mut self) {
        if self.is_started || self.association.is_handshaking() {
            return;
        }
        self.is_started = true;
        for (id, kind, label) in [(RELIABLE, 0, &b"reliable"[..]), (LOSSY, 0x81, b"lossy")] {
            self.open_channel(id, kind, label);
        }
        let mut lossy = self.association.stream(LOSSY).unwrap();
        lossy.set_reliability_params(true, ReliabilityType::Rexmit, 0).unwrap();
    }

    /// Asks for a channel of any kind.
    pub fn open_channel(&mut self, id: u16, kind: u8, label: &[u8]) {
        let protocol = b"sluice-data-1";
        let mut open = vec![3, kind, 1, 0, 0, 0, 0, 0, 0, label.len() as u8, 0, protocol.len() as u8];
        open.extend_from_slice(label);
        open.extend_from_slice(protocol);
        let mut stream = self.association.open_stream(id, Ppid::Binary).unwrap();
        stream.write_with_ppi(self.now, &open, Ppid::Dcep).unwrap();
    }

    fn flush(&mut self) {
        while self.is_open() {
            let Some((id, frame)) = self.waiting.front().cloned() else { return };
            let Ok(mut stream) = self.association.stream(id) else { return };
            // As a browser's buffer would fill.
            if stream.buffered_amount().unwrap_or(0) > 512 * 1024 {
                return;
            }
            self.waiting.pop_front();
            let _ = stream.write_with_ppi(self.now, &frame, Ppid::Binary);
        }
    }

    fn read(&mut self) {
        for id in self.association.stream_ids() {
            while let Some(chunks) = self.association.stream(id).ok().and_then(|mut s| s.read_sctp().ok()?) {
                let bytes = chunks.to_payload(1 << 20).unwrap();
                match chunks.ppi {
                    Ppid::Dcep if bytes[..] == [2] => self.acknowledged.push(id),
                    Ppid::Binary => self.handle_frame(id == LOSSY, &bytes),
                    other => panic!("the server sent {other} {bytes:?}"),
                }
            }
        }
    }

    fn handle_frame(&mut self, is_lossy: bool, frame: &[u8]) {
        assert!(frame.len() <= FRAME, "a frame of {} bytes", frame.len());
        let (flags, rest) = (frame[0], &frame[1..]);
        if flags & 0x80 != 0 {
            self.lost += u32::from_be_bytes(rest.try_into().unwrap());
            return;
        }
        let (from, mut rest) = text(rest);
        if flags & 1 != 0 {
            let (topic, behind) = text(rest);
            rest = behind;
            assert!(self.open.insert(from.clone(), (topic, Vec::new())).is_none(), "{from} begins twice");
        }
        let (_, payload) = self.open.get_mut(&from).expect("a message begins with its first frame");
        payload.extend_from_slice(rest);
        if flags & 2 != 0 {
            let (topic, payload) = self.open.remove(&from).unwrap();
            self.messages.push(Message { from, topic, payload, is_lossy });
        }
    }
}

fn text(bytes: &[u8]) -> (String, &[u8]) {
    let (text, rest) = bytes[1..].split_at(usize::from(bytes[0]));
    (String::from_utf8(text.to_vec()).unwrap(), rest)
}

/// The frames of a client's message.
pub fn frames(topic: &str, to: &[&str], payload: &[u8]) -> Vec<Vec<u8>> {
    let mut head = vec![topic.len() as u8];
    head.extend_from_slice(topic.as_bytes());
    head.push(to.len() as u8);
    for id in to {
        head.push(id.len() as u8);
        head.extend_from_slice(id.as_bytes());
    }
    let mut rest = payload;
    let mut frames = Vec::new();
    loop {
        let mut frame = vec![u8::from(frames.is_empty())];
        if frames.is_empty() {
            frame.extend_from_slice(&head);
        }
        let (part, behind) = rest.split_at(rest.len().min(FRAME - frame.len()));
        frame.extend_from_slice(part);
        rest = behind;
        frame[0] |= if rest.is_empty() { 2 } else { 0 };
        frames.push(frame);
        if rest.is_empty() {
            return frames;
        }
    }
}
