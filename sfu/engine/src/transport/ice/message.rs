//! STUN binding requests as the agent reads them, and the responses it writes (RFC 8489, RFC 8445 section 7).
//!
//! Reading is our own: it copies nothing, is used before authentication, and is strict about what follows
//! MESSAGE-INTEGRITY, where `rtc-stun` would take an attribute that nobody signed. Writing is `rtc-stun`'s.

use std::net::SocketAddr;

use rtc_crypto::providers::RingCrypto;
use rtc_crypto::{HmacAlgorithm, RTCCrypto};
use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
    AttrType,
};
use rtc_stun::error_code::{CODE_ROLE_CONFLICT, CODE_UNKNOWN_ATTRIBUTE, ErrorCode, ErrorCodeAttribute};
use rtc_stun::fingerprint::{FINGERPRINT, fingerprint_value};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_SUCCESS, MAGIC_COOKIE, Message, Setter, TransactionId};
use rtc_stun::uattrs::UnknownAttributes;
use rtc_stun::xoraddr::XorMappedAddress;

use crate::drops::DropReason;

/// Longest STUN message that is read, in bytes; a browser's check has about 120.
pub const MAX_MESSAGE_LEN: usize = 1280;

const HEADER_LEN: usize = 20;
const ATTRIBUTE_HEADER_LEN: usize = 4;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;
const TYPE_BINDING_REQUEST: u16 = 0x0001;
const TYPE_BINDING_INDICATION: u16 = 0x0011;

/// Our user fragment in the USERNAME attribute (`ours:theirs`) of a STUN message. Nothing is authenticated yet: this
/// only tells the demultiplexer whom to ask. No allocation.
pub fn username_fragment(message: &[u8]) -> Option<&str> {
    let username = Attributes::of(message)?.map_while(Result::ok).find(|a| a.kind == ATTR_USERNAME)?.value;
    let end = username.iter().position(|&c| c == b':')?;
    std::str::from_utf8(username.get(..end)?).ok()
}

/// A message that the agent serves.
pub(super) enum Binding<'a> {
    Request(BindingRequest<'a>),
    /// A keepalive (RFC 8445 section 11): wants no answer and proves nothing.
    Indication,
}

/// A binding request whose form and fingerprint are right, and whose integrity is still to be checked.
pub(super) struct BindingRequest<'a> {
    message: &'a [u8],
    transaction: TransactionId,
    integrity: Attribute<'a>,
    pub(super) username: &'a [u8],
    pub(super) use_candidate: bool,
    /// PRIORITY, 0 where absent.
    pub(super) priority: u32,
    /// The sender says that it is the controlled side.
    pub(super) controlled: bool,
    /// Comprehension-required attributes that we do not know.
    pub(super) unknown: Vec<AttrType>,
}

impl<'a> Binding<'a> {
    /// Reads a whole message; checks its form and FINGERPRINT, which RFC 8445 requires.
    pub(super) fn parse(message: &'a [u8]) -> Result<Binding<'a>, DropReason> {
        let malformed = DropReason::StunMalformed;
        let transaction: [u8; 12] = message.get(8..HEADER_LEN).and_then(|b| b.try_into().ok()).ok_or(malformed)?;
        let mut username = None;
        let mut integrity = None;
        let mut fingerprint = None;
        let (mut use_candidate, mut priority, mut controlled, mut unknown) = (false, 0, false, Vec::new());

        for attribute in Attributes::of(message).ok_or(malformed)? {
            let attribute = attribute.map_err(|Malformed| malformed)?;
            match attribute.kind {
                ATTR_FINGERPRINT => fingerprint = Some(attribute),
                // Whatever stands between MESSAGE-INTEGRITY and FINGERPRINT is not signed (RFC 8489 section 14.5).
                _ if integrity.is_some() => {}
                ATTR_MESSAGE_INTEGRITY => integrity = Some(attribute),
                ATTR_USERNAME => username = username.or(Some(attribute.value)),
                ATTR_USE_CANDIDATE => use_candidate = true,
                ATTR_PRIORITY => {
                    priority = attribute.value.try_into().map(u32::from_be_bytes).map_err(|_| malformed)?
                }
                ATTR_ICE_CONTROLLED => controlled = true,
                kind if kind.required() => unknown.push(kind),
                _ => {}
            }
        }

        if !fingerprint.is_some_and(|f| f.is_fingerprint_of(message)) {
            return Err(malformed);
        }
        match message.first_chunk().map(|kind| u16::from_be_bytes(*kind)) {
            Some(TYPE_BINDING_REQUEST) => {}
            Some(TYPE_BINDING_INDICATION) => return Ok(Binding::Indication),
            _ => return Err(malformed),
        }
        let integrity = integrity.ok_or(DropReason::StunUnauthenticated)?;
        let username = username.ok_or(DropReason::StunUnauthenticated)?;
        let transaction = TransactionId(transaction);
        let request =
            BindingRequest { message, transaction, integrity, username, use_candidate, priority, controlled, unknown };
        Ok(Binding::Request(request))
    }
}

impl BindingRequest<'_> {
    /// Whether MESSAGE-INTEGRITY was made with `pwd`. Takes constant time over the tag.
    pub(super) fn is_signed_with(&self, pwd: &str) -> bool {
        // What is signed ends before the attribute, with a header length that ends behind it (RFC 8489 section 14.5).
        let signed_len = (self.integrity.offset + ATTRIBUTE_HEADER_LEN + INTEGRITY_LEN - HEADER_LEN) as u16;
        let (Some(kind), Some(rest)) = (self.message.get(..2), self.message.get(4..self.integrity.offset)) else {
            return false;
        };
        RingCrypto
            .new_hmac(HmacAlgorithm::Sha1, pwd.as_bytes())
            .and_then(|mut mac| mac.verify(&[kind, &signed_len.to_be_bytes(), rest], self.integrity.value))
            .is_ok()
    }

    /// The success response: says which address the request came from.
    pub(super) fn success(&self, from: SocketAddr, pwd: &str) -> Result<Vec<u8>, DropReason> {
        let address = XorMappedAddress { ip: from.ip().to_canonical(), port: from.port() };
        self.response(vec![Box::new(BINDING_SUCCESS), Box::new(self.transaction), Box::new(address)], pwd)
    }

    /// 487 Role Conflict (RFC 8445 section 7.3.1.1).
    pub(super) fn role_conflict(&self, pwd: &str) -> Result<Vec<u8>, DropReason> {
        self.response(self.error(CODE_ROLE_CONFLICT), pwd)
    }

    /// 420 Unknown Attribute, which lists them (RFC 8489 section 6.3.1).
    pub(super) fn unknown_attributes(&self, pwd: &str) -> Result<Vec<u8>, DropReason> {
        let mut setters = self.error(CODE_UNKNOWN_ATTRIBUTE);
        setters.push(Box::new(UnknownAttributes(self.unknown.clone())));
        self.response(setters, pwd)
    }

    fn error(&self, code: ErrorCode) -> Vec<Box<dyn Setter>> {
        // Without a reason phrase, to stay shorter than any request.
        let error = ErrorCodeAttribute { code, reason: Vec::new() };
        vec![Box::new(BINDING_ERROR), Box::new(self.transaction), Box::new(error)]
    }

    /// Signs and closes a response. One that would be longer than the request is refused: nobody amplifies through us.
    fn response(&self, mut setters: Vec<Box<dyn Setter>>, pwd: &str) -> Result<Vec<u8>, DropReason> {
        setters.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), &RingCrypto)));
        setters.push(Box::new(FINGERPRINT));
        let mut response = Message::new();
        match response.build(&setters) {
            Ok(()) if response.raw.len() <= self.message.len() => Ok(response.raw),
            _ => Err(DropReason::StunMalformed),
        }
    }
}

/// One attribute of a message, and where its header stands.
struct Attribute<'a> {
    kind: AttrType,
    offset: usize,
    value: &'a [u8],
}

impl Attribute<'_> {
    /// Whether this is the last attribute of `message` and its CRC is right (RFC 8489 section 14.7).
    fn is_fingerprint_of(&self, message: &[u8]) -> bool {
        let is_last = self.offset + ATTRIBUTE_HEADER_LEN + FINGERPRINT_LEN == message.len();
        let covered = message.get(..self.offset).unwrap_or_default();
        is_last && self.value == fingerprint_value(covered).to_be_bytes()
    }
}

/// An attribute is longer than the message.
struct Malformed;

/// Walks the attributes of a message; ends after the first error.
struct Attributes<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Attributes<'a> {
    /// `None` where the header is not that of a STUN message of exactly this length.
    fn of(message: &'a [u8]) -> Option<Attributes<'a>> {
        let header = message.first_chunk::<HEADER_LEN>()?;
        let [_, _, len_high, len_low, cookie @ ..] = header;
        let len = usize::from(u16::from_be_bytes([*len_high, *len_low]));
        let is_stun = cookie.starts_with(&MAGIC_COOKIE.to_be_bytes());
        let fits = message.len() <= MAX_MESSAGE_LEN && HEADER_LEN + len == message.len() && len.is_multiple_of(4);
        (is_stun && fits).then_some(Attributes { message, offset: HEADER_LEN })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.message.get(offset..)?;
        let [kind_high, kind_low, len_high, len_low] = *rest.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([len_high, len_low]));
        self.offset = offset + ATTRIBUTE_HEADER_LEN + len.next_multiple_of(4);
        let kind = AttrType(u16::from_be_bytes([kind_high, kind_low]));
        match rest.get(ATTRIBUTE_HEADER_LEN..ATTRIBUTE_HEADER_LEN + len) {
            Some(value) if self.offset <= self.message.len() => Some(Ok(Attribute { kind, offset, value })),
            _ => Some(Err(Malformed)),
        }
    }
}
