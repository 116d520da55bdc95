/** The engineer's drawer: its figures against the browser's and the server's, and what one does there. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { CHROMIUM, FIREFOX, Person, Server, until } from "./helper.js";
import { appears, figures, suite, textOf } from "./suite.js";

const the = suite("drawer", { args: ["--dev"] });
const { join, meeting } = the;
const BOTH = [[CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]];

/** What the browser has decoded of somebody's camera. */
const keyFrames = (person, name) => person.room(async (room, name) => {
  const track = [...room.tracks.values()].find((track) => track.participant.name === name && track.source === "camera");
  return [...(await track.receiver.getStats()).values()].find(({ type }) => type === "inbound-rtp")?.keyFramesDecoded ?? 0;
}, name);

async function setNetwork(person, fields) {
  await (await person.page.$(".network button[type=reset]")).click();
  for (const [field, value] of Object.entries(fields)) await person.page.type(`#${field}`, value);
  if (Object.keys(fields).length) await (await person.page.$(".network button[type=submit]")).click();
}

describe("the server's choice", () => {
  for (const [watcher, sender] of BOTH) {
    meeting(`${watcher}: target layer and reason are the server's, and follow what is asked for`, async () => {
      await join(sender, "Grace", { params: { publish: "camera" } });
      const ada = await join(watcher, "Ada", { width: 1200, height: 800, params: { publish: "none" } });
      await ada.heightOf("Grace", (height) => height === 360);
      await ada.click("Statistics");
      const agrees = (why) => until(`the drawer says what the server does, and "${why}"`, async () => {
        const shown = await figures(ada, "Grace", "camera");
        const { participants } = await the.server.statistics(the.room);
        const slot = participants.find(({ name }) => name === "Ada").slots.find(({ track, kind }) => track && kind === "video");
        return shown.why === why && shown["target layer"] === `${slot.targetEncoding} T${slot.targetTemporal}` && slot;
      });
      const best = await agrees("the sender gives no more");
      await ada.page.select(".wishes select", "180");
      const limited = await agrees("limited to 180 lines here");
      assert.ok(limited.targetEncoding < best.targetEncoding);
    });

    meeting(`${watcher}: a key frame is asked for, and comes`, async () => {
      await join(sender, "Grace", { params: { publish: "camera" } });
      const ada = await join(watcher, "Ada", { width: 1200, height: 800, params: { publish: "none" } });
      await ada.heightOf("Grace", (height) => height === 360);
      await ada.click("Statistics");
      await appears(ada, ".card");
      // Those of the start are over.
      const before = await until("no key frame comes by itself", async () => {
        const now = await keyFrames(ada, "Grace");
        await ada.sees("Grace", "camera", { frames: 30 });
        return (await keyFrames(ada, "Grace")) === now && now;
      });
      await ada.page.$$eval(".card button", ([button]) => button.click());
      await until("one comes", async () => (await keyFrames(ada, "Grace")) > before);
    });
  }
});

describe("the network panel", () => {
  for (const [watcher, sender] of BOTH) {
    meeting(`${watcher}: a narrow network lowers the layer, says so, and it comes back`, async () => {
      await join(sender, "Grace", { params: { publish: "camera" } });
      const ada = await join(watcher, "Ada", { width: 1200, height: 800, params: { publish: "none" } });
      await ada.heightOf("Grace", (height) => height === 360);
      await ada.click("Statistics");
      await setNetwork(ada, { "down-kbps": "200", "down-delay": "40" });
      await until("it says so", async () => (await textOf(ada, ".network [role=status]")) === "Emulated by the server.");
      // Both at once: a busy machine's sender may later have less to send than the link takes.
      await until("the lower layer comes, and the drawer says why", async () => {
        const [{ height }, { why }] = [await ada.receives("Grace", "camera"), await figures(ada, "Grace", "camera")];
        return height === 180 && why === "the link takes no more";
      });
      await ada.sees("Grace");
      await setNetwork(ada, {});
      await ada.heightOf("Grace", (height) => height === 360);
    });
  }

  meeting("loss is seen in the figures of who has it, and of nobody else", async () => {
    await join(CHROMIUM, "Grace", { params: { publish: "camera" } });
    const [ada, alan] = [await join(CHROMIUM, "Ada", { params: { publish: "none" } }), await join(CHROMIUM, "Alan", { params: { publish: "none" } })];
    await Promise.all([ada, alan].map((person) => person.sees("Grace")));
    await ada.click("Statistics");
    await setNetwork(ada, { "down-loss": "20" });
    const lossOf = async (person) => (await person.room((room) => room.quality?.details?.downlinkLoss)) ?? 0;
    await until("the server is told of the loss", async () => (await lossOf(ada)) > 0.05);
    assert.ok((await lossOf(alan)) < 0.05);
  });

  meeting("sound that gets lost is heard all the same, by its repetitions in the packets that follow", async () => {
    await join(CHROMIUM, "Grace", { params: { publish: "mic" } });
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "none" } });
    await ada.hears("Grace");
    await ada.click("Statistics");
    await setNetwork(ada, { "down-loss": "20", "down-delay": "30" });
    await until("the server repeats sound", async () => /^sluice_receivers_with_repeated_sound 1$/m.test(await the.server.metrics()));
    const before = await ada.receives("Grace", "microphone");
    const now = await ada.hears("Grace", { packets: 400 });
    const [lost, concealed] = [now.lost - before.lost, (now.concealed - before.concealed) / (now.samples - before.samples)];
    const share = lost / (lost + now.packets - before.packets);
    assert.ok(share > 0.1 && concealed < share / 2, `${share} of the packets were lost, ${concealed} of the sound was made up`);
  });

  meeting("a server without --dev has none", async () => {
    const server = await Server.start();
    the.leave({ close: () => void server.stop() });
    const ada = the.leave(await Person.join(CHROMIUM, server.url, { room: the.room, name: "Ada", params: { publish: "none" } }));
    await ada.click("Statistics");
    await appears(ada, ".drawer");
    assert.equal((await ada.page.$$(".network")).length, 0);
  });
});
