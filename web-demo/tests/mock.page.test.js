/** What the page does around the call, against a stand-in for the server: devices, keys, chat, files, notes, the way in and out. */
import assert from "node:assert/strict";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { problem } from "../page/words.js";
import { CHROMIUM, closeBrowsers, FIREFOX, openPage, Person, until } from "./helper.js";
import { Mock } from "./mock.js";

/** @type {Mock} */
let mock;
/** @type {import("puppeteer-core").Page[]} */
let pages = [];

beforeEach(async () => {
  mock = await Mock.start();
});
afterEach(async () => {
  for (const page of pages.splice(0)) await page.close();
  mock.stop();
});
after(closeBrowsers);

async function open(kind, path, options) {
  const page = await openPage(kind, new URL(path, mock.url).href, options);
  pages.push(page);
  return page;
}

async function join(kind, params = {}, options = {}) {
  const person = await Person.join(kind, mock.url, { room: "r", name: "Ada", params: { publish: "none", ...params }, ...options });
  pages.push(person.page);
  return person;
}

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const notes = (page) => page.$$eval(".notice", (all) => all.map(({ dataset }) => dataset.code));
const titles = (page) => page.$$eval(".notice strong", (all) => all.map(({ textContent }) => textContent));
const published = (person, source) => until(`the ${source} is published`, () => person.room((room, source) => room.local(source)?.id, source));
const muted = (person, source) => person.room((room, source) => room.local(source)?.muted, source);
const isInTheRoom = (page) => until("it is in the room", () => page.evaluate(() => Boolean(window.sluice)));

/** Has messages seem to flow, and keeps what is sent in `window.said`. */
const openData = (person) => person.room((room) => {
  window.said = [];
  room.send = async (data) => void window.said.push(JSON.parse(data));
  Object.defineProperty(room, "dataOpen", { value: true });
  room.emit("data-state", true);
});
const said = (person) => person.page.evaluate(() => window.said);
/** Somebody says something on a topic. */
const hear = (person, from, topic, ...messages) => person.room((room, from, topic, messages) => {
  for (const message of messages) room.emit("data", { from, topic, data: JSON.stringify(message), lossy: false, participant: room.participants.get(from) });
}, from, topic, messages);
const somebody = (...names) => ({ participants: names.map((name, index) => ({ id: `p${index + 1}`, name, tracks: [] })) });

/** Runs in the page: keeps what was asked for and opened, and with `window.hold`, or `hold` in the address, opens nothing until `window.letThrough()`. */
function watchDevices() {
  const { getUserMedia } = MediaDevices.prototype;
  window.asked = [];
  window.opened = [];
  window.hold = location.search.includes("hold");
  const waiting = [];
  window.letThrough = () => {
    window.hold = false;
    for (const go of waiting) go();
  };
  MediaDevices.prototype.getUserMedia = async function (wish) {
    window.asked.push(wish);
    if (window.hold) await new Promise((resolve) => waiting.push(resolve));
    const { deviceId: _, ...rest } = wish.video ?? {};
    if ((wish.video ?? wish.audio).deviceId?.exact === "gone") throw new DOMException("gone", "OverconstrainedError");
    const stream = await getUserMedia.call(this, wish.video ? { video: rest } : { audio: true });
    window.opened.push(...stream.getTracks());
    return stream;
  };
}
const live = (person) => person.page.evaluate(() => window.opened.filter(({ readyState }) => readyState === "live").length);

describe("devices", () => {
  for (const kind of [CHROMIUM, FIREFOX]) {
    test(`${kind}: the microphone is open for no longer than Space is held, whatever happens meanwhile`, async () => {
      const ada = await join(kind, {}, { before: watchDevices });
      const { keyboard } = ada.page;
      await ada.page.evaluate(() => (window.hold = true));
      await keyboard.press(" "); // a tap, over before the device is open
      await until("the device is being opened", () => ada.page.evaluate(() => window.asked.length === 1));
      await ada.page.evaluate(() => window.letThrough());
      await published(ada, "microphone");
      await until("it is off, as the key is up", () => muted(ada, "microphone"));

      for (const label of ["on", "off"]) {
        await ada.click(`Turn microphone ${label}`);
        await until(`it is ${label} by the mouse`, async () => (await muted(ada, "microphone")) === (label === "off"));
      }
      await until("the button is done", () => ada.page.$("button[data-source=microphone]:enabled"));
      await keyboard.down(" ");
      await until("one talks after a click, too", async () => !(await muted(ada, "microphone")));
      await ada.page.evaluate(() => window.dispatchEvent(new Event("blur"))); // another window has the keyboard now
      await until("it is off where the key cannot be heard of", () => muted(ada, "microphone"));
      await keyboard.up(" ");
      assert.equal(await muted(ada, "microphone"), true);

      for (const off of [false, true]) {
        await keyboard.press("m");
        await until("it is as the key says", async () => (await muted(ada, "microphone")) === off && ada.page.$("button[data-source=microphone]:enabled"));
      }
      await keyboard.down(" ");
      await until("one talks after the key, too", async () => !(await muted(ada, "microphone")));
      await keyboard.up(" ");
      await until("and no longer", () => muted(ada, "microphone"));
    });
  }

  test("a microphone that was unplugged is opened again, the default one where it stays away", async () => {
    const ada = await join(CHROMIUM, {}, { before: watchDevices });
    const microphone = () => ada.room((room) => {
      const { track, sender } = room.local("microphone");
      return `${track.readyState} ${track.enabled} ${sender.track === track}`;
    });
    await ada.room((room) => room.enable("microphone", { deviceId: "gone" }));
    assert.equal(await microphone(), "live true true");
    await ada.room((room) => {
      const { track } = room.local("microphone");
      track.stop();
      track.dispatchEvent(new Event("ended"));
    });
    await until("it is known to be off", () => muted(ada, "microphone"));
    await ada.click("Turn microphone on");
    await until("it is on", async () => !(await muted(ada, "microphone")));
    assert.equal(await microphone(), "live true true");
  });

  test("a camera chosen while the camera is off stays off until it is switched on, and goes off again", async () => {
    const ada = await join(CHROMIUM, { publish: "camera" }, { before: watchDevices });
    await published(ada, "camera");
    await ada.click("Turn camera off");
    await until("it is off", () => muted(ada, "camera"));
    await ada.room((room) => room.switchDevice("camera", { deviceId: "another" }));
    assert.equal(await live(ada), 0);
    await ada.click("Turn camera on");
    await until("it is on", async () => !(await muted(ada, "camera")));
    assert.deepEqual(await ada.page.evaluate(() => window.asked.at(-1).video.deviceId), { exact: "another" });
    assert.equal(await live(ada), 1);
    await ada.click("Turn camera off");
    await until("it is off", () => muted(ada, "camera"));
    assert.equal(await live(ada), 0);
  });

  test("who leaves while a camera is being opened leaves none open", async () => {
    const ada = await join(CHROMIUM, { publish: "camera" }, { before: watchDevices });
    await published(ada, "camera");
    await ada.click("Turn camera off");
    await until("it is off", () => muted(ada, "camera"));
    await ada.page.evaluate(() => (window.hold = true));
    await ada.click("Turn camera on");
    await until("it is being opened", () => ada.page.evaluate(() => window.asked.length === 2));
    await ada.click("Leave");
    await ada.page.evaluate(() => window.letThrough());
    await until("it was opened, and closed", async () => (await ada.page.evaluate(() => window.opened.length)) === 2 && (await live(ada)) === 0);
  });

  test("who joins while the browser still asks for the devices has them in the call", async () => {
    const page = await open(CHROMIUM, "/?room=r&name=Ada&hold", { before: watchDevices });
    await until("both are asked for", () => page.evaluate(() => window.asked.length === 2));
    await page.click("form .primary");
    await isInTheRoom(page);
    await page.evaluate(() => window.letThrough());
    await until("both are published", () => page.evaluate(() => window.sluice.local("camera")?.id && window.sluice.local("microphone")?.id));
    assert.equal(await page.evaluate(() => window.opened.length), 2);
  });

  test("who closes the window that asks for a screen is told nothing; what fails is told by what it is", async () => {
    const ada = await join(CHROMIUM, {}, {
      before: () => {
        window.failure = "NotAllowedError";
        MediaDevices.prototype.getDisplayMedia = () => Promise.reject(new DOMException("no", window.failure));
        MediaDevices.prototype.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
      },
    });
    const share = () => ada.page.evaluate(async () => {
      const button = document.querySelector("[data-source=screen]");
      button.click();
      while (button.disabled) await new Promise(requestAnimationFrame);
    });
    await share();
    assert.deepEqual(await titles(ada.page), []);
    await ada.page.evaluate(() => (window.failure = "NotFoundError"));
    await share();
    await ada.click("Turn microphone on");
    await until("both are told", async () => (await titles(ada.page)).join(" ") === "No screen can be shared here. The microphone is not allowed.");
  });

  test("who is muted by an administrator is muted, told so, and unmuted by nobody else", async () => {
    const ada = await join(CHROMIUM, { publish: "mic" });
    const track = await published(ada, "microphone");
    mock.send({ type: "track-muted", track, muted: true });
    await until("it is off", () => muted(ada, "microphone"));
    assert.equal(await ada.room((room) => room.local("microphone").track.enabled), false);
    await until("the page says so", async () => (await notes(ada.page)).join() === "muted-by-server");
    const told = mock.received("mute").length;
    mock.send({ type: "track-muted", track, muted: false });
    await until("the server hears that it is off", () => mock.received("mute").length > told);
    assert.deepEqual(mock.received("mute").at(-1), { type: "mute", track, muted: true });
    assert.equal(await muted(ada, "microphone"), true);
  });
});

describe("what the token does not grant", () => {
  const permit = (permissions) => (mock.joined = { permissions: { publish: [], subscribe: true, data: true, hidden: false, ...permissions } });

  test("is not tried, and not shown", async () => {
    permit({ data: false });
    const ada = await join(CHROMIUM, { publish: "camera,mic" }, { before: watchDevices });
    await until("slots are negotiated", () => ada.room((room) => room.peerConnection.remoteDescription));
    assert.deepEqual(await notes(ada.page), []);
    assert.equal(await ada.page.evaluate(() => window.asked.length), 0);
    const shown = await ada.page.$$eval(".control, .tools button", (all) => all.filter((one) => one.checkVisibility()).map((one) => one.getAttribute("aria-label")));
    for (const label of ["Turn camera on", "Turn microphone on", "Share the screen", "Raise the hand", "React", "Chat"]) assert.ok(!shown.includes(label), label);
    assert.ok(shown.includes("Leave"));
  });

  test("a screen without sound is asked for where its sound may not be published", async () => {
    permit({ publish: ["screen"] });
    const ada = await join(CHROMIUM, {}, {
      before: () => {
        MediaDevices.prototype.getDisplayMedia = (wish) => {
          window.wish = wish;
          return Promise.reject(new DOMException("no", "NotAllowedError"));
        };
      },
    });
    await ada.click("Share the screen");
    assert.equal(await until("it is asked for", () => ada.page.evaluate(() => window.wish && String(window.wish.audio))), "false");
  });

  test("who may not receive asks for nothing: no slots, no sizes", async () => {
    permit({ publish: ["microphone"], subscribe: false });
    mock.joined.participants = [{ id: "p1", name: "Grace", tracks: [{ id: "p1t1", participant: "p1", kind: "video", source: "camera", muted: false }] }];
    const ada = await join(CHROMIUM, { publish: "mic" });
    await published(ada, "microphone");
    for (const { sdp } of mock.received("offer")) assert.doesNotMatch(sdp, /a=recvonly/);
    assert.deepEqual(mock.received("subscribe"), []);
  });

  test("an invitation says that the link alone lets nobody in", async () => {
    const ada = await join(CHROMIUM, { token: "a.b.c" });
    await ada.click("Invite others");
    assert.match(await text(ada.page, "dialog [role=status]"), /needs a token of their own/);
  });
});

describe("the way in and out", () => {
  test("after a restart of the server people have their own names, and a raised hand stays up", async () => {
    const tracks = [{ id: "p1t1", participant: "p1", kind: "video", source: "camera", muted: false }];
    mock.joined = { participants: [{ id: "p1", name: "Grace", tracks }] };
    const ada = await join(CHROMIUM);
    await openData(ada);
    await ada.click("Raise the hand");
    mock.resumes = false;
    mock.joined = { participants: [{ id: "p1", name: "Alan", tracks }] };
    mock.client.socket.terminate();
    await until("it is in the new session", () => ada.room((room) => room.id === "p101" && room.state.cause !== "signaling"));
    assert.equal(await text(ada.page, "[data-participant=p1] .name"), "Alan");
    assert.equal(await ada.room((room) => room.tracks.get("p1t1").participant.name), "Alan");
    await ada.page.evaluate(() => (window.said = []));
    await ada.room((room) => room.emit("data-state", true));
    assert.ok((await said(ada)).some(({ type, raised }) => type === "hand" && raised), "the others are told again");
    await ada.click("People");
    await until("the list has it", () => ada.page.$('.people li:first-child [aria-label="Hand raised"]'));
  });

  test("the address is that of the room; Leave and Join again keep the passphrase, and a reload says that it is missing", async () => {
    const page = await open(CHROMIUM, "/r/first?name=Ada&publish=none");
    await page.$eval("#room", (field) => (field.value = "second"));
    await page.type("#passphrase", "between us");
    await page.click("form .primary");
    await isInTheRoom(page);
    assert.equal(new URL(page.url()).pathname, "/r/second");
    await page.click('[aria-label="Leave"]');
    await page.click(".end .primary");
    assert.deepEqual(await page.$$eval("#room, #passphrase", (fields) => fields.map(({ value }) => value)), ["second", "between us"]);
    await page.reload();
    await page.waitForSelector("form");
    assert.deepEqual(await notes(page), ["was-encrypted"]);
    await page.click("form .primary");
    await isInTheRoom(page);
    assert.deepEqual(await notes(page), ["was-encrypted"]);
  });

  test("names that the server would refuse are refused ahead, in words", async () => {
    const page = await open(CHROMIUM, `/r/${"x".repeat(65)}?publish=none&name=${"n".repeat(70)}`);
    const message = (id) => page.$eval(id, ({ validationMessage }) => validationMessage);
    const type = (id, value) => page.$eval(id, (field, value) => {
      field.value = value;
      field.dispatchEvent(new Event("input"));
    }, value);
    assert.match(await message("#room"), /64 characters/);
    assert.match(await message("#name"), /64 characters/);
    await type("#name", "   ");
    assert.match(await message("#name"), /others/);
    await type("#room", "..");
    assert.match(await message("#room"), /dots/);
    await page.click("form .primary");
    assert.equal(mock.clients.length, 0);
    mock.refuse.join = { code: "bad-message", message: "name: a name has a visible character" };
    await type("#name", "Ada");
    await type("#room", "r");
    await page.click("form .primary");
    await until("it is said in words", () => page.$(".end[data-code=bad-message]"));
    assert.match(await text(page, ".end p"), /1 to 64 visible characters/);
  });

  test("windows close as the call ends, and the title is the page's again", async () => {
    const ada = await join(CHROMIUM);
    await ada.click("Devices");
    mock.send({ type: "kicked", reason: "noise" });
    await until("the end is shown", () => ada.page.$(".end"));
    assert.equal(await ada.page.$("dialog"), null);
    assert.equal(await ada.page.title(), "Sluice");
  });
});

describe("keys", () => {
  test("the chat has the keyboard when it opens, Escape closes it, and single characters can be switched off", async () => {
    const ada = await join(CHROMIUM);
    const { keyboard } = ada.page;
    const panel = () => ada.page.$eval(".panel", ({ hidden }) => !hidden);
    await keyboard.press("c");
    await keyboard.type("mp");
    assert.equal(await ada.page.$eval("#chat-text", ({ value }) => value), "mp");
    await keyboard.press("Escape");
    assert.equal(await panel(), false);
    await keyboard.press("?");
    await ada.page.click("#character-keys");
    await keyboard.press("Escape");
    await keyboard.press("p");
    assert.equal(await panel(), false);
    await ada.page.reload();
    await isInTheRoom(ada.page);
    await keyboard.press("p");
    assert.equal(await panel(), false, "it is remembered");
    await ada.page.evaluate(() => localStorage.removeItem("sluice-keys"));
  });
});

describe("notes", () => {
  test("the detour over TCP is told once; a server that stops is told until another one is reached", async () => {
    const ada = await join(CHROMIUM);
    await ada.room((room) => {
      const { stats } = room;
      window.turns = 0;
      room.stats = async () => {
        window.turns++;
        const row = await stats.call(room);
        return { ...row, transport: { ...row.transport, protocol: "tcp" } };
      };
    });
    await until("it is told", async () => (await notes(ada.page)).join() === "udp-blocked");
    await ada.page.click(".dismiss");
    const turns = await ada.page.evaluate(() => window.turns);
    await until("it is seen twice more", () => ada.page.evaluate((turns) => window.turns > turns + 2, turns));
    assert.deepEqual(await notes(ada.page), []);
    mock.send({ type: "going-away", reason: "restart", seconds: 60 });
    await until("it is told", async () => (await notes(ada.page)).join() === "going-away");
    mock.resumes = false;
    mock.client.socket.terminate();
    await until("the other server is reached", () => ada.room((room) => room.id === "p101" && room.state.cause !== "signaling"));
    assert.deepEqual(await notes(ada.page), []);
  });

  test("connections that follow one another leave no error that nobody handles", async () => {
    const ada = await join(CHROMIUM, { publish: "camera,mic" }, {
      before: () => {
        window.unhandled = [];
        addEventListener("unhandledrejection", ({ reason }) => window.unhandled.push(String(reason)));
      },
    });
    for (const source of ["camera", "microphone"]) await published(ada, source);
    for (const passphrase of ["a", "", "b", ""]) {
      await ada.room((room, passphrase) => Promise.all([room.setPassphrase(passphrase), room.setPassphrase(passphrase && "c")]), passphrase);
      await until("both are published again", () => ada.room((room) => room.peerConnection.signalingState === "stable" && [...room.localTracks].every(({ id }) => id)));
    }
    assert.deepEqual(await ada.page.evaluate(() => window.unhandled), []);
    assert.deepEqual(await notes(ada.page), []);
    assert.deepEqual(await ada.room((room) => room.local("camera").sender.getParameters().degradationPreference), "balanced");
  });

  test("an error of the browser is one in words, too", () => {
    assert.deepEqual(problem(new DOMException("It is closed.", "InvalidStateError")), { code: "unexpected", title: "It is closed.", text: "" });
  });
});

describe("chat", () => {
  const lines = (person) => person.page.$$eval(".messages li:not(.file)", (items) => items.map((item) => item.innerText.replace(/\s+/g, " ")));

  test("the earlier chat is taken once, from who was asked for it; who does not answer is passed over", async () => {
    mock.joined = somebody("Bot", "Grace", "Eve");
    const ada = await join(CHROMIUM);
    await openData(ada);
    assert.deepEqual(await said(ada), [{ type: "hello", history: "p1" }]);
    const history = (name, text, at = 0) => ({ type: "history", messages: [{ name, text, at }] });
    await hear(ada, "p3", "together", history("Grace", "I never said that"));
    await until("the next one is asked", async () => (await said(ada)).at(-1).history === "p2");
    await hear(ada, "p2", "together", history("Eve", "early", 9e15), history("Eve", "forged"));
    await hear(ada, "p3", "together", { type: "chat", text: "late", at: 9e15 });
    await ada.click("Chat");
    const shown = await lines(ada);
    assert.deepEqual(shown.map((line) => [line.split(" ")[0], line.split(" ").at(-1)]), [["Eve", "early"], ["Eve", "late"]]);
    assert.doesNotMatch(shown.join(), /Invalid/);
  });

  test("who reads further up stays there; who is at the end follows", async () => {
    mock.joined = somebody("Grace");
    const ada = await join(CHROMIUM);
    await ada.click("Chat");
    const say = (...texts) => hear(ada, "p1", "together", ...texts.map((text, at) => ({ type: "chat", text, at: at + 1 })));
    const scroll = () => ada.page.$eval(".scroll", ({ scrollTop, scrollHeight, clientHeight }) => ({ top: scrollTop, left: scrollHeight - scrollTop - clientHeight }));
    await say(...Array(40).fill("a line"));
    assert.ok((await scroll()).left < 20, JSON.stringify(await scroll()));
    await ada.page.$eval(".scroll", (box) => (box.scrollTop = 0));
    await say("one more");
    assert.equal((await scroll()).top, 0);
  });
});

describe("files", () => {
  test("what was offered is gone with who offered it", async () => {
    mock.joined = somebody("Grace");
    const ada = await join(CHROMIUM);
    await ada.click("Chat");
    await hear(ada, "p1", "file", { type: "offer", id: 1, name: "a.txt", size: 5, mime: "" });
    await until("it is offered", () => ada.page.$('[aria-label="Take a.txt"]'));
    mock.send({ type: "participant-left", participant: "p1", reason: "left" });
    await until("it says so", async () => (await text(ada.page, ".file [role=status]")) === "The other one has left.");
    assert.equal(await ada.page.$('[aria-label="Take a.txt"]'), null);
  });

  test("more offers than are shown are refused, and the sender says so", async () => {
    mock.joined = somebody("Grace");
    const ada = await join(CHROMIUM);
    await openData(ada);
    await ada.click("Chat");
    await hear(ada, "p1", "file", ...Array.from({ length: 33 }, (_, id) => ({ type: "offer", id, name: `${id}.txt`, size: 5, mime: "" })));
    assert.equal((await ada.page.$$(".file")).length, 32);
    assert.deepEqual((await said(ada)).at(-1), { type: "refuse", id: 32 });
    await ada.page.evaluate(() => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["x"], "mine.txt"));
      document.querySelector(".call").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    });
    await until("it is offered", () => ada.page.$('[aria-label="Cancel mine.txt"]'));
    await hear(ada, "p1", "file", { type: "refuse", id: 1 });
    assert.match(await ada.page.$$eval(".file [role=status]", (all) => all.at(-1).textContent), /^Grace: Too many of your files wait/);
  });
});

describe("tiles", () => {
  for (const [size, width, height] of [["beside a screen", 1280, 800], ["on a phone", 390, 780]]) {
    test(`nothing on a tile covers anything else, ${size}`, async () => {
      const people = ["Grace Hopper", "Alan Mathison Turing", "Emmy Noether", "Sofja Kowalewskaja", "Alan Kay"].map((name, index) => ({
        id: `p${index + 1}`, name, tracks: [{ id: `p${index + 1}t1`, participant: `p${index + 1}`, kind: "video", source: "camera", muted: false }],
      }));
      people[0].tracks.push({ id: "p1t2", participant: "p1", kind: "video", source: "screen", muted: false });
      mock.joined = { participants: people };
      const ada = await join(CHROMIUM, {}, { width, height });
      await openData(ada);
      mock.send({
        type: "slots", slots: people.flatMap(({ tracks }) => tracks).map(({ id }, index) => (
          { mid: String(index + 50), kind: "video", track: id, state: { type: "sending", encoding: 0, rid: "f", spatial: 0, temporal: 2, codec: "VP8", height: 180 } })),
      });
      for (const { id } of people) {
        mock.send({ type: "quality", participant: "p100", score: 5, others: [{ participant: id, score: 5 }] });
        await hear(ada, id, "together", { type: "hand", raised: true });
      }
      await ada.room((room) => {
        const { stats } = room;
        room.stats = async () => ({ ...(await stats.call(room)), receive: [...room.tracks.values()].map(({ id }) => ({ track: id, height: 180, kbps: 153, framesDecoded: 9 })) });
      });
      await until("the last one has it all", () => ada.page.$eval("[data-participant=p5]", (tile) => tile.querySelector(".quality:not([hidden])") && tile.querySelector(".layer").textContent === "180p · f · 153 kb/s"));
      const covered = () => ada.page.$$eval(".tile:not([hidden])", (tiles) => tiles.flatMap((tile) => {
        const parts = [...tile.querySelectorAll(".pin, .layer, .hand, figcaption > *:not(.hand)")].filter((part) => part.checkVisibility());
        const boxes = parts.map((part) => [part.getAttribute("class"), part.getBoundingClientRect()]);
        const outside = boxes.filter(([, box]) => box.right > tile.getBoundingClientRect().right).map(([name]) => `${name} leaves the tile`);
        const meet = ([, one], [, other]) => one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
        return [...outside, ...boxes.flatMap((one, index) => boxes.slice(index + 1).filter((other) => meet(one, other)).map(([name]) => `${one[0]} and ${name} of ${tile.ariaLabel}`))];
      }));
      assert.deepEqual(await covered(), []);
      if (width < 760) return; // there a panel takes the place of the tiles
      await ada.room((room) => (room.stats = async () => new Promise(() => {}))); // the panel is of no interest here
      await ada.click("Statistics");
      assert.deepEqual(await covered(), []);
      assert.ok(await ada.page.$eval("[data-participant=p5] .layer", (layer) => layer.checkVisibility()), "who looks at figures has them");
    });
  }
});
