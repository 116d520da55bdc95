//! Asks a publisher for a key frame of one encoding, on behalf of all receivers that need one.
//!
//! One [`KeyframeRequester`] per encoding. Subscribers that start, switch or lost too much call
//! [`KeyframeRequester::request`] as often as they like; upstream goes at most one PLI (RFC 4585 section 6.3.1) or FIR
//! (RFC 5104 section 4.3.1) at a time.

use std::time::{Duration, Instant};

/// The feedback message that asks for a key frame of an encoding, as its section negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `a=rtcp-fb: nack pli`.
    Pli,
    /// `a=rtcp-fb: ccm fir`, where PLI is not offered.
    Fir,
    /// Nothing is asked for: audio has no key frames.
    Never,
}

/// A message to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeRequest {
    /// A picture loss indication.
    Pli,
    /// A full intra request with this command number.
    Fir {
        /// Differs from that of the request before.
        number: u8,
    },
}

/// The open request of one encoding, and when the next may follow.
#[derive(Clone, Debug)]
pub struct KeyframeRequester {
    method: Method,
    number: u8,
    open: Option<Open>,
    /// When the key frame began that is coming.
    begun: Option<Instant>,
    /// When the next message would go at the regular rate; it may go [`Self::EARLY`] before.
    regular: Option<Instant>,
}

/// Somebody waits for a key frame.
#[derive(Clone, Copy, Debug)]
struct Open {
    due: Instant,
    /// Messages sent for it.
    sent: u32,
}

impl KeyframeRequester {
    /// On average one message per this time goes upstream, however many ask.
    pub const THROTTLE: Duration = Duration::from_secs(1);
    /// A message may go this much before its regular time, so that a second request need not wait for the whole
    /// throttle.
    const EARLY: Duration = Duration::from_millis(500);
    /// How long a key frame is waited for before asking again: at least, and at most after doubling each time.
    const FIRST_RETRY: Duration = Duration::from_millis(500);
    const LAST_RETRY: Duration = Duration::from_secs(8);
    /// How long the rest of a key frame that has begun is waited for.
    const WHOLE_WITHIN: Duration = Duration::from_secs(1);

    /// For an encoding whose section negotiated `method`.
    pub fn new(method: Method) -> Self {
        KeyframeRequester { method, number: 0, open: None, begun: None, regular: None }
    }

    /// Somebody needs a key frame from now on. One that is just coming will do.
    pub fn request(&mut self, now: Instant) {
        if self.method == Method::Never {
            return;
        }
        let open = self.open.get_or_insert(Open { due: now, sent: 0 });
        // A new request need not wait for the retry interval, which has doubled with each message of the requests
        // before it.
        open.due = open.due.min(self.regular.map_or(now, |regular| regular.max(now)));
    }

    /// The same, where what is just coming will not do.
    pub fn request_another(&mut self, now: Instant) {
        self.begun = None;
        self.request(now);
    }

    /// The first packet of a key frame has come.
    pub fn on_begun(&mut self, now: Instant) {
        self.begun = Some(now);
    }

    /// The last packet of the key frame has come: all requests for it are answered.
    pub fn on_whole(&mut self) {
        if self.begun.take().is_some() {
            self.open = None;
        }
    }

    /// Nobody needs a key frame any more, or the encoding stopped.
    pub fn cancel(&mut self) {
        (self.open, self.begun) = (None, None);
    }

    /// When [`KeyframeRequester::poll`] has a message.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let coming = self.begun.map(|at| at + Self::WHOLE_WITHIN);
        [self.earliest(), coming].into_iter().flatten().chain([self.open?.due]).max()
    }

    /// The message to send now, if one is due. `rtt` is the round trip to the publisher.
    pub fn poll(&mut self, now: Instant, rtt: Duration) -> Option<KeyframeRequest> {
        if now < self.poll_timeout()? {
            return None;
        }
        let open = self.open.as_mut()?;
        let patience = Self::FIRST_RETRY.max(rtt.saturating_mul(2)).saturating_mul(1 << open.sent.min(8));
        open.due = now + patience.min(Self::LAST_RETRY);
        open.sent = open.sent.saturating_add(1);
        self.regular = Some(self.regular.map_or(now, |regular| regular.max(now)) + Self::THROTTLE);
        match self.method {
            Method::Pli => Some(KeyframeRequest::Pli),
            Method::Fir => {
                self.number = self.number.wrapping_add(1);
                Some(KeyframeRequest::Fir { number: self.number })
            }
            Method::Never => None,
        }
    }

    /// Before this moment the throttle lets nothing through.
    fn earliest(&self) -> Option<Instant> {
        self.regular.and_then(|regular| regular.checked_sub(Self::EARLY))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A key frame comes.
    fn serve(requester: &mut KeyframeRequester, now: Instant) {
        requester.on_begun(now);
        requester.on_whole();
    }

    /// Runs a requester for `duration` in steps of 10 ms; returns when messages went upstream.
    fn run(
        requester: &mut KeyframeRequester,
        duration: u64,
        mut each: impl FnMut(&mut KeyframeRequester, Instant, u64),
    ) -> Vec<u64> {
        let start = Instant::now();
        let mut sent = Vec::new();
        for at in (0..duration).step_by(10) {
            each(requester, start + ms(at), at);
            if requester.poll(start + ms(at), RTT).is_some() {
                sent.push(at);
            }
        }
        sent
    }

    #[test]
    fn the_first_request_goes_upstream_at_once() {
        let (mut requester, now) = (KeyframeRequester::new(Method::Pli), Instant::now());
        assert_eq!(requester.poll_timeout(), None);
        requester.request(now);
        assert_eq!(requester.poll_timeout(), Some(now));
        assert_eq!(requester.poll(now, RTT), Some(KeyframeRequest::Pli));
        assert_eq!(requester.poll(now, RTT), None);
    }

    #[test]
    fn fifty_subscribers_cost_one_message() {
        let mut requester = KeyframeRequester::new(Method::Pli);
        let sent = run(&mut requester, 1000, |requester, now, at| match at {
            0..100 => (0..5).for_each(|_| requester.request(now)),
            100 => serve(requester, now),
            _ => {}
        });
        assert_eq!(sent, [0]);
    }

    #[test]
    fn a_flood_of_requests_is_throttled_even_while_keyframes_come() {
        let mut requester = KeyframeRequester::new(Method::Pli);
        let sent = run(&mut requester, 10_000, |requester, now, at| {
            if at % 100 == 50 {
                serve(requester, now);
            }
            requester.request(now);
        });
        assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{sent:?}");
        assert_eq!(sent.len(), 11, "one per second and one early: {sent:?}");
    }

    #[test]
    fn a_second_request_after_the_keyframe_waits_half_a_second_at_most() {
        let mut requester = KeyframeRequester::new(Method::Pli);
        let sent = run(&mut requester, 2000, |requester, now, at| match at {
            0 | 200 => requester.request(now),
            100 | 600 => serve(requester, now),
            _ => {}
        });
        assert_eq!(sent, [0, 500]);
    }

    #[test]
    fn while_no_keyframe_comes_it_asks_again_ever_more_rarely() {
        let mut requester = KeyframeRequester::new(Method::Pli);
        let sent = run(&mut requester, 60_000, |requester, now, at| {
            if at == 0 {
                requester.request(now);
            }
        });
        let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps[..6], [500, 1000, 2000, 4000, 8000, 8000]);
    }

    #[test]
    fn on_a_long_path_it_waits_for_two_round_trips() {
        let (mut requester, now) = (KeyframeRequester::new(Method::Pli), Instant::now());
        requester.request(now);
        assert!(requester.poll(now, ms(600)).is_some());
        assert_eq!(requester.poll_timeout(), Some(now + ms(1200)));
    }

    #[test]
    fn a_new_request_does_not_wait_out_the_backoff_of_an_old_one() {
        let mut requester = KeyframeRequester::new(Method::Pli);
        let sent = run(&mut requester, 13_000, |requester, now, at| {
            if at == 0 || at == 9000 {
                requester.request(now);
            }
        });
        assert!(sent.contains(&9000), "{sent:?}");
    }

    #[test]
    fn what_has_begun_to_come_is_waited_for() {
        let at = |ask_at: u64, whole_at: u64, ask: fn(&mut KeyframeRequester, Instant)| {
            let mut requester = KeyframeRequester::new(Method::Pli);
            run(&mut requester, 3000, |requester, now, at| match at {
                100 => requester.on_begun(now),
                _ if at == ask_at => ask(requester, now),
                _ if at == whole_at => requester.on_whole(),
                _ => {}
            })
        };
        assert!(at(150, 800, KeyframeRequester::request).is_empty(), "it serves who asks meanwhile");
        assert_eq!(at(150, 9999, KeyframeRequester::request)[..1], [1100], "it does not come");
        assert_eq!(at(900, 800, KeyframeRequester::request)[..1], [900], "it has come before");
        assert_eq!(at(150, 300, KeyframeRequester::request_another)[..2], [150, 650], "it is of no use, and no answer");
    }

    #[test]
    fn nothing_is_asked_for_once_nobody_waits() {
        let (mut requester, now) = (KeyframeRequester::new(Method::Pli), Instant::now());
        requester.request(now);
        requester.cancel();
        assert_eq!((requester.poll(now, RTT), requester.poll_timeout()), (None, None));
    }

    #[test]
    fn each_full_intra_request_has_a_number_of_its_own() {
        let (mut requester, now) = (KeyframeRequester::new(Method::Fir), Instant::now());
        requester.request(now);
        assert_eq!(requester.poll(now, RTT), Some(KeyframeRequest::Fir { number: 1 }));
        assert_eq!(requester.poll(now + ms(500), RTT), Some(KeyframeRequest::Fir { number: 2 }));
    }
}
