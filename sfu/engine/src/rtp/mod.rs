//! RTP: reading and writing packets (RFC 3550), header extensions (RFC 8285), payload descriptors.

pub mod bits;
pub mod codec;
pub mod dependency;
pub mod extension;
pub mod frame_marking;
pub mod layers_allocation;
pub mod packet;
pub mod red;
pub mod template;
