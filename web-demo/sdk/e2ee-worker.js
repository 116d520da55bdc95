/** Encrypts and decrypts encoded frames; the other half of e2ee.js. The format is in docs/e2ee.md. */

const ITERATIONS = 600_000;
const TAG = 16;
/** Stream (8), counter (4), key id, length of the prefix, marker (2). */
const TRAILER = 16;
const MARKER = 0xe2ee;
/** How far behind the newest frame of a stream one may come. */
const WINDOW = 1024;
/** Streams that are remembered: senders of all people in the room, and earlier ones of theirs. */
const MOST_STREAMS = 1024;

/** What stands before an encrypted frame, so that packers and servers can go by it, and decoders without the key refuse it instead of playing noise. */
/** An OBU of a reserved type, behind a sequence header where one begins the frame. Browsers add its length on the way. */
const OBU = { sequenceHeader: 1, temporalDelimiter: 2, reserved: 9, extended: 0x04, sized: 0x02 };
/** Length of a prefix that such OBUs make. */
const OBUS = 0xff;
/** A packet of no frames (RFC 6716, section 3.2.5). */
const NO_OPUS = [0xff, 0x00];
/** A frame tag whose first partition is longer than any frame (RFC 6386, section 9.1); a key frame's start code and size follow it. */
const VP8_KEY = [0xf0, 0xff, 0xff];
const VP8_DELTA = [0xf1, 0xff, 0xff];

/**
 * What all frame keys come from; replaced with the passphrase, and so is what was made of it.
 * @typedef {{ base: CryptoKey, id: number, streams: Map<string, Stream> }} Secret
 * @typedef {{ key: CryptoKey, seen: Float64Array, newest: number }} Stream
 */
/** @type {Secret | null} */
let secret = null;
let requests = 0;
const text = new TextEncoder();

onmessage = async ({ data: { room, passphrase } }) => {
  const request = ++requests;
  const made = await secretOf(room, passphrase);
  if (request === requests) secret = made;
  postMessage({ ready: true });
};

/** @type {any} */ (globalThis).onrtctransform = (/** @type {{ transformer: any }} */ { transformer }) => {
  const { readable, writable, options } = transformer;
  const transform = options.sends ? encryptor() : decryptor((status) => postMessage({ id: options.id, status }));
  // The pipe ends with the peer connection, which is no news.
  readable.pipeThrough(new TransformStream({ transform })).pipeTo(writable).catch(() => {});
};

/** @param {string} room @param {string} passphrase @returns {Promise<Secret>} */
async function secretOf(room, passphrase) {
  const words = await crypto.subtle.importKey("raw", text.encode(passphrase.normalize("NFKC")), "PBKDF2", false, ["deriveBits"]);
  const stretched = await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: text.encode(`sluice e2ee 1 ${room}`), iterations: ITERATIONS }, words, 256);
  const base = await crypto.subtle.importKey("raw", stretched, "HKDF", false, ["deriveKey", "deriveBits"]);
  const [id] = new Uint8Array(await crypto.subtle.deriveBits(expand(new Uint8Array(), "key id"), base, 8));
  return { base, id, streams: new Map() };
}

/** @param {BufferSource} salt @param {string} purpose */
function expand(salt, purpose) {
  return { name: "HKDF", hash: "SHA-256", salt, info: text.encode(`sluice e2ee 1 ${purpose}`) };
}

/** @param {CryptoKey} base @param {BufferSource} stream */
function frameKey(base, stream) {
  return crypto.subtle.deriveKey(expand(stream, "frames"), base, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

/** @param {number} counter of the frame in its stream, whose key is its own, so that no pair of key and nonce comes twice */
function nonce(counter) {
  const bytes = new Uint8Array(12);
  new DataView(bytes.buffer).setUint32(8, counter);
  return bytes;
}

/** @param {any} frame */
const codecOf = (frame) => frame.getMetadata().mimeType?.toLowerCase();

/** @param {any} frame @param {Uint8Array} plain @returns {ArrayLike<number> | null} null for a codec that is not carried */
function prefixOf(frame, plain) {
  switch (codecOf(frame)) {
    case "video/vp8": return frame.type === "key" ? join(VP8_KEY, plain.subarray(3, 10)) : VP8_DELTA;
    case "video/vp9": return [];
    case "video/av1": return join(sequenceHeader(plain), [OBU.reserved << 3]);
    case "audio/opus": return NO_OPUS;
    default: return null;
  }
}

/** Each sender has a stream of its own, with an own key; another one after a change of the passphrase. */
function encryptor() {
  /** @type {{ of: Secret, id: Uint8Array<ArrayBuffer>, key: CryptoKey, counter: number } | null} */
  let stream = null;
  return async (/** @type {any} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const plain = new Uint8Array(frame.data);
    const prefix = prefixOf(frame, plain);
    // Nothing leaves in the clear.
    if (!secret || !prefix) return;
    if (stream?.of !== secret || stream.counter > 0xffff_ffff) {
      const [of, id] = [secret, crypto.getRandomValues(new Uint8Array(8))];
      stream = { of, id, key: await frameKey(of.base, id), counter: 0 };
    }
    const counter = stream.counter++;
    const trailer = new Uint8Array(TRAILER);
    const view = new DataView(trailer.buffer);
    trailer.set(stream.id);
    view.setUint32(8, counter);
    view.setUint8(12, stream.of.id);
    view.setUint8(13, codecOf(frame) === "video/av1" ? OBUS : prefix.length);
    view.setUint16(14, MARKER);
    const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce(counter), additionalData: trailer }, stream.key, plain);
    frame.data = join(prefix, new Uint8Array(sealed), trailer).buffer;
    controller.enqueue(frame);
  };
}

/** @param {(status: import("./e2ee.js").Decryption) => void} tell when it changes what becomes of frames */
function decryptor(tell) {
  /** @type {import("./e2ee.js").Decryption | null} */
  let told = null;
  return async (/** @type {any} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const status = await decrypt(frame);
    if (status === "decrypted") controller.enqueue(frame);
    if (status && status !== told) tell((told = status));
  };
}

/** @param {any} frame gets its plain text @returns {Promise<import("./e2ee.js").Decryption | null>} null for what says nothing of its sender */
async function decrypt(frame) {
  const bytes = new Uint8Array(frame.data);
  if (!secret || !bytes.length) return null;
  const end = bytes.length - TRAILER;
  const view = new DataView(frame.data);
  if (end < TAG || view.getUint16(end + 14) !== MARKER) return "unencrypted";
  const { base, id, streams } = secret;
  if (view.getUint8(end + 12) !== id) return "other-passphrase";
  const trailer = bytes.subarray(end);
  const from = trailer[13] === OBUS ? afterObus(bytes) : trailer[13];
  const [salt, counter] = [trailer.slice(0, 8), view.getUint32(end + 8)];
  const name = salt.join();
  const known = streams.get(name);
  if (known && (counter <= known.newest - WINDOW || known.seen[counter % WINDOW] === counter)) return null;
  const stream = known ?? { key: await frameKey(base, salt), seen: new Float64Array(WINDOW).fill(-1), newest: counter };
  try {
    const parameters = { name: "AES-GCM", iv: nonce(counter), additionalData: trailer };
    frame.data = await crypto.subtle.decrypt(parameters, stream.key, bytes.subarray(from, end));
  } catch {
    return "other-passphrase";
  }
  // Only what is authentic may count as seen, or take a place.
  stream.seen[counter % WINDOW] = counter;
  stream.newest = Math.max(stream.newest, counter);
  streams.delete(name);
  streams.set(name, stream);
  for (const oldest of streams.keys()) if (streams.size > MOST_STREAMS) streams.delete(oldest);
  return "decrypted";
}

/** The OBU at a place (AV1 bitstream, section 5.3): its type, where its payload begins and ends. @param {Uint8Array} bytes @param {number} at */
function obuAt(bytes, at) {
  const header = bytes[at];
  let from = at + (header & OBU.extended ? 2 : 1);
  let size = 0;
  if (!(header & OBU.sized)) return { type: (header >> 3) & 15, from, end: bytes.length };
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[from++];
    size |= (byte & 0x7f) << shift;
    if (!(byte & 0x80)) break;
  }
  return { type: (header >> 3) & 15, from, end: from + size };
}

/** That of a key frame, which browsers mark by it as one to begin with (N of the payload format); else nothing. @param {Uint8Array} plain */
function sequenceHeader(plain) {
  let at = 0;
  let obu = obuAt(plain, at);
  if (obu.type === OBU.temporalDelimiter) obu = obuAt(plain, (at = obu.end));
  return obu.type === OBU.sequenceHeader ? plain.subarray(at, obu.end) : [];
}

/** Where the reserved OBU's payload begins. @param {Uint8Array} bytes */
function afterObus(bytes) {
  const obu = obuAt(bytes, 0);
  return obu.type === OBU.reserved ? obu.from : obuAt(bytes, obu.end).from;
}

/** @param {...ArrayLike<number>} parts */
function join(...parts) {
  const joined = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
