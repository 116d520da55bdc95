import { Emitter } from "./emitter.js";
import { ServerError } from "./errors.js";

/** @typedef {import("./protocol.js").Kind} Kind */
/** @typedef {import("./publish.js").LocalTrack} LocalTrack */
/** @typedef {{ kind: Kind, transceiver: RTCRtpTransceiver, decryption: import("./e2ee.js").Decryption | null }} Slot */

const KINDS = /** @type {Kind[]} */ (["audio", "video"]);
/**
 * Slots above what is needed now, so that the next tracks show without a negotiation. As these never stop, an offer always has
 * a section to bundle on, which Chromium insists on; who may not receive has only that of the data channels.
 */
const SPARE_SLOTS = 1;

/**
 * One RTCPeerConnection to the server. Publishes on sendonly sections, receives on recvonly ones (slots).
 * Only we offer, one offer at a time, so there is no glare. When it is beyond repair, `Room` makes a new one.
 * `decryption`: that of a slot, by mid, has changed.
 * @extends {Emitter<{ state: RTCPeerConnectionState, negotiated: null, decryption: string | null }>}
 */
export class Connection extends Emitter {
  #exchange;
  #forceTcp;
  /** @type {RTCConfiguration} */
  #configuration;
  #encryption;
  /** @type {Set<LocalTrack>} */
  #locals = new Set();
  /** @type {Slot[]} */
  #slots = [];
  /** @type {Map<string, number>} what the server wants a track sent as, by its id; may come before the answer that names the track */
  #codecs = new Map();
  /** @type {Record<Kind, number>} slots that the server has answered */
  #answered = { audio: 0, video: 0 };
  /** @type {Promise<void>} the run at work, or the last one */
  #running = Promise.resolve();
  /** @type {Promise<void> | null} the run that will take up the changes made from now on */
  #next = null;

  /**
   * @param {{
   *   exchange: (sdp: string, locals: LocalTrack[]) => Promise<string>,
   *   encryption: import("./e2ee.js").Encryption | null,
   *   forceTcp?: boolean,
   *   forceRelay?: boolean,
   *   iceServers?: RTCIceServer[],
   * }} options `exchange` sends an offer and gives the answer's SDP
   */
  constructor({ exchange, encryption, forceTcp = false, forceRelay = false, iceServers = [] }) {
    super();
    this.#exchange = exchange;
    this.#forceTcp = forceTcp;
    this.#encryption = encryption;
    this.#configuration = { bundlePolicy: "max-bundle", iceTransportPolicy: forceRelay ? "relay" : "all", iceServers };
    this.pc = new RTCPeerConnection(this.#configuration);
    this.pc.onconnectionstatechange = () => this.emit("state", this.pc.connectionState);
  }

  /** Makes the spare slots, ahead of what is published. Not where the server would refuse them. */
  receive() {
    for (const kind of KINDS) this.#growTo(kind, SPARE_SLOTS);
  }

  /** From the next gathering on, which is the first offer or an ICE restart. @param {RTCIceServer[]} iceServers */
  setIceServers(iceServers) {
    this.#configuration = { ...this.#configuration, iceServers };
    this.pc.setConfiguration(this.#configuration);
  }

  /** @param {LocalTrack} local */
  publish(local) {
    this.#locals.add(local);
    local.bind(this.pc, this.#encryption);
    return this.negotiate();
  }

  /** @param {LocalTrack} local */
  unpublish(local) {
    this.#locals.delete(local);
    local.unbind();
    return this.negotiate();
  }

  /**
   * The server wants a track sent in this codec of its section. A browser that cannot be told so offers again: answers have that codec first.
   * @param {string} track
   * @param {number} payloadType
   */
  async setCodec(track, payloadType) {
    this.#codecs.set(track, payloadType);
    const local = [...this.#locals].find(({ id }) => id === track);
    if (local && !(await local.setCodec(payloadType))) await this.negotiate();
  }

  /**
   * The server misses this many slots beyond those it has answered; the ones on their way count.
   * @param {Record<Kind, number>} missing
   */
  addSlots(missing) {
    const added = KINDS.map((kind) => missing[kind] > 0 && this.#growTo(kind, this.#answered[kind] + missing[kind] + SPARE_SLOTS));
    return added.some(Boolean) ? this.negotiate() : Promise.resolve();
  }

  /** @param {string} mid @returns {RTCRtpReceiver | undefined} */
  receiver(mid) {
    return this.#slot(mid)?.transceiver.receiver;
  }

  /** What becomes of the frames that arrive there, where calls are encrypted. @param {string} mid */
  decryption(mid) {
    return this.#slot(mid)?.decryption ?? null;
  }

  /** @param {string} mid */
  #slot(mid) {
    return this.#slots.find(({ transceiver }) => transceiver.mid === mid);
  }

  /** New ICE credentials and a new path, over the same DTLS association. */
  restartIce() {
    this.pc.restartIce();
    return this.negotiate();
  }

  /** @param {number} timeout milliseconds @returns {Promise<boolean>} whether it is, or gets, connected in that time */
  connects(timeout) {
    if (this.pc.connectionState === "connected") return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), timeout);
      this.on("state", (state) => {
        if (state !== "connected" && state !== "failed") return;
        clearTimeout(timer);
        resolve(state === "connected");
      });
    });
  }

  /** Offers what changed. Calls made before that offer is created share it. @returns {Promise<void>} */
  negotiate() {
    this.#next ??= this.#running = this.#running.catch(() => {}).then(() => {
      this.#next = null;
      return this.#negotiateOnce();
    });
    return this.#next;
  }

  async #negotiateOnce() {
    const { pc } = this;
    if (pc.signalingState === "closed") return;
    await pc.setLocalDescription();
    const locals = [...this.#locals].filter((local) => local.mid !== null);
    const sources = new Map(locals.map((local) => [local.mid ?? "", local.source]));
    const offered = this.#slots.map(({ kind }) => kind);
    try {
      const [answer, edits] = await Promise.all([
        this.#exchange(pc.localDescription?.sdp ?? "", locals),
        (sources.size || this.#forceTcp) && import("./sdp.js"),
      ]);
      const sdp = edits ? edits.edit(answer, sources, this.#forceTcp) : answer;
      await pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      if (error instanceof ServerError) this.#withdraw();
      throw error;
    }
    for (const local of locals) {
      await local.onNegotiated();
      const payloadType = this.#codecs.get(local.id ?? "");
      if (payloadType !== undefined) await local.setCodec(payloadType);
    }
    for (const kind of KINDS) this.#answered[kind] = offered.filter((offer) => offer === kind).length;
    this.emit("negotiated", null);
  }

  /**
   * Takes back what the refused offer brought: its tracks, else its slots; the next offer replaces it. Not by a rollback, after
   * which Chromium takes the withdrawn section for the next new one.
   */
  #withdraw() {
    const tracks = [...this.#locals].filter(({ id }) => id === null);
    for (const local of tracks) {
      this.#locals.delete(local);
      local.unbind();
    }
    if (tracks.length) return;
    const unanswered = this.#slots.filter(({ transceiver }) => transceiver.currentDirection === null);
    for (const { transceiver } of unanswered) transceiver.stop();
    this.#slots = this.#slots.filter((slot) => !unanswered.includes(slot));
  }

  /**
   * @param {Kind} kind
   * @param {number} count of slots to have, whether answered yet or not
   * @returns {boolean} whether that took more
   */
  #growTo(kind, count) {
    const missing = count - this.#slots.filter((slot) => slot.kind === kind).length;
    for (let i = 0; i < missing; i++) {
      const transceiver = this.pc.addTransceiver(kind, { direction: "recvonly" });
      if (kind === "video") receiveDependencies(transceiver);
      /** @type {Slot} */
      const slot = { kind, transceiver, decryption: null };
      this.#encryption?.receive(transceiver, (status) => {
        slot.decryption = status;
        this.emit("decryption", transceiver.mid);
      });
      this.#slots.push(slot);
    }
    return missing > 0;
  }

  close() {
    this.pc.onconnectionstatechange = null;
    for (const local of this.#locals) local.unbind({ stop: false });
    this.pc.close();
  }
}

/**
 * Chromium tells spatial layers of AV1 apart by the dependency descriptor, but offers it for what it sends only.
 * @param {RTCRtpTransceiver} transceiver
 */
function receiveDependencies(transceiver) {
  // webrtc-extensions, which TypeScript's library lacks.
  const extended = /** @type {any} */ (transceiver);
  /** @type {{ uri: string, direction: string }[] | undefined} */
  const extensions = extended.getHeaderExtensionsToNegotiate?.();
  const descriptor = extensions?.find(({ uri }) => uri.endsWith("#dependency-descriptor-rtp-header-extension"));
  if (!descriptor) return;
  descriptor.direction = "sendrecv";
  extended.setHeaderExtensionsToNegotiate(extensions);
}
