/** Calls through Debian's coturn, set up as deploy/turnserver.conf says, with the credentials that the server hands out. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, afterEach, before, describe, test } from "node:test";
import { CHROMIUM, closeBrowsers, FIREFOX, freePort, openPage, Person, Server, until } from "./helper.js";

const SECRET = "shared-by-sluice-and-coturn";
/** coturn denies loopback peers whatever its settings. */
const ADDRESS = Object.values(networkInterfaces()).flat().find((one) => one?.family === "IPv4" && !one.internal)?.address ?? "";

/** coturn with the file that we ship, and what a test must change in it. */
class Turn {
  output = "";

  /** @param {{ peer: string }} options the only address that it may relay to */
  static async start({ peer }) {
    const turn = new Turn();
    turn.folder = await mkdtemp(join(tmpdir(), "turn-"));
    turn.port = await freePort();
    const shipped = await readFile(new URL("../../deploy/turnserver.conf", import.meta.url), "utf8");
    const changed = shipped.replace("CHANGE_ME", SECRET).replace("allowed-peer-ip=203.0.113.7", `allowed-peer-ip=${peer}`).replace(/^syslog$/m, "log-file=stdout");
    assert.notEqual(changed, shipped);
    const here = { "listening-ip": ADDRESS, "relay-ip": ADDRESS, "listening-port": turn.port, pidfile: join(turn.folder, "pid"), userdb: join(turn.folder, "db") };
    const settings = [changed, "verbose", "no-tls", "no-dtls", ...Object.entries(here).map(([key, value]) => `${key}=${value}`), ""].join("\n");
    await writeFile(join(turn.folder, "turnserver.conf"), settings);
    turn.process = spawn("turnserver", ["-c", join(turn.folder, "turnserver.conf")], { cwd: turn.folder, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [turn.process.stdout, turn.process.stderr]) createInterface(stream).on("line", (line) => (turn.output += `${line}\n`));
    turn.exited = once(turn.process, "exit");
    await until("coturn listens", () => /UDP listener opened/i.test(turn.output));
    return turn;
  }

  get url() {
    return `turn:${ADDRESS}:${this.port}?transport=udp`;
  }

  async close() {
    this.process.kill();
    await this.exited;
    await rm(this.folder, { recursive: true });
  }
}

/** @type {{ close(): Promise<unknown> | void }[]} */
let open = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** A server that tells its clients of this TURN server. */
async function serverWith(turn, secret = SECRET) {
  const args = ["--advertise", ADDRESS, "--media-listen", ADDRESS, "--set", `ice.urls=${turn.url}`, "--set", `ice.turn_secret=${secret}`];
  const server = await Server.start({ args });
  open.push({ close: async () => assert.equal(await server.stop(), 0, server.output) });
  return server;
}

async function turnTo(peer) {
  const turn = await Turn.start({ peer });
  open.push(turn);
  return turn;
}

/** What kind of local candidate the media takes. */
const path = (peer) => peer.evaluate(async () => {
  const report = await (globalThis.sluice?.peerConnection ?? globalThis.whip.peer).getStats();
  const pair = [...report.values()].find((one) => one.type === "candidate-pair" && one.nominated && one.state === "succeeded");
  return report.get(pair?.localCandidateId)?.candidateType;
});

describe("through coturn", () => {
  before(() => assert.ok(ADDRESS, "this machine has an address beside loopback"));
  after(closeBrowsers);

  test("a call: media goes both ways through the relay, and by nothing else", async () => {
    const turn = await turnTo(ADDRESS);
    const server = await serverWith(turn);
    const people = [];
    for (const [kind, name] of [[CHROMIUM, "Ada"], [FIREFOX, "Grace"]]) {
      people.push(await Person.join(kind, server.url, { room: "relayed", name, params: { forceRelay: "1" } }));
      open.push(people.at(-1));
    }
    const [ada, grace] = people;
    await Promise.all([ada.sees("Grace"), ada.hears("Grace"), grace.sees("Ada"), grace.hears("Ada")]);
    for (const person of people) assert.equal(await path(person.page), "relay", person.name);
    // Each went by its own credential: until when, and who.
    for (const person of people) {
      const id = await person.room((room) => room.id);
      assert.match(turn.output, new RegExp(`user <\\d+:${id}>: incoming packet ALLOCATE processed, success`), person.name);
    }
  });

  test("WHIP: the Link header's server and credential make a relay", async () => {
    const turn = await turnTo(ADDRESS);
    const server = await serverWith(turn);
    const page = await openPage(CHROMIUM, new URL("/?publish=none", server.url).href);
    open.push(page);
    await page.evaluate(async () => {
      const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
      const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 480, height: 270 } });
      for (const track of media.getTracks()) peer.addTransceiver(track, { direction: "sendonly" });
      const offer = await peer.createOffer();
      const response = await fetch("/whip/links?name=Studio", { method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer.sdp });
      const [, url, username, credential] = /^<([^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/.exec(response.headers.get("Link"));
      peer.setConfiguration({ bundlePolicy: "max-bundle", iceTransportPolicy: "relay", iceServers: [{ urls: url, username, credential }] });
      await peer.setLocalDescription(offer);
      await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
      globalThis.whip = { peer, media };
    });
    const ada = await Person.join(CHROMIUM, server.url, { room: "links", name: "Ada", params: { publish: "none" } });
    open.push(ada);
    await ada.sees("Studio");
    assert.equal(await path(page), "relay");
    assert.notEqual(await path(ada.page), "relay", "nobody is relayed who need not be");
  });

  test("coturn takes no other secret, and relays to no other address", async () => {
    const strict = await turnTo("198.51.100.1");
    for (const [secret, refusal] of [["another-secret", /check_stun_auth: Cannot find credentials/], [SECRET, /A peer IP \S+ denied|403: Forbidden IP/i]]) {
      const server = await serverWith(strict, secret);
      const ada = await Person.join(CHROMIUM, server.url, { room: "denied", name: "Ada", params: { forceRelay: "1" } });
      open.push(ada);
      await until(`coturn says ${refusal}`, () => refusal.test(strict.output)).catch((error) => {
        throw new Error(`${error.message}\n${strict.output}`);
      });
      assert.equal(await path(ada.page), undefined);
    }
  });
});
