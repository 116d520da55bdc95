//! Signaling by the rooms protocol (docs/protocol.md), as much of it as a load needs.

use super::fleet::{Fleet, JOIN_TIMEOUT, Progress, Running};
use super::plan::Seat;
use crate::client::sdp::Answer;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// The version of the protocol.
pub(crate) const VERSION: u32 = 1;

/// Where rooms are.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    /// Host and port.
    pub(crate) authority: String,
    pub(crate) token: Option<String>,
}

/// What the server says, as far as a load or a scenario listens.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum Said {
    #[serde(rename_all = "camelCase")]
    Joined {
        participants: Vec<Participant>,
        resume_token: String,
        resumed: bool,
        slots: Vec<SlotTrack>,
    },
    Answer {
        sdp: String,
        tracks: Vec<AnsweredTrack>,
    },
    Slots {
        slots: Vec<SlotTrack>,
    },
    SlotsWanted {
        audio: usize,
        video: usize,
    },
    Connection {
        state: String,
    },
    Quality {
        details: Option<QualityDetails>,
    },
    Encodings {
        track: String,
        encodings: Vec<EncodingWanted>,
    },
    Error {
        code: String,
        message: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
pub(crate) struct Participant {
    tracks: Vec<Value>,
}

#[derive(Deserialize)]
pub(crate) struct AnsweredTrack {
    pub(crate) mid: String,
    pub(crate) track: String,
}

#[derive(Deserialize)]
pub(crate) struct SlotTrack {
    pub(crate) mid: String,
    pub(crate) track: Option<String>,
    pub(crate) state: Option<SlotNow>,
}

/// Whether anything is sent on a slot.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub(crate) enum SlotNow {
    Paused,
    #[serde(other)]
    Flows,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QualityDetails {
    pub(crate) downlink_estimate: Option<f64>,
}

#[derive(Deserialize)]
pub(crate) struct EncodingWanted {
    pub(crate) rid: Option<String>,
    pub(crate) wanted: bool,
}

/// One participant in its room.
struct Session {
    rooms: Rooms,
    /// The message that resumes it.
    rejoin: Value,
    socket: WebSocketStream<TcpStream>,
    fleet: Arc<Fleet>,
    running: Running,
    /// Own tracks and their sections.
    tracks: Vec<(String, usize)>,
}

/// Joins, stays until told to leave, and leaves. Notes how the join went.
pub(crate) async fn attend(rooms: &Rooms, fleet: &Arc<Fleet>, seat: &Seat, leave: watch::Receiver<bool>) {
    let joined = tokio::time::timeout(JOIN_TIMEOUT, join(rooms, fleet, seat)).await;
    match joined.unwrap_or_else(|_| Err("the server does not answer".into())) {
        Ok((session, progress, began, expects_media)) => session.stay(progress, began, expects_media, leave).await,
        Err(reason) => fleet.note_join(Err(reason)),
    }
}

async fn join(rooms: &Rooms, fleet: &Arc<Fleet>, seat: &Seat) -> Result<(Session, Progress, Instant, bool), String> {
    let mut socket = connect(rooms).await?;
    let began = Instant::now();
    let mut join = json!({"type": "join", "version": VERSION, "room": seat.room, "name": seat.name});
    if let Some(token) = &rooms.token {
        join["token"] = token.clone().into();
    }
    say(&mut socket, &join).await?;
    let live = loop {
        match hear(&mut socket).await? {
            Said::Joined { participants, resume_token, .. } => {
                join["resume"] = resume_token.into();
                break participants.iter().any(|other| !other.tracks.is_empty());
            }
            Said::Error { code, message } => return Err(format!("join: {code}: {message}")),
            _ => {}
        }
    };
    let (id, client) = fleet.client(&seat.publish, seat.slots);
    let sources = seat.publish.iter().enumerate().map(|(mid, media)| {
        let source = match media.kind() {
            sfu_engine::media::MediaKind::Audio => "microphone",
            sfu_engine::media::MediaKind::Video => "camera",
        };
        json!({"mid": mid.to_string(), "source": source})
    });
    let tracks: Vec<Value> = sources.collect();
    if let Some(height) = seat.max_height {
        say(&mut socket, &json!({"type": "subscribe", "default": {"maxHeight": height}})).await?;
    }
    say(&mut socket, &json!({"type": "offer", "id": 1, "sdp": client.offer(), "tracks": tracks})).await?;
    // Slots may be told before the answer that they follow from.
    let mut slots = Vec::new();
    let (answer, tracks) = loop {
        match hear(&mut socket).await? {
            Said::Answer { sdp, tracks } => break (Answer::parse(&sdp), tracks),
            Said::Slots { slots: more } => slots.extend(more),
            Said::Error { code, message } => return Err(format!("offer: {code}: {message}")),
            _ => {}
        }
    };
    let tracks: Vec<_> = tracks.into_iter().filter_map(|t| Some((t.track, t.mid.parse().ok()?))).collect();
    for (track, section) in &tracks {
        if let Some(departures) = client.departures(*section) {
            fleet.publish(track, departures);
        }
    }
    let (running, progress) = fleet.run(id, client, &answer);
    bind(fleet, &running, &slots);
    let session = Session { rooms: rooms.clone(), rejoin: join, socket, fleet: fleet.clone(), running, tracks };
    Ok((session, progress, began, live && seat.slots != (0, 0)))
}

impl Session {
    /// Listens until told to leave, or until the server ends the session. A WebSocket that is lost is opened again:
    /// media goes on meanwhile.
    async fn stay(self, progress: Progress, began: Instant, expects_media: bool, mut leave: watch::Receiver<bool>) {
        let Session { rooms, rejoin, mut socket, fleet, running, tracks } = self;
        let arrive = async { fleet.note_join(progress.arrive(began, expects_media).await) };
        let listen = async {
            loop {
                match hear(&mut socket).await {
                    Ok(Said::Slots { slots }) => bind(&fleet, &running, &slots),
                    Ok(Said::Encodings { track, encodings }) => {
                        let wanted = encodings.into_iter().filter_map(|e| Some((e.rid?, e.wanted))).collect();
                        if let Some((_, section)) = tracks.iter().find(|(own, _)| *own == track) {
                            fleet.set_wanted(running.id, *section, wanted);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => match resume(&rooms, &rejoin).await {
                        Ok((resumed, slots)) => {
                            socket = resumed;
                            bind(&fleet, &running, &slots);
                        }
                        Err(_) => break,
                    },
                }
            }
        };
        // Who leaves before having arrived has not failed: nobody waited.
        tokio::select! {
            ((), ()) = async { tokio::join!(arrive, listen) } => {}
            _ = leave.wait_for(|leave| *leave) => {}
        }
        // The server may have closed already.
        let _ = say(&mut socket, &json!({"type": "leave"})).await;
        let _ = socket.close(None).await;
    }
}

/// Takes a session up again after its WebSocket was lost. Fails where the server has ended it.
async fn resume(rooms: &Rooms, rejoin: &Value) -> Result<(WebSocketStream<TcpStream>, Vec<SlotTrack>), String> {
    let mut socket = connect(rooms).await?;
    say(&mut socket, rejoin).await?;
    loop {
        match hear(&mut socket).await? {
            Said::Joined { resumed: true, slots, .. } => return Ok((socket, slots)),
            Said::Joined { .. } | Said::Error { .. } => return Err("the session is over".into()),
            _ => {}
        }
    }
}

fn bind(fleet: &Fleet, running: &Running, slots: &[SlotTrack]) {
    for slot in slots {
        if let Ok(section) = slot.mid.parse() {
            fleet.bind(running.id, section, slot.track.as_deref());
        }
    }
}

pub(crate) async fn connect(rooms: &Rooms) -> Result<WebSocketStream<TcpStream>, String> {
    let stream = connect_tcp(&rooms.authority).await?;
    let url = format!("ws://{}/ws", rooms.authority);
    let (socket, _) = client_async(url, stream).await.map_err(|error| format!("WebSocket: {error}"))?;
    Ok(socket)
}

/// A TCP connection to a server, from an own address where it is on this machine: servers limit connections by address.
pub(crate) async fn connect_tcp(authority: &str) -> Result<TcpStream, String> {
    let fail = |error: std::io::Error| format!("{authority}: {error}");
    let to =
        tokio::net::lookup_host(authority).await.map_err(fail)?.next().ok_or(format!("{authority}: no address"))?;
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(fail)?;
    if to.ip().is_loopback()
        && let Some(own) = super::ports::own_address(to).filter(|_| to.is_ipv4())
    {
        socket.bind(SocketAddr::new(own.into(), 0)).map_err(fail)?;
    }
    let stream = socket.connect(to).await.map_err(fail)?;
    stream.set_nodelay(true).map_err(fail)?;
    Ok(stream)
}

pub(crate) async fn say(socket: &mut WebSocketStream<TcpStream>, message: &Value) -> Result<(), String> {
    socket.send(Message::text(message.to_string())).await.map_err(|error| format!("WebSocket: {error}"))
}

pub(crate) async fn hear(socket: &mut WebSocketStream<TcpStream>) -> Result<Said, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                // Messages that came later than this program are of no concern to it.
                return Ok(serde_json::from_str(&text).unwrap_or(Said::Other));
            }
            Some(Ok(Message::Close(frame))) => {
                return Err(format!("the server closed the WebSocket: {}", frame.map_or(1005, |f| f.code.into())));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(format!("WebSocket: {error}")),
            None => return Err("the WebSocket was cut".into()),
        }
    }
}
