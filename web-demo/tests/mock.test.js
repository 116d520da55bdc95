/** The page and the SDK against a stand-in for the server: joining, offers, errors, what is said in plain words. */
import assert from "node:assert/strict";
import { after, afterEach, beforeEach, test } from "node:test";
import { browser, CHROMIUM, closeBrowsers, FIREFOX, openPage, Person, until } from "./helper.js";
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
  const person = await Person.join(kind, mock.url, { room: "r", name: "Ada", params, ...options });
  pages.push(person.page);
  return person;
}

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const problemCode = (page, code) => until(`the page says ${code}`, () => page.$(`[data-code="${code}"]`));
const others = (tracks) => ({ participants: [{ id: "p1", name: "Grace", tracks }], slots: [] });
const grace = [
  { id: "p1t0", participant: "p1", kind: "audio", source: "microphone", muted: false },
  { id: "p1t1", participant: "p1", kind: "video", source: "camera", muted: false },
];

for (const kind of [CHROMIUM, FIREFOX]) {
  test(`${kind}: one offer carries a simulcast camera and a microphone, and the answer is accepted`, async () => {
    const person = await join(kind, { size: "1280x720" });
    await until("both are published", () => person.room((room) => [...room.localTracks].filter(({ id }) => id).length === 2));
    const offer = mock.received("offer").at(-1);
    assert.deepEqual(offer.tracks.map(({ source, muted }) => [source, muted]).sort(), [["camera", false], ["microphone", false]]);
    assert.match(offer.sdp, /a=simulcast:send q;h;f/);
    await until("the answer is accepted", () => person.room((room) => room.peerConnection.signalingState === "stable"));
    assert.deepEqual(
      await person.room((room) => room.local("camera").sender.getParameters().encodings.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy])),
      [["q", 4], ["h", 2], ["f", 1]],
    );
    assert.match(await person.room((room) => room.peerConnection.remoteDescription.sdp), /usedtx=1/);
  });

  test(`${kind}: a small camera has fewer encodings`, async () => {
    const person = await join(kind, { size: "640x360", publish: "camera" });
    await until("it is published", () => person.room((room) => room.local("camera")?.id));
    assert.match(mock.received("offer").at(-1).sdp, /a=simulcast:send h;f/);
  });

  test(`${kind}: with publish=none nothing is sent, and slots for those present are offered at once`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "none" });
    await until("slots are negotiated", () => person.room((room) => room.peerConnection.signalingState === "stable" && Boolean(room.peerConnection.remoteDescription)));
    const [offer] = mock.received("offer");
    assert.deepEqual(offer.tracks, []);
    assert.equal(offer.sdp.match(/^a=recvonly/gm).length, 4, "one of each kind, and a spare");
    assert.doesNotMatch(offer.sdp, /a=sendonly/);
  });

  test(`${kind}: wanted slots are added once, also when the server asks while an offer is under way`, async () => {
    const person = await join(kind, { publish: "none" });
    const negotiated = (count) => until(`${count} slots are answered`, () => person.room((room, count) => {
      const { signalingState, remoteDescription } = room.peerConnection;
      const transceivers = room.peerConnection.getTransceivers();
      return signalingState === "stable" && remoteDescription && transceivers.length === count && transceivers.every(({ currentDirection }) => currentDirection);
    }, count));
    await negotiated(2); // a spare of each
    mock.send({ type: "slots-wanted", audio: 1, video: 2 });
    mock.send({ type: "slots-wanted", audio: 1, video: 2 });
    await negotiated(7);
    const count = await person.room((room) => room.peerConnection.getTransceivers().map(({ receiver }) => receiver.track.kind).sort());
    assert.deepEqual(count, ["audio", "audio", "audio", "video", "video", "video", "video"]); // with another spare of each
    mock.send({ type: "slots-wanted", audio: 0, video: 1 });
    await negotiated(9);
    assert.equal(mock.received("offer").length, 3);
  });

  test(`${kind}: a slot's media goes to its track, and moves with it`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "none" });
    const mids = await until("slots are negotiated", () => person.room((room) => room.peerConnection.remoteDescription
      && room.peerConnection.getTransceivers().filter(({ receiver }) => receiver.track.kind === "video").map(({ mid }) => mid)));
    const sending = { type: "sending", encoding: 0, rid: "f", spatial: 0, temporal: 2, codec: "VP8", height: 360 };
    const shown = () => person.room((room) => {
      const video = document.querySelector("[data-participant=p1] video");
      const track = video.srcObject?.getTracks()[0];
      return { mid: room.peerConnection.getTransceivers().find(({ receiver }) => receiver.track === track)?.mid, layer: document.querySelector("[data-participant=p1] .layer").textContent };
    });
    mock.send({ type: "slots", slots: [{ mid: mids[0], kind: "video", track: "p1t1", state: sending }] });
    await until("it is in the first slot", async () => (await shown()).mid === mids[0] && (await shown()).layer.startsWith("360p · f"));
    mock.send({ type: "slots", slots: [{ mid: mids[0], kind: "video", track: null, state: null }, { mid: mids[1], kind: "video", track: "p1t1", state: { type: "paused", reason: "bandwidth" } }] });
    await until("it is in the second slot", async () => (await shown()).mid === mids[1] && (await shown()).layer === "paused: bandwidth");
  });

  test(`${kind}: encodings that nobody takes stop, and come back`, async () => {
    const person = await join(kind, { publish: "camera", size: "1280x720" });
    const track = await until("it is published", () => person.room((room) => room.local("camera")?.id));
    const active = () => person.room((room) => room.local("camera").sender.getParameters().encodings.map(({ active }) => active));
    mock.send({ type: "encodings", track, encodings: [{ rid: "q", wanted: true }, { rid: "h", wanted: false }, { rid: "f", wanted: false }] });
    await until("two stop", async () => String(await active()) === "true,false,false");
    mock.send({ type: "encodings", track, encodings: [{ rid: "q", wanted: true }, { rid: "h", wanted: true }, { rid: "f", wanted: true }] });
    await until("they come back", async () => String(await active()) === "true,true,true");
  });

  test(`${kind}: the size of a tile is asked for, less is asked for when it shrinks, nothing when it is out of sight`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "none" });
    const asked = () => mock.received("subscribe").flatMap(({ tracks }) => tracks).filter(({ track }) => track === "p1t1").at(-1);
    const tile = () => person.page.$eval("[data-participant=p1]", (element) => Math.round(element.getBoundingClientRect().height));
    await until("the size is asked for", async () => Math.abs(asked()?.maxHeight - (await tile())) <= 1 && asked().priority === "visible");
    const large = asked().maxHeight;
    await person.page.setViewport({ width: 420, height: 500 });
    await until("less is asked for", async () => Math.abs(asked().maxHeight - (await tile())) <= 1 && asked().maxHeight < large);
    await person.page.$eval("[data-participant=p1]", (element) => (element.style.display = "none"));
    await until("it is hidden", () => asked().priority === "hidden");
  });

  test(`${kind}: maxheight limits what is asked for`, async () => {
    mock.joined = others(grace);
    await join(kind, { publish: "none", maxheight: "90" });
    await until("the limit is asked for", () => mock.received("subscribe").flatMap(({ tracks }) => tracks).find(({ track, maxHeight }) => track === "p1t1" && maxHeight === 90));
  });

  test(`${kind}: muting a camera releases it and says so; unmuting opens it again`, async () => {
    const person = await join(kind, { publish: "camera,mic" });
    await until("both are published", () => person.room((room) => [...room.localTracks].filter(({ id }) => id).length === 2));
    await person.click("Turn camera off");
    await until("the server knows", () => mock.received("mute").at(-1)?.muted === true);
    assert.equal(await person.room((room) => room.local("camera").sender.track), null);
    await person.click("Turn camera on");
    await until("the server knows", () => mock.received("mute").at(-1)?.muted === false);
    assert.equal(await person.room((room) => room.local("camera").sender.track?.readyState), "live");
    await person.click("Turn microphone off");
    await until("the server knows", () => mock.received("mute").at(-1)?.track.startsWith("p") && mock.received("mute").length === 3);
    assert.equal(await person.room((room) => room.local("microphone").sender.track.enabled), false);
    assert.ok(mock.received("offer").length <= 3, "the first one and one a device: muting needs no negotiation");
  });

  test(`${kind}: a refused offer is withdrawn, said in words, and the next one works`, async () => {
    mock.refuse.offer = { code: "too-many-tracks", message: "You publish too many tracks.", hint: "Stop one of them." };
    const person = await join(kind, { publish: "mic" });
    await problemCode(person.page, "too-many-tracks");
    // The offer of slots alone may have been refused first, while the microphone was being opened.
    await until("the microphone is offered", () => mock.received("offer").some(({ tracks }) => tracks.length));
    await until("it is withdrawn", () => person.room((room) => room.localTracks.size === 0));
    mock.refuse.offer = null;
    await person.click("Turn microphone on");
    await until("it is published", () => person.room((room) => room.local("microphone")?.id));
  });

  test(`${kind}: a cut socket is resumed with the token and the state is said again`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "mic" });
    await until("it is published", () => person.room((room) => room.local("microphone")?.id));
    await person.click("Turn microphone off");
    await until("the server knows", () => mock.received("mute").length === 1);
    const before = await person.room((room) => room.peerConnection.localDescription.sdp);
    mock.client.socket.terminate();
    await until("it is back", () => mock.clients.length === 2 && person.room((room) => room.state.cause !== "signaling"));
    assert.match(mock.client.received[0].resume, /^token-/);
    await until("the mute is said again", () => mock.client.received.some(({ type, muted }) => type === "mute" && muted));
    await until("the sizes are said again", () => mock.client.received.some(({ type }) => type === "subscribe"));
    assert.equal(await person.room((room) => room.peerConnection.localDescription.sdp), before, "media was left alone");
  });

  test(`${kind}: an offer that was cut off is sent again after the resume`, async () => {
    const person = await join(kind, { publish: "none" });
    const { socket } = mock.client;
    const emit = socket.emit.bind(socket);
    socket.emit = (event, ...args) => (event === "message" ? socket.terminate() : emit(event, ...args)); // gets lost on the way
    await person.room((room) => room.enable("microphone"));
    assert.ok(await person.room((room) => room.local("microphone").id));
  });

  test(`${kind}: when the session is gone, everything is published again on a new peer connection`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "camera,mic" });
    await until("both are published", () => person.room((room) => [...room.localTracks].filter(({ id }) => id).length === 2));
    mock.resumes = false;
    mock.joined = {};
    mock.client.socket.terminate();
    await until("both are published again", () => person.room((room) => [...room.localTracks].every(({ id }) => id?.startsWith(room.id)) && room.id === "p101"));
    assert.equal((await person.page.$$("[data-participant=p1]")).length, 0, "who is not there any more has no tile");
    const fingerprints = mock.received("offer").map(({ sdp }) => /a=fingerprint:.*/.exec(sdp)[0]);
    assert.notEqual(fingerprints[0], fingerprints.at(-1));
  });

  test(`${kind}: the codec of the URL is the only one offered for sending`, async (t) => {
    const page = await open(kind, "/?publish=none");
    const has = await page.evaluate(() => RTCRtpSender.getCapabilities("video").codecs.map(({ mimeType }) => mimeType.toLowerCase()));
    for (const codec of ["vp8", "h264"]) {
      if (!has.includes(`video/${codec}`)) {
        t.diagnostic(`${kind} here cannot encode ${codec}`);
        continue;
      }
      const person = await join(kind, { publish: "camera", codec });
      await until("it is published", () => person.room((room) => room.local("camera")?.id));
      const section = mock.client.received.find(({ type, sdp }) => type === "offer" && /a=sendonly/.test(sdp)).sdp.split(/^(?=m=)/m).find((section) => /^m=video[^]*a=sendonly/.test(section));
      const codecs = new Set([...section.matchAll(/a=rtpmap:\d+ (\S+?)\//g)].map(([, name]) => name.toLowerCase()));
      assert.deepEqual([...codecs].sort(), [codec, "rtx"].sort());
    }
  });

  test(`${kind}: unpublishing a screen frees its section, and sharing again uses it`, async () => {
    const person = await join(kind, { publish: "none" });
    const share = () => person.room(async (room) => {
      const canvas = document.createElement("canvas");
      canvas.getContext("2d").fillRect(0, 0, 10, 10);
      await room.publish(canvas.captureStream(5).getTracks()[0], { source: "screen" });
      return room.local("screen").mid;
    });
    await share();
    await until("it has a tile", () => person.page.$(".tile.on-stage"));
    await person.room((room) => room.unpublish(room.local("screen")));
    await until("the tile is gone", async () => !(await person.page.$(".tile.on-stage")));
    await share();
    const offer = mock.received("offer").at(-1);
    assert.equal(offer.sdp.match(/^m=/gm).length, 4, "two spare slots, data and the screen");
    assert.equal(offer.tracks.length, 1);
  });

  test(`${kind}: blocked sound is announced, and a click plays it`, async () => {
    mock.joined = others(grace);
    const person = await join(kind, { publish: "none" }, {
      before: () => {
        let clicked = false;
        addEventListener("click", () => (clicked = true), true);
        const { play } = HTMLMediaElement.prototype;
        HTMLMediaElement.prototype.play = function () {
          return clicked || this.muted ? play.call(this) : Promise.reject(new DOMException("click first", "NotAllowedError"));
        };
      },
    });
    const mid = await until("slots are negotiated", () => person.room((room) => room.peerConnection.remoteDescription && room.peerConnection.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio").mid));
    assert.equal(await person.page.$eval(".hear", ({ hidden }) => hidden), true);
    mock.send({ type: "slots", slots: [{ mid, kind: "audio", track: "p1t0", state: { type: "starting" } }] });
    await until("the hint shows", () => person.page.$eval(".hear", ({ hidden }) => !hidden));
    await person.page.click(".hear");
    await until("the hint is gone", () => person.page.$eval(".hear", ({ hidden }) => hidden));
  });

  test(`${kind}: a denied camera is said in words, and joining without works`, async () => {
    const page = await open(kind, "/?room=r&name=Ada", {
      before: () => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"))),
    });
    await problemCode(page, "permission-denied");
    assert.match(await text(page, "[data-code=permission-denied]"), /not allowed/);
    await page.click("form .primary");
    await until("it is in the room", () => page.evaluate(() => Boolean(window.sluice)));
  });

  test(`${kind}: a missing device is said in words`, async () => {
    const page = await open(kind, "/?room=r&name=Ada", {
      before: () => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotFoundError"))),
    });
    await problemCode(page, "no-device");
  });

  test(`${kind}: a full room is said in words, and trying again works once there is room`, async () => {
    mock.refuse.join = { code: "room-full", message: "The room has 2 of 2 participants.", hint: "Try later." };
    const page = await open(kind, "/?room=r&name=Ada&autojoin=1&publish=none");
    await problemCode(page, "room-full");
    assert.match(await text(page, ".end"), /full/);
    mock.refuse.join = null;
    await page.click(".end .primary");
    await page.locator("form .primary").click();
    await until("it is in the room", () => page.evaluate(() => Boolean(window.sluice)));
  });

  test(`${kind}: a server that is gone is said in words`, async () => {
    const page = await open(kind, "/?room=r&name=Ada&publish=none");
    await page.waitForSelector("form");
    mock.stop();
    await page.click("form .primary");
    await problemCode(page, "unreachable");
  });

  test(`${kind}: who is removed is told why`, async () => {
    const person = await join(kind, { publish: "none" });
    mock.send({ type: "kicked", reason: "The host removed you." });
    await problemCode(person.page, "kicked");
    assert.match(await text(person.page, ".end"), /The host removed you/);
    assert.equal(mock.clients.length, 1);
  });

  test(`${kind}: names are shown as text, whatever they contain`, async () => {
    mock.joined = { participants: [{ id: "p1", name: "<img src=x onerror=alert(1)>", tracks: [] }] };
    const person = await join(kind, { publish: "none" });
    assert.equal(await text(person.page, "[data-participant=p1] .name"), "<img src=x onerror=alert(1)>");
  });

  test(`${kind}: a room without a name gets one, and the link to it is shown and stays in the address`, async () => {
    const page = await open(kind, "/?name=Ada&publish=none");
    await page.waitForSelector("form");
    const room = await page.$eval("#room", ({ value }) => value);
    assert.match(room, /^[a-z]+-[a-z]+-\d+$/);
    await page.click("form .primary");
    await until("it is in the room", () => page.evaluate(() => Boolean(window.sluice)));
    await page.click('[aria-label="Invite others"]');
    assert.match(await page.$eval("#invite-link", ({ value }) => value), new RegExp(`/r/${room}$`));
    assert.equal(new URL(page.url()).pathname, `/r/${room}`);
    assert.equal(mock.received("join")[0].room, room);
  });
}

test("chromium: on an insecure address the page says what to do, and one can still watch", async () => {
  const page = await browser(CHROMIUM).then((chromium) => chromium.newPage());
  pages.push(page);
  await page.goto(mock.url.replace("127.0.0.1", "insecure.test") + "?room=r&name=Ada");
  await problemCode(page, "insecure-context");
  assert.match(await text(page, "[data-code=insecure-context]"), /https/);
  await page.click("form .primary");
  await until("it is in the room", () => page.evaluate(() => Boolean(window.sluice)));
});
