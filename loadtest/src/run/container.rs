//! The files that FFmpeg writes, taken apart: IVF, H.264's byte stream format, Ogg. The files are our own, so what they
//! do not use is not read.

/// The frames of an IVF file: a header of 32 bytes, then for each frame its length, a timestamp and its bytes.
pub(crate) fn ivf_frames(file: &[u8]) -> Vec<&[u8]> {
    let mut rest = file.get(32..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, tail)) = rest.split_first_chunk::<12>() {
        let [a, b, c, d, ..] = *header;
        let Some((frame, tail)) = tail.split_at_checked(u32::from_le_bytes([a, b, c, d]) as usize) else { break };
        frames.push(frame);
        rest = tail;
    }
    frames
}

/// The access units of a byte stream (H.264 annex B), each still with its start codes. Every one begins with a
/// delimiter.
pub(crate) fn annex_b_pictures(file: &[u8]) -> Vec<&[u8]> {
    const DELIMITER: &[u8] = &[0, 0, 0, 1, 9];
    let starts: Vec<usize> =
        file.windows(DELIMITER.len()).enumerate().filter(|(_, bytes)| *bytes == DELIMITER).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts.iter().zip(ends).map(|(from, to)| &file[*from..to]).collect()
}

/// The NAL units of an access unit, without start codes.
pub(crate) fn nal_units(picture: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> =
        picture.windows(3).enumerate().filter(|(_, bytes)| *bytes == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([picture.len()]);
    let units = starts.iter().zip(ends).map(|(from, to)| &picture[from + 3..to]);
    // The zeros before a four-byte start code are no part of the unit before it.
    units.map(|unit| &unit[..unit.len() - unit.iter().rev().take_while(|byte| **byte == 0).count()]).collect()
}

/// The packets of an Ogg file with one stream (RFC 3533), without the two that are Opus headers (RFC 7845).
pub(crate) fn ogg_packets(file: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = vec![Vec::new()];
    let mut rest = file;
    while let Some((header, tail)) = rest.split_first_chunk::<27>() {
        let Some((lacing, mut body)) = tail.split_at_checked(usize::from(header[26])) else { break };
        for length in lacing {
            let Some((segment, after)) = body.split_at_checked(usize::from(*length)) else { break };
            packets.last_mut().expect("one is open").extend_from_slice(segment);
            // A packet goes on where its segment is full.
            if *length < 255 {
                packets.push(Vec::new());
            }
            body = after;
        }
        rest = body;
    }
    packets.pop();
    packets.split_off(2.min(packets.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_come_without_start_codes() {
        let picture = [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x65, 3];
        assert_eq!(nal_units(&picture), [&[9u8, 0xf0][..], &[0x67, 1, 2], &[0x65, 3]]);
        assert_eq!(annex_b_pictures(&[picture, picture].concat()), [picture, picture]);
    }

    #[test]
    fn a_packet_of_ogg_may_span_segments() {
        let mut page = vec![0; 26];
        page.extend([5, 1, 1, 255, 3, 2]);
        page.extend([9, 9]);
        page.extend([7; 258]);
        page.extend([8; 2]);
        assert_eq!(ogg_packets(&page), [vec![7; 258], vec![8; 2]]);
    }
}
