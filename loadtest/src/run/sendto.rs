//! S: what one plain `sendto` of 1150 bytes over loopback costs in CPU on this machine, the unit of all figures about
//! CPU.

use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::net::UdpSocket;
use std::time::Duration;

/// A packet of media.
const BYTES: usize = 1150;
/// Packets between two looks at the clock; they fit the receiver's buffer.
const BATCH: usize = 32;
const BATCHES: usize = 2000;

/// Measures S: the median over batches of the CPU time that the sending thread used, without receiving. Takes a
/// fraction of a second.
pub(crate) fn measure() -> io::Result<Duration> {
    let (sender, receiver) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    receiver.set_nonblocking(true)?;
    let to = receiver.local_addr()?;
    let mut packet = [0x55; BYTES];
    let mut times = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let began = cpu_time();
        for _ in 0..BATCH {
            sender.send_to(&packet, to)?;
        }
        times.push(cpu_time().saturating_sub(began) / BATCH as u32);
        while receiver.recv(&mut packet).is_ok() {}
    }
    times.sort_unstable();
    Ok(times[BATCHES / 2])
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_more_than_nothing() {
        assert!(super::measure().unwrap() > std::time::Duration::from_nanos(50));
    }
}
