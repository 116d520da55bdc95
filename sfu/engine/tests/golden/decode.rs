//! From RTP to pictures, by others: `rtc-rtp` puts frames together, FFmpeg decodes them.

use rtc_rtp::codec::av1::Av1Depacketizer;
use rtc_rtp::codec::h264::H264Packet;
use rtc_rtp::codec::h265::{H265Packet, H265Payload};
use rtc_rtp::codec::vp8::Vp8Packet;
use rtc_rtp::codec::vp9::Vp9Packet;
use rtc_rtp::packetizer::Depacketizer;
use sfu_engine::media::Codec;
use sfu_engine::rtp::packet::RtpPacket;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// A picture that the decoder gave out: of several spatial layers the highest.
#[derive(Debug)]
pub struct Picture {
    pub height: u16,
}

/// Bytes for a decoder, with the number of their picture.
type Frames = Vec<(u64, Vec<u8>)>;

/// Decodes packets that follow each other. Whatever the depacketizer or the decoder does not like is an error.
pub fn decode(codec: Codec, packets: &[Vec<u8>], what: &str) -> Vec<Picture> {
    match codec {
        Codec::Vp8 => probe(&ivf(*b"VP80", &vp8(packets)), &["-f", "ivf"], what),
        Codec::Vp9 { .. } => probe(&ivf(*b"VP90", &vp9(packets)), &["-f", "ivf"], what),
        Codec::Av1 { .. } => {
            let options = ["-f", "ivf", "-alllayers", "1"];
            probe(&ivf(*b"AV01", &av1(packets)), &options, what)
        }
        Codec::H264 { .. } => {
            let stream: Vec<u8> = h264(packets).into_iter().flat_map(|(_, bytes)| bytes).collect();
            probe(&stream, &["-f", "h264"], what)
        }
        Codec::H265 { .. } => {
            let stream: Vec<u8> = h265(packets).into_iter().flat_map(|(_, bytes)| bytes).collect();
            probe(&stream, &["-f", "hevc"], what)
        }
        Codec::Opus => panic!("{what}: no video"),
    }
}

/// Puts frames together: `take` gives a packet's share and whether it ends a frame.
fn frames(packets: &[Vec<u8>], mut take: impl FnMut(&RtpPacket<'_>) -> (Vec<u8>, bool)) -> Frames {
    let (mut frames, mut frame, mut picture, mut time, mut marked) = (Vec::new(), Vec::new(), 0, None, false);
    for bytes in packets {
        let packet = RtpPacket::parse(bytes).unwrap();
        if packet.payload().is_empty() {
            continue;
        }
        if time.replace(packet.timestamp()).is_some_and(|before| before != packet.timestamp()) {
            assert!(frame.is_empty() && marked, "picture {picture} has no end");
            picture += 1;
        }
        marked = packet.marker();
        let (share, ends) = take(&packet);
        frame.extend(share);
        if ends {
            frames.push((picture, std::mem::take(&mut frame)));
        }
    }
    // The last picture may have been cut off by the end of the recording.
    frames
}

fn vp8(packets: &[Vec<u8>]) -> Frames {
    let mut depacketizer = Vp8Packet::default();
    frames(packets, |packet| {
        (depacketizer.depacketize(&packet.payload().to_vec().into()).unwrap().to_vec(), packet.marker())
    })
}

/// Each spatial layer's frame by itself, since an elementary stream holds one frame or an indexed superframe.
fn vp9(packets: &[Vec<u8>]) -> Frames {
    frames(packets, |packet| {
        let mut depacketizer = Vp9Packet::default();
        let share = depacketizer.depacketize(&packet.payload().to_vec().into()).unwrap();
        assert!(!packet.marker() || depacketizer.e, "the marker ends a frame");
        (share.to_vec(), depacketizer.e)
    })
}

fn av1(packets: &[Vec<u8>]) -> Frames {
    const TEMPORAL_DELIMITER: [u8; 2] = [0x12, 0];
    let mut depacketizer = Av1Depacketizer::new();
    let mut units = frames(packets, |packet| {
        (depacketizer.depacketize(&packet.payload().to_vec().into()).unwrap().to_vec(), packet.marker())
    });
    for (_, unit) in &mut units {
        unit.splice(0..0, TEMPORAL_DELIMITER);
    }
    units
}

fn h264(packets: &[Vec<u8>]) -> Frames {
    let mut depacketizer = H264Packet::default();
    frames(packets, |packet| {
        (depacketizer.depacketize(&packet.payload().to_vec().into()).unwrap().to_vec(), packet.marker())
    })
}

fn h265(packets: &[Vec<u8>]) -> Frames {
    const START: [u8; 4] = [0, 0, 0, 1];
    frames(packets, |packet| {
        let mut depacketizer = H265Packet::default();
        depacketizer.depacketize(&packet.payload().to_vec().into()).unwrap();
        let mut share = Vec::new();
        match depacketizer.payload() {
            H265Payload::H265SingleNALUnitPacket(unit) => {
                share.extend([&START[..], &unit.payload_header().0.to_be_bytes(), &unit.payload()].concat());
            }
            H265Payload::H265AggregationPacket(units) => {
                let first = units.first_unit().map(|unit| unit.nal_unit());
                for unit in first.into_iter().chain(units.other_units().iter().map(|unit| unit.nal_unit())) {
                    share.extend([&START[..], &unit].concat());
                }
            }
            H265Payload::H265FragmentationUnitPacket(fragment) => {
                if fragment.fu_header().s() {
                    let kind = u16::from(fragment.fu_header().fu_type()) << 9;
                    let header = fragment.payload_header().0 & 0x81FF | kind;
                    share.extend([&START[..], &header.to_be_bytes()].concat());
                }
                share.extend(fragment.payload());
            }
            other => panic!("{other:?}"),
        }
        (share, packet.marker())
    })
}

/// An IVF file. The size in its header is not looked at.
fn ivf(codec: [u8; 4], frames: &Frames) -> Vec<u8> {
    let mut file = b"DKIF\0\0\x20\0".to_vec();
    file.extend(codec);
    for value in [320u16, 180] {
        file.extend(value.to_le_bytes());
    }
    for value in [90_000u32, 3000, frames.len() as u32, 0] {
        file.extend(value.to_le_bytes());
    }
    for (picture, bytes) in frames {
        file.extend((bytes.len() as u32).to_le_bytes());
        file.extend(picture.to_le_bytes());
        file.extend(bytes);
    }
    file
}

/// Lets FFmpeg decode a stream. Pictures of one time are layers of one.
fn probe(stream: &[u8], input: &[&str], what: &str) -> Vec<Picture> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-threads", "1"]).args(input);
    command.args(["-i", "pipe:0", "-show_entries", "frame=pts,height", "-of", "csv=print_section=0"]);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("ffprobe, of Debian's package ffmpeg");
    let mut stdin = child.stdin.take().unwrap();
    let stream = stream.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&stream));
    let output = child.wait_with_output().unwrap();
    // It may stop reading early, which its errors then say.
    let _ = writer.join().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{what}: {complaints}");
    let (mut layers, mut untimed): (BTreeMap<i64, u16>, Vec<Picture>) = Default::default();
    for line in String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()) {
        let mut fields = line.split(',');
        let (pts, height) = (fields.next().unwrap(), fields.next().unwrap().parse::<u16>().unwrap());
        match pts.parse() {
            Ok(pts) => {
                let highest = layers.entry(pts).or_default();
                *highest = height.max(*highest);
            }
            Err(_) => untimed.push(Picture { height }),
        }
    }
    untimed.into_iter().chain(layers.into_values().map(|height| Picture { height })).collect()
}
