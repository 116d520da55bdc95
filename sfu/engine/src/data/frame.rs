//! The format on the lanes: a message is one frame or several, each of which is one SCTP user message.
//!
//! Frames keep one long message from holding up the association, since SCTP without RFC 8260 sends a user message in
//! one piece. All frames of a message follow each other on the reliable lane; on the lossy lane a message is one frame.
//! `docs/data.md` has the layout.

use super::{DataMessage, Lane, MAX_LOSSY_MESSAGE, MAX_MESSAGE, MAX_RECIPIENTS, MAX_TOPIC, Recipients};
use crate::byte_reader::ByteReader;
use crate::ids::ParticipantId;
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// Bytes of one frame; `a=max-message-size` says the same (RFC 8841).
pub const MAX_FRAME: usize = 16 * 1024;

const FIRST: u8 = 1;
const LAST: u8 = 2;
const TEXT: u8 = 4;
/// The frame is a notice of messages that the server dropped.
const LOST: u8 = 0x80;

/// A message as receivers get it, made once however many there are.
#[derive(Clone, Debug)]
pub struct Framed {
    pub(super) lane: Lane,
    pub(super) frames: Arc<[Bytes]>,
    /// Bytes of all frames.
    pub(super) size: usize,
    /// Bytes of payload.
    pub(super) payload: usize,
}

impl Framed {
    /// Frames of a message from the server to a client, all of them stamped with the sender.
    pub fn new(message: &DataMessage) -> Framed {
        let sender = message.from.map(|id| id.to_string()).unwrap_or_default();
        let mut rest = message.payload.clone();
        let mut frames = Vec::new();
        let mut flags = FIRST | if message.is_text { TEXT } else { 0 };
        loop {
            let mut head = BytesMut::with_capacity(MAX_FRAME.min(rest.len() + 100));
            head.put_u8(flags);
            put_text(&mut head, &sender);
            if flags & FIRST != 0 {
                put_text(&mut head, &message.topic);
            }
            let part = rest.split_to(rest.len().min(MAX_FRAME - head.len()));
            head.put_slice(&part);
            if let Some(first) = head.first_mut().filter(|_| rest.is_empty()) {
                *first |= LAST;
            }
            frames.push(head.freeze());
            if rest.is_empty() {
                break;
            }
            flags = 0;
        }
        let size = frames.iter().map(Bytes::len).sum();
        Framed { lane: message.lane, frames: frames.into(), size, payload: message.payload.len() }
    }
}

/// Tells a receiver how many reliable messages it was too slow for.
pub(super) fn lost_notice(messages: u32) -> Bytes {
    let mut frame = BytesMut::with_capacity(5);
    frame.put_u8(LOST);
    frame.put_u32(messages);
    frame.freeze()
}

/// What a client sent, before the server has added its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// Its receivers.
    pub to: Recipients,
    /// The payload is text.
    pub is_text: bool,
    /// What it is about.
    pub topic: String,
    /// All of it.
    pub payload: Bytes,
}

/// The frame is not what the format allows, or the message is too long. The rest of that message is refused too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Puts the frames of one client's reliable lane together.
#[derive(Debug, Default)]
pub struct Assembler {
    open: Option<(Incoming, BytesMut)>,
}

impl Assembler {
    /// Takes the next frame; gives the message that it completes.
    pub fn push(&mut self, frame: &[u8]) -> Result<Option<Incoming>, Malformed> {
        let mut reader = ByteReader::new(frame);
        let flags = reader.u8().ok_or(Malformed)?;
        let open = self.open.take();
        let (head, mut payload) = match (flags & FIRST != 0, open) {
            (true, None) => (read_head(&mut reader, flags).ok_or(Malformed)?, BytesMut::new()),
            (false, Some(open)) => open,
            // A message that begins before the last one has ended, or goes on without having begun.
            _ => return Err(Malformed),
        };
        let valid = flags & !(FIRST | LAST | TEXT) == 0 && frame.len() <= MAX_FRAME;
        if !valid || payload.len() + reader.rest().len() > MAX_MESSAGE {
            return Err(Malformed);
        }
        payload.put_slice(reader.rest());
        if flags & LAST != 0 {
            return Ok(Some(Incoming { payload: payload.freeze(), ..head }));
        }
        if reader.is_empty() {
            // Frames without end that bring nothing.
            return Err(Malformed);
        }
        self.open = Some((head, payload));
        Ok(None)
    }
}

/// Reads a frame of the lossy lane, which is a whole message.
pub fn read_lossy(frame: &[u8]) -> Result<Incoming, Malformed> {
    let message = Assembler::default().push(frame)?.ok_or(Malformed)?;
    if message.payload.len() > MAX_LOSSY_MESSAGE { Err(Malformed) } else { Ok(message) }
}

/// What the first frame of a client's message says: topic and recipients. `None` where the frame is cut off or says too
/// much.
fn read_head(reader: &mut ByteReader<'_>, flags: u8) -> Option<Incoming> {
    let topic = read_text(reader)?;
    let count = usize::from(reader.u8()?);
    if topic.len() > MAX_TOPIC || count > MAX_RECIPIENTS {
        return None;
    }
    let named = (0..count).map(|_| read_text(reader).map(participant)).collect::<Option<Vec<_>>>()?;
    // Names that nobody can have are nobody's; a message for them only is for nobody, not for everybody.
    let to = if count == 0 { Recipients::Everybody } else { Recipients::Only(named.into_iter().flatten().collect()) };
    Some(Incoming { to, is_text: flags & TEXT != 0, topic: topic.to_owned(), payload: Bytes::new() })
}

fn read_text<'a>(reader: &mut ByteReader<'a>) -> Option<&'a str> {
    std::str::from_utf8(reader.vec8()?).ok()
}

/// An id as the rooms protocol writes it.
fn participant(text: &str) -> Option<ParticipantId> {
    let id = ParticipantId(text.strip_prefix('p')?.parse().ok()?);
    (id.to_string() == text).then_some(id)
}

fn put_text(out: &mut BytesMut, text: &str) {
    // Both texts that go out are short: ids, and topics of at most MAX_TOPIC bytes.
    let bytes = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
    out.put_u8(bytes.len() as u8);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests;
