//! Paced sending towards one receiver: audio at once, then retransmissions, then video, then padding, at a rate that
//! keeps queues here, where they can still be changed, and not in the network.
//!
//! Video leaves in the order in which it came, but for a stream of which much waits: what comes of it beyond `LARGE`
//! lets the other streams pass, so that the key frame of a screen, which may take half a second, does not stop the
//! cameras beside it.
//!
//! The caller queues packets with [`Pacer::enqueue`] and sends what [`Pacer::poll`] releases. Packets are released in
//! runs of a few milliseconds, so that a run to one destination can leave in one system call (GSO). While a probe of
//! the estimator runs, the rate is the probe's, and padding is asked for where there is not enough media. New video can
//! be held back for a while ([`Pacer::hold_video`]).

use super::estimate::{Probe, ProbeId};
use crate::units::Bitrate;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How much is sent in one run before waiting, until [`Pacer::set_rate`] sets another time. A caller that was woken
/// late catches up by as much.
const BURST: Duration = Duration::from_millis(5);
/// The same during a probe, of which the spacing is measured.
const PROBE_BURST: Duration = Duration::from_millis(2);
/// During a probe a caller that was woken late catches up by this much, or the probe would measure the caller.
const PROBE_CATCH_UP: Duration = Duration::from_millis(50);
/// A probe that is not sent by then is given up.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Audio does not wait for its budget. Beyond this, what it takes is not held against the other classes.
const MAX_DEBT: Duration = Duration::from_millis(500);
/// Longest time that queued packets may take to leave; beyond it new video and retransmissions are refused.
pub const MAX_QUEUE_DELAY: Duration = Duration::from_secs(1);
/// Most packets in one queue.
pub const MAX_QUEUE_PACKETS: usize = 2048;
/// Most bytes in one queue.
pub const MAX_QUEUE_BYTES: usize = 2 << 20;
/// A stream lets the others pass where more of it waits than leaves in this time, and more than these bytes. The bytes
/// are ten packets: less than that is, on a slow link, ordinary frames of small pictures, for which the order in which
/// they came is the best.
const LARGE: (Duration, usize) = (Duration::from_millis(100), 12_000);
/// Bounds of a padding packet on the wire.
const PADDING: (usize, usize) = (80, 1200);

/// What a packet is; classes are served in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Never delayed, but accounted for.
    Audio,
    /// A packet sent again.
    Retransmission,
    /// New video.
    Video,
    /// Padding: for a probe, or to bring feedback while everything is paused for want of bandwidth.
    Padding,
}

/// A packet whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// Its class.
    pub class: Class,
    /// Its size as given to [`Pacer::enqueue`].
    pub bytes: usize,
    /// What was queued.
    pub item: T,
    /// How long it waited.
    pub waited: Duration,
    /// The probe that it is part of, for [`super::estimate::SentPacket`].
    pub probe: Option<ProbeId>,
}

/// A packet was refused: the queue of its class is too long. For video the caller then has to give up what is queued of
/// the subscription and to begin anew with a key frame, of a lower layer if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pacer's queue is full")]
pub struct Overflow;

/// Names a packet; it is small and is copied. Keep it to two plain fields, so that it is passed in registers; otherwise
/// a load right behind the stores stalls.
pub trait Paced: Copy {
    /// Which of the receiver's streams it is of: a small number.
    fn stream(&self) -> usize;
}

/// The queues in the order in which they are served, by what is in them.
const QUEUES: [Class; 5] = [Class::Audio, Class::Retransmission, Class::Video, Class::Video, Class::Padding];
/// The queue of video that leaves in the order in which it came.
const PROMPT: usize = 2;
/// The queue of video that lets the other pass.
const BEHIND: usize = 3;

/// Queues and budget towards one receiver.
#[derive(Debug)]
pub struct Pacer<T> {
    queues: [Queue<T>; QUEUES.len()],
    /// By [`Paced::stream`].
    streams: Vec<Waiting>,
    rate: Bitrate,
    burst: Duration,
    limits: Limits,
    /// Sent but not yet paid for by time, in millionths of a bit; negative where the caller woke up late.
    debt: i64,
    settled: Instant,
    /// A run is under way: it goes on until the debt is a burst.
    in_run: bool,
    probe: Option<Running>,
    /// Until then no new video leaves.
    held: Option<Instant>,
}

#[derive(Debug)]
struct Queue<T> {
    packets: VecDeque<Packet<T>>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Packet<T> {
    item: T,
    bytes: usize,
    since: Instant,
}

/// What waits of one stream's video.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    /// Bytes in [`PROMPT`].
    bytes: usize,
    /// Packets in [`BEHIND`].
    behind: usize,
}

/// Worked out where the rate changes, since each packet is held against them.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    /// What may be sent at once, and the most that is held against the others, as [`Pacer::debt`].
    burst: i64,
    debt: i64,
    /// Bytes that leave within [`MAX_QUEUE_DELAY`].
    queue: usize,
    /// Bytes of a stream beyond which it lets others pass ([`LARGE`]).
    large: usize,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    probe: Probe,
    expires: Instant,
    bytes: usize,
    packets: u32,
}

impl<T: Paced> Pacer<T> {
    /// An empty pacer.
    pub fn new(now: Instant, rate: Bitrate) -> Self {
        let queues = std::array::from_fn(|_| Queue::default());
        let mut pacer = Pacer {
            queues,
            streams: Vec::new(),
            rate,
            burst: BURST,
            limits: Limits::default(),
            debt: 0,
            settled: now,
            in_run: true,
            probe: None,
            held: None,
        };
        pacer.set_limits();
        pacer
    }

    /// Sets the rate at which video, retransmissions and padding leave, and for how much time's worth they leave at
    /// once.
    pub fn set_rate(&mut self, now: Instant, rate: Bitrate, burst: Duration) {
        self.settle(now);
        if (self.rate, self.burst) != (rate, burst) {
            (self.rate, self.burst) = (rate, burst);
            self.set_limits();
        }
    }

    /// Queues a packet of `bytes` on the wire, behind all of its class and stream.
    pub fn enqueue(&mut self, now: Instant, class: Class, bytes: usize, item: T) -> Result<(), Overflow> {
        self.insert(now, class, bytes, item, None)
    }

    /// Queues a packet whose turn it would have been earlier: before the first of its class that `follows` it.
    pub fn enqueue_late(
        &mut self,
        now: Instant,
        class: Class,
        bytes: usize,
        item: T,
        follows: impl Fn(&T) -> bool,
    ) -> Result<(), Overflow> {
        let place = self
            .queues_of(class)
            .find_map(|(index, queue)| Some((index, queue.packets.iter().position(|packet| follows(&packet.item))?)));
        self.insert(now, class, bytes, item, place)
    }

    /// Queues a packet at its place (queue, and position in it) where it has one, and behind all others where it has
    /// none.
    fn insert(
        &mut self,
        now: Instant,
        class: Class,
        bytes: usize,
        item: T,
        place: Option<(usize, usize)>,
    ) -> Result<(), Overflow> {
        self.settle(now);
        let waits = matches!(class, Class::Retransmission | Class::Video);
        if waits && self.queued_bytes() > self.limits.queue {
            return Err(Overflow);
        }
        let index = place.map_or_else(|| self.queue_for(class, bytes, &item), |(index, _)| index);
        let Some(queue) = self.queues.get_mut(index) else { return Err(Overflow) };
        if queue.packets.len() >= MAX_QUEUE_PACKETS || queue.bytes.saturating_add(bytes) > MAX_QUEUE_BYTES {
            return Err(Overflow);
        }
        let packet = Packet { item, bytes, since: now };
        match place {
            Some((_, position)) => queue.packets.insert(position, packet),
            None => queue.packets.push_back(packet),
        }
        queue.bytes += bytes;
        if let Some(waiting) = self.waiting_of(class, &item) {
            match index {
                BEHIND => waiting.behind += 1,
                _ => waiting.bytes += bytes,
            }
        }
        Ok(())
    }

    /// The queue for what comes in order. Behind what lets others pass the rest of its stream does so too.
    fn queue_for(&self, class: Class, bytes: usize, item: &T) -> usize {
        if class == Class::Video {
            let waiting = self.streams.get(item.stream()).copied().unwrap_or_default();
            let is_large = waiting.behind > 0 || waiting.bytes + bytes > self.limits.large;
            return if is_large { BEHIND } else { PROMPT };
        }
        QUEUES.iter().position(|of| *of == class).unwrap_or_default()
    }

    /// What waits of a video packet's stream.
    fn waiting_of(&mut self, class: Class, item: &T) -> Option<&mut Waiting> {
        let stream = Some(item.stream()).filter(|_| class == Class::Video)?;
        if self.streams.len() <= stream {
            self.streams.resize(stream + 1, Waiting::default());
        }
        self.streams.get_mut(stream)
    }

    /// The next packet that may leave now. Once it is written, [`Self::on_written`] tells its true size.
    pub fn poll(&mut self, now: Instant) -> Option<Released<T>> {
        self.settle(now);
        let (index, class) = self.next()?;
        if class != Class::Audio && !self.is_open() {
            return None;
        }
        let queue = self.queues.get_mut(index)?;
        let Packet { item, bytes, since } = queue.packets.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        if let Some(waiting) = self.waiting_of(class, &item) {
            match index {
                BEHIND => waiting.behind = waiting.behind.saturating_sub(1),
                _ => waiting.bytes = waiting.bytes.saturating_sub(bytes),
            }
        }
        self.charge(bytes);
        // Most leave at the moment at which they came.
        let waited = if since == now { Duration::ZERO } else { now.saturating_duration_since(since) };
        Some(Released { class, bytes, item, waited, probe: self.probe.map(|running| running.probe.id) })
    }

    /// A released packet has left with this many bytes. That may be less than was announced, or a packet may not have
    /// left at all: a probe goes on until as much as it needs is on the wire, or its evaluation would wait for the
    /// rest.
    pub fn on_written(&mut self, bytes: usize) {
        let Some(running) = self.probe.as_mut() else { return };
        running.bytes += bytes;
        running.packets += 1;
        if running.bytes >= running.probe.bytes_min && running.packets >= running.probe.packets_min {
            self.end_probe();
        }
    }

    /// Sizes of the packets of a class that wait, in the order in which they will leave.
    pub fn waiting(&self, class: Class) -> impl Iterator<Item = usize> + '_ {
        self.packets(class).map(|packet| packet.bytes)
    }

    /// Whether one of those that wait is such a packet.
    pub fn holds(&self, class: Class, is_such: impl Fn(&T) -> bool) -> bool {
        self.packets(class).any(|packet| is_such(&packet.item))
    }

    /// When [`Self::poll`] or [`Self::padding_needed`] will have something; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.next().map(|(_, class)| class) {
            Some(Class::Audio) => return Some(self.settled),
            None if self.probe.is_none() => return self.held.filter(|_| self.queued_bytes() > 0),
            _ => {}
        }
        if self.debt <= 0 || self.in_run {
            return Some(self.settled);
        }
        let rate = self.current_rate().as_bps().max(1);
        let wait = Duration::from_micros(self.debt.unsigned_abs().div_ceil(rate)).min(Duration::from_secs(3600));
        Some(self.settled + wait)
    }

    /// Lets no new video leave until then, or until [`Self::release_video`]. A probe goes on with what there is.
    pub fn hold_video(&mut self, now: Instant, until: Instant) {
        self.settle(now);
        self.held = Some(until).filter(|_| self.probe.is_none());
    }

    /// Lets video leave again.
    pub fn release_video(&mut self) {
        self.held = None;
    }

    /// Begins a probe; the packets released from now on are part of it until it is complete.
    pub fn start_probe(&mut self, now: Instant, probe: Probe) {
        self.settle(now);
        self.debt = 0;
        self.in_run = true;
        self.held = None;
        self.probe = Some(Running { probe, expires: now + PROBE_TIMEOUT, bytes: 0, packets: 0 });
        self.set_limits();
    }

    /// Bytes on the wire of the padding packet that a running probe needs now, because there is no media to send. The
    /// caller queues a packet of about that size as [`Class::Padding`].
    pub fn padding_needed(&mut self, now: Instant) -> Option<usize> {
        self.settle(now);
        let running = self.probe?;
        if self.next().is_some() || !self.is_open() {
            return None;
        }
        let packets = running.probe.packets_min.saturating_sub(running.packets).max(1) as usize;
        let bytes = running.probe.bytes_min.saturating_sub(running.bytes);
        Some(bytes.div_ceil(packets).clamp(PADDING.0, PADDING.1))
    }

    /// Gives up the running probe: there is nothing to pad with.
    pub fn abort_probe(&mut self) {
        self.end_probe();
    }

    /// Drops all that is queued.
    pub fn clear(&mut self) {
        for queue in &mut self.queues {
            *queue = Queue::default();
        }
        self.streams.clear();
    }

    /// Changes the sizes of queued packets of a class to those that `revise` names.
    pub fn revise(&mut self, class: Class, mut revise: impl FnMut(&T) -> Option<usize>) {
        for (index, queue) in self.queues.iter_mut().enumerate().filter(|(index, _)| QUEUES.get(*index) == Some(&class))
        {
            for packet in &mut queue.packets {
                let revised = revise(&packet.item).unwrap_or(packet.bytes);
                if let Some(waiting) = self.streams.get_mut(packet.item.stream()).filter(|_| index == PROMPT) {
                    waiting.bytes = (waiting.bytes + revised).saturating_sub(packet.bytes);
                }
                packet.bytes = revised;
            }
            queue.bytes = queue.packets.iter().map(|packet| packet.bytes).sum();
        }
    }

    /// Bytes that wait, of all classes.
    pub fn queued_bytes(&self) -> usize {
        self.queues.iter().map(|queue| queue.bytes).sum()
    }

    /// The queue that is served next, and what is in it.
    fn next(&self) -> Option<(usize, Class)> {
        let may_leave = |(_, class): &(usize, Class)| self.held.is_none() || *class < Class::Video;
        let index = self.queues.iter().position(|queue| !queue.packets.is_empty())?;
        Some((index, *QUEUES.get(index)?)).filter(may_leave)
    }

    /// The packets of a class, in the order in which they will leave.
    fn packets(&self, class: Class) -> impl Iterator<Item = &Packet<T>> {
        self.queues_of(class).flat_map(|(_, queue)| &queue.packets)
    }

    /// The queues of a class with their places among all, in the order in which they are served.
    fn queues_of(&self, class: Class) -> impl Iterator<Item = (usize, &Queue<T>)> {
        let queues = self.queues.iter().enumerate().zip(&QUEUES);
        queues.filter(move |(_, of)| **of == class).map(|(queue, _)| queue)
    }

    /// Whether there is budget. A run begins when all is paid for and ends when a burst has been sent.
    fn is_open(&mut self) -> bool {
        self.in_run = self.debt <= 0 || (self.in_run && self.debt < self.limits.burst);
        self.in_run
    }

    /// Adds a packet to the debt.
    fn charge(&mut self, bytes: usize) {
        let most = self.limits.debt.max(self.debt);
        self.debt =
            self.debt.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(8_000_000)).min(most);
    }

    /// Pays the debt for the time passed. A caller that was woken late catches up, by a burst at most.
    #[inline]
    fn settle(&mut self, now: Instant) {
        // Not in most calls: all that is received or sent at once is for one moment.
        if now > self.settled {
            self.pass_time(now);
        }
    }

    fn pass_time(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.settled);
        self.settled = now;
        self.held = self.held.filter(|until| now < *until);
        let lateness = match self.probe {
            Some(running) => bits_in(running.probe.rate, PROBE_CATCH_UP),
            None if self.next().is_some() => bits_in(self.rate, BURST),
            None => 0,
        };
        self.debt = self.debt.saturating_sub(bits_in(self.current_rate(), elapsed)).max(self.debt.min(-lateness));
        if self.probe.is_some_and(|running| now >= running.expires) {
            self.end_probe();
        }
    }

    fn end_probe(&mut self) {
        self.probe = None;
        self.set_limits();
    }

    fn set_limits(&mut self) {
        let burst = if self.probe.is_some() { PROBE_BURST } else { self.burst };
        let rate = self.current_rate();
        let queue = usize::try_from(self.rate.bytes_in(MAX_QUEUE_DELAY)).unwrap_or(usize::MAX);
        let large = usize::try_from(self.rate.bytes_in(LARGE.0)).unwrap_or(usize::MAX).max(LARGE.1);
        self.limits = Limits { burst: bits_in(rate, burst), debt: bits_in(rate, MAX_DEBT), queue, large };
    }

    fn current_rate(&self) -> Bitrate {
        self.probe.map_or(self.rate, |running| running.probe.rate)
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue { packets: VecDeque::new(), bytes: 0 }
    }
}

/// Millionths of a bit that `rate` carries in `time`.
fn bits_in(rate: Bitrate, time: Duration) -> i64 {
    i64::try_from(u128::from(rate.as_bps()).saturating_mul(time.as_micros())).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
