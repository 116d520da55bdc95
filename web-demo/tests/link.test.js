/** A real browser behind a real link that becomes slow and recovers, in the one direction or the other. Needs iproute2, and root or user namespaces; see link.js. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CHROMIUM, Person, Server, until } from "./helper.js";
import { elsewhere, filming, forget, gateway, Link, outside, seen, watch } from "./link.js";

/** Milliseconds for the height to follow the link. Generous: what is judged is the picture on the way. */
const DEADLINE = 120_000;

/** @type {(() => unknown)[]} what is to be done at the end of a test, last first */
const cleanup = [];
afterEach(async () => {
  for (const undo of cleanup.splice(0).reverse()) await undo();
});

/**
 * Grace watches Ada over a link that becomes slow and recovers.
 * @param {"in" | "out"} way whose link it is: "in" to Grace, or "out" of Ada
 * @param {[string, number, number, number][]} phases rate, bytes of queue, height to be reached, frames to be decoded from then on
 * @param {number} longestFreeze that the fall of the link may cost, in seconds
 * @param {number} frozenShare of each phase, at most
 */
async function slowAndBack(way, phases, longestFreeze, frozenShare) {
  const status = elsewhere(fileURLToPath(import.meta.url));
  if (status !== null) return assert.equal(status, 0, "the test failed in the user namespace");

  const link = new Link();
  cleanup.push(() => link.remove());
  link.shape(way, phases[0][0], phases[0][1]);
  const server = await Server.start({ args: ["--media-listen", Link.here] });
  cleanup.push(() => server.stop());
  const { url, stop } = await gateway(server.url);
  cleanup.push(stop);
  // A page may use the camera only where its origin is secure, as loopback is.
  const inside = (args = []) => link.browser([...args, `--unsafely-treat-insecure-origin-as-secure=${new URL(url).origin}`]);
  const [adas, graces] = way === "in" ? [outside, inside] : [inside, outside];
  const [film, screen] = [await filming(adas), await graces()];
  cleanup.push(() => Promise.all([film.close(), screen.close()]));

  const [adasUrl, gracesUrl] = way === "in" ? [server.url, url] : [url, server.url];
  const ada = await Person.join(CHROMIUM, adasUrl, { room: "link", name: "Ada", within: film });
  const grace = await Person.join(CHROMIUM, gracesUrl, { room: "link", name: "Grace", params: { publish: "none" }, within: screen });
  await grace.sees("Ada", "camera", { when: ({ height }) => height === 360 });
  await Promise.all([watch(ada, null), watch(grace, "Ada")]);

  for (const [rate, bytes, height, frames] of phases) {
    await Promise.all([forget(ada), forget(grace)]);
    const [{ frozen }, began] = [await seen(grace), performance.now()];
    link.shape(way, rate, bytes);
    await until(`Grace receives ${height} lines behind ${rate}`, async () => (await seen(grace)).height === height || Promise.reject(new Error(JSON.stringify(await seen(grace)))), DEADLINE)
      .catch((error) => assert.fail(`${error.message}\n${link.statistics(way)}`));
    const reached = (await seen(grace)).frames;
    await until(`${frames} more frames are decoded behind ${rate}`, async () => (await seen(grace)).frames >= reached + frames, DEADLINE);

    const [sent, received] = [await seen(ada), await seen(grace)];
    const report = `behind ${rate}: received ${JSON.stringify(received)}, sent ${JSON.stringify(sent)}\n${link.statistics(way)}`;
    if (process.env.PAGE_LOG) console.error(report);
    // Once its queue has drained, 500 kb/s also carry the larger picture with fewer frames: which of the two is the allocator's business.
    if (rate === "5mbit") assert.equal(received.height, height, report);
    // What the publisher's encoder or either page stood still for is this machine's doing, not the link's.
    const machine = sent.longestGap + sent.longestSleep + received.longestSleep;
    assert.ok(received.longestFreeze <= longestFreeze + machine, `a freeze ${report}`);
    assert.ok(received.longestGap <= longestFreeze + machine, `a gap between frames ${report}`);
    const share = (received.frozen - frozen) / ((performance.now() - began) / 1000);
    if (process.env.PAGE_LOG) console.error(`frozen for ${share} of the time`);
    assert.ok(share <= frozenShare, `frozen for ${share} of the time ${report}`);
  }
}

test("behind 5 Mb/s, then 500 kb/s, then 5 Mb/s the height goes down and comes back, and nothing freezes for more than a second", () =>
  slowAndBack("in", [["5mbit", 60_000, 360, 300], ["500kbit", 30_000, 180, 300], ["5mbit", 60_000, 360, 300]], 1, 0.2));

test("where a publisher's link falls to 200 kb/s the small picture is sent and shown, the large one comes back, and the picture moves on", () =>
  slowAndBack("out", [["5mbit", 60_000, 360, 300], ["200kbit", 14_000, 180, 150], ["5mbit", 60_000, 360, 300]], 2, 0.25));
