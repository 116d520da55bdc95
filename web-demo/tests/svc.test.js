/** Layers between real browsers: every codec and mode that Chromium sends, to receivers whose tile changes. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { CHROMIUM, closeBrowsers, FIREFOX, Person, Server } from "./helper.js";

/** @type {Server} */
let server;
/** @type {Person[]} */
let people = [];

before(async () => {
  server = await Server.start();
});
after(async () => {
  await closeBrowsers();
  const code = await server?.stop();
  assert.equal(code ?? 0, 0, `the server stops cleanly:\n${server?.output}`);
});
afterEach(async () => {
  await Promise.all(people.splice(0).map((person) => person.close()));
});

async function join(kind, room, name, params, window = {}) {
  const person = await Person.join(kind, server.url, { room, name, params, ...window });
  people.push(person);
  return person;
}

const SMALL = { width: 300, height: 420 };
const LARGE = { width: 1000, height: 1300 };

/** Mode of the sender to the lowest and the highest picture of a small and a large tile; simulcast is three encodings with three temporal layers each. */
const HEIGHTS = { L1T3: [540, 540], L2T2: [270, 540], L3T3: [135, 540], L3T3_KEY: [135, 540], L2T2h: [360, 540], L3T3h: [240, 540], simulcast: [135, 540] };

/** Chromium sends all of these to Chromium, and to Firefox what that can receive in layers. */
const CASES = [
  ...["vp9", "av1"].flatMap((codec) => Object.keys(HEIGHTS).map((mode) => [CHROMIUM, codec, mode])),
  ...["vp8", "h264"].map((codec) => [CHROMIUM, codec, "simulcast"]),
  [FIREFOX, "vp8", "simulcast"],
  ...["L2T2", "L3T3", "L3T3_KEY", "simulcast"].map((mode) => [FIREFOX, "vp9", mode]),
  [FIREFOX, "av1", "simulcast"],
  // Without the dependency descriptor it is given the lowest layer or all of them.
  [FIREFOX, "av1", "L3T3"],
  [FIREFOX, "av1", "L3T3_KEY"],
];

/** @param {Person} grace @param {string} mode */
async function lowHighLow(grace, mode) {
  const [low, high] = HEIGHTS[mode];
  // Some encoders make odd sizes even.
  const within = (height) => height >= low - 1 && (low === high || height <= Math.max(low, 270));
  await grace.heightOf("Ada", within);
  const first = await grace.sees("Ada");
  await grace.page.setViewport(LARGE);
  await grace.heightOf("Ada", (height) => height === high);
  await grace.sees("Ada");
  await grace.page.setViewport(SMALL);
  await grace.heightOf("Ada", within);
  const last = await grace.sees("Ada");
  return { first, last };
}

/** The longest that a picture can have stood still between two reports: a freeze is at least 150 ms (W3C webrtc-stats). */
function longestFreeze(first, last) {
  const [count, total] = [last.freezes - first.freezes, last.frozen - first.frozen];
  return count ? total - 0.15 * (count - 1) : 0;
}

describe("a receiver's layers follow its tile", () => {
  for (const [receiver, codec, mode] of CASES) {
    test(`${codec} ${mode} to ${receiver}: low, high, low, and frames are decoded throughout`, async () => {
      const room = `${receiver}-${codec}-${mode}`;
      try {
        await join(CHROMIUM, room, "Ada", { size: "960x540", publish: "camera", codec, ...(mode !== "simulcast" && { scalability: mode }) });
        const grace = await join(receiver, room, "Grace", { publish: "none" }, SMALL);
        const { first, last } = await lowHighLow(grace, mode);
        assert.equal(last.codec.toLowerCase(), `video/${codec}`);
        assert.ok(Number.isFinite(last.freezes), "the browser tells freezes");
        const longest = longestFreeze(first, last);
        assert.ok(longest < 1, `a freeze of up to ${longest} s`);
      } catch (error) {
        const sent = await people[0]?.sends().catch(String);
        error.message += `\nserver: ${JSON.stringify(await server.statistics(room).catch(String))}\nsender: ${JSON.stringify(sent)}`;
        throw error;
      }
    });
  }
});
