//! STUN binding requests by hand, for clients that do what no well-behaved client does.

use rtc::crypto::providers::RingCrypto;
use rtc::shared::error::Error;
use rtc::stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc::stun::fingerprint::FINGERPRINT;
use rtc::stun::integrity::MessageIntegrity;
use rtc::stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter, Message, Setter, TransactionId};
use rtc::stun::textattrs::TextAttribute;
use rtc::stun::xoraddr::XorMappedAddress;
use std::net::SocketAddr;

/// The ICE credentials in an SDP.
pub struct Credentials {
    pub ufrag: String,
    pub pwd: String,
}

impl Credentials {
    pub fn of(sdp: &str) -> Credentials {
        let value = |name: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(name)).expect("ICE credentials");
            line.trim().to_owned()
        };
        Credentials { ufrag: value("a=ice-ufrag:"), pwd: value("a=ice-pwd:") }
    }

    /// A nominating check for the owner of these credentials from the owner of the user fragment `from`, signed with
    /// `pwd`.
    pub fn check(&self, from: &str, pwd: &str) -> Vec<u8> {
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, format!("{}:{from}", self.ufrag))),
            Box::new(Raw(ATTR_PRIORITY, vec![0x6e, 0, 0, 1])),
            Box::new(Raw(ATTR_ICE_CONTROLLING, vec![1; 8])),
            Box::new(Raw(ATTR_USE_CANDIDATE, Vec::new())),
            Box::new(MessageIntegrity::new_short_term_integrity_with_provider(pwd.to_owned(), &RingCrypto)),
            Box::new(FINGERPRINT),
        ];
        let mut message = Message::new();
        message.build(&setters).expect("a STUN message");
        message.raw
    }
}

/// The address in a success response to `request`.
pub fn mapped_address(request: &[u8], response: &[u8]) -> SocketAddr {
    let mut message = Message::new();
    message.unmarshal_binary(response).expect("STUN");
    assert_eq!(message.typ, BINDING_SUCCESS);
    assert_eq!(message.transaction_id.0, request[8..20]);
    let mut address = XorMappedAddress::default();
    address.get_from(&message).expect("an address");
    SocketAddr::new(address.ip, address.port)
}

struct Raw(AttrType, Vec<u8>);

impl Setter for Raw {
    fn add_to(&self, message: &mut Message) -> Result<(), Error> {
        message.add(self.0, &self.1);
        Ok(())
    }
}
