//! Signaling of a scenario by WHIP and WHEP: one request for each participant, who publishes or plays.

use super::remote::{Outside, Signaling, room_name};
use crate::run::fleet::JOIN_TIMEOUT;
use crate::run::http::{Endpoints, absolute, fill, request};
use crate::scenario::Source;
use crate::sim::server::Told;
use crate::sim::signal::Signal;
use crate::sim::{Member, Wish};
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};
use mio::Waker;
use sfu_engine::command::PublishHint;
use sfu_engine::event::{Sending, SlotState};
use sfu_engine::ids::{ParticipantId, TrackId};
use sfu_engine::media::MediaKind;
use sfu_engine::units::Token;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Between two tries to play what nobody publishes yet.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The sessions of all participants.
pub(super) struct Sessions {
    endpoints: Endpoints,
    room: String,
    cast: Vec<Member>,
    runtime: Handle,
    outside: Outside<Result<String, String>>,
    heard: mpsc::Receiver<(usize, Result<String, String>)>,
    /// Ends the session of whoever is there.
    open: HashMap<usize, oneshot::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
    told: VecDeque<Told>,
}

impl Sessions {
    /// Nobody is there yet.
    pub(super) fn new(
        endpoints: Endpoints,
        cast: Vec<Member>,
        seed: u64,
        runtime: &Handle,
        waker: Arc<Waker>,
    ) -> Sessions {
        let (outside, heard) = Outside::new(waker);
        Sessions {
            endpoints,
            room: room_name(seed),
            cast,
            runtime: runtime.clone(),
            outside,
            heard,
            open: HashMap::new(),
            tasks: Vec::new(),
            told: VecDeque::new(),
        }
    }

    fn url(&self, place: usize) -> String {
        let name = &self.cast[place].name;
        match self.plays(place) {
            Some(publisher) => fill(&self.endpoints.whep, &self.room, &self.cast[publisher].name, name),
            None => fill(&self.endpoints.whip, &self.room, name, name),
        }
    }

    /// The place of the one whom somebody plays.
    fn plays(&self, place: usize) -> Option<usize> {
        let member = &self.cast[place];
        self.cast
            .iter()
            .enumerate()
            .find(|(other, publisher)| *other != place && !member.wanted_of(publisher).is_empty())
            .map(|(other, _)| other)
    }

    /// WHEP tells nothing of what sections carry, but there is one track of a kind, which flows.
    fn slots(&self, place: usize) -> Vec<SlotState> {
        let Some(publisher) = self.plays(place) else { return Vec::new() };
        let mut wanted = self.cast[place].wanted_of(&self.cast[publisher]);
        // Sections to receive sound on come first.
        wanted.sort_by_key(|(_, source)| *source != Source::Microphone);
        let slots = wanted.into_iter().enumerate().filter_map(|(mid, (index, source))| {
            let kind = if source == Source::Microphone { MediaKind::Audio } else { MediaKind::Video };
            let id = TrackId { participant: ParticipantId(publisher as u64), index: index as u32 };
            Some(SlotState { mid: Token::new(&mid.to_string())?, kind, track: Some((id, Sending::Starting)) })
        });
        slots.collect()
    }
}

impl Signaling for Sessions {
    /// There is nothing to join: the offer does it.
    fn join(&mut self, _place: usize, _default: Option<Wish>) {}

    fn offer(&mut self, place: usize, sdp: String, _published: Vec<PublishHint>) {
        let (leave, leaves) = oneshot::channel();
        self.open.insert(place, leave);
        let (url, token, outside) = (self.url(place), self.endpoints.token.clone(), self.outside.clone());
        self.tasks.push(self.runtime.spawn(async move {
            let session = match post(&url, token.as_deref(), sdp).await {
                Ok((answer, session)) => {
                    outside.tell(place, Ok(answer));
                    session
                }
                Err(problem) => return outside.tell(place, Err(problem)),
            };
            // An error means that the run is over, which is the same.
            let _ = leaves.await;
            if let Some(session) = session {
                let _ = request(Method::DELETE, &session, token.as_deref(), String::new()).await;
            }
        }));
    }

    /// What is played is all that can be said, and the URL says it.
    fn prefer(&mut self, _place: usize, _track: TrackId, _wish: Option<Wish>) {}

    /// Scenarios that mute are refused.
    fn set_muted(&mut self, _track: TrackId, _muted: bool) {}

    fn leave(&mut self, place: usize) {
        self.open.remove(&place);
    }

    fn poll(&mut self) -> Option<Told> {
        while let Ok((place, answer)) = self.heard.try_recv() {
            match answer {
                Ok(sdp) => {
                    self.told.push_back(Told::Client(place, Signal::Answer(sdp)));
                    self.told.push_back(Told::Client(place, Signal::Slots(self.slots(place))));
                }
                Err(problem) => self.told.push_back(Told::Failed(place, problem)),
            }
        }
        self.told.pop_front()
    }

    /// WHEP does not tell.
    fn estimate(&self, _place: usize) -> Option<f64> {
        None
    }

    fn close(mut self: Box<Self>, runtime: &Runtime, patience: Duration) {
        self.open.clear();
        let all = futures_util::future::join_all(std::mem::take(&mut self.tasks));
        // Whoever does not get to say goodbye in time is cut off.
        let _ = runtime.block_on(async { tokio::time::timeout(patience, all).await });
    }
}

/// Posts an offer until it is answered: who plays may come before who publishes. Returns the answer and the session's
/// URL.
async fn post(url: &str, token: Option<&str>, offer: String) -> Result<(String, Option<String>), String> {
    let began = Instant::now();
    loop {
        let posted = tokio::time::timeout(JOIN_TIMEOUT, request(Method::POST, url, token, offer.clone())).await;
        let response = posted.map_err(|_| format!("POST {url}: no response"))??;
        let text = String::from_utf8_lossy(response.body()).into_owned();
        let status = response.status();
        if status.is_success() {
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            return Ok((text, location.and_then(|location| absolute(url, location))));
        }
        let not_yet = [StatusCode::NOT_FOUND, StatusCode::CONFLICT, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        if !not_yet || began.elapsed() > JOIN_TIMEOUT {
            return Err(format!("POST {url}: {status}: {}", text.trim()));
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}
