//! Who joins which room when, and what they publish and watch.

use super::clip::HEIGHTS;
use super::options::Load;
use super::publisher::Media;
use std::time::Duration;

/// Microphones that a client has sections for at most: servers forward the loudest few.
const MOST_AUDIO: usize = 8;
/// Cameras likewise.
const MOST_VIDEO: usize = 49;

/// One participant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seat {
    pub(crate) room: String,
    pub(crate) name: String,
    pub(crate) publish: Vec<Media>,
    /// The names of the publishers that it watches.
    pub(crate) plays: Vec<String>,
    /// Audio and video sections to receive on.
    pub(crate) slots: (usize, usize),
    /// Largest picture asked for.
    pub(crate) max_height: Option<u16>,
    /// When it joins, from the start.
    pub(crate) joins: Duration,
}

impl Seat {
    /// Watches without publishing.
    pub(crate) fn only_watches(&self) -> bool {
        self.publish.is_empty()
    }
}

/// The seats of a load in the order in which they join: room by room, publishers first.
pub(crate) fn seats(load: &Load) -> Vec<Seat> {
    let mut seats = Vec::new();
    for room in 0..load.rooms {
        let publishing = load.participants + load.publishers;
        let names: Vec<String> = (0..publishing).map(|number| format!("p{number}")).collect();
        for (number, name) in names.iter().enumerate() {
            let watches = number < load.participants;
            let plays = names.iter().filter(|other| watches && *other != name).cloned().collect();
            seats.push(seat(load, room, name.clone(), publish(load, number), plays, seats.len()));
        }
        for number in 0..load.subscribers {
            seats.push(seat(load, room, format!("s{number}"), Vec::new(), names.clone(), seats.len()));
        }
    }
    seats
}

fn seat(load: &Load, room: usize, name: String, publish: Vec<Media>, plays: Vec<String>, place: usize) -> Seat {
    let audio = if load.video_only { 0 } else { plays.len().min(MOST_AUDIO) };
    let video = if load.audio_only { 0 } else { plays.len().min(MOST_VIDEO) };
    Seat {
        room: format!("load-{}-{room}", load.seed),
        name,
        publish,
        slots: (audio, video),
        max_height: load.mixed_layers.then(|| HEIGHTS[place % HEIGHTS.len()]).filter(|_| video > 0),
        plays,
        joins: Duration::from_secs_f64(place as f64 / load.join_rate),
    }
}

fn publish(load: &Load, number: usize) -> Vec<Media> {
    let audio = Media::Audio { talking: load.talkers.is_none_or(|talkers| number < talkers) };
    let video = Media::Video { codec: load.codec, simulcast: !load.no_simulcast };
    [(audio, !load.video_only), (video, !load.audio_only)]
        .into_iter()
        .filter_map(|(media, on)| on.then_some(media))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: Load,
    }

    fn plan(line: &str) -> Vec<Seat> {
        seats(&Line::parse_from(["load"].into_iter().chain(line.split_whitespace())).load)
    }

    #[test]
    fn rooms_have_publishers_first_and_watchers_of_all_of_them() {
        let seats = plan("--rooms 2 --publishers 2 --subscribers 3 --talkers 1 --join-rate 10");
        assert_eq!(seats.len(), 10);
        assert_eq!((seats[0].name.as_str(), &seats[0].plays[..], seats[0].slots), ("p0", &[][..], (0, 0)));
        assert_eq!(seats[0].publish.len(), 2);
        assert_eq!([seats[0].publish[0], seats[1].publish[0]], [true, false].map(|talking| Media::Audio { talking }));
        assert_eq!((seats[4].plays.clone(), seats[4].slots), (vec!["p0".to_owned(), "p1".to_owned()], (2, 2)));
        assert!(seats[4].only_watches() && seats[4].room != seats[5].room);
        assert_eq!(seats[9].joins, Duration::from_millis(900));
    }

    #[test]
    fn participants_watch_all_but_themselves() {
        let seats = plan("--participants 12");
        assert_eq!((seats.len(), seats[3].slots, seats[3].plays.len()), (12, (8, 11), 11));
        assert!(!seats[3].plays.contains(&seats[3].name));
    }

    #[test]
    fn layers_and_kinds_follow_the_options() {
        let seats = plan("--subscribers 3 --mixed-layers --video-only --no-simulcast --codec h264");
        let heights: Vec<_> = seats[1..].iter().map(|seat| seat.max_height).collect();
        assert_eq!(heights, [Some(360), Some(720), Some(180)]);
        let codec = super::super::clip::Codec::H264;
        assert_eq!(seats[0].publish, [Media::Video { codec, simulcast: false }]);
        assert_eq!(plan("--audio-only")[1].slots, (1, 0));
    }
}
