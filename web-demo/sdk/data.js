/**
 * Messages to the others in a room over data channels: a reliable ordered lane and a lossy unordered one. The server says who sent
 * a message. docs/data.md has the format of the frames.
 */
import { DataError } from "./errors.js";

/** Bytes of a message, of one on the lossy lane, of a topic (UTF-8), and how many participants a message can name. */
export const DATA_LIMITS = { message: 256 * 1024, lossyMessage: 14 * 1024, topic: 64, recipients: 64 };

const PROTOCOL = "sluice-data-1";
/** Bytes of a frame, as the server announces it in its answer. */
const MAX_FRAME = 16 * 1024;
/** Bytes in the browser's send buffer above which we wait, and to which it has to fall. */
const HIGH_WATER = 256 * 1024;
const LOW_WATER = 64 * 1024;
const FIRST = 1;
const LAST = 2;
const TEXT = 4;
const LOST = 0x80;

/**
 * `topic`: what the message is about, for the application; `to`: ids of the participants that get it, else everybody else in the
 * room; `lossy`: sent once and in no order, the oldest dropped first where somebody is slow.
 * @typedef {{ topic?: string, to?: string[], lossy?: boolean }} SendOptions
 */
/** @typedef {{ from: string | null, topic: string, data: string | Uint8Array, lossy: boolean }} Received `from` is null for the server itself */
/** @typedef {"reliable" | "lossy"} Lane */
/** @typedef {{ onMessage: (message: Received) => void, onLost: (messages: number) => void, onOpen: (open: boolean) => void }} Listener */

/** Both lanes of a room, whichever peer connection they are on now. */
export class DataLanes {
  /** @type {Listener} */
  #listener;
  /** @type {Record<Lane, RTCDataChannel | null>} */
  #channels = { reliable: null, lossy: null };
  /** @type {Record<Lane, Promise<unknown>>} the last message of each lane, so that frames do not mix */
  #last = { reliable: Promise.resolve(), lossy: Promise.resolve() };
  /** @type {Set<() => void>} who waits for a change of the channels */
  #waiting = new Set();
  #open = false;
  /** @type {Error | null} */
  #ended = null;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /** Both lanes are open. */
  get open() {
    return this.#open;
  }

  /** Opens the lanes on a new peer connection, before its first offer. @param {RTCPeerConnection} pc */
  bind(pc) {
    for (const channel of Object.values(this.#channels)) channel?.close();
    this.#channels = {
      reliable: this.#create(pc, "reliable", {}),
      lossy: this.#create(pc, "lossy", { ordered: false, maxRetransmits: 0 }),
    };
    this.#onChange();
  }

  /** Nothing is sent any more; who waits gets the error. @param {Error} error */
  close(error) {
    this.#ended = error;
    this.#onChange();
  }

  /**
   * Sends one message; resolves once the browser's buffer has taken it and is short again.
   * @param {string | ArrayBuffer | ArrayBufferView} data
   * @param {SendOptions} [options]
   * @returns {Promise<void>}
   * @throws {DataError}
   */
  async send(data, { topic = "", to, lossy = false } = {}) {
    const isText = typeof data === "string";
    const bytes = isText ? new TextEncoder().encode(data) : toBytes(data);
    const limit = lossy ? DATA_LIMITS.lossyMessage : DATA_LIMITS.message;
    if (bytes.length > limit) throw new DataError("data-too-large", `A message of ${bytes.length} bytes is longer than the ${limit} allowed.`, { hint: "Send it in parts." });
    if (to?.length === 0) return;
    const frames = [...frame(bytes, (isText ? TEXT : 0), head(topic, to ?? []))];
    /** @type {Lane} */
    const lane = lossy ? "lossy" : "reliable";
    const turn = this.#last[lane].catch(() => {}).then(() => this.#write(lane, frames));
    this.#last[lane] = turn;
    return turn;
  }

  /**
   * @param {Lane} lane
   * @param {Uint8Array<ArrayBuffer>[]} frames
   */
  async #write(lane, frames) {
    const channel = await this.#ready(lane);
    for (const part of frames) {
      channel.send(part);
      if (channel.bufferedAmount < HIGH_WATER) continue;
      await this.#until(() => channel.readyState !== "open" || channel.bufferedAmount <= LOW_WATER);
      // The rest would be no message on another connection.
      if (channel.readyState !== "open") throw new DataError("data-interrupted", "The connection was replaced while the message was sent.", { hint: "Send it again." });
    }
  }

  /** @param {Lane} lane @returns {Promise<RTCDataChannel>} the lane once it is open */
  async #ready(lane) {
    await this.#until(() => this.#channels[lane]?.readyState === "open");
    return /** @type {RTCDataChannel} */ (this.#channels[lane]);
  }

  /** @param {() => boolean} isSo asked again with every change of the channels */
  async #until(isSo) {
    for (;;) {
      if (this.#ended) throw this.#ended;
      if (isSo()) return;
      await new Promise((resolve) => this.#waiting.add(() => resolve(undefined)));
    }
  }

  /**
   * @param {RTCPeerConnection} pc
   * @param {Lane} lane
   * @param {RTCDataChannelInit} init
   */
  #create(pc, lane, init) {
    const channel = pc.createDataChannel(lane, { ...init, protocol: PROTOCOL });
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = LOW_WATER;
    channel.onopen = channel.onclose = channel.onbufferedamountlow = () => this.#onChange();
    const read = reader(lane === "lossy", this.#listener);
    channel.onmessage = ({ data }) => this.#channels[lane] === channel && read(new Uint8Array(data));
    return channel;
  }

  #onChange() {
    const open = !this.#ended && Object.values(this.#channels).every((channel) => channel?.readyState === "open");
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
    if (open === this.#open) return;
    this.#open = open;
    this.#listener.onOpen(open);
  }
}

/** @param {ArrayBuffer | ArrayBufferView} data */
function toBytes(data) {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  throw new DataError("data-bad-argument", "A message is a string, an ArrayBuffer or a view of one.");
}

/**
 * What the first frame says: topic and recipients, each with its length in front.
 * @param {string} topic
 * @param {string[]} to
 */
function head(topic, to) {
  const encode = (/** @type {string} */ text) => new TextEncoder().encode(text);
  const [about, ...ids] = [topic, ...to].map(encode);
  if (about.length > DATA_LIMITS.topic) throw new DataError("data-bad-argument", `A topic has at most ${DATA_LIMITS.topic} bytes.`);
  if (ids.length > DATA_LIMITS.recipients) throw new DataError("data-bad-argument", `A message names at most ${DATA_LIMITS.recipients} participants.`);
  if (ids.some((id) => id.length > 21)) throw new DataError("data-bad-argument", "That is no participant's id.");
  return new Uint8Array([about.length, ...about, ids.length, ...ids.flatMap((id) => [id.length, ...id])]);
}

/**
 * Cuts a message into frames.
 * @param {Uint8Array} bytes
 * @param {number} flags of the first one
 * @param {Uint8Array} first what it says before the payload
 */
export function* frame(bytes, flags, first) {
  let offset = 0;
  let lead = new Uint8Array([flags | FIRST, ...first]);
  do {
    const end = Math.min(bytes.length, offset + MAX_FRAME - lead.length);
    const part = new Uint8Array(lead.length + end - offset);
    part.set(lead);
    part.set(bytes.subarray(offset, end), lead.length);
    offset = end;
    if (offset === bytes.length) part[0] |= LAST;
    yield part;
    lead = new Uint8Array(1);
  } while (offset < bytes.length);
}

/**
 * Puts the frames of one channel together again: messages of several senders may come interleaved.
 * @param {boolean} lossy
 * @param {Pick<Listener, "onMessage" | "onLost">} listener
 * @returns {(frame: Uint8Array) => void}
 */
export function reader(lossy, { onMessage, onLost }) {
  /** @type {Map<string, { topic: string, text: boolean, parts: Uint8Array[] }>} by sender */
  const open = new Map();
  const decoder = new TextDecoder();
  return (bytes) => {
    const flags = bytes[0];
    if (flags & LOST) return onLost(new DataView(bytes.buffer, bytes.byteOffset).getUint32(1));
    let at = 1;
    const text = () => {
      const end = at + 1 + bytes[at];
      const value = decoder.decode(bytes.subarray(at + 1, end));
      at = end;
      return value;
    };
    const from = text();
    if (flags & FIRST) open.set(from, { topic: text(), text: Boolean(flags & TEXT), parts: [] });
    const message = open.get(from);
    if (!message) return;
    message.parts.push(bytes.subarray(at));
    if (!(flags & LAST)) return;
    open.delete(from);
    const data = join(message.parts);
    onMessage({ from: from || null, topic: message.topic, data: message.text ? decoder.decode(data) : data, lossy });
  };
}

/** @param {Uint8Array[]} parts */
function join(parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
