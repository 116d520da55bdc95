//! What a received media packet is once it has been parsed: the value that uplink, downlink, forwarder and relay share.
//!
//! Parsed once per received packet; every subscriber reads the same value. Owned by a
//! [`crate::uplink::store::PacketStore`].

use crate::rtp::dependency::{References, TargetLayers};
use crate::units::{ExtSeq, PayloadType, RtpTime};
use std::time::Instant;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Opus.
    Audio,
    /// Any video codec.
    Video,
}

/// What a track shows or carries; the client says so when it publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen or window.
    Screen,
    /// Sound that belongs to a shared screen.
    ScreenAudio,
}

/// A set of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources(u8);

impl Sources {
    /// Every source.
    pub const ALL: Sources = Sources(0b1111);

    /// Whether `source` is among them.
    pub fn contains(self, source: Source) -> bool {
        self.0 & source.bit() != 0
    }
}

impl FromIterator<Source> for Sources {
    fn from_iter<I: IntoIterator<Item = Source>>(sources: I) -> Self {
        Sources(sources.into_iter().fold(0, |set, source| set | source.bit()))
    }
}

impl MediaKind {
    /// Hz of the RTP clock: that of Opus for audio, that of every video codec for video.
    pub fn clock_rate(self) -> u32 {
        match self {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        }
    }
}

impl Source {
    fn bit(self) -> u8 {
        match self {
            Source::Camera => 1,
            Source::Microphone => 2,
            Source::Screen => 4,
            Source::ScreenAudio => 8,
        }
    }

    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Source::Camera | Source::Screen => MediaKind::Video,
            Source::Microphone | Source::ScreenAudio => MediaKind::Audio,
        }
    }
}

/// A codec that the server forwards. Parameters that decide whether two payload types mean the same travel along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7587; 48 kHz.
    Opus,
    /// RFC 7741; 90 kHz.
    Vp8,
    /// RFC 9628; 90 kHz.
    Vp9 {
        /// Profile 0 to 3: bit depth and chroma.
        profile: u8,
    },
    /// RTP payload format of the Alliance for Open Media; 90 kHz.
    Av1 {
        /// Profile 0 to 2.
        profile: u8,
    },
    /// RFC 6184; 90 kHz.
    H264 {
        /// `profile_idc` and `profile_iop` of profile-level-id; the level does not decide compatibility.
        profile: u16,
        /// Packetization mode: 0 or 1.
        packetization_mode: u8,
    },
    /// RFC 7798, single stream on a single transport; 90 kHz.
    H265 {
        /// `profile-id`: 1 is Main.
        profile: u8,
        /// `tier-flag`: 0 is Main, 1 High.
        tier: u8,
    },
}

/// A video codec whatever its parameters, as settings and rooms name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoFormat {
    /// VP8.
    Vp8,
    /// VP9 of any profile.
    Vp9,
    /// AV1 of any profile.
    Av1,
    /// H.264 of any profile.
    H264,
    /// H.265 of any profile.
    H265,
}

impl VideoFormat {
    /// The encoding name of `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            VideoFormat::Vp8 => "VP8",
            VideoFormat::Vp9 => "VP9",
            VideoFormat::Av1 => "AV1",
            VideoFormat::H264 => "H264",
            VideoFormat::H265 => "H265",
        }
    }
}

impl Codec {
    /// The video codec without its parameters.
    pub fn video_format(self) -> Option<VideoFormat> {
        match self {
            Codec::Opus => None,
            Codec::Vp8 => Some(VideoFormat::Vp8),
            Codec::Vp9 { .. } => Some(VideoFormat::Vp9),
            Codec::Av1 { .. } => Some(VideoFormat::Av1),
            Codec::H264 { .. } => Some(VideoFormat::H264),
            Codec::H265 { .. } => Some(VideoFormat::H265),
        }
    }

    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self.video_format() {
            None => MediaKind::Audio,
            Some(_) => MediaKind::Video,
        }
    }

    /// RTP clock in Hz.
    pub fn clock_rate(self) -> u32 {
        self.kind().clock_rate()
    }

    /// The encoding name of `a=rtpmap`.
    pub fn name(self) -> &'static str {
        self.video_format().map_or("opus", VideoFormat::name)
    }
}

/// Everything about one received RTP packet that does not depend on who receives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PacketMeta {
    /// Sequence number, unwrapped per encoding.
    pub seq: ExtSeq,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: RtpTime,
    /// RTP marker bit.
    pub marker: bool,
    /// Payload type as the publisher wrote it.
    pub payload_type: PayloadType,
    /// When it reached the server.
    pub arrival: Instant,
    /// RFC 6464 level in -dBov (0 loudest, 127 silence), audio only, where the extension was there.
    pub audio_level: Option<u8>,
    /// Bytes at the payload's front that repeat older packets, with all block headers (RFC 2198); the newest payload
    /// follows. 0 for most packets.
    pub redundant: u16,
    /// What the payload descriptor says about the frame.
    pub frame: FrameMeta,
}

/// What the payload header says about the frame that a packet belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameMeta {
    /// First packet of a frame.
    pub starts_frame: bool,
    /// Last packet of a frame, where the codec has frames of several spatial layers in one picture.
    pub ends_frame: bool,
    /// First packet of a picture from which decoding can start (only ever set together with `starts_frame`).
    pub keyframe: bool,
    /// Only non-slice units of this frame have arrived (H.264, H.265), and they are not a key frame's parameter sets.
    pub is_prelude: bool,
    /// The packet brings the parameter sets (H.264, H.265) that its picture needs, or begins them.
    pub has_parameters: bool,
    /// Spatial layer, 0 where the encoding has none.
    pub spatial: u8,
    /// Temporal layer, 0 where the codec or the encoder has none.
    pub temporal: u8,
    /// From this frame on, a receiver may take this temporal layer: the frame depends on the base layer only.
    pub layer_sync: bool,
    /// No frame of a higher spatial layer is predicted from this one: a receiver that takes a higher layer does not
    /// need it.
    pub unneeded_above: bool,
    /// Picture size of this spatial layer in pixels (width, height), where a key frame tells it.
    pub size: Option<(u16, u16)>,
    /// Fields of the payload descriptor that the rewriter renumbers.
    pub picture: Option<PictureNumbers>,
    /// From which frames it is predicted, where that is known.
    pub dependencies: Option<Dependencies>,
    /// Its dependency descriptor, where it has a readable one.
    pub descriptor: Option<DescriptorPlace>,
}

/// From which frames of its encoding a frame is predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependencies {
    /// Counts the frames of all spatial layers; never wraps, and may leave numbers out.
    pub number: u64,
    /// How far back the frames are that it refers to.
    pub references: References,
}

/// What a dependency descriptor has that receivers see differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorPlace {
    /// Frame number as the publisher wrote it.
    pub frame_number: u16,
    /// Bit offset in the descriptor at which the mask of active decode targets stands, or would stand.
    pub mask_at: u16,
    /// Decode targets that the publisher sends.
    pub active: u32,
    /// Layers of the decode targets.
    pub layers: TargetLayers,
}

/// Payload descriptor fields that must stay continuous for the receiver: VP8 (RFC 7741 section 4.2), VP9 (RFC 9628
/// section 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PictureNumbers {
    /// PictureID: 7 or 15 bits, see `long_picture_id`.
    pub picture_id: u16,
    /// Offset of PictureID's first byte in the payload; 0 where the descriptor has none.
    pub picture_id_at: u8,
    /// Whether PictureID has 15 bits.
    pub long_picture_id: bool,
    /// TL0PICIDX.
    pub tl0_pic_idx: u8,
    /// Offset of TL0PICIDX in the payload; 0 where the descriptor has none.
    pub tl0_at: u8,
    /// Whether a receiver takes a gap in the PictureIDs for a loss (VP8). Otherwise the differences of PictureIDs carry
    /// meaning (VP9), and must stay as they are.
    pub consecutive: bool,
}
