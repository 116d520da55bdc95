//! What processes use, by /proc: CPU time, memory, and datagrams that their sockets had no room for. Where there is no
//! /proc, nothing is known.

use rustix::param::clock_ticks_per_second;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// CPU time used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CpuTime {
    pub(crate) user: Duration,
    pub(crate) kernel: Duration,
}

impl CpuTime {
    pub(crate) fn total(&self) -> Duration {
        self.user + self.kernel
    }

    /// What was used since an earlier moment.
    pub(crate) fn since(&self, earlier: &CpuTime) -> CpuTime {
        let CpuTime { user, kernel } = *earlier;
        CpuTime { user: self.user.saturating_sub(user), kernel: self.kernel.saturating_sub(kernel) }
    }
}

/// A process and those that it started.
#[derive(Clone, Debug)]
pub(crate) struct ProcessTree {
    root: u32,
}

impl ProcessTree {
    /// Fails where there is no such process, or no /proc.
    pub(crate) fn new(root: u32) -> Result<ProcessTree, String> {
        Stat::read(root).map(|_| ProcessTree { root }).ok_or_else(|| format!("no process {root} under /proc"))
    }

    /// This process.
    pub(crate) fn own() -> ProcessTree {
        ProcessTree { root: std::process::id() }
    }

    /// The process that the others come from.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// Whether that one is still there, and no mere entry whose exit status nobody has read.
    pub(crate) fn is_running(&self) -> bool {
        Stat::read(self.root).is_some_and(|stat| !stat.is_zombie)
    }

    /// CPU time of all.
    pub(crate) fn cpu(&self) -> CpuTime {
        let mut sum = CpuTime::default();
        for stat in self.members() {
            sum.user += stat.cpu.user;
            sum.kernel += stat.cpu.kernel;
        }
        sum
    }

    /// CPU time of each thread of all, by its id.
    pub(crate) fn threads(&self) -> BTreeMap<u32, Duration> {
        let tasks = |process: Stat| fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten();
        let thread = |entry: fs::DirEntry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let thread = Stat::parse(entry.file_name().to_str()?.parse().ok()?, &stat)?;
            Some((thread.pid, thread.cpu.total()))
        };
        self.members().into_iter().flat_map(tasks).filter_map(thread).collect()
    }

    /// Resident memory of all in bytes.
    pub(crate) fn rss(&self) -> u64 {
        self.members().iter().map(|stat| stat.rss).sum()
    }

    /// Datagrams that the UDP sockets of all had no room for.
    pub(crate) fn drops(&self) -> u64 {
        let inodes: BTreeSet<u64> = self.members().iter().flat_map(|stat| socket_inodes(stat.pid)).collect();
        ["udp", "udp6"].iter().map(|table| drops(self.root, table, &inodes)).sum()
    }

    fn members(&self) -> Vec<Stat> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let all: Vec<Stat> = pids.filter_map(Stat::read).collect();
        let mut members: Vec<u32> = vec![self.root];
        let mut next = 0;
        while let Some(parent) = members.get(next).copied() {
            members.extend(all.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
            next += 1;
        }
        all.into_iter().filter(|stat| members.contains(&stat.pid)).collect()
    }
}

/// What /proc says of a process.
#[derive(Clone, Copy, Debug)]
struct Stat {
    pid: u32,
    parent: u32,
    cpu: CpuTime,
    rss: u64,
    is_zombie: bool,
}

impl Stat {
    fn read(pid: u32) -> Option<Stat> {
        Stat::parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Fields as proc_pid_stat(5) has them; the name before them may contain anything but ends with the last
    /// parenthesis.
    fn parse(pid: u32, text: &str) -> Option<Stat> {
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |number| Some(Duration::from_secs_f64(field(number)? as f64 / clock_ticks_per_second() as f64));
        let cpu = CpuTime { user: ticks(14)?, kernel: ticks(15)? };
        let rss = field(24)? * rustix::param::page_size() as u64;
        Some(Stat { pid, parent: field(4)? as u32, cpu, rss, is_zombie: fields.first() == Some(&"Z") })
    }
}

fn socket_inodes(pid: u32) -> Vec<u64> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inode = |link: fs::DirEntry| {
        let target = fs::read_link(link.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    links.filter_map(inode).collect()
}

/// The last column of a socket table counts drops, the tenth is the inode.
fn drops(pid: u32, table: &str, inodes: &BTreeSet<u64>) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
    let of = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let inode: u64 = fields.get(9)?.parse().ok()?;
        inodes.contains(&inode).then(|| fields.last()?.parse::<u64>().ok())?
    };
    text.lines().skip(1).filter_map(of).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let line = "7 (a) b) S 3 1 1 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 9 4096 12 18446744073709551615";
        let stat = Stat::parse(7, line).unwrap();
        let ticks = clock_ticks_per_second() as f64;
        assert_eq!((stat.parent, stat.rss, stat.is_zombie), (3, 12 * rustix::param::page_size() as u64, false));
        assert_eq!(stat.cpu.user, Duration::from_secs_f64(250.0 / ticks));
        assert_eq!(stat.cpu.kernel, Duration::from_secs_f64(50.0 / ticks));
    }

    #[test]
    fn a_process_that_has_ended_is_not_running_also_before_its_exit_status_is_read() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let process = ProcessTree::new(child.id()).unwrap();
        assert!(process.is_running() && ProcessTree::own().is_running());
        drop(child.stdin.take());
        while process.is_running() {
            std::thread::yield_now();
        }
        assert!(Stat::read(process.root()).is_some_and(|stat| stat.is_zombie));
        child.wait().unwrap();
        assert!(!process.is_running());
    }

    #[test]
    fn threads_are_told_apart() {
        let (begin, began) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let until = std::time::Instant::now() + Duration::from_millis(100);
            while std::time::Instant::now() < until {}
            begin.send(rustix::thread::gettid()).unwrap();
            std::thread::park();
        });
        let id = began.recv().unwrap().as_raw_nonzero().get() as u32;
        let threads = ProcessTree::own().threads();
        assert!(threads[&id] > Duration::ZERO && threads.contains_key(&std::process::id()), "{threads:?}");
        thread.thread().unpark();
        thread.join().unwrap();
    }

    #[test]
    fn a_full_socket_shows_its_drops() {
        let (own, socket) = (ProcessTree::own(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let (to, before) = (socket.local_addr().unwrap(), own.drops());
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        (0..64).for_each(|_| assert_eq!(sender.send_to(&[0; 1000], to).unwrap(), 1000));
        assert!(own.drops() > before);
        assert!(own.rss() > 0 && ProcessTree::new(u32::MAX).is_err());
    }
}
