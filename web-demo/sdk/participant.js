/** @typedef {import("./protocol.js").TrackInfo} TrackInfo */
/** @typedef {import("./protocol.js").SlotState} SlotState */
/** @typedef {import("./protocol.js").Preference} Preference */

/** Somebody else in the room. */
export class Participant {
  /** @type {Map<string, RemoteTrack>} by track id */
  tracks = new Map();
  /** @type {number | null} connection quality from 1 (bad) to 5 (good) */
  quality = null;

  /** @param {{ id: string, name: string }} info */
  constructor({ id, name }) {
    this.id = id;
    this.name = name;
  }

  /** @param {import("./protocol.js").Source} source */
  track(source) {
    return [...this.tracks.values()].find((track) => track.source === source);
  }
}

/** A track that somebody else publishes. */
export class RemoteTrack {
  /** @type {string | null} the slot it arrives in now */
  mid = null;
  /** @type {SlotState | null} what the server does for it now; null: it has no slot */
  state = null;
  /** @type {Preference} what the program prefers */
  preference = {};
  /** @type {Preference} what the server was asked for: the preference within what the elements' size on screen needs */
  wanted = {};
  /** Whether it is published no more. */
  ended = false;
  #media;
  /** @type {Map<HTMLMediaElement, MediaStreamTrack | null>} attached, and what they show */
  #elements = new Map();

  /**
   * @param {TrackInfo} info
   * @param {Participant} participant
   * @param {{
   *   receiver: (mid: string) => RTCRtpReceiver | undefined,
   *   decryption: (mid: string) => import("./e2ee.js").Decryption | null,
   *   subscriptions: import("./subscriptions.js").Subscriptions,
   *   send: (message: import("./protocol.js").ClientMessage) => void,
   * }} media what `Room` does for its tracks
   */
  constructor(info, participant, media) {
    this.id = info.id;
    this.kind = info.kind;
    this.source = info.source;
    this.muted = info.muted;
    this.participant = participant;
    this.#media = media;
  }

  /** The slot's receiver, for statistics. */
  get receiver() {
    return this.mid === null ? undefined : this.#media.receiver(this.mid);
  }

  /** In an encrypted call: whether its frames can be read, once some have come. Changes come as `track-state`. */
  get decryption() {
    return this.mid === null ? null : this.#media.decryption(this.mid);
  }

  /** @returns {MediaStreamTrack | null} what carries it now; another one when it moves to another slot */
  get mediaStreamTrack() {
    return this.receiver?.track ?? null;
  }

  /**
   * Shows it in an element, wherever it moves, in the resolution that the element's size on screen asks for. Audio needs
   * no element: it plays by itself.
   * @param {HTMLVideoElement} video
   * @param {{ box?: Element }} [options] `box`: watch this element's size instead, where the video itself starts hidden
   */
  attach(video, { box = video } = {}) {
    this.#elements.set(video, null);
    this.#media.subscriptions.watch(this, video, box);
    this.refresh();
  }

  /** @param {HTMLVideoElement} [video] all when left out */
  detach(video) {
    for (const element of video ? [video] : [...this.#elements.keys()]) {
      if (!this.#elements.delete(element)) continue;
      element.srcObject = null;
      this.#media.subscriptions.unwatch(/** @type {HTMLVideoElement} */ (element));
    }
  }

  /**
   * Asks for it to be on or off, no higher than this, with this priority; what the elements' size says still applies.
   * @param {Preference} preference merged into the earlier one
   */
  prefer(preference) {
    this.#media.subscriptions.prefer(this, preference);
  }

  /** Asks its publisher for a key frame; the server passes on about one request a second, whoever asks. */
  requestKeyFrame() {
    this.#media.send({ type: "keyframe", track: this.id });
  }

  /** Puts the slot's media into the attached elements. Called by `Room` when the slot changes. */
  refresh() {
    const track = this.mediaStreamTrack;
    for (const [element, shown] of this.#elements) {
      if (shown === track) continue;
      this.#elements.set(element, track);
      element.srcObject = track && new MediaStream([track]);
      if (track) element.play().catch(() => {}); // a muted or hidden video may refuse; showing it again plays it
    }
  }
}

/**
 * Has tracks arrive where the server says.
 * @param {Map<string, RemoteTrack>} tracks by id
 * @param {import("./protocol.js").SlotInfo[]} slots that changed
 * @returns {Set<RemoteTrack>} the tracks that this concerns
 */
export function assignSlots(tracks, slots) {
  /** @type {Set<RemoteTrack>} */
  const changed = new Set();
  for (const { mid } of slots) {
    for (const track of tracks.values()) {
      if (track.mid !== mid) continue;
      track.mid = track.state = null;
      changed.add(track);
    }
  }
  for (const { mid, track: id, state } of slots) {
    const track = id === null ? undefined : tracks.get(id);
    if (!track) continue;
    track.mid = mid;
    track.state = state;
    changed.add(track);
  }
  return changed;
}
