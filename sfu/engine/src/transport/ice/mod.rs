//! ICE-lite agent of one peer connection (RFC 8445 with section 2.5's lite role, consent of RFC 7675; a passive TCP
//! connection of RFC 6544 is just another tuple).
//!
//! The engine gives it the STUN messages that the demultiplexer found to be for its participant, and asks it which
//! tuples may carry DTLS and SRTP (`is_validated`) and where to send (`selected`). It answers checks and never sends
//! any, so its consent is the client's own checks: they are authenticated and browsers repeat them every few seconds.
//!
//! Choices:
//! - Before a nomination the first validated tuple is selected, because Chromium starts DTLS on the pair it will
//!   nominate in the same breath, and our flight must not wait for a check that may be lost.
//! - A nomination of another tuple switches to it at once, so a client that changes its network needs no ICE restart.
//!   One exception: Firefox puts USE-CANDIDATE on every check of the first second (aggressive nomination) and then uses
//!   the pair of highest priority, and so do we (RFC 8445 section 8.1.1).

mod credentials;
mod message;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

pub use credentials::IceCredentials;
pub use message::{MAX_MESSAGE_LEN, username_fragment};

use crate::drops::DropReason;
use crate::net::Tuple;
use message::{Binding, BindingRequest};

/// Tuples of one participant that are valid at the same time.
pub const MAX_TUPLES: usize = 8;
/// How long an authenticated request lets us send: to its tuple, and at all (RFC 7675 section 5.1).
pub const CONSENT_LIFETIME: Duration = Duration::from_secs(30);
/// For how long after a nomination a nomination of lower priority is taken for the same aggressive round.
const NOMINATION_ROUND: Duration = Duration::from_secs(1);

/// What became of a request that was not dropped.
#[derive(Debug, Default)]
pub struct IceOutcome {
    /// To be sent back to the request's tuple; empty after an indication, which wants none.
    pub response: Vec<u8>,
    /// The request's tuple was not valid before and now is: enter it into the demultiplexer.
    pub newly_validated: bool,
    /// Tuple that lost its place to the new one: remove it from the demultiplexer.
    pub removed: Option<Tuple>,
    /// This nomination ended an ICE restart: remove this old user fragment of ours from the demultiplexer.
    pub retired_ufrag: Option<String>,
}

/// What time brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceEvent {
    /// No check on this tuple for [`CONSENT_LIFETIME`]: it is not valid any more. Another one may be selected now.
    TupleExpired(Tuple),
    /// No check on any tuple for [`CONSENT_LIFETIME`]. Comes once; only [`IceLite::restart`] makes the agent serve
    /// again.
    ConsentExpired,
}

/// ICE-lite agent of one peer connection. See the module's header.
#[derive(Debug)]
pub struct IceLite {
    current: Session,
    /// The session before an ICE restart, until a nomination with the new credentials.
    previous: Option<Session>,
    /// In the order of their validation; at most [`MAX_TUPLES`].
    tuples: Vec<Validated>,
    selected: Option<Tuple>,
    /// The nomination that selected `selected`, if one did.
    nomination: Option<Nomination>,
    consent: Consent,
}

#[derive(Debug)]
struct Session {
    local: IceCredentials,
    remote: Option<IceCredentials>,
}

#[derive(Debug)]
struct Validated {
    tuple: Tuple,
    /// When a check, or authentic media, came from it.
    last_heard: Instant,
}

#[derive(Debug)]
struct Nomination {
    at: Instant,
    priority: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Consent {
    NotYet,
    Until(Instant),
    Expired,
}

/// Which credentials a request was signed with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Generation {
    Current,
    Previous,
}

impl IceLite {
    /// An agent that serves nobody until [`IceLite::set_remote`].
    pub fn new(local: IceCredentials) -> IceLite {
        IceLite {
            current: Session { local, remote: None },
            previous: None,
            tuples: Vec::with_capacity(MAX_TUPLES),
            selected: None,
            nomination: None,
            consent: Consent::NotYet,
        }
    }

    /// Our credentials for the next answer.
    pub fn local(&self) -> &IceCredentials {
        &self.current.local
    }

    /// The client's credentials, from its offer; `None` before the first one.
    pub fn remote(&self) -> Option<&IceCredentials> {
        self.current.remote.as_ref()
    }

    /// Takes the client's credentials from its first offer.
    pub fn set_remote(&mut self, remote: IceCredentials) {
        self.current.remote = Some(remote);
    }

    /// ICE restart (RFC 8445 section 9), when an offer brings new credentials. The selected tuple goes on carrying
    /// media and checks with the old credentials are still answered until a nomination with the new ones.
    ///
    /// Returns our user fragments that are out of use at once: that of a restart which never came to a nomination, and
    /// after the loss of consent every old one.
    #[must_use = "the fragments must leave the demultiplexer"]
    pub fn restart(&mut self, local: IceCredentials, remote: IceCredentials) -> Vec<String> {
        let replaced = std::mem::replace(&mut self.current, Session { local, remote: Some(remote) });
        let mut retired = Vec::new();
        if self.consent == Consent::Expired {
            self.consent = Consent::NotYet;
            retired.extend(self.previous.take());
            retired.push(replaced);
        } else if self.previous.is_some() {
            retired.push(replaced);
        } else {
            self.previous = Some(replaced);
        }
        retired.into_iter().map(|session| session.local.ufrag).collect()
    }

    /// Serves one STUN message that arrived on `tuple`.
    ///
    /// # Errors
    /// The reason for which the message was dropped; nothing has changed then, and nothing is to be sent.
    pub fn handle_binding_request(
        &mut self,
        now: Instant,
        tuple: Tuple,
        message: &[u8],
    ) -> Result<IceOutcome, DropReason> {
        let Binding::Request(request) = Binding::parse(message)? else {
            return Ok(IceOutcome::default());
        };
        let (generation, session) = self.session_of(&request).ok_or(DropReason::StunUnknownUser)?;
        let pwd = &session.local.pwd;
        if !request.is_signed_with(pwd) {
            return Err(DropReason::StunUnauthenticated);
        }
        if !request.unknown.is_empty() {
            return Ok(IceOutcome { response: request.unknown_attributes(pwd)?, ..IceOutcome::default() });
        }
        if request.controlled {
            // A lite agent is always the controlled side of a full one.
            return Ok(IceOutcome { response: request.role_conflict(pwd)?, ..IceOutcome::default() });
        }
        let mut outcome = IceOutcome { response: request.success(tuple.remote, pwd)?, ..IceOutcome::default() };

        self.consent = Consent::Until(now + CONSENT_LIFETIME);
        self.validate(now, tuple, &mut outcome);
        // During a restart the old credentials prove consent, but only the new ones choose.
        if request.use_candidate && generation == Generation::Current {
            self.nominate(now, tuple, request.priority, &mut outcome);
        }
        Ok(outcome)
    }

    /// Whether DTLS and SRTP may come from and go to this tuple.
    pub fn is_validated(&self, tuple: &Tuple) -> bool {
        self.tuples.iter().any(|v| v.tuple == *tuple)
    }

    /// Where media is to be sent; `None` while no tuple is valid.
    pub fn selected(&self) -> Option<Tuple> {
        self.selected
    }

    /// Every valid tuple, at most [`MAX_TUPLES`].
    pub fn validated(&self) -> impl Iterator<Item = Tuple> + '_ {
        self.tuples.iter().map(|v| v.tuple)
    }

    /// Every user fragment under which checks may arrive: ours, and during a restart also the old one.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current).chain(&self.previous).map(|session| session.local.ufrag.as_str())
    }

    /// Drops a tuple whose TCP connection has closed. Another one may be selected afterwards.
    pub fn forget(&mut self, tuple: &Tuple) {
        self.tuples.retain(|v| v.tuple != *tuple);
        if self.selected == Some(*tuple) {
            self.selected = self.tuples.iter().max_by_key(|v| v.last_heard).map(|v| v.tuple);
            self.nomination = None;
        }
    }

    /// Authentic media came from this tuple, which prolongs consent as a check does: libnice sends no checks after the
    /// nomination unless it is told to (GStreamer 1.22), and only the holder of the DTLS keys can send such a packet.
    pub fn note_media(&mut self, now: Instant, tuple: &Tuple) {
        if let (Consent::Until(_), Some(known)) = (self.consent, self.tuples.iter_mut().find(|v| v.tuple == *tuple)) {
            known.last_heard = now;
            self.consent = Consent::Until(now + CONSENT_LIFETIME);
        }
    }

    /// When [`IceLite::handle_timeout`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let consent = match self.consent {
            Consent::Until(deadline) => Some(deadline),
            Consent::NotYet | Consent::Expired => None,
        };
        self.tuples.iter().map(|v| v.last_heard + CONSENT_LIFETIME).chain(consent).min()
    }

    /// Expires tuples and consent. One event per call: to be called until it returns `None`.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<IceEvent> {
        if let Some(tuple) = self.tuples.iter().find(|v| v.last_heard + CONSENT_LIFETIME <= now).map(|v| v.tuple) {
            self.forget(&tuple);
            return Some(IceEvent::TupleExpired(tuple));
        }
        match self.consent {
            Consent::Until(deadline) if deadline <= now => {
                self.consent = Consent::Expired;
                Some(IceEvent::ConsentExpired)
            }
            _ => None,
        }
    }

    /// The session whose user fragments the request names. None after consent has expired: RFC 7675 section 5.1 wants
    /// new credentials then.
    fn session_of(&self, request: &BindingRequest<'_>) -> Option<(Generation, &Session)> {
        if self.consent == Consent::Expired {
            return None;
        }
        if self.current.is_named_by(request.username) {
            return Some((Generation::Current, &self.current));
        }
        self.previous.as_ref().filter(|s| s.is_named_by(request.username)).map(|s| (Generation::Previous, s))
    }

    fn validate(&mut self, now: Instant, tuple: Tuple, outcome: &mut IceOutcome) {
        if let Some(known) = self.tuples.iter_mut().find(|v| v.tuple == tuple) {
            known.last_heard = now;
            return;
        }
        if self.tuples.len() >= MAX_TUPLES {
            let others = self.tuples.iter().filter(|v| Some(v.tuple) != self.selected);
            outcome.removed = others.min_by_key(|v| v.last_heard).map(|v| v.tuple);
            self.tuples.retain(|v| Some(v.tuple) != outcome.removed);
        }
        self.tuples.push(Validated { tuple, last_heard: now });
        self.selected = self.selected.or(Some(tuple));
        outcome.newly_validated = true;
    }

    fn nominate(&mut self, now: Instant, tuple: Tuple, priority: u32, outcome: &mut IceOutcome) {
        let ended_restart = self.previous.take();
        let standing = self.nomination.as_ref().filter(|_| ended_restart.is_none());
        outcome.retired_ufrag = ended_restart.as_ref().map(|session| session.local.ufrag.clone());

        let stays = standing.is_some_and(|nomination| {
            let same_round = now.saturating_duration_since(nomination.at) < NOMINATION_ROUND;
            self.selected == Some(tuple) || (same_round && nomination.priority > priority)
        });
        if !stays {
            self.selected = Some(tuple);
            self.nomination = Some(Nomination { at: now, priority });
        }
    }
}

impl Session {
    /// Whether a USERNAME is `our fragment:their fragment`.
    fn is_named_by(&self, username: &[u8]) -> bool {
        let theirs = username.strip_prefix(self.local.ufrag.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        matches!((theirs, &self.remote), (Some(theirs), Some(remote)) if theirs == remote.ufrag.as_bytes())
    }
}
