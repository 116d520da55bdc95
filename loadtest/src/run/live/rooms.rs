//! Signaling of a scenario by the rooms protocol: a WebSocket for each participant, and what goes over it in the
//! world's words.

use super::remote::{Outside, Signaling, room_name};
use crate::run::rooms::{Rooms, Said, SlotNow, SlotTrack, VERSION, connect, hear, say};
use crate::scenario::{Priority, Source};
use crate::sim::server::Told;
use crate::sim::signal::Signal;
use crate::sim::{Member, Wish};
use mio::Waker;
use serde_json::{Value, json};
use sfu_engine::command::PublishHint;
use sfu_engine::event::{PauseReason, Sending, SlotState};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::media::{self, MediaKind};
use sfu_engine::units::Token;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc as asks;
use tokio::task::JoinHandle;

/// The sessions of all participants.
pub(super) struct Sessions {
    rooms: Rooms,
    room: String,
    cast: Vec<Member>,
    runtime: Handle,
    outside: Outside<Result<Said, String>>,
    heard: mpsc::Receiver<(usize, Result<Said, String>)>,
    /// Who has joined, and not left.
    open: HashMap<usize, asks::UnboundedSender<Value>>,
    tasks: Vec<JoinHandle<()>>,
    /// The server's names of tracks, told by its answers to their publishers.
    names: HashMap<TrackId, String>,
    /// Slots whose track's publisher has not heard its name yet.
    unnamed: Vec<(usize, SlotTrack)>,
    told: VecDeque<Told>,
    estimates: HashMap<usize, f64>,
}

impl Sessions {
    /// Nobody has joined yet.
    pub(super) fn new(rooms: Rooms, cast: Vec<Member>, seed: u64, runtime: &Handle, waker: Arc<Waker>) -> Sessions {
        let (outside, heard) = Outside::new(waker);
        Sessions {
            rooms,
            room: room_name(seed),
            cast,
            runtime: runtime.clone(),
            outside,
            heard,
            open: HashMap::new(),
            tasks: Vec::new(),
            names: HashMap::new(),
            unnamed: Vec::new(),
            told: VecDeque::new(),
            estimates: HashMap::new(),
        }
    }

    /// Says something over somebody's WebSocket. Whoever has left says nothing.
    fn ask(&self, place: usize, message: Value) {
        if let Some(asks) = self.open.get(&place) {
            // A session that has ended has told why.
            let _ = asks.send(message);
        }
    }

    /// What somebody heard, in the world's words.
    fn translate(&mut self, place: usize, said: Said) {
        match said {
            Said::Answer { sdp, tracks } => {
                for track in tracks {
                    if let Ok(index) = track.mid.parse() {
                        self.name(TrackId { participant: ParticipantId(place as u64), index }, track.track);
                    }
                }
                self.told.push_back(Told::Client(place, Signal::Answer(sdp)));
                for (place, slot) in std::mem::take(&mut self.unnamed) {
                    self.take_slots(place, vec![slot]);
                }
            }
            Said::Joined { slots, .. } | Said::Slots { slots } => self.take_slots(place, slots),
            Said::SlotsWanted { audio, video } => {
                self.told.push_back(Told::Client(place, Signal::SlotsWanted(audio, video)));
            }
            Said::Encodings { track, encodings } => {
                let own = self.names.iter().find(|(id, name)| **name == track && id.participant.0 == place as u64);
                let Some(index) = own.map(|(id, _)| id.index as usize) else { return };
                let Some(publish) = self.cast[place].spec.publish.get(index) else { return };
                let ladder = publish.ladder();
                let of = |rid: &Option<String>| encodings.iter().find(|e| e.rid == *rid || ladder.len() == 1);
                let wanted = ladder.iter().map(|encoding| of(&encoding.rid).is_none_or(|e| e.wanted)).collect();
                self.told.push_back(Told::Client(place, Signal::Wanted(index, wanted)));
            }
            Said::Connection { state } if state == "disconnected" => {
                self.told.push_back(Told::Client(place, Signal::Disconnected));
            }
            Said::Quality { details } => {
                if let Some(estimate) = details.and_then(|details| details.downlink_estimate) {
                    self.estimates.insert(place, estimate);
                }
            }
            // A track may end while somebody says what it wants of it.
            Said::Error { code, .. } if code == "not-found" => {}
            Said::Error { code, message } => {
                self.told.push_back(Told::Failed(place, format!("the server refuses what it asks: {code}: {message}")))
            }
            Said::Connection { .. } | Said::Other => {}
        }
    }

    /// The server calls a track so.
    fn name(&mut self, id: TrackId, name: String) {
        let before = self.names.insert(id, name.clone());
        if before.as_ref() == Some(&name) {
            return;
        }
        self.told.extend(before.map(|_| Told::Ended(id)));
        self.told.push_back(Told::Published(id));
    }

    fn take_slots(&mut self, place: usize, slots: Vec<SlotTrack>) {
        let mut states = Vec::new();
        for slot in slots {
            let id = slot.track.as_ref().map(|name| self.names.iter().find(|(_, known)| *known == name));
            let Some(mid) = Token::new(&slot.mid) else { continue };
            match id {
                Some(None) => self.unnamed.push((place, slot)),
                None => states.push(SlotState { mid, kind: MediaKind::Video, track: None }),
                Some(Some((id, _))) => {
                    let publish = self.cast[id.participant.0 as usize].spec.publish.get(id.index as usize);
                    let audio = publish.is_some_and(|publish| publish.source == Source::Microphone);
                    let kind = if audio { MediaKind::Audio } else { MediaKind::Video };
                    // Clients look at whether it is paused, not at why, nor at which layer is said to flow.
                    let sending = match slot.state {
                        Some(SlotNow::Paused) | None => Sending::Paused(PauseReason::NoMedia),
                        Some(SlotNow::Flows) => Sending::Starting,
                    };
                    states.push(SlotState { mid, kind, track: Some((*id, sending)) });
                }
            }
        }
        if !states.is_empty() {
            self.told.push_back(Told::Client(place, Signal::Slots(states)));
        }
    }
}

impl Signaling for Sessions {
    fn join(&mut self, place: usize, default: Option<Wish>) {
        let mut join = json!({"type": "join", "version": VERSION, "room": self.room, "name": self.cast[place].name});
        if let Some(token) = &self.rooms.token {
            join["token"] = token.clone().into();
        }
        let (asks, asked) = asks::unbounded_channel();
        self.open.insert(place, asks);
        let (rooms, outside) = (self.rooms.clone(), self.outside.clone());
        self.tasks.push(self.runtime.spawn(async move {
            if let Err(problem) = attend(&rooms, place, &join, asked, &outside).await {
                outside.tell(place, Err(problem));
            }
        }));
        self.ask(place, json!({"type": "subscribe", "default": preference(default)}));
    }

    fn offer(&mut self, place: usize, sdp: String, published: Vec<PublishHint>) {
        let tracks = published.iter().map(|hint| {
            let source = match hint.source {
                media::Source::Microphone => "microphone",
                media::Source::Screen => "screen",
                media::Source::ScreenAudio => "screen-audio",
                media::Source::Camera => "camera",
            };
            json!({"mid": hint.mid.as_str(), "source": source, "muted": hint.muted})
        });
        let tracks: Vec<Value> = tracks.collect();
        self.ask(place, json!({"type": "offer", "id": 1, "sdp": sdp, "tracks": tracks}));
    }

    fn prefer(&mut self, place: usize, track: TrackId, wish: Option<Wish>) {
        let Some(name) = self.names.get(&track) else { return };
        let mut entry = preference(wish);
        entry["track"] = name.clone().into();
        self.ask(place, json!({"type": "subscribe", "tracks": [entry]}));
    }

    fn set_muted(&mut self, track: TrackId, muted: bool) {
        if let Some(name) = self.names.get(&track) {
            self.ask(track.participant.0 as usize, json!({"type": "mute", "track": name, "muted": muted}));
        }
    }

    fn leave(&mut self, place: usize) {
        self.open.remove(&place);
        let ended: Vec<_> = self.names.keys().copied().filter(|id| id.participant.0 == place as u64).collect();
        self.told.extend(ended.into_iter().map(Told::Ended));
    }

    fn poll(&mut self) -> Option<Told> {
        while let Ok((place, said)) = self.heard.try_recv() {
            match said {
                Ok(said) => self.translate(place, said),
                Err(problem) if self.open.contains_key(&place) => self.told.push_back(Told::Failed(place, problem)),
                Err(_) => {}
            }
        }
        self.told.pop_front()
    }

    fn estimate(&self, place: usize) -> Option<f64> {
        self.estimates.get(&place).copied()
    }

    fn close(mut self: Box<Self>, runtime: &Runtime, patience: Duration) {
        self.open.clear();
        let all = futures_util::future::join_all(std::mem::take(&mut self.tasks));
        // Whoever does not get to say goodbye in time is cut off.
        let _ = runtime.block_on(async { tokio::time::timeout(patience, all).await });
    }
}

/// Joins, then says what is asked of it and passes on what it hears, until nothing can be asked any more: then it
/// leaves.
async fn attend(
    rooms: &Rooms,
    place: usize,
    join: &Value,
    mut asked: asks::UnboundedReceiver<Value>,
    outside: &Outside<Result<Said, String>>,
) -> Result<(), String> {
    let mut socket = connect(rooms).await?;
    say(&mut socket, join).await?;
    loop {
        match hear(&mut socket).await? {
            Said::Error { code, message } => return Err(format!("join: {code}: {message}")),
            said @ Said::Joined { .. } => break outside.tell(place, Ok(said)),
            _ => {}
        }
    }
    loop {
        tokio::select! {
            message = asked.recv() => match message {
                Some(message) => say(&mut socket, &message).await?,
                None => break,
            },
            said = hear(&mut socket) => outside.tell(place, Ok(said?)),
        }
    }
    say(&mut socket, &json!({"type": "leave"})).await?;
    // The server may have closed already.
    let _ = socket.close(None).await;
    Ok(())
}

fn preference(wish: Option<Wish>) -> Value {
    let Some(Wish { tile, priority }) = wish else { return json!({"enabled": false}) };
    let priority = match priority {
        Priority::Pinned => "pinned",
        Priority::Screen => "screen",
        Priority::Speaker => "speaker",
        Priority::Visible => "visible",
        Priority::Hidden => "hidden",
    };
    json!({"enabled": true, "maxHeight": tile.height, "priority": priority})
}
