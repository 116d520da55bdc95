//! Offers that nobody should send: an answer or an error, never a panic, never much work.

use super::*;
use proptest::prelude::*;

/// One way to damage an offer. Numbers are taken modulo what is there.
#[derive(Clone, Debug)]
enum Damage {
    Delete(usize),
    Duplicate(usize),
    Swap(usize, usize),
    Truncate(usize),
    /// Replaces the digits of a line.
    Number(usize, u64),
    /// Replaces a character.
    Character(usize, char),
    LineFeedsOnly,
    BlankLines,
}

fn damage() -> impl Strategy<Value = Damage> {
    use Damage::*;
    prop_oneof![
        4 => any::<usize>().prop_map(Delete),
        4 => any::<usize>().prop_map(Duplicate),
        2 => any::<(usize, usize)>().prop_map(|(a, b)| Swap(a, b)),
        1 => any::<usize>().prop_map(Truncate),
        4 => (any::<usize>(), prop_oneof![0..300_u64, any::<u64>()]).prop_map(|(line, number)| Number(line, number)),
        4 => (any::<usize>(), any::<char>()).prop_map(|(at, character)| Character(at, character)),
        1 => Just(LineFeedsOnly),
        1 => Just(BlankLines),
    ]
}

fn apply(offer: String, damage: &Damage) -> String {
    let mut lines: Vec<String> = offer.split_inclusive('\n').map(str::to_owned).collect();
    let count = lines.len().max(1);
    if lines.is_empty() {
        return offer;
    }
    match damage {
        Damage::Delete(at) => drop(lines.remove(at % count)),
        Damage::Duplicate(at) => lines.insert(at % count, lines[at % count].clone()),
        Damage::Swap(a, b) => lines.swap(a % count, b % count),
        Damage::Truncate(at) => {
            let keep = at % offer.chars().count().max(1);
            return offer.chars().take(keep).collect();
        }
        Damage::Number(at, number) => {
            let line = &mut lines[at % count];
            if let Some(start) = line.find(|c: char| c.is_ascii_digit()) {
                let digits = line[start..].chars().take_while(char::is_ascii_digit).count();
                line.replace_range(start..start + digits, &number.to_string());
            }
        }
        Damage::Character(at, character) => {
            let mut text: Vec<char> = offer.chars().collect();
            let at = at % text.len();
            text[at] = *character;
            return text.into_iter().collect();
        }
        Damage::LineFeedsOnly => return offer.replace("\r\n", "\n"),
        Damage::BlankLines => return offer.replace('\n', "\n\r\n"),
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn damaged_offers_get_an_answer_of_their_shape_or_an_error(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..8),
        then in any::<prop::sample::Index>(),
    ) {
        let all = fixtures();
        let offer = damages.iter().fold(which.get(&all).1.clone(), apply);
        let (mut negotiation, mut rng) = (Negotiation::new(7), rng());
        // Every other run damages a later offer.
        if then.index(2) == 0 {
            let _ = negotiation.handle_offer(&which.get(&all).1, &local(), &mut rng);
        }
        let before = format!("{negotiation:?}");
        match negotiation.handle_offer(&offer, &local(), &mut rng) {
            Ok(negotiated) => {
                let answered = parse(&negotiated.answer);
                prop_assert_eq!(mids(&negotiated.answer), mids(&offer));
                prop_assert_eq!(answered.media_descriptions.len(), mids(&offer).len());
                for section in &negotiated.sections {
                    prop_assert!(section.codecs.iter().all(|mapping| mapping.payload_type.0 < 128));
                    if let SectionRole::Publish(publish) = &section.role {
                        prop_assert!((1..=MAX_ENCODINGS).contains(&publish.encodings.len()));
                    }
                }
                prop_assert!(!negotiated.remote.fingerprints.is_empty());
            }
            Err(error) => {
                prop_assert!(!error.code().is_empty() && !error.hint().is_empty());
                prop_assert_eq!(format!("{negotiation:?}"), before);
            }
        }
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "(v=0\r\n)?(o=- 1 1 IN IP4 0\r\n)?(s=-\r\n)?(t=0 0\r\n)?([a-z]=[ -~]{0,30}\r?\n){0,20}") {
        prop_assert!(answer(&text).is_err() || text.contains("m="));
    }
}

#[test]
fn oversized_offers_are_refused_before_they_are_parsed() {
    let small = fixture("chromium-156-slots-only");
    let many = small.clone() + &"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(6000);
    assert_eq!(answer(&many).unwrap_err(), NegotiationError::TooManySections { limit: MAX_SECTIONS });
    let ten_thousand = small.clone() + &"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n".repeat(10_000);
    assert_eq!(answer(&ten_thousand).unwrap_err().code(), "offer-too-large");
    let lines = small.clone() + &"a=x\r\n".repeat(1000);
    assert_eq!(answer(&lines).unwrap_err().code(), "offer-malformed");
    let long = small.clone() + "a=x:" + &"y".repeat(9000) + "\r\n";
    assert_eq!(answer(&long).unwrap_err().code(), "offer-malformed");
}

#[test]
fn payload_types_that_rtp_or_rtcp_mux_forbid_are_left_out() {
    let offer = fixture("chromium-156-slots-only")
        .replace("m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio 9 UDP/TLS/RTP/SAVPF 72 128 300 111 111 x")
        + "a=rtpmap:128 VP8/90000\r\n";
    let offer = offer.replace("a=rtpmap:111 opus/48000/2", "a=rtpmap:72 opus/48000/2\r\na=rtpmap:111 opus/48000/2");
    let negotiated = answer(&offer).unwrap();
    assert_eq!(negotiated.sections[0].codecs.iter().map(|m| m.payload_type.0).collect::<Vec<_>>(), [111]);
}
