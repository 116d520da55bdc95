/** What `Room` takes and says, as types. */
export {};

/** @typedef {import("./participant.js").Participant} Participant */
/** @typedef {import("./participant.js").RemoteTrack} RemoteTrack */
/** @typedef {import("./publish.js").LocalTrack} LocalTrack */
/** @typedef {import("./errors.js").SluiceError} SluiceError */

/**
 * @typedef {{
 *   room: string,
 *   name: string,
 *   token?: string,
 *   codec?: string,
 *   scalabilityMode?: string,
 *   simulcast?: number,
 *   subscribe?: boolean,
 *   maxHeight?: number,
 *   forceTcp?: boolean, forceRelay?: boolean,
 *   passphrase?: string,
 * }} Options
 * `codec`: publish video in this codec only, "vp8", "h264", "vp9" or "av1"; `scalabilityMode`: as one encoding with these layers (W3C
 * webrtc-svc) instead of several; `simulcast`: publish at most so many encodings of a video; `subscribe: false`: receive nothing;
 * `maxHeight`: never receive more lines than this; `forceTcp`: ignore the server's UDP candidates;
 * `forceRelay`: go through a TURN server, of which the server must know one;
 * `passphrase`: encrypt media from end to end, for those in the room who have the same one
 */

/**
 * `cause`: what is being repaired, the WebSocket or the media path.
 * @typedef {{ state: "connected" | "reconnecting" | "closed", cause: "signaling" | "media" | null }} State
 */

/**
 * @typedef {{
 *   "state": State,
 *   "participant-joined": Participant,
 *   "participant-left": { participant: Participant, reason: import("./protocol.js").LeaveReason },
 *   "track-published": RemoteTrack,
 *   "track-ended": RemoteTrack,
 *   "track-muted": RemoteTrack,
 *   "track-state": RemoteTrack,
 *   "local-track": LocalTrack,
 *   "local-track-ended": LocalTrack,
 *   "device-lost": LocalTrack,
 *   "muted-by-server": LocalTrack,
 *   "speaker": string | null,
 *   "quality": { participant: string, score: number, details?: import("./protocol.js").QualityDetails },
 *   "audio-blocked": boolean,
 *   "data": import("./data.js").Received & { participant?: Participant },
 *   "data-lost": { messages: number },
 *   "data-state": boolean,
 *   "going-away": string,
 *   "error": SluiceError,
 *   "closed": SluiceError,
 * }} Events
 */
