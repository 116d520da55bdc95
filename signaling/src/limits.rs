//! Limits on how often and how many: token buckets for messages, a count of connections.

use crate::error::{Refusal, ServiceError};
use dashmap::DashMap;
use stats::{ControlPlane, Gauge};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::time::{Duration, Instant};

/// Allows a burst, and a steady rate after that.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    tokens: f64,
    capacity: f64,
    per_second: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket of `capacity` tokens that gets one more every `refill`.
    pub(crate) fn new(capacity: u32, refill: Duration, now: Instant) -> TokenBucket {
        let capacity = f64::from(capacity);
        TokenBucket { tokens: capacity, capacity, per_second: refill.as_secs_f64().recip(), filled_at: now }
    }

    /// Takes a token. False where there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = (now - self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.capacity);
        self.filled_at = now;
        let allowed = self.tokens >= 1.0;
        if allowed {
            self.tokens -= 1.0;
        }
        allowed
    }
}

/// Open connections, in all and by address: WebSockets, or sessions over HTTP.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: usize,
    limit_per_address: usize,
    open: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
    counters: Arc<ControlPlane>,
    /// Where they are counted.
    gauge: fn(&ControlPlane) -> &Gauge,
}

/// One open connection; dropping it makes place for another.
#[derive(Debug)]
pub(crate) struct Permit {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    pub(crate) fn new(
        limit: usize,
        limit_per_address: usize,
        counters: Arc<ControlPlane>,
        gauge: fn(&ControlPlane) -> &Gauge,
    ) -> Arc<Connections> {
        let (open, by_address) = (AtomicUsize::new(0), DashMap::new());
        Arc::new(Connections { limit, limit_per_address, open, by_address, counters, gauge })
    }

    /// Counts a new connection from `address`, or says which limit it is over.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Permit, Refusal> {
        let address = subscriber(address);
        if self.open.fetch_add(1, Relaxed) >= self.limit {
            self.open.fetch_sub(1, Relaxed);
            return Err(ServiceError::Overloaded.into());
        }
        let mut count = self.by_address.entry(address).or_default();
        if *count >= self.limit_per_address {
            self.open.fetch_sub(1, Relaxed);
            return Err(Refusal::TooManyConnections);
        }
        *count += 1;
        (self.gauge)(&self.counters).increment();
        Ok(Permit { connections: self.clone(), address })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        (self.connections.gauge)(&self.connections.counters).decrement();
        self.connections.open.fetch_sub(1, Relaxed);
        if let Some(mut count) = self.connections.by_address.get_mut(&self.address) {
            *count -= 1;
        }
        self.connections.by_address.remove_if(&self.address, |_, count| *count == 0);
    }
}

/// The address that stands for one subscriber: an IPv6 network is a /64.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(3, Duration::from_millis(100), start);
        let taken = |bucket: &mut TokenBucket, at: Duration| (0..10).filter(|_| bucket.take(start + at)).count();
        assert_eq!(taken(&mut bucket, Duration::ZERO), 3);
        assert_eq!(taken(&mut bucket, Duration::from_millis(99)), 0);
        assert_eq!(taken(&mut bucket, Duration::from_millis(201)), 2);
        assert_eq!(taken(&mut bucket, Duration::from_secs(60)), 3, "no more than the burst after a long rest");
    }

    #[test]
    fn connections_are_limited_by_subscriber_and_in_all() {
        let counters = Arc::<ControlPlane>::default();
        let connections = Connections::new(3, 2, counters.clone(), |counters| &counters.websocket_sessions);
        let admit = |text: &str| connections.admit(text.parse().expect("an address"));
        let first = admit("192.0.2.1").expect("within limits");
        let _second = admit("::ffff:192.0.2.1").expect("within limits");
        assert_eq!(admit("192.0.2.1").expect_err("the third"), Refusal::TooManyConnections);
        let third = admit("2001:db8::1").expect("another subscriber");
        assert_eq!(admit("192.0.2.9").expect_err("the fourth"), ServiceError::Overloaded.into());
        assert_eq!(counters.websocket_sessions.get(), 3);

        drop(third);
        drop(first);
        let _one = admit("2001:db8::1").expect("place again");
        let _other = admit("2001:db8::ffff").expect("same /64, within the limit");
        drop((_one, _other, _second));
        assert!(connections.by_address.is_empty(), "nothing is remembered of who left");
        assert_eq!(counters.websocket_sessions.get(), 0);
    }
}
