/** Spatial layers of one encoding between real browsers: VP9 and AV1 in the modes that Chromium sends. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { CHROMIUM, closeBrowsers, Person, Server } from "./helper.js";

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

async function join(room, name, params, window = {}) {
  const person = await Person.join(CHROMIUM, server.url, { room, name, params, ...window });
  people.push(person);
  return person;
}

const SMALL = { width: 300, height: 420 };
const LARGE = { width: 1000, height: 1300 };

describe("a receiver's layers follow its tile", () => {
  for (const codec of ["vp9", "av1"]) {
    for (const scalability of ["L1T3", "L2T2", "L3T3", "L3T3_KEY"]) {
      test(`${codec} ${scalability}: low, high, low, and frames are decoded throughout`, async () => {
        const room = `${codec}-${scalability}`;
        const [low, high] = { L1T3: [540, 540], L2T2: [270, 540], L3T3: [135, 540], L3T3_KEY: [135, 540] }[scalability];
        try {
          await join(room, "Ada", { size: "960x540", publish: "camera", codec, scalability });
          const grace = await join(room, "Grace", { publish: "none" }, SMALL);
          const within = (height) => height >= low && (low === high || height <= 270);
          await grace.heightOf("Ada", within);
          const seen = await grace.sees("Ada");
          assert.equal(seen.codec.toLowerCase(), `video/${codec}`);
          await grace.page.setViewport(LARGE);
          await grace.heightOf("Ada", (height) => height === high);
          await grace.sees("Ada");
          await grace.page.setViewport(SMALL);
          await grace.heightOf("Ada", within);
          await grace.sees("Ada");
        } catch (error) {
          const sent = await people[0]?.sends().catch(String);
          error.message += `\nserver: ${JSON.stringify(await server.statistics(room).catch(String))}\nsender: ${JSON.stringify(sent)}`;
          throw error;
        }
      });
    }
  }
});
