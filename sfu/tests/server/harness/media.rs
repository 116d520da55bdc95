//! A media client: a peer connection of the `webrtc` crate that sends synthetic Opus and VP8 and writes down what it
//! receives.

use super::interceptor::DeliverRtcp;
use super::payload::{Kind, Label};
use super::within;
use rtc::ice::network_type::NetworkType;
use rtc::interceptor::Slot;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit,
    RTCPeerConnectionState, RTCSessionDescription, Registry, SettingEngineBuilder,
    configure_simulcast_extension_headers, register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

const OPUS: u8 = 111;
const VP8: u8 = 96;

/// How a client reaches the media port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Udp,
    Tcp,
}

/// What arrived so far: for each publisher and kind the numbers of the packets.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub packets: BTreeMap<(String, Kind), BTreeSet<u64>>,
    /// Packets that no publisher of the test wrote.
    pub strange: usize,
}

impl Received {
    /// How many different packets came from a publisher.
    pub fn count(&self, publisher: &str, kind: Kind) -> usize {
        self.packets.get(&(publisher.to_owned(), kind)).map_or(0, BTreeSet::len)
    }

    /// Whether every packet numbered `from` to `to`, both included, is there.
    pub fn has_all(&self, publisher: &str, kind: Kind, from: u64, to: u64) -> bool {
        let numbers = self.packets.get(&(publisher.to_owned(), kind));
        numbers.is_some_and(|numbers| numbers.range(from..=to).count() as u64 == to - from + 1)
    }

    /// Everybody whose media came.
    pub fn publishers(&self) -> BTreeSet<&str> {
        self.packets.keys().map(|(publisher, _)| publisher.as_str()).collect()
    }
}

/// One peer connection.
pub struct Media {
    network: Network,
    peer: Arc<dyn PeerConnection>,
    state: watch::Receiver<RTCPeerConnectionState>,
    received: watch::Receiver<Received>,
}

/// A track that is being sent.
pub struct Sending {
    pub mid: String,
    pub kind: Kind,
    counters: Arc<Counters>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    keyframes_asked: AtomicU64,
    want_keyframe: AtomicBool,
}

impl Sending {
    /// Packets written so far; they are numbered from 0.
    pub fn sent(&self) -> u64 {
        self.counters.sent.load(Ordering::SeqCst)
    }

    /// Key frames that the server asked for.
    pub fn keyframes_asked(&self) -> u64 {
        self.counters.keyframes_asked.load(Ordering::SeqCst)
    }

    /// Sends no more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Handler {
    state: watch::Sender<RTCPeerConnectionState>,
    received: Arc<watch::Sender<Received>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let received = self.received.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                // Probes are padding without a payload.
                if packet.payload.is_empty() {
                    continue;
                }
                received.send_modify(|received| match Label::read(&packet.payload) {
                    Some(label) => {
                        received.packets.entry((label.publisher, label.kind)).or_default().insert(label.number);
                    }
                    None => received.strange += 1,
                });
            }
        });
    }
}

impl Media {
    /// A peer connection that has only this way out.
    pub async fn new(network: Network) -> Media {
        let mut engine = MediaEngine::default();
        engine.register_codec(parameters(Kind::Audio), RtpCodecKind::Audio).expect("Opus");
        engine.register_codec(parameters(Kind::Video), RtpCodecKind::Video).expect("VP8");
        configure_simulcast_extension_headers(&mut engine).expect("extensions");
        let registry = register_default_interceptors(Registry::new(), &mut engine).expect("interceptors");
        let registry = registry.with(Slot::from(14_000), DeliverRtcp::default());
        let (state, state_changes) = watch::channel(RTCPeerConnectionState::New);
        let (received, arrivals) = watch::channel(Received::default());
        let handler = Arc::new(Handler { state, received: Arc::new(received) });
        let builder = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_handler(handler);
        let here = vec!["127.0.0.1:0".to_owned()];
        let peer: Arc<dyn PeerConnection> = match network {
            Network::Udp => Arc::new(builder.with_udp_addrs(here).build().await.expect("a peer connection")),
            Network::Tcp => {
                let settings = SettingEngineBuilder::new().with_network_types(vec![NetworkType::Tcp4]).build();
                let builder = builder.with_setting_engine(settings).with_udp_addrs(Vec::new()).with_tcp_addrs(here);
                Arc::new(builder.build().await.expect("a peer connection"))
            }
        };
        Media { network, peer, state: state_changes, received: arrivals }
    }

    /// Adds a sendonly section and begins to send on it; what is written before the connection stands is lost.
    pub async fn publish(&self, name: &str, kind: Kind) -> Sending {
        let ssrc = fresh_ssrc();
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            name.to_owned(),
            format!("{name}-{kind:?}"),
            format!("{name}-{kind:?}"),
            rtc_kind(kind),
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
                codec: codec(kind),
                ..Default::default()
            }],
        )));
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Sendonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        self.peer.add_transceiver_from_track(track.clone(), Some(init)).await.expect("a transceiver");
        let counters = Arc::new(Counters { want_keyframe: AtomicBool::new(true), ..Counters::default() });
        let mut state = self.state.clone();
        let (name, shared) = (name.to_owned(), counters.clone());
        let task = tokio::spawn(async move {
            let _ = state.wait_for(|state| *state == RTCPeerConnectionState::Connected).await;
            tokio::join!(send(&track, &name, kind, ssrc, &shared), hear_requests(&track, &shared));
        });
        Sending { mid: String::new(), kind, counters, task }
    }

    /// Asks for a data channel; the next offer tells.
    pub async fn open_lane(&self, label: &str, max_retransmits: Option<u16>) -> Arc<dyn DataChannel> {
        let protocol = "sluice-data-1".to_owned();
        let ordered = max_retransmits.is_none();
        let init = RTCDataChannelInit { ordered, max_retransmits, protocol, ..RTCDataChannelInit::default() };
        self.peer.create_data_channel(label, Some(init)).await.expect("a data channel")
    }

    /// Adds a recvonly section: a slot.
    pub async fn add_slot(&self, kind: Kind) {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            streams: Vec::new(),
            send_encodings: Vec::new(),
        };
        self.peer.add_transceiver_from_kind(rtc_kind(kind), Some(init)).await.expect("a transceiver");
    }

    /// The mids of all sections with this direction, in order.
    pub async fn mids(&self, direction: RTCRtpTransceiverDirection) -> Vec<String> {
        let mut mids = Vec::new();
        for transceiver in self.peer.get_transceivers().await {
            if transceiver.direction().await.expect("a direction") == direction {
                mids.extend(transceiver.mid().await.expect("a transceiver"));
            }
        }
        mids.sort_by_key(|mid| mid.parse::<u32>().unwrap_or(u32::MAX));
        mids
    }

    /// Makes an offer and enters it as the local description.
    pub async fn offer(&self) -> String {
        let offer = self.peer.create_offer(None).await.expect("an offer");
        let sdp = offer.sdp.clone();
        self.peer.set_local_description(offer).await.expect("the offer fits");
        sdp
    }

    /// The next offer restarts ICE.
    pub async fn restart_ice(&self) {
        self.peer.restart_ice().await.expect("a restart");
    }

    /// The last offer that was answered.
    pub async fn description(&self) -> String {
        self.peer.current_local_description().await.expect("negotiated").sdp
    }

    /// Takes the server's answer.
    pub async fn answer(&self, sdp: &str) {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).expect("an answer");
        if let Err(error) = self.peer.set_remote_description(answer).await {
            panic!("the client does not take the answer: {error}\n{sdp}");
        }
        // This client opens TCP connections for trickled candidates only.
        for line in sdp.lines().filter(|line| self.network == Network::Tcp && line.starts_with("a=candidate:")) {
            let candidate = line.trim_start_matches("a=").to_owned();
            let init = RTCIceCandidateInit { candidate, ..RTCIceCandidateInit::default() };
            self.peer.add_ice_candidate(init).await.expect("a candidate");
        }
    }

    /// Waits until ICE and DTLS are done.
    pub async fn connected(&self) {
        let mut state = self.state.clone();
        let waited = state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        within("the media client connects", waited).await.expect("the client is there");
    }

    /// What came so far.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// Waits until what came is as wanted.
    pub async fn receives(&self, what: &str, wanted: impl Fn(&Received) -> bool) {
        let mut received = self.received.clone();
        let waited = tokio::time::timeout(super::PATIENCE, received.wait_for(|received| wanted(received))).await;
        let done = waited.is_ok();
        drop(waited);
        if !done {
            let counts: Vec<_> = self.received().packets.into_iter().map(|(key, set)| (key, set.len())).collect();
            panic!("did not arrive: {what}; arrived: {counts:?}");
        }
    }

    /// Waits until `more` packets of a publisher came from now on.
    pub async fn receives_more(&self, publisher: &str, kind: Kind, more: usize) {
        let wanted = self.received().count(publisher, kind) + more;
        self.receives(&format!("{more} more {kind:?} packets of {publisher}"), |r| r.count(publisher, kind) >= wanted)
            .await;
    }

    pub async fn close(&self) {
        let _ = self.peer.close().await;
    }
}

/// Writes a packet every 20 ms (audio) or 33 ms (video).
async fn send(track: &TrackLocalStaticRTP, name: &str, kind: Kind, ssrc: u32, counters: &Counters) {
    let (pause, step, payload_type) = match kind {
        Kind::Audio => (Duration::from_millis(20), 960, OPUS),
        Kind::Video => (Duration::from_millis(33), 2970, VP8),
    };
    let mut ticks = tokio::time::interval(pause);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let key = counters.want_keyframe.swap(false, Ordering::SeqCst);
        let label = Label { publisher: name.to_owned(), kind, number };
        let header = rtp::header::Header {
            version: 2,
            marker: kind == Kind::Video,
            payload_type,
            sequence_number: number as u16,
            timestamp: (number as u32).wrapping_mul(step),
            ssrc,
            ..Default::default()
        };
        if track.write_rtp(rtp::packet::Packet { header, payload: label.payload(key) }).await.is_err() {
            return;
        }
        counters.sent.fetch_add(1, Ordering::SeqCst);
    }
}

/// Notes requests for key frames; the next frame is one.
async fn hear_requests(track: &TrackLocalStaticRTP, counters: &Counters) {
    while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = track.poll().await {
        for packet in packets {
            if packet.as_any().is::<PictureLossIndication>() || packet.as_any().is::<FullIntraRequest>() {
                counters.keyframes_asked.fetch_add(1, Ordering::SeqCst);
                counters.want_keyframe.store(true, Ordering::SeqCst);
            }
        }
    }
}

fn rtc_kind(kind: Kind) -> RtpCodecKind {
    match kind {
        Kind::Audio => RtpCodecKind::Audio,
        Kind::Video => RtpCodecKind::Video,
    }
}

fn codec(kind: Kind) -> RTCRtpCodec {
    let feedback = |typ: &str, parameter: &str| RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() };
    match kind {
        Kind::Audio => RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: Vec::new(),
        },
        Kind::Video => RTCRtpCodec {
            mime_type: MIME_TYPE_VP8.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: String::new(),
            rtcp_feedback: vec![feedback("ccm", "fir"), feedback("nack", ""), feedback("nack", "pli")],
        },
    }
}

fn parameters(kind: Kind) -> RTCRtpCodecParameters {
    let payload_type = match kind {
        Kind::Audio => OPUS,
        Kind::Video => VP8,
    };
    RTCRtpCodecParameters { rtp_codec: codec(kind), payload_type }
}

fn fresh_ssrc() -> u32 {
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    NEXT.fetch_add(1, Ordering::SeqCst) as u32
}
