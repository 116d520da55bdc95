/** Encrypted frames as docs/e2ee.md has them: the worker itself, outside of a browser, against Node's own cryptography. */
import assert from "node:assert/strict";
import { createDecipheriv, hkdfSync, pbkdf2Sync } from "node:crypto";
import { before, describe, test } from "node:test";

const ROOM = "daily";
const PASSPHRASE = "correct horse battery staple";
/** An AV1 key frame: temporal delimiter, sequence header of two bytes, frame. */
const AV1_KEY = [0x12, 0x00, 0x0a, 0x02, 0xaa, 0xbb, 0x32, 0x03, 1, 2, 3];

/** What the worker said, and who waits for its next word. */
const said = [];
let heard = () => {};

before(async () => {
  globalThis.onmessage = null;
  globalThis.postMessage = (message) => {
    said.push(message);
    heard();
  };
  await import("../sdk/e2ee-worker.js");
});

async function setPassphrase(passphrase) {
  const ready = new Promise((resolve) => (heard = resolve));
  globalThis.onmessage({ data: { room: ROOM, passphrase } });
  await ready;
  said.length = 0;
}

const frame = (mimeType, bytes, type = "delta") => ({ type, data: Uint8Array.from(bytes).buffer, getMetadata: () => ({ mimeType }) });
const bytesOf = ({ data }) => [...new Uint8Array(data)];

/** Sends frames through a transform of the worker and gives what comes out. */
async function through(options, frames) {
  const out = [];
  await new Promise((resolve) => {
    const readable = new ReadableStream({
      start: (controller) => {
        for (const one of frames) controller.enqueue(one);
        controller.close();
      },
    });
    const writable = new WritableStream({ write: (one) => void out.push(one), close: () => resolve() });
    globalThis.onrtctransform({ transformer: { readable, writable, options } });
  });
  return out;
}
const encrypt = (...frames) => through({ sends: true }, frames);
const decrypt = (...frames) => through({ id: 1 }, frames);
const copy = (one) => ({ ...one, data: one.data.slice(0) });

/** What a receiver written by the document alone makes of a frame. */
function byTheDocument(bytes) {
  const all = Buffer.from(bytes);
  const trailer = all.subarray(-16);
  const base = pbkdf2Sync(PASSPHRASE, `sluice e2ee 1 ${ROOM}`, 600_000, 32, "sha256");
  const key = Buffer.from(hkdfSync("sha256", base, trailer.subarray(0, 8), "sluice e2ee 1 frames", 32));
  const [keyId] = new Uint8Array(hkdfSync("sha256", base, "", "sluice e2ee 1 key id", 1));
  assert.equal(trailer[12], keyId);
  const nonce = Buffer.concat([Buffer.alloc(8), trailer.subarray(8, 12)]);
  const prefix = trailer[13] === 255 ? all.indexOf(9 << 3) + 1 : trailer[13];
  const sealed = all.subarray(prefix, -16);
  const decipher = createDecipheriv("aes-256-gcm", key, nonce).setAAD(trailer).setAuthTag(sealed.subarray(-16));
  return [...decipher.update(sealed.subarray(0, -16)), ...decipher.final()];
}

describe("frames", () => {
  const vp8Key = [0x50, 1, 2, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01, 5, 6, 7];
  const cases = [
    ["video/VP8", "key", vp8Key, [0xf0, 0xff, 0xff, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]],
    ["video/VP8", "delta", [0x31, 1, 2, 3], [0xf1, 0xff, 0xff]],
    ["video/VP9", "key", [0x82, 0x49, 0x83, 0x42], []],
    ["video/AV1", "key", AV1_KEY, [0x0a, 0x02, 0xaa, 0xbb, 0x48]],
    ["video/AV1", "delta", [0x12, 0x00, 0x32, 0x01, 9], [0x48]],
    ["audio/opus", undefined, [0x78, 1, 2, 3], [0xff, 0x00]],
  ];
  for (const [mimeType, type, plain, prefix] of cases) {
    test(`${mimeType} ${type ?? ""}: prefix, trailer and cipher text are as documented, and come back as they were`, async () => {
      await setPassphrase(PASSPHRASE);
      const [sealed, next] = await encrypt(frame(mimeType, plain, type), frame(mimeType, plain, type));
      const bytes = bytesOf(sealed);
      assert.deepEqual(bytes.slice(0, prefix.length), prefix);
      assert.equal(bytes.length, prefix.length + plain.length + 32);
      assert.deepEqual(bytes.slice(-2), [0xe2, 0xee]);
      assert.deepEqual([bytes, bytesOf(next)].map((one) => one.slice(-8, -4).at(-1)), [0, 1], "counters");
      assert.deepEqual(byTheDocument(bytes), plain);
      assert.deepEqual((await decrypt(copy(sealed), copy(next))).map(bytesOf), [plain, plain]);
      assert.deepEqual(said, [{ id: 1, status: "decrypted" }]);
    });
  }

  test("lengths that a browser adds to AV1's units on the way change nothing", async () => {
    await setPassphrase(PASSPHRASE);
    const long = [...AV1_KEY.slice(0, 6), 0x32, 0xc8, 0x01, ...Array(200).fill(7)];
    const [sealed] = await encrypt(frame("video/AV1", long, "key"));
    const bytes = bytesOf(sealed);
    const payload = bytes.slice(5);
    const sized = [...bytes.slice(0, 4), (9 << 3) | 2, (payload.length & 0x7f) | 0x80, payload.length >> 7, ...payload];
    assert.deepEqual((await decrypt(frame("video/AV1", sized, "key"))).map(bytesOf), [long]);
  });

  test("every sender has a stream of its own", async () => {
    await setPassphrase(PASSPHRASE);
    const streams = [];
    for (let sender = 0; sender < 8; sender++) streams.push(bytesOf((await encrypt(frame("audio/opus", [1, 2])))[0]).slice(-16, -8).join());
    assert.equal(new Set(streams).size, 8);
  });

  test("what no codec of ours is never leaves", async () => {
    await setPassphrase(PASSPHRASE);
    assert.deepEqual(await encrypt(frame("video/H264", [0, 0, 1, 0x65], "key"), frame(undefined, [1])), []);
  });
});

describe("what is not played", () => {
  test("a changed bit, wherever", async () => {
    await setPassphrase(PASSPHRASE);
    const [sealed] = await encrypt(frame("video/VP9", [1, 2, 3, 4]));
    const { length } = bytesOf(sealed);
    for (let at = 0; at < length; at++) {
      const damaged = copy(sealed);
      new Uint8Array(damaged.data)[at] ^= 1;
      assert.deepEqual(await decrypt(damaged), [], `byte ${at}`);
    }
    assert.equal((await decrypt(sealed)).length, 1);
  });

  test("a frame that has been played, or that is older than the window; but not one that is a little late", async () => {
    await setPassphrase(PASSPHRASE);
    const sealed = await encrypt(...Array.from({ length: 1100 }, () => frame("audio/opus", [1])));
    assert.equal((await decrypt(copy(sealed[1098]), copy(sealed[1099]))).length, 2);
    assert.deepEqual(await decrypt(copy(sealed[1099]), copy(sealed[1098])), []);
    assert.equal((await decrypt(copy(sealed[90]))).length, 1, "late");
    assert.deepEqual(await decrypt(copy(sealed[90])), [], "late again");
    assert.deepEqual(await decrypt(copy(sealed[60])), [], "too late");
  });

  test("another passphrase, and none", async () => {
    await setPassphrase(PASSPHRASE);
    const [sealed] = await encrypt(frame("audio/opus", [1, 2, 3]));
    await setPassphrase("another");
    assert.deepEqual(await decrypt(sealed, frame("audio/opus", [1, 2, 3])), []);
    assert.deepEqual(said.map(({ status }) => status), ["other-passphrase", "unencrypted"]);
  });

  test("garbage of any length", async () => {
    await setPassphrase(PASSPHRASE);
    for (let length = 0; length < 64; length++) {
      const bytes = Array.from({ length }, (_, at) => at * 37);
      assert.deepEqual(await decrypt(frame("video/AV1", bytes), frame("video/AV1", [...bytes, 255, 0xe2, 0xee])), []);
    }
  });
});
