//! Decides what `rtc-dtls` may see. It takes handshake messages apart by recursion, allocates what lengths claim and
//! queues without bound; so the guard puts messages together itself, and passes on only whole and plausible ones, a
//! bounded number of them, each once. Record numbers of epoch 0 are its own, as they authenticate nothing.
//!
//! RFC 6347 section 4.1.2.7: what is refused is dropped silently and ends nothing.

use super::DtlsRole;
use super::client_hello::Selection;
use super::wire::{self, Fragment, Record};
use crate::byte_reader::ByteReader;
use crate::drops::DropReason;

/// Bytes of one handshake message at most. The largest are certificates, of 1 to 4 KiB.
const MAX_MESSAGE_LEN: usize = 16 * 1024;
/// Handshake messages of one side at most. A full handshake has seven.
const MAX_MESSAGES: u16 = 16;
/// Bytes taken before the handshake is done, and bytes of unfinished messages, at most.
const MAX_HANDSHAKE_BYTES: usize = 64 * 1024;
/// Datagrams taken before the handshake is done, at most. A peer that repeats every flight ten times sends under 100.
const MAX_HANDSHAKE_DATAGRAMS: usize = 256;
/// Fragments taken, at most. Fragments may legally be as short as what is left of a datagram, so their size has no
/// minimum.
const MAX_FRAGMENTS: usize = 512;
/// Encrypted handshake records passed on, at most. One is needed; they cannot be looked into, and so cannot be repeats.
const MAX_FINISHED_RECORDS: usize = 32;
/// Bytes of an encrypted handshake record or alert at most: a Finished takes 48.
const MAX_ENCRYPTED_CONTROL_LEN: usize = 128;

/// What one datagram comes to.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    /// Records for `rtc-dtls`, one behind the other; may be none.
    pub(super) records: Vec<u8>,
    /// The peer repeats what it had sent before, and nothing is new: it has not got our flight.
    pub(super) repeated: bool,
    /// The peer gives up, in clear.
    pub(super) alert: Option<ClearAlert>,
}

/// An alert before there are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClearAlert {
    CloseNotify,
    Fatal(u8),
}

/// The filter of one session.
pub(super) struct Guard {
    role: DtlsRole,
    established: bool,
    selection: Option<Selection>,
    refused_hello: Option<&'static str>,
    assembly: Assembly,
    /// Next record number of epoch 0, in what `rtc-dtls` sees.
    next_record: u64,
    bytes: usize,
    datagrams: usize,
    finished_records: usize,
}

impl Guard {
    pub(super) fn new(role: DtlsRole) -> Guard {
        Guard {
            role,
            established: false,
            selection: None,
            refused_hello: None,
            assembly: Assembly::default(),
            next_record: 0,
            bytes: 0,
            datagrams: 0,
            finished_records: 0,
        }
    }

    /// What the first acceptable ClientHello was answered with.
    pub(super) fn selection(&self) -> Option<Selection> {
        self.selection
    }

    /// Why the last ClientHello was not acceptable, where none was.
    pub(super) fn refused_hello(&self) -> Option<&'static str> {
        self.refused_hello
    }

    /// From now on only encrypted records are passed on.
    pub(super) fn establish(&mut self) {
        self.established = true;
        self.assembly = Assembly::default();
    }

    /// Sorts the records of a datagram. An error where none of them was good for anything.
    pub(super) fn admit(&mut self, datagram: &[u8]) -> Result<Admitted, DropReason> {
        if !self.established {
            self.datagrams += 1;
            self.bytes = self.bytes.saturating_add(datagram.len());
            if self.datagrams > MAX_HANDSHAKE_DATAGRAMS || self.bytes > MAX_HANDSHAKE_BYTES {
                return Err(DropReason::DtlsRefused);
            }
        }
        let mut admitted = Admitted::default();
        let mut useful = false;
        let mut reader = ByteReader::new(datagram);
        while let Some(record) = Record::read(&mut reader) {
            useful |= self.admit_record(record, &mut admitted).is_some();
        }
        admitted.repeated &= admitted.records.is_empty();
        if useful { Ok(admitted) } else { Err(DropReason::DtlsRefused) }
    }

    /// `None` where the record is refused.
    fn admit_record(&mut self, record: Record<'_>, admitted: &mut Admitted) -> Option<()> {
        if !wire::VERSIONS.contains(&record.version) {
            return None;
        }
        match (record.epoch, record.kind) {
            (0, wire::HANDSHAKE) => self.admit_handshake(record.body, admitted),
            // A record of another kind before the first hello has nobody to take it.
            (0, _) if self.established || !self.has_engine() => None,
            (0, wire::CHANGE_CIPHER_SPEC) if record.body == [1] => {
                self.write(wire::CHANGE_CIPHER_SPEC, &[record.body], admitted);
                Some(())
            }
            (0, wire::ALERT) => {
                admitted.alert = match record.body {
                    [_, 0] => Some(ClearAlert::CloseNotify),
                    [2, description] => Some(ClearAlert::Fatal(*description)),
                    _ => return None,
                };
                Some(())
            }
            (1, wire::HANDSHAKE) if self.established => {
                // The peer's Finished again: it has not got ours. Nothing else is due after the handshake.
                admitted.repeated = true;
                Some(())
            }
            (1, wire::HANDSHAKE) if self.has_engine() => {
                self.finished_records += 1;
                let plausible = record.body.len() <= MAX_ENCRYPTED_CONTROL_LEN;
                if plausible && self.finished_records <= MAX_FINISHED_RECORDS { pass(record, admitted) } else { None }
            }
            (1, wire::ALERT) if record.body.len() > MAX_ENCRYPTED_CONTROL_LEN => None,
            (1, wire::ALERT | wire::APPLICATION_DATA) if self.has_engine() => pass(record, admitted),
            _ => None,
        }
    }

    /// A server's handshake engine is made for the first acceptable hello.
    fn has_engine(&self) -> bool {
        self.role == DtlsRole::Client || self.selection.is_some()
    }

    /// Takes the fragments of one record of epoch 0.
    fn admit_handshake(&mut self, body: &[u8], admitted: &mut Admitted) -> Option<()> {
        let mut reader = ByteReader::new(body);
        let mut useful = None;
        while !reader.is_empty() {
            let fragment = Fragment::read(&mut reader)?;
            if self.established || self.assembly.is_delivered(fragment.message) {
                admitted.repeated = true;
                useful = Some(());
                continue;
            }
            let (kind, message) = (fragment.kind, fragment.message);
            if let Some(whole) = self.assembly.add(fragment)? {
                self.inspect(kind, &whole)?;
                self.assembly.deliver(message);
                let header = wire::handshake_header(kind, message, whole.len());
                self.write(wire::HANDSHAKE, &[&header, &whole], admitted);
            }
            useful = Some(());
        }
        useful
    }

    /// `None` where a whole message must not be passed on. It may come again, better: a forged hello does not stop the
    /// call.
    fn inspect(&mut self, kind: u8, body: &[u8]) -> Option<()> {
        match (self.role, kind) {
            (DtlsRole::Server, wire::CLIENT_HELLO) => match Selection::for_client_hello(body) {
                // The second hello, with the cookie, is the one that the handshake authenticates.
                Ok(selection) if self.selection.is_none_or(|first| first == selection) => {
                    self.selection = Some(selection);
                    self.refused_hello = None;
                    Some(())
                }
                Ok(_) => None,
                Err(reason) => {
                    self.refused_hello = self.selection.is_none().then_some(reason);
                    None
                }
            },
            (DtlsRole::Server, _) if self.selection.is_none() => None,
            (_, wire::CERTIFICATE) => certificate_lengths_fit(body).then_some(()),
            _ => Some(()),
        }
    }

    fn write(&mut self, kind: u8, body: &[&[u8]], admitted: &mut Admitted) {
        wire::write_record(&mut admitted.records, kind, self.next_record, body);
        self.next_record += 1;
    }
}

fn pass(record: Record<'_>, admitted: &mut Admitted) -> Option<()> {
    admitted.records.extend_from_slice(record.raw);
    Some(())
}

/// A certificate list whose lengths say what is there (RFC 5246 section 7.4.2).
fn certificate_lengths_fit(body: &[u8]) -> bool {
    let mut reader = ByteReader::new(body);
    let Some(mut list) = reader.vec24().map(ByteReader::new) else { return false };
    while !list.is_empty() {
        if list.vec24().is_none() {
            return false;
        }
    }
    reader.is_empty()
}

/// Puts handshake messages together from fragments, which may overlap and come in any order.
#[derive(Default)]
struct Assembly {
    partial: Vec<Partial>,
    /// One bit for each message that was passed on.
    delivered: u16,
    fragments: usize,
}

const _: () = assert!(MAX_MESSAGES as u32 <= u16::BITS);

struct Partial {
    kind: u8,
    message: u16,
    body: Vec<u8>,
    present: Vec<bool>,
    missing: usize,
}

impl Assembly {
    fn is_delivered(&self, message: u16) -> bool {
        message < MAX_MESSAGES && self.delivered & (1 << message) != 0
    }

    fn deliver(&mut self, message: u16) {
        self.delivered |= 1 << message;
    }

    /// Takes a fragment, and gives the whole message with its last one. `None` where the fragment is refused.
    fn add(&mut self, fragment: Fragment<'_>) -> Option<Option<Vec<u8>>> {
        let Fragment { kind, total, message, offset, data } = fragment;
        self.fragments = self.fragments.saturating_add(1);
        let plausible = message < MAX_MESSAGES
            && total <= MAX_MESSAGE_LEN
            && offset.checked_add(data.len())? <= total
            && (!data.is_empty() || total == 0)
            && self.fragments <= MAX_FRAGMENTS;
        if !plausible {
            return None;
        }
        if data.len() == total {
            self.partial.retain(|partial| partial.message != message);
            return Some(Some(data.to_vec()));
        }
        let position = match self.partial.iter().position(|partial| partial.message == message) {
            Some(position) => position,
            None => {
                let held: usize = self.partial.iter().map(|partial| partial.body.len()).sum();
                if held + total > MAX_HANDSHAKE_BYTES {
                    return None;
                }
                self.partial.push(Partial::new(kind, message, total));
                self.partial.len() - 1
            }
        };
        let partial = self.partial.get_mut(position)?;
        if partial.kind != kind || partial.body.len() != total {
            // One of the two is forged; which, is not known. A repeat of the true one starts afresh.
            self.partial.swap_remove(position);
            return None;
        }
        partial.insert(offset, data);
        let whole = partial.missing == 0;
        Some(whole.then(|| self.partial.swap_remove(position).body))
    }
}

impl Partial {
    fn new(kind: u8, message: u16, total: usize) -> Partial {
        Partial { kind, message, body: vec![0; total], present: vec![false; total], missing: total }
    }

    /// Keeps what came first where fragments overlap.
    fn insert(&mut self, offset: usize, data: &[u8]) {
        let places = self.body.iter_mut().zip(&mut self.present).skip(offset);
        for ((to, present), from) in places.zip(data) {
            if !*present {
                (*to, *present) = (*from, true);
                self.missing -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
