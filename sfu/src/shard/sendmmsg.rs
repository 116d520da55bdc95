//! Several messages by one system call (sendmmsg(2)), each to its own address: datagrams, and runs that the kernel
//! splits (UDP_SEGMENT).
//!
//! `quinn-udp`, by which everything else comes and goes, has no such call. What fails here is left to it, since it
//! knows what an error says about the kernel. On other systems than Linux nothing is sent here.

use quinn_udp::Transmit;
use std::net::UdpSocket;

/// Messages of one call.
const MOST: usize = 64;

/// Room for what the kernel is told about the messages of one call; empty in between.
#[derive(Default)]
pub(super) struct Messages {
    #[cfg(target_os = "linux")]
    room: linux::Room,
}

impl Messages {
    /// Sends messages in their order, at most [`MOST`], and returns how many have left: none where the first could not
    /// be sent.
    pub(super) fn send<'a>(&mut self, socket: &UdpSocket, messages: impl Iterator<Item = Transmit<'a>>) -> usize {
        let messages = messages.take(MOST);
        #[cfg(target_os = "linux")]
        let sent = self.room.send(socket, messages);
        #[cfg(not(target_os = "linux"))]
        let sent = {
            let _ = (socket, messages);
            0
        };
        sent
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use quinn_udp::Transmit;
    use socket2::SockAddr;
    use std::ffi::c_int;
    use std::net::{IpAddr, UdpSocket};
    use std::os::fd::AsRawFd;

    /// Each message has an entry in each of these.
    #[derive(Default)]
    pub(super) struct Room {
        addresses: Vec<SockAddr>,
        contents: Vec<libc::iovec>,
        controls: Vec<Control>,
        headers: Vec<libc::mmsghdr>,
    }

    /// What is said about a message beside its address.
    struct Control {
        bytes: Bytes,
        used: usize,
    }

    /// Aligned as control messages have to be.
    #[repr(C, align(8))]
    struct Bytes([u8; CONTROL_BYTES]);

    /// A size of segments and a source address of IPv6, the longer one.
    const CONTROL_BYTES: usize = space::<u16>() + space::<libc::in6_pktinfo>();

    impl Room {
        pub(super) fn send<'a>(&mut self, socket: &UdpSocket, messages: impl Iterator<Item = Transmit<'a>>) -> usize {
            for message in messages {
                self.addresses.push(message.destination.into());
                let (base, length) = (message.contents.as_ptr().cast_mut().cast(), message.contents.len());
                self.contents.push(libc::iovec { iov_base: base, iov_len: length });
                self.controls.push(Control::of(&message));
            }
            let parts = self.contents.iter_mut().zip(&mut self.controls);
            self.headers.extend(self.addresses.iter().zip(parts).map(|(address, (contents, control))| {
                // SAFETY: a header is numbers and pointers, all of which may be zero.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_name = address.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = address.len();
                header.msg_hdr.msg_iov = contents;
                header.msg_hdr.msg_iovlen = 1;
                if control.used > 0 {
                    header.msg_hdr.msg_control = control.bytes.0.as_mut_ptr().cast();
                    header.msg_hdr.msg_controllen = control.used as _;
                }
                header
            }));
            // SAFETY: every header points to an entry of each of the other vectors, which stay as they are until the
            // call has returned, and from there to contents that the caller lends for longer. The kernel only reads
            // what they point to, and writes the length into the header itself.
            let sent = match self.headers.len() {
                0 => 0,
                count => unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as _, 0) },
            };
            self.headers.clear();
            self.controls.clear();
            self.contents.clear();
            self.addresses.clear();
            usize::try_from(sent).unwrap_or(0)
        }
    }

    impl Control {
        fn of(message: &Transmit<'_>) -> Control {
            let mut control = Control { bytes: Bytes([0; CONTROL_BYTES]), used: 0 };
            if let Some(size) = message.segment_size {
                control.push(libc::SOL_UDP, libc::UDP_SEGMENT, u16::try_from(size).unwrap_or(u16::MAX));
            }
            match message.src_ip {
                None => {}
                Some(IpAddr::V4(ip)) => {
                    let nobody = libc::in_addr { s_addr: 0 };
                    let source = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
                    let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: nobody };
                    control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
                }
                Some(IpAddr::V6(ip)) => {
                    let source = libc::in6_addr { s6_addr: ip.octets() };
                    let info = libc::in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: source };
                    control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
                }
            }
            control
        }

        /// Appends a control message: its header, and its value where the kernel looks for it.
        fn push<T: Copy>(&mut self, level: c_int, kind: c_int, value: T) {
            assert!(self.used + space::<T>() <= CONTROL_BYTES);
            // SAFETY: a header is numbers. It and the value lie within the bytes, as there is space for both, and are
            // aligned: `used` is a sum of CMSG_SPACEs, which keep the alignment of headers.
            unsafe {
                let mut header: libc::cmsghdr = std::mem::zeroed();
                header.cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
                (header.cmsg_level, header.cmsg_type) = (level, kind);
                let at = self.bytes.0.as_mut_ptr().add(self.used);
                at.cast::<libc::cmsghdr>().write(header);
                at.add(libc::CMSG_LEN(0) as usize).cast::<T>().write_unaligned(value);
            }
            self.used += space::<T>();
        }
    }

    /// Bytes of a control message with such a value.
    const fn space<T>() -> usize {
        // SAFETY: it computes with the number alone.
        unsafe { libc::CMSG_SPACE(size_of::<T>() as u32) as usize }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn the_kernel_is_told_the_address_to_send_from() {
        let not_ours: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for (ours, not_ours) in ["127.0.0.1", "::1"].into_iter().zip(not_ours) {
            let ours: IpAddr = ours.parse().unwrap();
            let socket = UdpSocket::bind((ours, 0)).unwrap();
            let destination = socket.local_addr().unwrap();
            let from = |ip| Transmit { destination, ecn: None, contents: &[1], segment_size: None, src_ip: Some(ip) };
            let mut messages = Messages::default();
            let sent = [ours, not_ours].map(|ip| messages.send(&socket, std::iter::once(from(ip))));
            assert_eq!(sent, [1, 0]);
            assert_eq!(messages.send(&socket, [ours, ours, not_ours, ours].into_iter().map(from)), 2);
        }
    }
}
