//! The encoded media that clients publish: the files of `loadtest/media`, cut into RTP payloads once for all clients.
//!
//! A clip's packets are known beforehand, so a receiver recognises each packet that it opens: which encoding, which
//! packet, and whether every byte is as it was sent. The media itself carries no mark, so a browser that joins the room
//! sees the picture.

use super::container::{annex_b_pictures, ivf_frames, ogg_packets};
use super::payloads;
use crate::client::sdp;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use std::time::Duration;

/// Frames per second of the video clips.
pub(crate) const VIDEO_FPS: u32 = 30;
/// What one Opus packet of the clip lasts.
pub(crate) const AUDIO_PACKET: Duration = Duration::from_millis(20);
/// Bytes at a payload's end by which it is recognised.
const TAIL: usize = 16;

/// A video codec of the clips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// RFC 7741.
    #[default]
    Vp8,
    /// RFC 6184.
    H264,
    /// RFC 9628.
    Vp9,
    /// AV1 RTP specification.
    Av1,
}

impl Codec {
    /// How it is offered.
    pub(crate) fn format(self) -> sdp::VideoFormat {
        match self {
            Codec::Vp8 => sdp::VP8,
            Codec::H264 => sdp::H264,
            Codec::Vp9 => sdp::VP9,
            Codec::Av1 => sdp::AV1,
        }
    }
}

/// The names of a clip's encodings, lowest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];
/// And their heights.
pub(crate) const HEIGHTS: [u16; 3] = [180, 360, 720];

/// One source's media, in a loop. Every encoding has as many frames as the others, and begins with a key frame, its
/// only one.
#[derive(Debug)]
pub(crate) struct Clip {
    /// Lowest first.
    pub(crate) encodings: Vec<Vec<Frame>>,
    /// Bytes at each payload's beginning that a server may rewrite.
    head: usize,
    by_tail: FxHashMap<[u8; TAIL], ChunkId>,
}

/// A frame as RTP payloads.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) payloads: Vec<Vec<u8>>,
    /// Place of its first packet within the encoding.
    pub(crate) first: u32,
}

/// A packet of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkId {
    pub(crate) encoding: u8,
    /// Place within the encoding.
    pub(crate) packet: u32,
    frame: u32,
}

/// What an opened payload turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognised {
    /// This packet, unchanged.
    Intact(ChunkId),
    /// None of the clip's packets, or one that was changed.
    Foreign,
}

/// Cuts a file into frames, and these into payloads.
type Cut = fn(&[u8]) -> Vec<Vec<Vec<u8>>>;

impl Clip {
    /// The clip of a codec, in three encodings.
    pub(crate) fn video(codec: Codec) -> &'static Clip {
        static CLIPS: [OnceLock<Clip>; 4] = [const { OnceLock::new() }; 4];
        macro_rules! files {
            ($($name:literal),*) => { [$(&include_bytes!(concat!("../../media/", $name))[..]),*] };
        }
        CLIPS[codec as usize].get_or_init(|| {
            let (files, cut): (_, Cut) = match codec {
                Codec::Vp8 => {
                    (files!("vp8-q.ivf", "vp8-h.ivf", "vp8-f.ivf"), |file| cut(ivf_frames(file), payloads::vp8))
                }
                Codec::H264 => (files!("h264-q.h264", "h264-h.h264", "h264-f.h264"), |file| {
                    cut(annex_b_pictures(file), payloads::h264)
                }),
                Codec::Vp9 => {
                    (files!("vp9-q.ivf", "vp9-h.ivf", "vp9-f.ivf"), |file| cut(ivf_frames(file), payloads::vp9))
                }
                Codec::Av1 => {
                    (files!("av1-q.ivf", "av1-h.ivf", "av1-f.ivf"), |file| cut(ivf_frames(file), payloads::av1))
                }
            };
            Clip::new(files.into_iter().map(cut).collect(), payloads::head(codec))
        })
    }

    /// The Opus clip.
    pub(crate) fn audio() -> &'static Clip {
        static CLIP: OnceLock<Clip> = OnceLock::new();
        CLIP.get_or_init(|| {
            let packets = ogg_packets(include_bytes!("../../media/opus.ogg"));
            Clip::new(vec![packets.into_iter().map(|packet| vec![packet]).collect()], 0)
        })
    }

    fn new(encodings: Vec<Vec<Vec<Vec<u8>>>>, head: usize) -> Clip {
        let mut by_tail = FxHashMap::default();
        let encodings = encodings.into_iter().enumerate().map(|(encoding, frames)| {
            let mut packet = 0;
            let frames = frames.into_iter().enumerate().map(|(frame, payloads)| {
                let first = packet;
                for payload in &payloads {
                    let id = ChunkId { encoding: encoding as u8, packet, frame: frame as u32 };
                    by_tail.extend(payload.last_chunk::<TAIL>().map(|tail| (*tail, id)));
                    packet += 1;
                }
                Frame { payloads, first }
            });
            frames.collect()
        });
        let encodings = encodings.collect();
        Clip { encodings, head, by_tail }
    }

    /// Frames of each encoding.
    pub(crate) fn frames(&self) -> usize {
        self.encodings.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// How many packets an encoding has.
    pub(crate) fn packets(&self, encoding: usize) -> usize {
        self.encodings[encoding].last().map_or(0, |frame| frame.first as usize + frame.payloads.len())
    }

    /// Which packet an opened payload is.
    pub(crate) fn recognise(&self, payload: &[u8]) -> Recognised {
        let known = payload.last_chunk::<TAIL>().and_then(|tail| self.by_tail.get(tail)).filter(|id| {
            let frame = &self.encodings[usize::from(id.encoding)][id.frame as usize];
            let original = &frame.payloads[(id.packet - frame.first) as usize];
            original.len() == payload.len() && original[self.head..] == payload[self.head..]
        });
        known.map_or(Recognised::Foreign, |id| Recognised::Intact(*id))
    }
}

fn cut(frames: Vec<&[u8]>, payloads: fn(&[u8], bool) -> Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    frames.into_iter().enumerate().map(|(index, frame)| payloads(frame, index == 0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_of_every_clip_is_recognised_and_a_changed_one_is_not() {
        let video = [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1].map(|codec| (Clip::video(codec), 3, 120));
        for (clip, encodings, frames) in video.into_iter().chain([(Clip::audio(), 1, 201)]) {
            assert_eq!((clip.encodings.len(), clip.frames()), (encodings, frames));
            for (encoding, frames) in clip.encodings.iter().enumerate() {
                let mut packet = 0;
                for payload in frames.iter().flat_map(|frame| &frame.payloads) {
                    let Recognised::Intact(id) = clip.recognise(payload) else { panic!("unknown packet {packet}") };
                    assert_eq!((usize::from(id.encoding), id.packet), (encoding, packet));
                    let mut changed = payload.clone();
                    changed[clip.head] ^= 1;
                    assert_eq!(clip.recognise(&changed), Recognised::Foreign);
                    packet += 1;
                }
                assert_eq!(clip.packets(encoding), packet as usize);
            }
        }
    }
}
