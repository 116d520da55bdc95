//! What `examples/record.rs` has written: an offer, and the packets behind it.

use std::path::Path;
use std::time::Duration;

/// One recording.
pub struct Capture {
    /// `<browser>-<codec>-<mode>`.
    pub name: String,
    /// The SDP with which the browser offered to send.
    pub offer: String,
    /// Plain RTP, with the time of arrival since the start.
    pub packets: Vec<(Duration, Vec<u8>)>,
}

impl Capture {
    /// Every capture of a codec, in the order of their names.
    pub fn all(codec: &str) -> Vec<Capture> {
        let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/captures"));
        let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut offers: Vec<_> = paths.filter(|path| path.extension().is_some_and(|suffix| suffix == "sdp")).collect();
        offers.sort();
        let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        let of_codec = offers.into_iter().filter(|path| name(path).split('-').nth(1) == Some(codec));
        let read = |path: std::path::PathBuf| Capture {
            name: name(&path),
            offer: std::fs::read_to_string(&path).unwrap(),
            packets: rtpdump(&std::fs::read(path.with_extension("rtp")).unwrap()),
        };
        of_codec.map(read).collect()
    }
}

/// The format of rtptools' rtpdump: a line, 16 bytes, and before each packet the lengths with and without its header,
/// and milliseconds.
fn rtpdump(file: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let line = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut rest = &file[line + 16..];
    let mut packets = Vec::new();
    while let Some((header, tail)) = rest.split_first_chunk::<8>() {
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let at = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        packets.push((Duration::from_millis(u64::from(at)), tail[..len].to_vec()));
        rest = &tail[len..];
    }
    packets
}
