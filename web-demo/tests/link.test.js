/** A real browser behind a real link that becomes slow and recovers. Needs iproute2, and root or user namespaces; see link.js. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { CHROMIUM, Person, Server, until } from "./helper.js";
import { elsewhere, filmingBrowser, forget, gateway, Link, seen, watch } from "./link.js";

/** Longest freeze that the fall of the link may cost, in seconds. */
const LONGEST_FREEZE = 1;
/** Frames that must be decoded in each state before the next: some ten seconds. */
const FRAMES = 300;
/** Milliseconds for the height to follow the link. Generous: what is judged is the picture on the way. */
const DEADLINE = 120_000;

/** @type {(() => unknown)[]} what is to be done at the end, last first */
const cleanup = [];
after(async () => {
  for (const undo of cleanup.reverse()) await undo();
});

test("behind 5 Mb/s, then 500 kb/s, then 5 Mb/s the height goes down and comes back, and nothing freezes for more than a second", async () => {
  const status = elsewhere(fileURLToPath(import.meta.url));
  if (status !== null) return assert.equal(status, 0, "the test failed in the user namespace");

  const link = new Link();
  cleanup.push(() => link.remove());
  link.shape("5mbit", 60_000);
  const server = await Server.start({ args: ["--media-listen", Link.here] });
  cleanup.push(() => server.stop());
  const { url, stop } = await gateway(server.url);
  cleanup.push(stop);
  const [outside, inside] = [await filmingBrowser(), await link.browser()];
  cleanup.push(() => Promise.all([outside.close(), inside.close()]));

  const ada = await Person.join(CHROMIUM, server.url, { room: "link", name: "Ada", within: outside });
  const grace = await Person.join(CHROMIUM, url, { room: "link", name: "Grace", params: { publish: "none" }, within: inside });
  await grace.sees("Ada", "camera", { when: ({ height }) => height === 360 });
  await Promise.all([watch(ada, null), watch(grace, "Ada")]);

  const phases = [["5mbit", 60_000, 360], ["500kbit", 30_000, 180], ["5mbit", 60_000, 360]];
  for (const [rate, bytes, height] of phases) {
    await Promise.all([forget(ada), forget(grace)]);
    link.shape(String(rate), Number(bytes));
    await until(`Grace receives ${height} lines behind ${rate}`, async () => (await seen(grace)).height === height || Promise.reject(new Error(JSON.stringify(await seen(grace)))), DEADLINE)
      .catch((error) => assert.fail(`${error.message}\n${link.statistics()}`));
    const reached = (await seen(grace)).frames;
    await until(`${FRAMES} more frames are decoded behind ${rate}`, async () => (await seen(grace)).frames >= reached + FRAMES, DEADLINE);

    const [sent, received] = [await seen(ada), await seen(grace)];
    const report = `behind ${rate}: received ${JSON.stringify(received)}, sent ${JSON.stringify(sent)}\n${link.statistics()}`;
    if (process.env.PAGE_LOG) console.error(report);
    // Once its queue has drained, 500 kb/s also carry the larger picture with fewer frames: which of the two is the allocator's business.
    if (rate === "5mbit") assert.equal(received.height, height, report);
    // What the publisher's encoder or either page stood still for is this machine's doing, not the link's.
    const machine = sent.longestGap + sent.longestSleep + received.longestSleep;
    assert.ok(received.longestFreeze <= LONGEST_FREEZE + machine, `a freeze ${report}`);
    assert.ok(received.longestGap <= LONGEST_FREEZE + machine, `a gap between frames ${report}`);
  }
});
