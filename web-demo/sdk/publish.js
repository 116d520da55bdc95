import { Emitter } from "./emitter.js";

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {RTCRtpEncodingParameters & { scalabilityMode?: string, codec?: RTCRtpCodec }} Encoding */

/** @param {number} height of the encoding, in pixels @returns {number} bit/s that look good: 1.7 M at 720p, 500 k at 360p, 150 k at 180p */
const goodBitrate = (height) => Math.round(1_700_000 * (height / 720) ** 1.75);

/** Of each encoding. Without it Chromium takes several encodings of VP9 for the spatial layers of one. */
const ONE_PICTURE = "L1T3";

/**
 * The encodings to publish by source and captured height. Chromium silently drops the largest of three encodings below
 * 540 lines and of two below 270, so there are fewer then; `f` is always the full size.
 * @param {Source} source
 * @param {number} height
 * @returns {Encoding[]} smallest first
 */
export function encodingsFor(source, height) {
  if (source === "microphone") return [{ maxBitrate: 40_000, networkPriority: "high" }];
  if (source === "screen-audio") return [{ maxBitrate: 128_000 }];
  if (source === "screen") {
    return [
      { rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000, maxFramerate: 8, scalabilityMode: ONE_PICTURE },
      { rid: "f", scaleResolutionDownBy: 1, maxBitrate: 2_500_000, maxFramerate: 15, scalabilityMode: ONE_PICTURE },
    ];
  }
  const rids = height >= 540 ? ["q", "h", "f"] : height >= 270 ? ["h", "f"] : ["f"];
  return rids.map((rid, index) => {
    const scale = 2 ** (rids.length - 1 - index);
    return { rid, scaleResolutionDownBy: scale, maxBitrate: goodBitrate(height / scale), scalabilityMode: ONE_PICTURE };
  });
}

/**
 * Something this participant publishes. It outlives peer connections: on a new one it is bound again.
 * `ended` says that the device or the browser stopped it.
 * @extends {Emitter<{ ended: null, change: null }>}
 */
export class LocalTrack extends Emitter {
  /** @type {string | null} the server's name for it, once published */
  id = null;
  muted = false;
  /** @type {MediaStreamTrack | null} null while muted, where the device is released then */
  track;
  #recapture;
  #codec;
  /** @type {Encoding[]} */
  #encodings;
  /** @type {number | null} which codec of its section the server wants */
  #payloadType = null;
  /** @type {RTCRtpTransceiver | null} */
  #transceiver = null;
  /** Whether its section has been told all that cannot be said when it is added. */
  #isTuned = false;
  /** @type {Set<string>} rids, or "" for an encoding without, that the server says nobody takes */
  #unwanted = new Set();
  /** @type {Set<string>} rids that this side switched off */
  #disabled = new Set();
  #isOver = false;
  /** @type {Promise<unknown>} changes to the sender, one after the other */
  #queue = Promise.resolve();

  /**
   * @param {MediaStreamTrack} track
   * @param {{
   *   source: Source,
   *   codec?: string,
   *   scalabilityMode?: string,
   *   encodings?: RTCRtpEncodingParameters[],
   *   simulcast?: number,
   *   recapture?: () => Promise<MediaStreamTrack>,
   * }} options `codec`: "vp8", "h264", ...: the only one offered, where the browser has it;
   *   `scalabilityMode`: video is one encoding with these layers, "L3T3_KEY" for example;
   *   `encodings`: other ones than those that suit source and size; `simulcast`: the largest so many of these;
   *   `recapture` opens the device again, so that muting may release it (the camera's light goes off)
   */
  constructor(track, { source, codec, scalabilityMode, encodings, simulcast = Infinity, recapture }) {
    super();
    this.source = source;
    this.kind = /** @type {import("./protocol.js").Kind} */ (track.kind);
    this.track = this.#prepare(track);
    this.#recapture = recapture;
    this.#codec = codec;
    const height = track.getSettings().height ?? 720;
    const layered = scalabilityMode && this.kind === "video" ? [{ scalabilityMode, maxBitrate: goodBitrate(height) }] : null;
    this.#encodings = encodings ?? layered ?? encodingsFor(source, height).slice(-Math.max(1, simulcast));
  }

  get mid() {
    return this.#transceiver?.mid ?? null;
  }

  get sender() {
    return this.#transceiver?.sender ?? null;
  }

  /** @returns {{ rid: string | null, wanted: boolean, enabled: boolean }[]} what is encoded, and why not */
  get encodings() {
    return this.#encodings.map(({ rid }) => ({
      rid: rid ?? null,
      wanted: !this.#unwanted.has(rid ?? ""),
      enabled: !this.#disabled.has(rid ?? ""),
    }));
  }

  /**
   * Adds a sendonly section for it. Called by `Connection`.
   * @param {RTCPeerConnection} pc
   * @param {import("./e2ee.js").Encryption | null} encryption
   */
  bind(pc, encryption) {
    this.id = null;
    this.#payloadType = null;
    this.#unwanted.clear();
    const sendEncodings = this.#encodings.map((encoding) => ({ ...encoding, active: this.#isActive(encoding) }));
    const transceiver = pc.addTransceiver(this.track ?? this.kind, { direction: "sendonly", sendEncodings });
    this.#transceiver = transceiver;
    encryption?.send(transceiver.sender);
    this.#preferCodec(transceiver, encryption);
    this.#isTuned = false;
  }

  /** Its section is answered: what a new one cannot be told is said now. Called by `Connection`. */
  async onNegotiated() {
    if (this.#isTuned) return;
    this.#isTuned = true;
    await this.#enqueue(() => this.#applyParameters());
  }

  /** Stops its section; with the whole connection gone there is none to stop. */
  unbind({ stop = true } = {}) {
    if (stop) this.#transceiver?.stop();
    this.#transceiver = null;
    this.id = null;
  }

  /**
   * Muted, a camera or screen sends nothing and its device is released; a microphone stays open and sends silence, so that
   * it is back at once.
   * @param {boolean} muted
   */
  async setMuted(muted) {
    if (this.muted === muted) return;
    if (!muted) await this.#reopen();
    if (this.kind === "audio") {
      if (this.track) this.track.enabled = !muted;
    } else if (muted) {
      await this.#send(null);
      if (this.#recapture) {
        this.track?.stop();
        this.track = null;
      }
    }
    this.muted = muted;
    this.emit("change", null);
  }

  /** Before it is unmuted: opens the device that was released, or one in place of that which was unplugged. */
  async #reopen() {
    const gone = this.kind === "video" || this.track?.readyState === "ended";
    if (gone && this.#recapture) this.track = this.#prepare(await this.#recapture());
    if (this.#isOver) return this.stop();
    if (gone) await this.#send(this.track);
  }

  /**
   * Goes on with another device: now, or where that is released while muted, when it is unmuted.
   * @param {() => Promise<MediaStreamTrack>} recapture opens it
   */
  async change(recapture) {
    if (this.muted && this.kind === "video" && this.#recapture) this.#recapture = recapture;
    else await this.replace(await recapture(), recapture);
  }

  /**
   * Sends another track in place of this one: another device, or another source of pixels.
   * @param {MediaStreamTrack} track
   * @param {() => Promise<MediaStreamTrack>} [recapture] what unmuting opens; while muted, video that comes with it is not kept open
   */
  async replace(track, recapture) {
    const old = this.track;
    const isReleased = this.muted && this.kind === "video" && recapture;
    this.track = isReleased ? null : this.#prepare(track);
    this.#recapture = recapture;
    if (isReleased) track.stop();
    if (this.kind === "audio") track.enabled = !this.muted;
    if (this.kind === "audio" || !this.muted) await this.#send(track);
    old?.stop();
    this.emit("change", null);
  }

  /**
   * The publisher's own switch for an encoding; what the server does not want stays off either way.
   * @param {string | null} rid
   * @param {boolean} enabled
   */
  setEncodingEnabled(rid, enabled) {
    if (enabled) this.#disabled.delete(rid ?? "");
    else this.#disabled.add(rid ?? "");
    return this.#enqueue(() => this.#applyParameters());
  }

  /** What the server says anybody takes. @param {{ rid: string | null, wanted: boolean }[]} encodings */
  setWanted(encodings) {
    for (const { rid, wanted } of encodings) {
      if (wanted) this.#unwanted.delete(rid ?? "");
      else this.#unwanted.add(rid ?? "");
    }
    this.emit("change", null);
    return this.#enqueue(() => this.#applyParameters());
  }

  /**
   * Sends in this codec of its section from now on.
   * @param {number} payloadType
   * @returns {Promise<boolean>} whether this browser can be told so (webrtc-extensions, `RTCRtpEncodingParameters.codec`)
   */
  async setCodec(payloadType) {
    this.#payloadType = payloadType;
    await this.#enqueue(() => this.#applyParameters());
    const [encoding] = /** @type {Encoding[]} */ (this.sender?.getParameters().encodings ?? []);
    return Boolean(encoding?.codec);
  }

  /** Stops capturing for good. */
  stop() {
    this.#isOver = true;
    this.track?.stop();
    this.track = null;
  }

  /** @param {MediaStreamTrack} track */
  #prepare(track) {
    // Content hints decide between sharp and smooth when there is not enough of both.
    if (track.kind === "video") track.contentHint = this.source === "screen" ? "detail" : "motion";
    track.addEventListener("ended", () => track === this.track && this.emit("ended", null));
    return track;
  }

  /** @param {MediaStreamTrack | null} track */
  #send(track) {
    return this.#enqueue(() => this.sender?.replaceTrack(track));
  }

  /** @param {() => Promise<unknown> | void} change @returns {Promise<unknown>} */
  #enqueue(change) {
    this.#queue = this.#queue.catch(() => {}).then(change);
    return this.#queue;
  }

  /** @param {RTCRtpEncodingParameters} encoding */
  #isActive({ rid = "" }) {
    return !this.#unwanted.has(rid) && !this.#disabled.has(rid);
  }

  async #applyParameters() {
    const { sender } = this;
    if (!sender || this.#transceiver?.direction === "stopped") return;
    const parameters = sender.getParameters();
    const codec = parameters.codecs?.find(({ payloadType }) => payloadType === this.#payloadType);
    for (const encoding of /** @type {Encoding[]} */ (parameters.encodings ?? [])) {
      encoding.active = this.#isActive(encoding);
      if (!codec) continue;
      encoding.codec = codec;
      const mode = this.#encodings.find(({ rid }) => rid === encoding.rid)?.scalabilityMode;
      // These have no spatial layers.
      if (mode) encoding.scalabilityMode = /vp8|h264/i.test(codec.mimeType) ? mode.replace(/^\w\d(T\d).*/, "L1$1") : mode;
    }
    if (this.kind === "video") parameters.degradationPreference = this.source === "screen" ? "maintain-resolution" : "balanced";
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      if (sender === this.sender) throw error; // else it was of a connection that has been replaced meanwhile
    }
  }

  /**
   * Offers the one codec that is asked for, and none that the encryption cannot carry.
   * @param {RTCRtpTransceiver} transceiver
   * @param {import("./e2ee.js").Encryption | null} encryption
   */
  #preferCodec(transceiver, encryption) {
    const all = RTCRtpSender.getCapabilities(this.kind)?.codecs ?? [];
    const usable = all.filter(({ mimeType }) => encryption?.carries(mimeType) ?? true);
    const wanted = [`video/${this.#codec}`, "video/rtx"].map((type) => usable.filter(({ mimeType }) => mimeType.toLowerCase() === type.toLowerCase()));
    if (wanted[0].length) transceiver.setCodecPreferences(wanted.flat());
    else if (encryption) transceiver.setCodecPreferences(usable);
  }
}
