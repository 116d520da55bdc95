//! Offers of real clients, and what becomes of broken ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod browsers;
mod hostile;
mod rules;

use super::*;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use rtc_sdp::SessionDescription;
use std::io::Cursor;
use std::sync::LazyLock;

static ICE: LazyLock<IceParameters> =
    LazyLock::new(|| IceParameters { ufrag: "sluice01".into(), pwd: "0123456789012345678901".into() });

static CANDIDATES: LazyLock<Vec<CandidateAddress>> = LazyLock::new(|| {
    [("192.0.2.1:7882", Protocol::Udp), ("192.0.2.1:7882", Protocol::Tcp)]
        .map(|(address, protocol)| CandidateAddress { address: address.parse().unwrap(), protocol })
        .to_vec()
});

fn local() -> LocalParameters<'static> {
    LocalParameters {
        ice: &ICE,
        fingerprint: "sha-256 00:11:22",
        candidates: &CANDIDATES,
        max_sections: 100,
        max_tracks: 8,
        published: &[],
        may_publish: Sources::ALL,
        can_subscribe: true,
        codecs: &NO_RULES,
    }
}

fn rng() -> ChaCha12Rng {
    ChaCha12Rng::seed_from_u64(1)
}

/// The first answer of a new peer connection.
fn answer(offer: &str) -> Result<Negotiated, NegotiationError> {
    Negotiation::new(7).handle_offer(offer, &local(), &mut rng())
}

fn answer_with(offer: &str, local: &LocalParameters<'_>) -> Result<Negotiated, NegotiationError> {
    Negotiation::new(7).handle_offer(offer, local, &mut rng())
}

fn fixture(name: &str) -> String {
    let path = format!("{}/src/sdp/fixtures/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every fixture by name.
fn fixtures() -> Vec<(String, String)> {
    let directory = std::fs::read_dir(format!("{}/src/sdp/fixtures", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut names: Vec<String> = directory
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".sdp")?.to_owned()))
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), fixture(&name))).collect()
}

/// Reads an answer; media names that the parser does not know become `application`.
fn parse(sdp: &str) -> SessionDescription {
    let readable = |line: &str| match line.strip_prefix("m=").and_then(|section| section.split_once(' ')) {
        Some((media, rest)) if !["audio", "video"].contains(&media) => format!("m=application {rest}\r\n"),
        _ => format!("{line}\r\n"),
    };
    let sdp: String = sdp.lines().map(readable).collect();
    SessionDescription::unmarshal(&mut Cursor::new(&sdp)).unwrap_or_else(|error| panic!("{error}\n{sdp}"))
}

/// The lines of m= section `index`, without its m= line.
fn section_lines(sdp: &str, index: usize) -> Vec<&str> {
    sdp.split("\r\nm=").nth(index + 1).unwrap().lines().skip(1).collect()
}

/// m= lines of a text, by their media names and, where usable, mids.
fn mids(sdp: &str) -> Vec<(String, Option<Mid>)> {
    let sections = sdp.lines().collect::<Vec<_>>();
    let starts = sections.iter().enumerate().filter(|(_, line)| line.starts_with("m=")).map(|(at, _)| at);
    let read = |at: usize| {
        let own = sections[at + 1..].iter().take_while(|line| !line.starts_with("m="));
        let mid = own.filter_map(|line| line.strip_prefix("a=mid:")).next().and_then(|mid| Mid::new(mid.trim()));
        (sections[at].split([' ', '=']).nth(1).unwrap_or_default().to_owned(), mid)
    };
    starts.map(read).collect()
}

/// What holds for every answer: the offer's m= lines with their mids in order, rejected ones with port 0 and outside of
/// the BUNDLE group, the others with credentials, one tagged with the candidates.
fn check_answer(offer: &str, negotiated: &Negotiated) {
    let answered = parse(&negotiated.answer);
    assert_eq!(mids(&negotiated.answer), mids(offer));
    let group = answered.attribute("group").cloned().unwrap_or_default();
    let bundled: Vec<&str> = group.split(' ').skip(1).collect();
    for (index, media) in answered.media_descriptions.iter().enumerate() {
        let mid = media.attribute("mid").flatten().unwrap_or_default();
        let Some(section) = negotiated.sections.iter().find(|section| section.index == index) else {
            assert_eq!(media.media_name.port.value, 0);
            continue;
        };
        assert_eq!(section.mid.as_str(), mid);
        let rejected = section.role == SectionRole::Rejected;
        assert_eq!(media.media_name.port.value == 0, rejected, "{mid}");
        assert_eq!(media.has_attribute("ice-ufrag"), !rejected);
        assert_eq!(media.has_attribute("rtcp-mux"), !rejected && section.role != SectionRole::Data);
        assert!(!media.media_name.formats.is_empty());
        if !group.is_empty() {
            assert_eq!(bundled.contains(&mid), !rejected, "{mid}");
        }
    }
    let alive = negotiated.sections.iter().filter(|section| section.role != SectionRole::Rejected).count();
    let tagged = answered.media_descriptions.iter().filter(|media| media.has_attribute("candidate")).count();
    assert_eq!(tagged, alive.min(1));
}
