//! SDP fragments of trickle ICE (RFC 8840), and offers and answers as far as ICE goes.
//!
//! The server is ICE-lite: it learns a client's addresses from its connectivity checks and has no use for candidates.
//! What counts in a fragment are the ICE credentials: the ones in use mean trickled candidates, new ones a restart.

/// Media type of a fragment.
pub(super) const CONTENT_TYPE: &str = "application/trickle-ice-sdpfrag";

/// ICE credentials of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) pwd: String,
}

impl Credentials {
    /// The first ones in a description or a fragment.
    pub(super) fn read(sdp: &str) -> Option<Credentials> {
        Some(Credentials { ufrag: value(sdp, UFRAG)?.to_owned(), pwd: value(sdp, PWD)?.to_owned() })
    }

    /// An offer with these credentials in place of its own, and without the old ones' candidates.
    pub(super) fn put_into(&self, offer: &str) -> String {
        let mut changed = String::with_capacity(offer.len());
        for line in offer.lines() {
            if line.starts_with(UFRAG) {
                changed.extend([UFRAG, &self.ufrag]);
            } else if line.starts_with(PWD) {
                changed.extend([PWD, &self.pwd]);
            } else if CANDIDATES.iter().any(|start| line.starts_with(start)) {
                continue;
            } else {
                changed.push_str(line);
            }
            changed.push_str("\r\n");
        }
        changed
    }
}

/// What an answer says about ICE, as the fragment that answers a restart (RFC 9725 section 4.3.3): the session's lines,
/// then the section that bears the transport.
pub(super) fn of_answer(answer: &str) -> String {
    let lines: Vec<&str> = answer.lines().collect();
    let mut levels = lines.chunk_by(|_, next| !next.starts_with("m="));
    let session = levels.next().unwrap_or_default();
    // A rejected section has no transport.
    let section = levels.find(|section| section.iter().any(|line| line.starts_with(UFRAG))).unwrap_or_default();
    let says = |line: &&&str, starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
    let kept = session.iter().filter(|line| says(line, &SESSION));
    kept.chain(section.iter().filter(|line| says(line, &SECTION))).flat_map(|line| [*line, "\r\n"]).collect()
}

const UFRAG: &str = "a=ice-ufrag:";
const PWD: &str = "a=ice-pwd:";
const CANDIDATES: [&str; 2] = ["a=candidate:", "a=end-of-candidates"];
const SESSION: [&str; 3] = ["a=ice-lite", "a=ice-options:", "a=group:BUNDLE"];
const SECTION: [&str; 6] = ["m=", "a=mid:", UFRAG, PWD, CANDIDATES[0], CANDIDATES[1]];

fn value<'a>(sdp: &'a str, start: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| line.strip_prefix(start)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_takes_other_credentials_in_every_section() {
        let offer = "v=0\r\na=ice-ufrag:old\r\nm=audio 9\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\na=mid:0\r\n";
        let credentials =
            Credentials::read("m=audio 9\r\na=ice-ufrag:new\r\na=ice-pwd:newer\r\n").expect("credentials");
        let changed = credentials.put_into(offer);
        assert_eq!(changed, "v=0\r\na=ice-ufrag:new\r\nm=audio 9\r\na=ice-ufrag:new\r\na=ice-pwd:newer\r\na=mid:0\r\n");
        assert_eq!(Credentials::read(&changed), Some(credentials));
        assert_eq!(Credentials::read("a=ice-ufrag:new\r\n"), None);
    }

    #[test]
    fn the_fragment_of_an_answer_is_of_the_section_that_bears_the_transport() {
        let answer = "v=0\r\na=ice-lite\r\na=group:BUNDLE 1 2\r\nm=audio 0 x 0\r\na=mid:0\r\na=inactive\r\nm=video 9 x 96\r\na=mid:1\r\na=recvonly\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\na=end-of-candidates\r\nm=audio 9 x 111\r\na=mid:2\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n";
        let expected = "a=ice-lite\r\na=group:BUNDLE 1 2\r\nm=video 9 x 96\r\na=mid:1\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=candidate:1\r\na=end-of-candidates\r\n";
        assert_eq!(of_answer(answer), expected);
    }
}
