/**
 * The rooms protocol, version 1, as types: JSON text frames over a WebSocket at `/ws`. Every message has a `type`;
 * keys are camelCase, enum values kebab-case. `sluice` itself emits the same as a JSON Schema.
 */

export const PROTOCOL_VERSION = 1;

/** @typedef {"audio" | "video"} Kind */
/** @typedef {"camera" | "microphone" | "screen" | "screen-audio"} Source */
/** @typedef {"hidden" | "visible" | "speaker" | "screen" | "pinned"} Priority */
/** @typedef {"bandwidth" | "server-load" | "muted" | "not-visible" | "codec" | "no-media" | "not-talking"} PauseReason */

/** @typedef {{ id: string, participant: string, kind: Kind, source: Source, muted: boolean }} TrackInfo */
/** @typedef {{ id: string, name: string, tracks: TrackInfo[], identity?: string, metadata?: any }} ParticipantInfo */

/** Why the server chose no higher layer. @typedef {"source" | "size" | "bandwidth" | "server-load"} Limit */

/**
 * What the server now does for a slot.
 * @typedef {{ type: "sending", encoding: number, rid: string | null, spatial: number, temporal: number, width?: number, height?: number, codec: string,
 *     targetEncoding: number, targetTemporal: number, limit: Limit }
 *   | { type: "starting" }
 *   | { type: "paused", reason: PauseReason }} SlotState
 */
/** @typedef {{ mid: string, kind: Kind, track: string | null, state: SlotState | null }} SlotInfo */

/** What a receiver asks for; heights in pixels, `null` is "no limit".
 * @typedef {{ enabled?: boolean, maxHeight?: number | null, priority?: Priority }} Preference */

/**
 * About oneself only. Rates in bit/s, losses as a fraction from 0 to 1.
 * @typedef {{ rttMs?: number, uplinkLoss: number, downlinkLoss: number, downlinkEstimate: number, uplinkRate: number, downlinkRate: number }} QualityDetails
 */

/** What the access token grants. @typedef {{ publish: Source[], subscribe: boolean, data: boolean, hidden: boolean, emulate: boolean }} Permissions */

/** One direction of an emulated network; `loss` from 0 to 1. @typedef {{ kbps?: number | null, delayMs?: number, loss?: number }} NetworkPath */
/** @typedef {"consent-expired" | "closed" | "handshake-failed" | "bad-certificate" | "internal-error"} DisconnectReason */
/** @typedef {"left" | "connection-lost" | "kicked" | "room-closed"} LeaveReason */

/**
 * @typedef {{ type: "join", version: number, room: string, name: string, token?: string, resume?: string }
 *   | { type: "offer", id: number, sdp: string, tracks: { mid: string, source: Source, muted?: boolean }[] }
 *   | { type: "mute", track: string, muted: boolean }
 *   | { type: "subscribe", tracks: ({ track: string } & Preference)[], default?: Preference }
 *   | { type: "keyframe", track: string }
 *   | { type: "emulate", up?: NetworkPath | null, down?: NetworkPath | null }
 *   | { type: "leave" }
 *   | { type: "ping", id: number }} ClientMessage
 */

/**
 * @typedef {{ type: "joined", version: number, room: string, participant: string, name: string, resumeToken: string, resumed: boolean,
 *   participants: ParticipantInfo[], limits: Record<string, number>, slots: SlotInfo[], speaker: string | null,
 *   permissions: Permissions, iceServers?: { urls: string[], username?: string, credential?: string }[] }} Joined
 * @typedef {{ type: "answer", id: number, sdp: string, tracks: { mid: string, track: string }[] }} Answer
 * @typedef {{ type: "error", id?: number, code: string, message: string, hint: string, fatal: boolean }} ErrorMessage
 */

/**
 * @typedef {Joined | Answer | ErrorMessage
 *   | { type: "participant-joined", participant: ParticipantInfo }
 *   | { type: "participant-left", participant: string, reason: LeaveReason }
 *   | { type: "track-published", track: TrackInfo }
 *   | { type: "track-ended", track: string }
 *   | { type: "track-muted", track: string, muted: boolean }
 *   | { type: "slots", slots: SlotInfo[] }
 *   | { type: "slots-wanted", audio: number, video: number }
 *   | { type: "speaker", participant: string | null }
 *   | { type: "quality", participant: string, score: number, details: QualityDetails, others?: { participant: string, score: number }[] }
 *   | { type: "encodings", track: string, encodings: { rid: string | null, wanted: boolean }[] }
 *   | { type: "codec", track: string, codec: string, payloadType: number }
 *   | { type: "connection", state: "connected" | "disconnected", reason?: DisconnectReason }
 *   | { type: "kicked", reason: string }
 *   | { type: "going-away", reason: string, seconds: number }
 *   | { type: "pong", id: number }} ServerMessage
 */
