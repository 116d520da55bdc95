#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use proptest::prelude::*;

/// A client's frames of a message, as the SDK makes them, with `size` bytes in each at most.
fn client_frames(topic: &str, to: &[&str], payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut head = BytesMut::new();
    put_text(&mut head, topic);
    head.put_u8(to.len() as u8);
    to.iter().for_each(|id| put_text(&mut head, id));
    let mut frames = Vec::new();
    let mut rest = payload;
    loop {
        let mut frame = vec![if frames.is_empty() { FIRST } else { 0 }];
        if frames.is_empty() {
            frame.extend_from_slice(&head);
        }
        let (part, behind) = rest.split_at(rest.len().min(size - frame.len()));
        frame.extend_from_slice(part);
        rest = behind;
        if rest.is_empty() {
            frame[0] |= LAST;
            frames.push(frame);
            return frames;
        }
        frames.push(frame);
    }
}

/// What a receiver makes of the server's frames: sender, topic, payload.
fn read_framed(framed: &Framed) -> (String, String, Vec<u8>) {
    let (mut topic, mut payload, mut sender) = (String::new(), Vec::new(), String::new());
    for (index, frame) in framed.frames.iter().enumerate() {
        assert!(frame.len() <= MAX_FRAME);
        let mut reader = ByteReader::new(frame);
        let flags = reader.u8().unwrap();
        assert_eq!(flags & FIRST != 0, index == 0);
        assert_eq!(flags & LAST != 0, index + 1 == framed.frames.len());
        sender = read_text(&mut reader).unwrap().to_owned();
        if index == 0 {
            topic = read_text(&mut reader).unwrap().to_owned();
        }
        payload.extend_from_slice(reader.rest());
    }
    (sender, topic, payload)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is sent, in frames of whatever size, arrives as it was, with the true sender.
    #[test]
    fn a_message_survives_both_ways(
        length in prop_oneof![0usize..100, 16_000usize..17_000, 0usize..=MAX_MESSAGE],
        size in 400usize..=MAX_FRAME,
        topic in "[a-zé/]{0,20}",
        to in prop::collection::vec(0u64..=u64::MAX, 0..10),
        from in any::<u64>(),
        seed in any::<u8>(),
    ) {
        let payload: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let names: Vec<String> = to.iter().map(|id| format!("p{id}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut assembler = Assembler::default();
        let frames = client_frames(&topic, &names, &payload, size);
        let mut whole = None;
        for (index, frame) in frames.iter().enumerate() {
            whole = assembler.push(frame).unwrap();
            prop_assert_eq!(whole.is_some(), index + 1 == frames.len());
        }
        let message = whole.unwrap();
        let expected: Vec<_> = to.iter().copied().map(ParticipantId).collect();
        prop_assert_eq!(&message.to, &if to.is_empty() { Recipients::Everybody } else { Recipients::Only(expected) });
        let framed = Framed::new(&DataMessage {
            from: Some(ParticipantId(from)),
            to: message.to,
            lane: Lane::Reliable,
            is_text: message.is_text,
            topic: message.topic,
            payload: message.payload,
        });
        prop_assert_eq!(read_framed(&framed), (format!("p{from}"), topic, payload));
    }

    /// Garbage is refused or taken, never held beyond a message, and never a panic.
    #[test]
    fn garbage_costs_nothing(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50)) {
        let mut assembler = Assembler::default();
        for frame in frames {
            let _ = assembler.push(&frame);
            let _ = read_lossy(&frame);
        }
        prop_assert!(assembler.open.is_none_or(|(_, payload)| payload.len() <= MAX_MESSAGE));
    }
}

#[test]
fn a_message_of_one_byte_too_many_is_refused_with_all_its_frames() {
    let mut assembler = Assembler::default();
    let frames = client_frames("", &[], &vec![7; MAX_MESSAGE + 1], MAX_FRAME);
    let (last, begin) = frames.split_last().unwrap();
    assert!(begin.iter().all(|frame| assembler.push(frame) == Ok(None)));
    assert_eq!(assembler.push(last), Err(Malformed));
    assert_eq!(assembler.push(last), Err(Malformed), "nothing is open any more");
    assert!(assembler.push(&client_frames("", &[], b"next", MAX_FRAME)[0]).unwrap().is_some());
    let lossy = client_frames("", &[], &vec![7; MAX_LOSSY_MESSAGE + 1], MAX_FRAME);
    assert_eq!(read_lossy(&lossy[0]), Err(Malformed));
}

#[test]
fn frames_that_break_the_order_or_the_form_are_refused() {
    let whole = client_frames("chat", &["p1"], b"hello", MAX_FRAME).remove(0);
    let refused = |frames: &[&[u8]]| {
        let mut assembler = Assembler::default();
        frames.iter().map(|frame| assembler.push(frame)).any(|result| result == Err(Malformed))
    };
    assert!(!refused(&[&whole]));
    assert!(refused(&[&[]]), "empty");
    assert!(refused(&[&[0, 1, 2]]), "goes on without having begun");
    assert!(refused(&[&[FIRST, 0, 0, 9], &whole]), "begins before the last one has ended");
    assert!(refused(&[&[FIRST | LAST | 0x40, 0, 0]]), "unknown flags");
    assert!(refused(&[&[FIRST | LAST, 200]]), "the topic is cut");
    assert!(refused(&[&[FIRST | LAST, 1, 0xff, 0]]), "the topic is no UTF-8");
    assert!(refused(&[&client_frames(&"t".repeat(MAX_TOPIC + 1), &[], b"", MAX_FRAME)[0]]), "a long topic");
    assert!(refused(&[&client_frames("", &["p1"; MAX_RECIPIENTS + 1], b"", MAX_FRAME)[0]]), "too many recipients");
    assert!(refused(&[&[FIRST, 0, 0]]), "frames that bring nothing");
}

#[test]
fn a_recipient_that_is_none_does_not_make_it_everybody() {
    for name in ["", "x", "p", "p01", "p-1", "p18446744073709551616"] {
        let frame = client_frames("", &[name], b"secret", MAX_FRAME).remove(0);
        let message = Assembler::default().push(&frame).unwrap().unwrap();
        assert_eq!(message.to, Recipients::Only(Vec::new()), "{name:?}");
    }
}
