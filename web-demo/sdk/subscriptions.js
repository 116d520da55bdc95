import { Viewport } from "./viewport.js";

/** @typedef {import("./participant.js").RemoteTrack} RemoteTrack */
/** @typedef {import("./protocol.js").Preference} Preference */

/**
 * What we ask the server for: for every track the height that its elements need on screen, and what the program prefers.
 * Only changes are sent. Used by `Room` alone.
 */
export class Subscriptions {
  /** Whether the token lets us ask for anything. */
  allowed = true;
  #signaling;
  #maxHeight;
  #viewport = new Viewport((needs) => this.#onViewport(needs));
  /** @type {Map<RemoteTrack, number>} height needed on screen */
  #heights = new Map();

  /**
   * @param {import("./signaling.js").Signaling} signaling
   * @param {{ maxHeight?: number }} options
   */
  constructor(signaling, { maxHeight }) {
    this.#signaling = signaling;
    this.#maxHeight = maxHeight;
  }

  /**
   * @param {RemoteTrack} track
   * @param {HTMLVideoElement} video
   * @param {Element} box
   */
  watch(track, video, box) {
    this.#viewport.watch(track, video, box);
  }

  /** @param {HTMLVideoElement} video */
  unwatch(video) {
    this.#viewport.unwatch(video);
  }

  /**
   * @param {RemoteTrack} track
   * @param {Preference} preference
   */
  prefer(track, preference) {
    track.preference = { ...track.preference, ...preference };
    this.#send([track]);
  }

  /** The server may have forgotten. @param {Iterable<RemoteTrack>} tracks */
  sendAgain(tracks) {
    const all = [...tracks];
    this.forget(all);
    this.#send(all);
  }

  /** What the server was told of them counts no more. @param {Iterable<RemoteTrack>} tracks */
  forget(tracks) {
    for (const track of tracks) track.wanted = {};
  }

  /** @param {RemoteTrack} track that has ended */
  remove(track) {
    this.#heights.delete(track);
  }

  close() {
    this.#viewport.close();
  }

  /** @param {{ track: RemoteTrack, height: number }[]} needs */
  #onViewport(needs) {
    const alive = needs.filter(({ track }) => !track.ended);
    for (const { track, height } of alive) this.#heights.set(track, height);
    this.#send(alive.map(({ track }) => track));
  }

  /** Sends what changed of these tracks' preferences. @param {RemoteTrack[]} tracks */
  #send(tracks) {
    if (!this.#signaling.up || !this.allowed) return;
    const changed = [];
    for (const track of tracks) {
      const preference = this.#preference(track);
      if (JSON.stringify(track.wanted) === JSON.stringify(preference)) continue;
      track.wanted = preference;
      changed.push({ track: track.id, ...preference });
    }
    if (changed.length) this.#signaling.send({ type: "subscribe", tracks: changed });
  }

  /** @param {RemoteTrack} track @returns {Preference} */
  #preference(track) {
    const { preference } = track;
    if (track.kind === "audio") return preference;
    const height = this.#heights.get(track);
    const limits = [height, preference.maxHeight, this.#maxHeight].filter((limit) => typeof limit === "number" && limit > 0);
    const priority = height === 0 ? "hidden" : (preference.priority ?? (track.source === "screen" ? "screen" : "visible"));
    return { ...preference, maxHeight: limits.length ? Math.min(.../** @type {number[]} */ (limits)) : null, priority };
  }
}
