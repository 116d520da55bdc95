//! Why a packet was dropped. A bad packet is counted here and changes nothing else.

/// Declares the reasons once: the enum, their metric labels and the counter array.
macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// The reason for which one packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name,)*];

            /// Value of the `reason` label in Prometheus.
            pub const fn label(self) -> &'static str {
                match self { $(DropReason::$name => $label,)* }
            }
        }
    };
}

drop_reasons! {
    /// Not STUN, DTLS, RTP or RTCP by its first byte (RFC 7983), or empty.
    Unclassified = "unclassified",
    /// From an address that no STUN check has validated.
    UnknownTuple = "unknown_tuple",
    /// Not parseable as STUN, or not a message that we serve.
    StunMalformed = "stun_malformed",
    /// STUN for a user fragment nobody has.
    StunUnknownUser = "stun_unknown_user",
    /// STUN whose MESSAGE-INTEGRITY is absent or wrong.
    StunUnauthenticated = "stun_unauthenticated",
    /// DTLS record or handshake fragment that the guard refuses.
    DtlsRefused = "dtls_refused",
    /// DTLS that the handshake did not take.
    DtlsFailed = "dtls_failed",
    /// SCTP that the guard refuses, or that no negotiated section explains.
    SctpRefused = "sctp_refused",
    /// SCTP that ended its association.
    SctpFailed = "sctp_failed",
    /// A frame on a data channel that the format does not allow.
    DataMalformed = "data_malformed",
    /// A message of a participant that may not send data.
    DataNotAllowed = "data_not_allowed",
    /// A lossy message above its sender's rate.
    DataOverRate = "data_over_rate",
    /// A message that did not fit into a receiver's queue.
    DataOverflow = "data_overflow",
    /// SRTP or SRTCP before the keys are known.
    SrtpNoKeys = "srtp_no_keys",
    /// SRTP or SRTCP whose tag does not match.
    SrtpAuth = "srtp_auth",
    /// SRTP or SRTCP seen before or too old.
    SrtpReplay = "srtp_replay",
    /// More synchronisation sources than a participant may have.
    SrtpTooManySources = "srtp_too_many_sources",
    /// RTP that does not parse.
    RtpMalformed = "rtp_malformed",
    /// RTP of a source that no negotiated section explains.
    RtpUnknownSource = "rtp_unknown_source",
    /// RTP with a payload type that was not negotiated.
    RtpUnknownPayload = "rtp_unknown_payload",
    /// RTP received twice.
    RtpDuplicate = "rtp_duplicate",
    /// RTP too old for the window.
    RtpTooOld = "rtp_too_old",
    /// Audio above the rate that audio may have.
    RtpOverRate = "rtp_over_rate",
    /// Video of another codec than the track's, which changed just before.
    RtpCodecChange = "rtp_codec_change",
    /// RTCP that does not parse.
    RtcpMalformed = "rtcp_malformed",
    /// The pacer's queue for a receiver was full.
    PacerOverflow = "pacer_overflow",
}

/// One counter for each [`DropReason`].
#[derive(Clone, Debug)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        DropCounters([0; DropReason::ALL.len()])
    }
}

impl DropCounters {
    /// Counts one drop.
    pub fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts several drops.
    pub fn add(&mut self, reason: DropReason, drops: u64) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter += drops;
        }
    }

    /// How many were dropped for `reason` so far.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }
}
