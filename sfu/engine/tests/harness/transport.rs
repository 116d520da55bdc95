//! A client's ICE, DTLS and SRTP, on the component crates of webrtc-rs.

use bytes::{Bytes, BytesMut};
use rtc::crypto::{CryptoError, PublicKey, RTCCryptoProvider, SignatureScheme, SigningKey, default_provider};
use rtc::dtls::config::{ConfigBuilder, HandshakeConfig};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::ice::agent::Agent;
use rtc::ice::agent::agent_config::AgentConfig;
use rtc::ice::candidate::CandidateConfig;
use rtc::ice::candidate::candidate_host::CandidateHostConfig;
use rtc::ice::tcp_type::TcpType;
use rtc::sansio::Protocol as _;
use rtc::shared::error::Error;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use rtc::srtp::config::Config;
use rtc::srtp::context::Context;
use rtc::srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc::srtp::protection_profile::ProtectionProfile;
use sfu_engine::Protocol;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `rtc-dtls` tells associations apart by address; here is one, wherever ICE sends it.
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);

/// Between rounds of connectivity checks.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// One peer connection's transport.
pub struct Transport {
    agent: Agent,
    dtls: Endpoint,
    dtls_config: Arc<HandshakeConfig>,
    dtls_started: bool,
    provider: Arc<dyn RTCCryptoProvider>,
    srtp: Option<Srtp>,
    pub fingerprint: String,
    pub ufrag: String,
    pub pwd: String,
    pub local: SocketAddr,
    pub server: SocketAddr,
    pub protocol: Protocol,
    pub closed: bool,
    /// SCTP packets that came in.
    pub data: VecDeque<Bytes>,
    out: VecDeque<Vec<u8>>,
    /// `rtc-ice` may go on asking for a moment that has passed.
    agent_not_before: Instant,
}

struct Srtp {
    outbound: Context,
    inbound: Context,
}

/// What a datagram turned out to be.
pub enum Plain {
    Rtp(BytesMut),
    Rtcp(BytesMut),
}

impl Transport {
    /// `name` makes credentials that differ between clients and between restarts.
    pub fn new(now: Instant, name: &str, local: SocketAddr, server: SocketAddr, protocol: Protocol) -> Transport {
        let provider = default_provider().unwrap();
        let certificate = certificate(&provider);
        let digest = Sha256::digest(certificate.certificate[0].as_ref());
        let hex: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let dtls_config = ConfigBuilder::default()
            .with_crypto_provider(provider.clone())
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ])
            .with_certificates(vec![certificate])
            .with_insecure_skip_verify(true)
            .with_server_name("sluice".into())
            .build(true, None)
            .unwrap();
        let (ufrag, pwd) = credentials(name);
        Transport {
            agent: agent(now, &ufrag, &pwd, local, protocol, &provider),
            dtls: Endpoint::new(PEER, TransportProtocol::UDP, None),
            dtls_config: Arc::new(dtls_config),
            dtls_started: false,
            provider,
            srtp: None,
            fingerprint: format!("sha-256 {}", hex.join(":")),
            ufrag,
            pwd,
            local,
            server,
            protocol,
            closed: false,
            data: VecDeque::new(),
            out: VecDeque::new(),
            agent_not_before: now,
        }
    }

    /// New credentials for the next offer, perhaps on another address; the answer starts the checks. DTLS and SRTP go
    /// on.
    pub fn restart_ice(&mut self, now: Instant, name: &str, local: SocketAddr) {
        (self.ufrag, self.pwd) = credentials(name);
        self.local = local;
        self.agent = agent(now, &self.ufrag, &self.pwd, local, self.protocol, &self.provider);
    }

    /// Starts the checks towards the server, if they are not under way.
    pub fn connect(&mut self, now: Instant, ufrag: &str, pwd: &str) {
        if self.agent.get_remote_credentials().is_some() {
            return;
        }
        let config = candidate(self.server, self.protocol);
        let tcp_type = if self.protocol == Protocol::Tcp { TcpType::Passive } else { TcpType::Unspecified };
        let remote = CandidateHostConfig { base_config: config, tcp_type }.new_candidate_host().unwrap();
        self.agent.add_remote_candidate(remote).unwrap();
        self.agent.start_connectivity_checks(now, true, ufrag.into(), pwd.into()).unwrap();
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// Takes a datagram from the server.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Option<Plain> {
        match datagram {
            [0..=3, ..] => {
                let message = TaggedBytesMut {
                    now,
                    transport: TransportContext {
                        local_addr: self.local,
                        peer_addr: self.server,
                        transport_protocol: wire_protocol(self.protocol),
                        ecn: None,
                    },
                    message: BytesMut::from(datagram),
                };
                let _ = self.agent.handle_read(message);
                self.start_dtls(now);
                None
            }
            [20..=63, ..] => {
                let events = self.dtls.read(now, PEER, None, BytesMut::from(datagram)).unwrap_or_default();
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.install_keys(),
                        EndpointEvent::PeerClosed => self.closed = true,
                        EndpointEvent::ApplicationData(data) => self.data.push_back(data.freeze()),
                        _ => {}
                    }
                }
                None
            }
            [128..=191, 192..=223, ..] => {
                unless_duplicate(self.srtp.as_mut()?.inbound.decrypt_rtcp(datagram)).map(Plain::Rtcp)
            }
            [128..=191, ..] => unless_duplicate(self.srtp.as_mut()?.inbound.decrypt_rtp(datagram)).map(Plain::Rtp),
            _ => panic!("the server sent what nobody can classify"),
        }
    }

    /// Seals and sends RTP.
    pub fn send_rtp(&mut self, packet: &[u8]) {
        if let Some(srtp) = self.srtp.as_mut() {
            let sealed = srtp.outbound.encrypt_rtp(packet).unwrap();
            self.out.push_back(sealed.to_vec());
        }
    }

    /// Seals and sends RTCP.
    pub fn send_rtcp(&mut self, packet: &[u8]) {
        let sealed = self.srtp.as_mut().and_then(|srtp| srtp.outbound.encrypt_rtcp(packet).ok());
        self.out.extend(sealed.map(|sealed| sealed.to_vec()));
    }

    /// Seals what may not be RTP at all; `None` where that cannot be done.
    pub fn seal_unchecked(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        self.srtp.as_mut()?.outbound.encrypt_rtp(packet).ok().map(|sealed| sealed.to_vec())
    }

    /// Sends an SCTP packet, or what pretends to be one.
    pub fn send_data(&mut self, now: Instant, packet: &[u8]) {
        if self.is_connected() {
            self.dtls.write(now, PEER, packet).unwrap();
        }
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, datagram: Vec<u8>) {
        self.out.push_back(datagram);
    }

    pub fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        while let Some(message) = self.agent.poll_write() {
            self.out.push_back(message.message.to_vec());
        }
        while let Some(message) = self.dtls.poll_transmit() {
            self.out.push_back(message.message.to_vec());
        }
        self.out.pop_front()
    }

    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let agent = self.agent.poll_timeout().map(|at| at.max(self.agent_not_before));
        [agent, self.dtls.poll_timeout(&PEER)].into_iter().flatten().min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.agent_not_before <= now && self.agent.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.agent.handle_timeout(now);
            self.agent_not_before = now + CHECK_INTERVAL;
        }
        self.start_dtls(now);
        if self.dtls.poll_timeout(&PEER).is_some_and(|at| at <= now) {
            let _ = self.dtls.handle_timeout(PEER, now);
        }
    }

    fn start_dtls(&mut self, now: Instant) {
        while self.agent.poll_event().is_some() {}
        if !self.dtls_started && self.agent.get_selected_candidate_pair().is_some() {
            self.dtls_started = true;
            self.dtls.connect(now, PEER, self.dtls_config.clone(), None).unwrap();
        }
    }

    fn install_keys(&mut self) {
        let state = self.dtls.get_connection_state(PEER).unwrap();
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            other => panic!("the server should have preferred GCM, not {other:?}"),
        };
        let mut config = Config { profile, ..Config::default() };
        let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], config.keying_material_len()).unwrap();
        config.set_session_keys_from_keying_material(material.as_ref(), true).unwrap();
        let (keys, crypto) = (&config.keys, self.provider.crypto());
        let outbound = Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None, crypto);
        let replay = (Some(srtp_replay_protection(1024)), Some(srtcp_replay_protection(1024)));
        let inbound =
            Context::new(&keys.remote_master_key, &keys.remote_master_salt, profile, replay.0, replay.1, crypto);
        self.srtp = Some(Srtp { outbound: outbound.unwrap(), inbound: inbound.unwrap() });
    }
}

/// Links duplicate packets; whatever else does not open is the server's fault.
fn unless_duplicate(opened: rtc::shared::error::Result<BytesMut>) -> Option<BytesMut> {
    match opened {
        Ok(plain) => Some(plain),
        Err(Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..)) => None,
        Err(error) => panic!("what the server seals opens: {error}"),
    }
}

fn credentials(name: &str) -> (String, String) {
    let hex: String = Sha256::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    (hex[..8].into(), hex[8..40].into())
}

fn agent(
    now: Instant,
    ufrag: &str,
    pwd: &str,
    local: SocketAddr,
    protocol: Protocol,
    provider: &Arc<dyn RTCCryptoProvider>,
) -> Agent {
    let config = AgentConfig {
        local_ufrag: ufrag.into(),
        local_pwd: pwd.into(),
        is_controlling: true,
        multicast_dns_local_name: "client.local".into(),
        check_interval: CHECK_INTERVAL,
        ..AgentConfig::default()
    };
    let mut agent = Agent::new(now, Arc::new(config), provider.clone()).unwrap();
    let tcp_type = if protocol == Protocol::Tcp { TcpType::Active } else { TcpType::Unspecified };
    let host = CandidateHostConfig { base_config: candidate(local, protocol), tcp_type }.new_candidate_host().unwrap();
    agent.add_local_candidate(host).unwrap();
    agent
}

fn candidate(address: SocketAddr, protocol: Protocol) -> CandidateConfig {
    CandidateConfig {
        candidate_id: format!("candidate:{}", address.port()),
        network: if protocol == Protocol::Tcp { "tcp".into() } else { "udp".into() },
        address: address.ip().to_string(),
        port: address.port(),
        component: 1,
        ..CandidateConfig::default()
    }
}

fn wire_protocol(protocol: Protocol) -> TransportProtocol {
    match protocol {
        Protocol::Udp => TransportProtocol::UDP,
        Protocol::Tcp => TransportProtocol::TCP,
    }
}

/// A certificate whose length, like that of its signatures, is always the same: sizes decide times on a slow link, and
/// the same seed must give the same run.
fn certificate(provider: &Arc<dyn RTCCryptoProvider>) -> Certificate {
    loop {
        let mut certificate = Certificate::generate_self_signed(vec!["x".into()], provider.crypto()).unwrap();
        if certificate.certificate[0].as_ref().len() == 345 {
            certificate.private_key.signing_key = Arc::new(EvenSigner(certificate.private_key.signing_key.clone()));
            return certificate;
        }
    }
}

struct EvenSigner(Arc<dyn SigningKey>);

impl SigningKey for EvenSigner {
    fn supports(&self, scheme: SignatureScheme) -> bool {
        self.0.supports(scheme)
    }

    fn public_key(&self) -> PublicKey<'_> {
        self.0.public_key()
    }

    fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        loop {
            let signature = self.0.sign(scheme, message)?;
            if signature.len() == 71 {
                return Ok(signature);
            }
        }
    }
}
