#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;

use proptest::prelude::*;
use rtc_crypto::providers::RingCrypto;
use rtc_stun::attributes::*;
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, CODE_UNKNOWN_ATTRIBUTE, ErrorCodeAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::*;
use rtc_stun::textattrs::TextAttribute;
use rtc_stun::uattrs::UnknownAttributes;
use rtc_stun::xoraddr::XorMappedAddress;

use super::*;
use crate::net::Protocol;

/// A check as a browser's ICE agent sends it, built by `rtc-stun`.
#[derive(Clone)]
struct Check {
    kind: MessageType,
    username: String,
    pwd: String,
    use_candidate: bool,
    priority: u32,
    role: AttrType,
    extra: Vec<(AttrType, Vec<u8>)>,
    after_integrity: Vec<(AttrType, Vec<u8>)>,
    fingerprint: bool,
}

impl Check {
    fn to(local: &IceCredentials, remote: &IceCredentials) -> Check {
        Check {
            kind: BINDING_REQUEST,
            username: format!("{}:{}", local.ufrag, remote.ufrag),
            pwd: local.pwd.clone(),
            use_candidate: false,
            priority: 1000,
            role: ATTR_ICE_CONTROLLING,
            extra: Vec::new(),
            after_integrity: Vec::new(),
            fingerprint: true,
        }
    }

    fn build(&self) -> Vec<u8> {
        let mut message = Message::new();
        message.build(&[Box::new(self.kind), Box::new(TransactionId([7; 12]))]).unwrap();
        TextAttribute::new(ATTR_USERNAME, self.username.clone()).add_to(&mut message).unwrap();
        message.add(self.role, &[9; 8]);
        if self.use_candidate {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        message.add(ATTR_PRIORITY, &self.priority.to_be_bytes());
        self.extra.iter().for_each(|(kind, value)| message.add(*kind, value));
        if !self.pwd.is_empty() {
            let integrity = MessageIntegrity::new_short_term_integrity_with_provider(self.pwd.clone(), &RingCrypto);
            integrity.add_to(&mut message).unwrap();
        }
        self.after_integrity.iter().for_each(|(kind, value)| message.add(*kind, value));
        if self.fingerprint {
            FINGERPRINT.add_to(&mut message).unwrap();
        }
        message.raw
    }
}

/// An agent, its client's credentials and a clock.
struct Call {
    agent: IceLite,
    remote: IceCredentials,
    now: Instant,
}

impl Call {
    fn new() -> Call {
        let remote = credentials("theirs", "the-client-never-needs-this");
        let mut agent = IceLite::new(credentials("ours", "our-password-of-22-chars"));
        agent.set_remote(remote.clone());
        Call { agent, remote, now: Instant::now() }
    }

    fn check(&self) -> Check {
        Check::to(self.agent.local(), &self.remote)
    }

    fn send(&mut self, tuple: Tuple, check: &Check) -> Result<IceOutcome, DropReason> {
        self.agent.handle_binding_request(self.now, tuple, &check.build())
    }

    fn validate(&mut self, tuple: Tuple) -> IceOutcome {
        let check = self.check();
        self.send(tuple, &check).unwrap()
    }

    fn nominate(&mut self, tuple: Tuple, priority: u32) -> IceOutcome {
        let check = Check { use_candidate: true, priority, ..self.check() };
        self.send(tuple, &check).unwrap()
    }

    fn advance(&mut self, time: Duration) -> Vec<IceEvent> {
        self.now += time;
        std::iter::from_fn(|| self.agent.handle_timeout(self.now)).collect()
    }

    fn assert_untouched(&self) {
        assert_eq!((self.agent.validated().count(), self.agent.selected(), self.agent.poll_timeout()), (0, None, None));
    }
}

fn credentials(ufrag: &str, pwd: &str) -> IceCredentials {
    IceCredentials { ufrag: ufrag.into(), pwd: pwd.into() }
}

fn udp(port: u16) -> Tuple {
    Tuple {
        protocol: Protocol::Udp,
        local: "192.0.2.1:7882".parse().unwrap(),
        remote: ([198, 51, 100, 7], port).into(),
    }
}

fn decode(raw: &[u8]) -> Message {
    let mut message = Message::new();
    message.unmarshal_binary(raw).unwrap();
    message
}

fn error_of(response: &[u8]) -> u16 {
    let message = decode(response);
    assert_eq!(message.typ, BINDING_ERROR);
    let mut error = ErrorCodeAttribute::default();
    error.get_from(&message).unwrap();
    error.code.0
}

#[test]
fn a_correct_check_is_answered_with_the_mapped_address_signed_and_fingerprinted() {
    for remote in ["198.51.100.7:5000", "[2001:db8::7]:5000"] {
        let mut call = Call::new();
        let tuple = Tuple { remote: remote.parse().unwrap(), ..udp(0) };
        let outcome = call.validate(tuple);
        assert!(outcome.newly_validated && call.agent.is_validated(&tuple));

        let mut response = decode(&outcome.response);
        assert_eq!((response.typ, response.transaction_id), (BINDING_SUCCESS, TransactionId([7; 12])));
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&response).unwrap();
        assert_eq!(SocketAddr::new(mapped.ip, mapped.port), tuple.remote);
        MessageIntegrity::check(&mut response, call.agent.local().pwd.as_bytes(), &RingCrypto).unwrap();
        FINGERPRINT.check(&response).unwrap();
        assert!(!call.validate(tuple).newly_validated);
    }
}

#[test]
fn an_ipv4_client_on_a_dual_stack_socket_learns_its_ipv4_address() {
    let mut call = Call::new();
    let outcome = call.validate(Tuple { remote: "[::ffff:198.51.100.7]:5000".parse().unwrap(), ..udp(0) });
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(&decode(&outcome.response)).unwrap();
    assert_eq!(mapped.ip.to_string(), "198.51.100.7");
}

#[test]
fn spoofed_checks_with_use_candidate_change_nothing_and_get_no_answer() {
    let mut call = Call::new();
    let good = Check { use_candidate: true, ..call.check() };
    let spoofs = [
        (Check { pwd: "a-wrong-password".into(), ..good.clone() }, DropReason::StunUnauthenticated),
        (Check { pwd: String::new(), ..good.clone() }, DropReason::StunUnauthenticated),
        (Check { username: "ours:someone-else".into(), ..good.clone() }, DropReason::StunUnknownUser),
        (Check { username: "ours".into(), ..good.clone() }, DropReason::StunUnknownUser),
        (Check { username: "other:theirs".into(), ..good.clone() }, DropReason::StunUnknownUser),
        (Check { fingerprint: false, ..good.clone() }, DropReason::StunMalformed),
        (Check { kind: BINDING_SUCCESS, ..good.clone() }, DropReason::StunMalformed),
        (Check { extra: vec![(ATTR_SOFTWARE, vec![0; MAX_MESSAGE_LEN])], ..good.clone() }, DropReason::StunMalformed),
    ];
    for (spoof, reason) in spoofs {
        assert_eq!(call.send(udp(1), &spoof).unwrap_err(), reason);
    }
    call.assert_untouched();

    call.nominate(udp(2), 1);
    let spoof = Check { pwd: "a-wrong-password".into(), priority: u32::MAX, ..good.clone() };
    call.send(udp(1), &spoof).unwrap_err();
    assert_eq!(call.agent.selected(), Some(udp(2)), "an established call is not disturbed either");
}

#[test]
fn attributes_behind_the_integrity_are_not_believed() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    call.advance(Duration::from_secs(5));
    let check = Check {
        after_integrity: vec![(ATTR_USE_CANDIDATE, vec![]), (ATTR_ICE_CONTROLLED, vec![0; 8])],
        ..call.check()
    };
    assert_eq!(decode(&call.send(udp(2), &check).unwrap().response).typ, BINDING_SUCCESS);
    assert_eq!(call.agent.selected(), Some(udp(1)));
}

#[test]
fn nothing_may_follow_the_fingerprint() {
    let mut call = Call::new();
    let mut bytes = call.check().build();
    let fingerprint = bytes.len() - 8;
    bytes.extend([0x80, 0x22, 0, 0]);
    let len = (bytes.len() - 20) as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    let crc = rtc_stun::fingerprint::fingerprint_value(&bytes[..fingerprint]);
    bytes[fingerprint + 4..fingerprint + 8].copy_from_slice(&crc.to_be_bytes());
    let outcome = call.agent.handle_binding_request(call.now, udp(1), &bytes);
    assert_eq!(outcome.unwrap_err(), DropReason::StunMalformed);
    call.assert_untouched();
}

#[test]
fn nobody_is_served_before_the_offer() {
    let mut call = Call::new();
    call.agent = IceLite::new(call.agent.local().clone());
    let check = call.check();
    assert_eq!(call.send(udp(1), &check).unwrap_err(), DropReason::StunUnknownUser);
}

#[test]
fn a_client_that_believes_to_be_controlled_gets_487_and_no_tuple() {
    let mut call = Call::new();
    let check = Check { role: ATTR_ICE_CONTROLLED, use_candidate: true, ..call.check() };
    let outcome = call.send(udp(1), &check).unwrap();
    assert_eq!(error_of(&outcome.response), CODE_ROLE_CONFLICT.0);
    let mut response = decode(&outcome.response);
    MessageIntegrity::check(&mut response, call.agent.local().pwd.as_bytes(), &RingCrypto).unwrap();
    call.assert_untouched();
}

#[test]
fn unknown_required_attributes_are_listed_and_unknown_optional_ones_ignored() {
    let mut call = Call::new();
    let strange = vec![(AttrType(0x7abc), vec![1, 2, 3]), (AttrType(0xc057), vec![0; 4])];
    let check = Check { extra: strange, ..call.check() };
    let outcome = call.send(udp(1), &check).unwrap();
    assert_eq!(error_of(&outcome.response), CODE_UNKNOWN_ATTRIBUTE.0);
    let mut unknown = UnknownAttributes(Vec::new());
    unknown.get_from(&decode(&outcome.response)).unwrap();
    assert_eq!(unknown.0, [AttrType(0x7abc)]);
    call.assert_untouched();
}

#[test]
fn no_response_is_longer_than_its_request() {
    let mut call = Call::new();
    let mut bare = Message::new();
    bare.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId([7; 12]))]).unwrap();
    TextAttribute::new(ATTR_USERNAME, "ours:theirs".into()).add_to(&mut bare).unwrap();
    let pwd = call.agent.local().pwd.clone();
    MessageIntegrity::new_short_term_integrity_with_provider(pwd, &RingCrypto).add_to(&mut bare).unwrap();
    FINGERPRINT.add_to(&mut bare).unwrap();

    let ipv6 = Tuple { remote: "[2001:db8::7]:5000".parse().unwrap(), ..udp(0) };
    call.agent.handle_binding_request(call.now, ipv6, &bare.raw).unwrap_err();
    call.assert_untouched();
    let answered = call.agent.handle_binding_request(call.now, udp(1), &bare.raw).unwrap();
    assert!(answered.response.len() <= bare.raw.len());
}

#[test]
fn an_indication_is_taken_silently() {
    let mut call = Call::new();
    let kind = MessageType::new(METHOD_BINDING, CLASS_INDICATION);
    let outcome = call.send(udp(1), &Check { kind, ..call.check() }).unwrap();
    assert!(outcome.response.is_empty());
    call.assert_untouched();
}

#[test]
fn the_first_validated_tuple_is_selected_until_a_nomination_of_another() {
    let mut call = Call::new();
    call.validate(udp(1));
    assert_eq!(call.agent.selected(), Some(udp(1)));
    call.validate(udp(2));
    assert_eq!(call.agent.selected(), Some(udp(1)));
    call.nominate(udp(2), 1);
    assert_eq!(call.agent.selected(), Some(udp(2)));
    call.validate(udp(1));
    assert_eq!(call.agent.selected(), Some(udp(2)));
}

#[test]
fn a_later_nomination_switches_whatever_its_priority() {
    let mut call = Call::new();
    call.nominate(udp(1), 2000);
    call.advance(Duration::from_secs(1));
    call.nominate(udp(2), 1);
    assert_eq!(call.agent.selected(), Some(udp(2)));
}

#[test]
fn of_one_aggressive_round_the_highest_priority_wins_in_any_order() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [1, 3, 2]] {
        let mut call = Call::new();
        for priority in order {
            call.nominate(udp(priority), u32::from(priority));
            call.advance(Duration::from_millis(50));
        }
        assert_eq!(call.agent.selected(), Some(udp(3)), "{order:?}");
    }
}

#[test]
fn a_restart_keeps_the_old_tuple_until_a_nomination_with_the_new_credentials() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    let old_check = Check { use_candidate: true, ..call.check() };
    call.remote = credentials("theirs2", "irrelevant");
    assert!(call.agent.restart(credentials("ours2", "our-second-password"), call.remote.clone()).is_empty());
    assert_eq!(call.agent.local_ufrags().collect::<Vec<_>>(), ["ours2", "ours"]);

    // The old credentials are answered, but choose nothing any more.
    let outcome = call.send(udp(3), &old_check).unwrap();
    assert_eq!(decode(&outcome.response).typ, BINDING_SUCCESS);
    call.validate(udp(2));
    assert_eq!(call.agent.selected(), Some(udp(1)));

    // A nomination with the new ones wins, also within the old nomination's round and over its priority.
    let outcome = call.nominate(udp(2), 0);
    assert_eq!((call.agent.selected(), outcome.retired_ufrag.as_deref()), (Some(udp(2)), Some("ours")));

    // A check that was sent before the restart and arrives late does not switch back.
    assert_eq!(call.send(udp(1), &old_check).unwrap_err(), DropReason::StunUnknownUser);
    assert_eq!(call.agent.selected(), Some(udp(2)));
    assert_eq!(call.agent.local_ufrags().collect::<Vec<_>>(), ["ours2"]);
}

#[test]
fn a_restart_onto_the_same_tuple_retires_the_old_credentials_without_a_switch() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    let _ = call.agent.restart(credentials("ours2", "our-second-password"), call.remote.clone());
    let outcome = call.nominate(udp(1), 1);
    assert_eq!((call.agent.selected(), outcome.retired_ufrag.as_deref()), (Some(udp(1)), Some("ours")));
}

#[test]
fn mixed_old_and_new_credentials_are_refused_during_a_restart() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    let old_pwd = call.agent.local().pwd.clone();
    let _ = call.agent.restart(credentials("ours2", "our-second-password"), credentials("theirs2", ""));
    let check = Check { pwd: old_pwd, ..Check::to(call.agent.local(), &credentials("theirs2", "")) };
    assert_eq!(call.send(udp(2), &check).unwrap_err(), DropReason::StunUnauthenticated);
    assert_eq!(call.send(udp(2), &call.check()).unwrap_err(), DropReason::StunUnknownUser);
}

#[test]
fn restarts_that_never_complete_do_not_pile_up() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    assert!(call.agent.restart(credentials("second", "p2"), call.remote.clone()).is_empty());
    assert_eq!(call.agent.restart(credentials("third", "p3"), call.remote.clone()), ["second"]);
    assert_eq!(call.agent.local_ufrags().collect::<Vec<_>>(), ["third", "ours"]);
    assert_eq!(call.agent.selected(), Some(udp(1)));
}

#[test]
fn tuples_are_capped_and_the_least_recently_checked_goes_but_never_the_selected_one() {
    let mut call = Call::new();
    for port in 0..MAX_TUPLES as u16 {
        call.validate(udp(port));
        call.advance(Duration::from_millis(100));
    }
    call.validate(udp(1));
    call.advance(Duration::from_millis(100));
    assert_eq!(call.validate(udp(100)).removed, Some(udp(2)), "0 is selected, 1 was used since");
    assert_eq!(call.agent.validated().count(), MAX_TUPLES);
    assert!(call.agent.is_validated(&udp(0)) && !call.agent.is_validated(&udp(2)));
}

#[test]
fn tuples_that_are_not_checked_expire_and_the_selected_one_gives_way_to_one_that_is() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    call.validate(udp(2));
    call.advance(Duration::from_secs(20));
    call.validate(udp(2));
    assert_eq!(call.agent.poll_timeout(), Some(call.now + Duration::from_secs(10)));
    assert_eq!(call.advance(Duration::from_secs(10)), [IceEvent::TupleExpired(udp(1))]);
    assert_eq!(call.agent.selected(), Some(udp(2)));
    assert!(!call.agent.is_validated(&udp(1)));
}

#[test]
fn authentic_media_prolongs_consent_and_brings_none_back() {
    let mut call = Call::new();
    call.agent.note_media(call.now, &udp(1));
    assert_eq!(call.agent.poll_timeout(), None, "no consent before a check");
    call.nominate(udp(1), 1);
    assert_eq!(call.advance(Duration::from_secs(20)), []);
    call.agent.note_media(call.now, &udp(1));
    call.agent.note_media(call.now + Duration::from_secs(5), &udp(2));
    assert_eq!(call.advance(Duration::from_millis(29_999)), []);
    assert_eq!(call.agent.selected(), Some(udp(1)));
    assert_eq!(call.advance(Duration::from_millis(1)), [IceEvent::TupleExpired(udp(1)), IceEvent::ConsentExpired]);
    call.agent.note_media(call.now, &udp(1));
    assert_eq!((call.agent.selected(), call.agent.poll_timeout()), (None, None));
}

#[test]
fn consent_expires_once_after_30_s_without_a_check_and_needs_a_restart() {
    let mut call = Call::new();
    call.nominate(udp(1), 1);
    assert_eq!(call.advance(Duration::from_millis(29_999)), []);
    assert_eq!(call.agent.selected(), Some(udp(1)));
    let spoof = Check { pwd: "wrong".into(), ..call.check() };
    call.send(udp(1), &spoof).unwrap_err();
    assert_eq!(
        call.advance(Duration::from_millis(1)),
        [IceEvent::TupleExpired(udp(1)), IceEvent::ConsentExpired],
        "a forged check does not prolong consent"
    );
    assert_eq!((call.agent.selected(), call.agent.poll_timeout()), (None, None));
    assert_eq!(call.advance(Duration::from_secs(60)), []);
    assert_eq!(call.send(udp(1), &call.check()).unwrap_err(), DropReason::StunUnknownUser);

    assert_eq!(call.agent.restart(credentials("ours2", "our-second-password"), call.remote.clone()), ["ours"]);
    call.nominate(udp(1), 1);
    assert_eq!(call.agent.selected(), Some(udp(1)));
}

#[test]
fn a_closed_tcp_connection_hands_over_to_the_tuple_checked_last_and_consent_still_runs() {
    let mut call = Call::new();
    let tcp = Tuple { protocol: Protocol::Tcp, ..udp(9) };
    call.nominate(tcp, 1);
    call.advance(Duration::from_secs(1));
    call.validate(udp(1));
    call.agent.forget(&tcp);
    assert_eq!(call.agent.selected(), Some(udp(1)));
    call.agent.forget(&udp(1));
    assert_eq!(call.agent.selected(), None);
    assert_eq!(call.advance(CONSENT_LIFETIME), [IceEvent::ConsentExpired]);
}

#[test]
fn the_user_fragment_is_read_before_authentication() {
    let call = Call::new();
    let check = call.check().build();
    assert_eq!(username_fragment(&check), Some("ours"));
    assert_eq!(username_fragment(&Check { username: "no-colon".into(), ..call.check() }.build()), None);
    assert_eq!(username_fragment(&check[..check.len() - 1]), None);
    assert_eq!(username_fragment(&[]), None);
}

#[test]
fn no_bit_of_a_check_can_be_flipped_unnoticed() {
    let mut call = Call::new();
    let check = Check { use_candidate: true, ..call.check() }.build();
    for bit in 0..check.len() * 8 {
        let mut flipped = check.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        username_fragment(&flipped);
        assert!(call.agent.handle_binding_request(call.now, udp(1), &flipped).is_err(), "bit {bit}");
        call.assert_untouched();
    }
    call.agent.handle_binding_request(call.now, udp(1), &check).unwrap();
}

proptest! {
    #[test]
    fn nothing_that_an_attacker_without_the_password_makes_is_served(
        cut in 0usize..200,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        tail in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut call = Call::new();
        let mut bytes = call.check().build();
        let original = bytes.clone();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut);
        bytes.extend(tail);
        // Make length and CRC right, so that the attack reaches the integrity check.
        if bytes.len() >= 28 {
            bytes.truncate(bytes.len() / 4 * 4);
            let len = bytes.len();
            bytes[2..4].copy_from_slice(&((len - 20) as u16).to_be_bytes());
            bytes[len - 8..len - 4].copy_from_slice(&[0x80, 0x28, 0, 4]);
            let crc = rtc_stun::fingerprint::fingerprint_value(&bytes[..len - 8]);
            bytes[len - 4..].copy_from_slice(&crc.to_be_bytes());
        }
        username_fragment(&bytes);
        let outcome = call.agent.handle_binding_request(call.now, udp(1), &bytes);
        // A replay of what the client signed is its own; all else changes nothing and is never answered.
        let signed = original.len() - 8;
        if bytes.get(4..signed) != original.get(4..signed) || bytes[..2] != original[..2] {
            prop_assert!(outcome.is_err() || outcome.is_ok_and(|o| o.response.is_empty()));
            call.assert_untouched();
        }
    }
}
