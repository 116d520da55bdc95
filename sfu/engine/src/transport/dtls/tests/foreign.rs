//! A peer that is a bare `rtc-dtls` endpoint, with other habits than ours.

use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile as Theirs;
use rtc_shared::TransportProtocol;

use super::*;
use crate::byte_reader::ByteReader;

const US: std::net::SocketAddr = std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);
const ALL: [Theirs; 4] = [
    Theirs::Srtp_Aes128_Cm_Hmac_Sha1_80,
    Theirs::Srtp_Aes128_Cm_Hmac_Sha1_32,
    Theirs::Srtp_Aead_Aes_256_Gcm,
    Theirs::Srtp_Aead_Aes_128_Gcm,
];

fn config(profiles: &[Theirs]) -> ConfigBuilder {
    ConfigBuilder::default()
        .with_crypto_provider(provider())
        .with_srtp_protection_profiles(profiles.to_vec())
        .with_insecure_skip_verify(true)
        .with_server_name("x".into())
}

/// Runs a handshake between our server and an endpoint as client. The endpoint's datagrams go through `cut` first.
fn run(server: &mut Side, config: ConfigBuilder, cut: impl Fn(BytesMut) -> Vec<Vec<u8>>) -> Option<SrtpKeys> {
    let now = Instant::now();
    let mut client = Endpoint::new(US, TransportProtocol::UDP, None);
    client.connect(now, US, Arc::new(config.build(true, None).unwrap()), None).unwrap();
    let mut keys = None;
    for _ in 0..10 {
        while let Some(transmit) = client.poll_transmit() {
            for datagram in cut(transmit.message) {
                let _ = server.session.handle_datagram(now, &datagram);
            }
        }
        while let Some(datagram) = server.session.poll_transmit() {
            let events = client.read(now, US, None, datagram).unwrap_or_default();
            if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
                keys = Some(their_keys(&client));
            }
        }
        server.collect_events();
    }
    keys
}

/// The SRTP keys of a client that is connected.
fn their_keys(client: &Endpoint) -> SrtpKeys {
    let state = client.get_connection_state(US).unwrap();
    let profile = SrtpProfile::PREFERENCE
        .into_iter()
        .find(|profile| Theirs::from(profile.wire()) == state.srtp_protection_profile())
        .unwrap();
    let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.keying_material_len()).unwrap();
    SrtpKeys::from_exporter(profile, material.as_ref(), DtlsRole::Client).unwrap()
}

fn whole(datagram: BytesMut) -> Vec<Vec<u8>> {
    vec![datagram.to_vec()]
}

/// A server session and the configuration of a client that it knows.
fn server_for(profiles: &[Theirs]) -> (Side, ConfigBuilder) {
    let theirs = Certificate::generate_self_signed(vec!["x".into()], provider().crypto()).unwrap();
    let fingerprint = Fingerprint::of(HashKind::Sha256, theirs.certificate[0].as_ref());
    let side = Side::new(&certificate(), DtlsRole::Server, vec![fingerprint]);
    (side, config(profiles).with_certificates(vec![theirs]))
}

#[test]
fn a_client_that_prefers_counter_mode_gets_gcm() {
    for (offered, chosen) in [
        (&ALL[..], SrtpProfile::AeadAes128Gcm),
        (&ALL[..3], SrtpProfile::AeadAes256Gcm),
        (&ALL[..2], SrtpProfile::Aes128CmSha1_80),
    ] {
        let (mut server, config) = server_for(offered);
        let theirs = run(&mut server, config, whole).unwrap();
        let ours = server.keys.unwrap();
        assert_eq!((ours.profile(), theirs.profile()), (chosen, chosen));
        assert_srtp_passes(&ours, &theirs);
        assert_srtp_passes(&theirs, &ours);
    }
}

#[test]
fn a_client_with_either_cipher_suite_is_served() {
    for suite in [
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
        CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
    ] {
        let (mut server, config) = server_for(&ALL);
        assert!(run(&mut server, config.with_cipher_suites(vec![suite]), whole).is_some());
        assert!(server.keys.is_some());
    }
}

#[test]
fn a_client_without_what_we_need_is_told_at_the_end_and_gets_no_keys() {
    type Change = fn(ConfigBuilder) -> ConfigBuilder;
    let cases: [(&str, Change); 3] = [
        ("the client has no extended master secret", |config| {
            config.with_extended_master_secret(ExtendedMasterSecretType::Disable)
        }),
        ("no common SRTP profile", |config| {
            config.with_srtp_protection_profiles(vec![Theirs::Srtp_Aes128_Cm_Hmac_Sha1_32])
        }),
        ("the client has no SRTP", |config| config.with_srtp_protection_profiles(vec![])),
    ];
    for (reason, change) in cases {
        let (mut server, config) = server_for(&ALL);
        assert!(run(&mut server, change(config), whole).is_none());
        assert!(server.keys.is_none() && server.end.is_none());
        let deadline = server.session.poll_timeout().unwrap();
        server.session.handle_timeout(deadline);
        server.collect_events();
        let Some(DtlsEvent::Failed(failure)) = server.end else { panic!("{reason}: no end") };
        assert_eq!(failure, DtlsFailure::Handshake(reason.into()));
    }
}

#[test]
fn a_client_without_a_certificate_gets_no_keys() {
    let mut server = Side::new(&certificate(), DtlsRole::Server, vec![certificate().fingerprint().clone()]);
    run(&mut server, config(&ALL), whole);
    assert!(server.keys.is_none());
    assert!(matches!(server.end, Some(DtlsEvent::Failed(DtlsFailure::BadCertificate))), "{:?}", server.end);
}

#[test]
fn every_flight_may_come_in_small_fragments_backwards() {
    for size in [20, 64, 300] {
        let (mut server, config) = server_for(&ALL);
        let theirs = run(&mut server, config, |datagram| refragment(&datagram, size)).unwrap();
        assert_srtp_passes(&theirs, &server.keys.unwrap());
    }
}

/// Cuts handshake messages of epoch 0 into fragments of `size` bytes, each in its own datagram, the last first.
fn refragment(datagram: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut reader = ByteReader::new(datagram);
    let (mut pieces, mut others) = (Vec::new(), Vec::new());
    while let Some(record) = wire::Record::read(&mut reader) {
        if record.epoch != 0 || record.kind != wire::HANDSHAKE {
            others.extend_from_slice(record.raw);
            continue;
        }
        let mut fragments = ByteReader::new(record.body);
        while let Some(fragment) = wire::Fragment::read(&mut fragments) {
            let starts = (0..fragment.data.len().max(1)).step_by(size);
            pieces.extend(starts.map(|at| {
                let data = &fragment.data[at..fragment.data.len().min(at + size)];
                let mut header = wire::handshake_header(fragment.kind, fragment.message, fragment.total);
                header[6..9].copy_from_slice(&(at as u32).to_be_bytes()[1..]);
                header[9..12].copy_from_slice(&(data.len() as u32).to_be_bytes()[1..]);
                let mut piece = Vec::new();
                wire::write_record(&mut piece, wire::HANDSHAKE, 1, &[&header, data]);
                piece
            }));
        }
    }
    pieces.reverse();
    if !others.is_empty() {
        pieces.push(others);
    }
    pieces
}

#[test]
fn as_client_we_take_whatever_profile_the_server_chooses() {
    let theirs = Certificate::generate_self_signed(vec!["x".into()], provider().crypto()).unwrap();
    let fingerprint = Fingerprint::of(HashKind::Sha256, theirs.certificate[0].as_ref());
    for profile in SrtpProfile::PREFERENCE {
        let mut client = Side::new(&certificate(), DtlsRole::Client, vec![fingerprint.clone()]);
        let now = Instant::now();
        let config = config(&[Theirs::from(profile.wire())])
            .with_certificates(vec![theirs.clone()])
            .with_client_auth(ClientAuthType::RequireAnyClientCert);
        let config = Arc::new(config.build(false, None).unwrap());
        let mut server = Endpoint::new(US, TransportProtocol::UDP, Some(config));
        client.session.start(now);
        for _ in 0..6 {
            while let Some(datagram) = client.session.poll_transmit() {
                server.read(now, US, None, datagram).unwrap();
            }
            while let Some(transmit) = server.poll_transmit() {
                client.session.handle_datagram(now, &transmit.message).unwrap();
            }
        }
        client.collect_events();
        assert_eq!(client.keys.unwrap().profile(), profile);
    }
}
