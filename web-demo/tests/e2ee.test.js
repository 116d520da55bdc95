/** Media that the server cannot read: encrypted in the senders' browsers, through the real server, played by those who have the passphrase. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { CHROMIUM, FIREFOX, openPage, until } from "./helper.js";
import { appears, gone, suite, textOf, tile } from "./suite.js";

const PAIRS = [[CHROMIUM, CHROMIUM], [CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]];
const PASSPHRASE = "correct horse battery staple";
const LOCK = '.lock[aria-label="End-to-end encrypted"]:not([hidden])';

const the = suite("e2ee", { args: ["--dev"] });
const join = (kind, name, options = {}) => the.join(kind, name, { passphrase: PASSPHRASE, ...options });
const says = (person, name, text) => until(`${name}'s tile says "${text}"`, async () => (await textOf(person, tile(name, " .locked"))) === text);
/** Waits until so many more packets of picture and sound have come, and returns the figures. */
async function arrives(person, name, packets = 100) {
  return Promise.all(["camera", "microphone"].map((source) => until(`${source} of ${name} arrives at ${person.name}`, async () => {
    const now = await person.receives(name, source);
    return now?.packets > packets && now;
  })));
}
/** Nothing of what arrives is played. */
async function isDeafAndBlind(person, name) {
  const [camera, microphone] = await arrives(person, name);
  assert.equal(camera.frames, 0, "no frame is decoded");
  assert.equal(microphone.energy, 0, "nothing is heard");
}
async function setPassphrase(person, passphrase) {
  await (await person.page.$('button[aria-label^="End-to-end encryption"]')).click();
  await person.page.$eval("#new-passphrase", (field) => (field.value = ""));
  if (passphrase) await person.page.type("#new-passphrase", passphrase);
  await (await person.page.$("dialog .primary")).click();
  await gone(person, "dialog");
}

describe("with the same passphrase", () => {
  for (const [sender, receiver] of PAIRS) {
    for (const codec of ["vp8", "vp9", "av1"]) {
      the.meeting(`${sender} to ${receiver}: ${codec} and Opus are played, and by nobody who does not have it`, async () => {
        const ada = await join(sender, "Ada", { params: { codec } });
        const grace = await join(receiver, "Grace", { params: { publish: "mic" } });
        const seen = await grace.sees("Ada");
        assert.equal(seen.codec.toLowerCase(), `video/${codec}`);
        await Promise.all([grace.hears("Ada"), ada.hears("Grace")]);
        for (const [person, other] of [[grace, "Ada"], [ada, "Grace"], [ada, "Ada (you)"]]) await appears(person, tile(other, ` ${LOCK}`));
        const eve = await join(receiver, "Eve", { passphrase: "", params: { publish: "none" } });
        await isDeafAndBlind(eve, "Ada");
        await until("her tile says why", async () => /perhaps encrypted/.test(await textOf(eve, tile("Ada", " .layer"))));
        assert.equal((await eve.page.$$(LOCK)).length, 0);
        await grace.sees("Ada");
      });
    }
  }

  the.meeting("where packets get lost sound is not repeated, which would be several frames in one, and goes on", async () => {
    await join(CHROMIUM, "Ada", { params: { publish: "mic" } });
    const grace = await join(CHROMIUM, "Grace", { params: { publish: "none" } });
    const eve = await join(CHROMIUM, "Eve", { passphrase: "", params: { publish: "none" } });
    await grace.hears("Ada");
    for (const person of [grace, eve]) await person.room((room) => room.emulate({ down: { loss: 0.2 } }));
    const repeating = async () => /^sluice_receivers_with_repeated_sound (\d+)$/m.exec(await the.server.metrics())?.[1];
    await until("sound is repeated for who has no passphrase", async () => (await repeating()) === "1");
    const before = await grace.receives("Ada", "microphone");
    const now = await grace.hears("Ada", { packets: 200 });
    assert.equal(await repeating(), "1");
    const concealed = (now.concealed - before.concealed) / (now.samples - before.samples);
    assert.ok(concealed < 0.5, `${concealed} of the sound was made up`);
  });

  for (const [codec, scalability] of [["vp8", ""], ["vp9", "L3T3_KEY"], ["av1", "L3T3_KEY"]]) {
    the.meeting(`the server still chooses the layers of ${codec} ${scalability || "simulcast"}`, async () => {
      await join(CHROMIUM, "Ada", { params: { size: "960x540", publish: "camera", codec, ...(scalability && { scalability }) } });
      const grace = await join(CHROMIUM, "Grace", { width: 1000, height: 1300, params: { publish: "none" } });
      await grace.heightOf("Ada", (height) => height === 540);
      await grace.page.setViewport({ width: 300, height: 420 });
      await grace.heightOf("Ada", (height) => height <= 270);
      await grace.sees("Ada");
      await grace.page.setViewport({ width: 1000, height: 1300 });
      await grace.heightOf("Ada", (height) => height === 540);
      await grace.sees("Ada");
    });
  }
});

describe("with another passphrase", () => {
  for (const [sender, receiver] of PAIRS) {
    the.meeting(`${sender} to ${receiver}: nothing is played, the tile says why, and the right one mends it`, async () => {
      await join(sender, "Ada");
      const grace = await join(receiver, "Grace", { passphrase: "wrong", params: { publish: "none" } });
      await isDeafAndBlind(grace, "Ada");
      await says(grace, "Ada", "Encrypted with another passphrase: compare yours");
      assert.equal((await grace.page.$$(tile("Ada", ` ${LOCK}`))).length, 0);
      await setPassphrase(grace, PASSPHRASE);
      await Promise.all([grace.sees("Ada"), grace.hears("Ada")]);
      await appears(grace, tile("Ada", ` ${LOCK}`));
      await says(grace, "Ada", "");
    });
  }

  the.meeting("who sends without one is not played to who has one; turned on in the middle of the call, it is", async () => {
    const ada = await join(CHROMIUM, "Ada", { passphrase: "" });
    const grace = await join(FIREFOX, "Grace", { params: { publish: "none" } });
    await isDeafAndBlind(grace, "Ada");
    await says(grace, "Ada", "Sends without encryption: not played here");
    await setPassphrase(ada, PASSPHRASE);
    await Promise.all([grace.sees("Ada"), grace.hears("Ada")]);
    await appears(ada, tile("Ada (you)", ` ${LOCK}`));
    await setPassphrase(ada, "");
    await says(grace, "Ada", "Sends without encryption: not played here");
    await gone(ada, LOCK);
  });
});

the.meeting("a browser that cannot says so in words, rather than send in the clear", async () => {
  const page = the.leave(await openPage(CHROMIUM, `${the.server.url}?room=${the.room}&name=Ada&autojoin=1&publish=none#key=secret`, { before: () => delete globalThis.RTCRtpScriptTransform }));
  await until("the page says so", () => page.$(".end[data-code=encryption-unsupported]"));
});

the.meeting("the invitation has the passphrase where the server does not see it", async () => {
  const ada = await join(CHROMIUM, "Ada", { params: { publish: "none" } });
  await ada.click("Invite others");
  const link = new URL(await ada.page.$eval("#invite-link", ({ value }) => value));
  assert.equal(new URLSearchParams(link.hash.slice(1)).get("key"), PASSPHRASE);
  const grace = the.leave(await openPage(FIREFOX, link.href));
  await until("it is filled in", () => grace.$eval("#passphrase", ({ value }, wanted) => value === wanted, PASSPHRASE));
});
