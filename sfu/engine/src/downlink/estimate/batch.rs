//! One feedback, packet by packet: each report goes to all that measure the path.

use super::Estimator;
use super::PROBE_QUEUE;
use super::feedback::{Acked, OurTime, PacketReport};
use super::history::Fate;
use super::standing::StandingQueue;
use std::time::{Duration, Instant};

/// What one feedback has brought.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) received: usize,
    pub(super) lost: usize,
    pub(super) impossible: usize,
    pub(super) newest_sent: Option<OurTime>,
    /// Queueing of the last packets, newest last.
    pub(super) tail: [Option<Duration>; 3],
}

impl Estimator {
    /// Takes what is told of one packet.
    pub(super) fn take_report(&mut self, now: OurTime, report: &PacketReport, batch: &mut Batch) {
        let (rtt, queueing) = (self.rtt.or_guess(), self.queue > PROBE_QUEUE);
        let Some((sent, entry)) = self.history.find(now, report.transport_seq) else { return };
        let Some(arrival) = report.arrival else {
            if entry.fate == Fate::InFlight {
                entry.fate = Fate::Missing;
                batch.lost += 1;
                self.delay.on_loss();
                if let Some(id) = entry.probe {
                    self.prober.on_lost(id);
                }
                let repair = entry.repair;
                if repair.is_some_and(|source| self.repairs.on_lost(source)) {
                    self.loss.reset(); // it was not the network that lost them
                }
                if !repair.is_some_and(|source| self.repairs.are_unheard(source)) {
                    self.loss.observe(sent, entry.bytes(), true, queueing);
                    self.friendly.observe(sent, true, rtt);
                }
            }
            return;
        };
        if !self.delay.is_possible(now, sent, arrival) {
            batch.impossible += 1;
            return;
        }
        match std::mem::replace(&mut entry.fate, Fate::Received) {
            Fate::Missing => self.loss.recover(),
            _ => {
                self.loss.observe(sent, entry.bytes(), false, queueing);
                self.friendly.observe(sent, false, rtt);
            }
        }
        let packet = Acked { sent, arrival, bytes: entry.bytes() };
        let probe = entry.probe;
        if let Some(source) = entry.repair {
            self.repairs.on_arrived(source);
        }
        batch.received += 1;
        batch.newest_sent = batch.newest_sent.max(Some(packet.sent));
        let queue = self.take_arrival(now, &packet, batch);
        if let Some(id) = probe {
            self.prober.on_acked(id, &packet, queue);
        }
    }

    /// Returns how long the packet queued.
    fn take_arrival(&mut self, now: OurTime, packet: &Acked, batch: &mut Batch) -> Duration {
        // The estimate that there is at the start is a guess. By a low one, what packets of the first cluster queued
        // would pass for their transmission, and that cluster for one that got through.
        let rate = self.prober.first_rate().map_or(self.control.rate(), |first| first.max(self.control.rate()));
        let transmission = rate.time_for(packet.bytes as u64);
        let queue = self.delay.observe(now, packet, transmission);
        if self.delay.take_longer_route() {
            self.standing = StandingQueue::default();
            self.has_other_path = true;
        }
        batch.tail = [batch.tail[1], batch.tail[2], Some(queue)];
        self.delivery.add(packet, queue);
        self.standing.add(packet.sent, self.delay.above_lowest());
        if let Some(spacing) = self.groups.add(packet) {
            self.trendline.add(now, &spacing);
        }
        queue
    }

    /// Ends a feedback: how long the newest packet took, and its report back.
    pub(super) fn take_rtt(&mut self, now: Instant, batch: &Batch) {
        if let Some(sent) = batch.newest_sent {
            self.rtt.add(now, self.time(now).saturating_since(sent));
        }
    }
}
