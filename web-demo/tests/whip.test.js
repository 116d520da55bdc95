/** WHIP and WHEP from a plain page: RTCPeerConnection and fetch, without the SDK. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { CHROMIUM, closeBrowsers, FIREFOX, openPage, Person, Server, until } from "./helper.js";

/** @type {Server} */
let server;
/** @type {{ close(): Promise<void> | void }[]} what the test at hand leaves behind */
let open = [];

before(async () => {
  server = await Server.start();
});
after(async () => {
  await closeBrowsers();
  assert.equal((await server?.stop()) ?? 0, 0, `the server stops cleanly:\n${server?.output}`);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((thing) => thing.close()));
});

/** A page of the server that does nothing by itself. */
async function plainPage(kind) {
  const page = await openPage(kind, new URL("/?publish=none", server.url).href);
  open.push(page);
  return page;
}

/** Publishes camera and microphone. */
async function publish(kind, room, name) {
  const page = await plainPage(kind);
  await page.evaluate(async (url) => {
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 480, height: 270 } });
    for (const track of media.getTracks()) peer.addTransceiver(track, { direction: "sendonly" });
    await peer.setLocalDescription();
    const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
    if (response.status !== 201) throw new Error(await response.text());
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
    globalThis.whip = { peer, media, session: new URL(response.headers.get("Location"), response.url).href };
  }, `/whip/${room}?name=${name}`);
  return page;
}

/** Plays one audio and one video. */
async function play(kind, path) {
  const page = await plainPage(kind);
  await page.evaluate(async (url) => {
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    const players = ["audio", "video"].map((kind) => {
      const { receiver } = peer.addTransceiver(kind, { direction: "recvonly" });
      const player = Object.assign(document.createElement(kind), { srcObject: new MediaStream([receiver.track]), autoplay: true });
      document.body.append(player);
      return player;
    });
    await peer.setLocalDescription();
    const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
    if (response.status !== 201) throw new Error(await response.text());
    await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
    globalThis.whep = { peer, players, session: new URL(response.headers.get("Location"), response.url).href };
  }, path);
  return page;
}

/** Waits until more frames are decoded, and sound that is not silence. */
async function receives(page, what) {
  const figures = () => page.evaluate(async () => {
    const rtp = [...(await globalThis.whep.peer.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
    const of = (kind) => rtp.find((one) => one.kind === kind) ?? {};
    return { frames: of("video").framesDecoded ?? 0, energy: of("audio").totalAudioEnergy ?? 0 };
  });
  const before = await figures();
  await until(`${what}: pictures and sound`, async () => {
    const now = await figures();
    return now.frames >= before.frames + 15 && now.energy > before.energy;
  });
}

const status = (page, url, init) => page.evaluate(async (url, init) => (await fetch(url, init)).status, url, init);

describe("WHIP and WHEP from plain pages", () => {
  for (const [publisher, player] of [[CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]]) {
    test(`${publisher} publishes, ${player} plays, both end their sessions`, async () => {
      const room = `plain-${publisher}`;
      const viewer = await play(player, `/whep/${room}/Studio`);
      const studio = await publish(publisher, room, "Studio");
      await receives(viewer, `${player} plays ${publisher}`);
      for (const [page, name] of [[viewer, "whep"], [studio, "whip"]]) {
        const session = await page.evaluate((name) => globalThis[name].session, name);
        assert.equal(await status(page, session, { method: "DELETE" }), 200);
        assert.equal(await status(page, session, { method: "DELETE" }), 404);
      }
    });
  }

  test("people in the room see and hear a WHIP publisher under its name", async () => {
    await publish(CHROMIUM, "mixed", "Studio");
    const ada = await Person.join(FIREFOX, server.url, { room: "mixed", name: "Ada" });
    open.push(ada);
    await Promise.all([ada.sees("Studio"), ada.hears("Studio")]);
    const viewer = await play(CHROMIUM, "/whep/mixed/Ada");
    await receives(viewer, "a player of Ada");
    const names = await ada.room((room) => [...room.participants.values()].map(({ name }) => name));
    assert.deepEqual(names, ["Studio"], "players are not shown");
  });

  test("a new network: ICE restarts by PATCH while the picture goes on", async () => {
    await publish(CHROMIUM, "restart", "Studio");
    const viewer = await play(CHROMIUM, "/whep/restart");
    await receives(viewer, "before");
    const restarted = await viewer.evaluate(async () => {
      const { peer, session } = globalThis.whep;
      const old = peer.remoteDescription.sdp;
      await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
      const line = (sdp, key) => sdp.split("\r\n").find((line) => line.startsWith(key));
      const keys = ["a=ice-ufrag:", "a=ice-pwd:"];
      const body = keys.map((key) => line(peer.localDescription.sdp, key) + "\r\n").join("");
      const response = await fetch(session, { method: "PATCH", headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" }, body });
      const fragment = await response.text();
      const answer = keys.reduce((sdp, key) => sdp.replaceAll(line(old, key), line(fragment, key)), old);
      await peer.setRemoteDescription({ type: "answer", sdp: answer });
      return response.status;
    });
    assert.equal(restarted, 200);
    await receives(viewer, "after");
  });
});
