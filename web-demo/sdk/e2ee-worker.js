/** Encrypts and decrypts encoded frames; the other half of e2ee.js. The format is in docs/e2ee.md. */

const ITERATIONS = 600_000;
const TAG = 16;
/** Stream (8), counter (4), key id, layout, marker (2). */
const TRAILER = 16;
const MARKER = 0xe2ee;
/** How far behind the newest frame of a stream one may come. */
const WINDOW = 1024;
/** Streams that are remembered: senders of all people in the room, and earlier ones of theirs. */
const MOST_STREAMS = 1024;

/** Layouts above the count of clear bytes: something stands before the encrypted frame, so that it looks like one of its codec. */
const OBU = 0x80;
const OPUS = 0x81;
/** An OBU of a reserved type, which decoders ignore. Browsers add its length on the way. */
const OBU_HEADER = [9 << 3];
const HAS_SIZE = 0x02;
/** The beginning of a packet of no frames (RFC 6716, section 3.2.5), which decoders refuse, where they would make noise of others. */
const NO_OPUS = [0xff, 0x00];

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

/** What is left readable of a frame, and what stands before it. @param {any} frame @returns {{ layout: number, prefix: number[] } | null} */
function layoutOf(frame) {
  switch (frame.getMetadata().mimeType?.toLowerCase()) {
    // Of the first byte the server reads whether this is a key frame, of the first ten of a key frame the picture's size.
    case "video/vp8": return { layout: frame.type === "key" ? 10 : 1, prefix: [] };
    case "video/vp9": return { layout: 0, prefix: [] };
    case "video/av1": return { layout: OBU, prefix: OBU_HEADER };
    case "audio/opus": return { layout: OPUS, prefix: NO_OPUS };
    default: return null;
  }
}

/** Each sender has a stream of its own, with an own key; another one after a change of the passphrase. */
function encryptor() {
  /** @type {{ of: Secret, id: Uint8Array<ArrayBuffer>, key: CryptoKey, counter: number } | null} */
  let stream = null;
  return async (/** @type {any} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const layout = layoutOf(frame);
    // Nothing leaves in the clear.
    if (!secret || !layout) return;
    if (stream?.of !== secret || stream.counter > 0xffff_ffff) {
      const [of, id] = [secret, crypto.getRandomValues(new Uint8Array(8))];
      stream = { of, id, key: await frameKey(of.base, id), counter: 0 };
    }
    const counter = stream.counter++;
    const plain = new Uint8Array(frame.data);
    const clear = plain.subarray(0, layout.layout < OBU ? Math.min(layout.layout, plain.length) : 0);
    const trailer = new Uint8Array(TRAILER);
    const view = new DataView(trailer.buffer);
    trailer.set(stream.id);
    view.setUint32(8, counter);
    view.setUint8(12, stream.of.id);
    view.setUint8(13, layout.layout < OBU ? clear.length : layout.layout);
    view.setUint16(14, MARKER);
    const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce(counter), additionalData: join(clear, trailer) }, stream.key, plain.subarray(clear.length));
    frame.data = join(layout.prefix, clear, new Uint8Array(sealed), trailer).buffer;
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
  const layout = trailer[13];
  const from = layout === OBU ? afterObuHeader(bytes) : layout === OPUS ? NO_OPUS.length : 0;
  const clear = bytes.subarray(from, from + (layout < OBU ? layout : 0));
  const [salt, counter] = [trailer.slice(0, 8), view.getUint32(end + 8)];
  const name = salt.join();
  const known = streams.get(name);
  if (known && (counter <= known.newest - WINDOW || known.seen[counter % WINDOW] === counter)) return null;
  const stream = known ?? { key: await frameKey(base, salt), seen: new Float64Array(WINDOW).fill(-1), newest: counter };
  try {
    const parameters = { name: "AES-GCM", iv: nonce(counter), additionalData: join(clear, trailer) };
    const plain = await crypto.subtle.decrypt(parameters, stream.key, bytes.subarray(from + clear.length, end));
    frame.data = join(clear, new Uint8Array(plain)).buffer;
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

/** Where an OBU's payload begins. @param {Uint8Array} bytes */
function afterObuHeader(bytes) {
  if (!(bytes[0] & HAS_SIZE)) return 1;
  let at = 1;
  while (at < 9 && bytes[at] & 0x80) at++;
  return at + 1;
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
