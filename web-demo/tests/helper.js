/**
 * What the browser suite is made of: the server under test, two browsers, people in them, and waiting for conditions.
 *
 *     cargo build --release && cd web-demo && npm ci
 *     SLUICE_BIN=../target/release/sluice npm test                                        everything
 *     node --test tests/mock.test.js                                                      what needs no server
 *     SLUICE_BIN=… node --test --test-name-pattern='mute' tests/calls.test.js             some of it
 *
 * Needs Node 18, and Debian's `chromium` and `firefox-esr` (or CHROMIUM_BIN and FIREFOX_BIN). Each browser is started once and each
 * person is a window of it. There is no fixed sleep: `until` polls a condition, and says what it saw last when it never comes.
 * DEADLINE=30000 gives up sooner, SERVER_LOG=1 prints the server's log, PAGE_LOG=1 the pages' consoles.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

export const CHROMIUM = "chromium";
export const FIREFOX = "firefox";

/** Milliseconds. Generous: software encoding on a small machine is slow, and only failures wait this long. */
const DEADLINE = Number(process.env.DEADLINE ?? 180_000);
const POLL = 150;

// Waiting.

/**
 * Polls until `condition` gives something truthy, and returns that.
 * @param {string} what for the error message
 * @param {() => any} condition may throw meanwhile
 * @param {number} [deadline] milliseconds
 */
export async function until(what, condition, deadline = DEADLINE) {
  const end = Date.now() + deadline;
  let last;
  do {
    try {
      last = await condition();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL));
  } while (Date.now() < end);
  throw new Error(`waited ${deadline / 1000} s in vain until ${what}; last: ${last instanceof Error ? last.stack : JSON.stringify(last)}`);
}

// The server.

export class Server {
  /**
   * Starts the binary on free ports and reads its URL from what it prints.
   * @param {{ http?: string, args?: string[], env?: Record<string, string> }} [options]
   */
  static async start({ http = "127.0.0.1:0", args = [], env = {} } = {}) {
    const binary = process.env.SLUICE_BIN;
    if (!binary) throw new Error("SLUICE_BIN must name the server binary, e.g. SLUICE_BIN=../target/release/sluice");
    const server = new Server();
    // The server reads SLUICE_* as its settings, and knows no setting of that name.
    const { SLUICE_BIN: _, ...environment } = process.env;
    server.process = spawn(binary, ["--http", http, "--admin", "127.0.0.1:0", "--media-port", "0", ...args], { stdio: ["ignore", "pipe", "pipe"], env: { ...environment, ...env } });
    server.exited = once(server.process, "exit");
    server.output = "";
    server.admin = "";
    server.url = await new Promise((resolve, reject) => {
      for (const stream of [server.process.stdout, server.process.stderr]) {
        createInterface(stream).on("line", (line) => {
          server.output += `${line}\n`;
          if (process.env.SERVER_LOG) console.error(`server: ${line}`);
          server.admin = /health: (http\S+)\/metrics/.exec(line)?.[1] ?? server.admin;
          const url = /Open (http\S+)/.exec(line)?.[1];
          if (url) resolve(url);
        });
      }
      server.process.on("error", reject);
      server.process.on("exit", (code) => reject(new Error(`the server exited with ${code}:\n${server.output}`)));
    });
    return server;
  }

  /** What the server says of a room, with what each receiver gets and why. @param {string} room */
  async statistics(room) {
    return (await fetch(`${this.admin}/api/v1/rooms/${room}/stats`)).json();
  }

  /** The server's metrics, in Prometheus' text format. */
  async metrics() {
    return (await fetch(`${this.admin}/metrics`)).text();
  }

  /** Mints an access token. @param {string[]} args @param {Record<string, string>} env the settings of the server that shall take it */
  static mint(args, env) {
    const { SLUICE_BIN: binary = "", ...environment } = process.env;
    return execFileSync(binary, ["token", ...args], { env: { ...environment, ...env }, encoding: "utf8" }).trim();
  }

  /** As Ctrl-C does. @returns {Promise<number | null>} the exit code */
  async stop(signal = "SIGINT") {
    this.process.kill(signal);
    const [code] = await this.exited;
    return code;
  }
}

/** Stands between page and server for HTTP and WebSocket, so that these can be cut while media goes on. */
export class Proxy {
  #sockets = new Set();
  #open = true;

  /** @param {string} url of the server */
  static async start(url) {
    const proxy = new Proxy();
    const { hostname, port } = new URL(url);
    proxy.server = net.createServer((near) => {
      if (!proxy.#open) return near.destroy();
      const far = net.connect(Number(port), hostname);
      for (const [from, to] of [[near, far], [far, near]]) {
        proxy.#sockets.add(from);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => proxy.#sockets.delete(from) && to.destroy());
      }
    });
    await new Promise((listening) => proxy.server.listen(0, "127.0.0.1", listening));
    proxy.url = `http://127.0.0.1:${proxy.server.address().port}/`;
    return proxy;
  }

  /** Breaks every connection and, until `mend`, lets no new one in. */
  cut() {
    this.#open = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#open = true;
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** A port that was free a moment ago. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = /** @type {net.AddressInfo} */ (server.address());
  server.close();
  await once(server, "close");
  return port;
}

// The browsers.

/** How each kind is started. */
export const LAUNCH = {
  [CHROMIUM]: {
    executablePath: process.env.CHROMIUM_BIN ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox",
      "--no-first-run",
      "--disable-background-networking",
      "--use-fake-device-for-media-stream",
      "--use-fake-ui-for-media-stream",
      "--autoplay-policy=no-user-gesture-required",
      // A name that is not this machine to the browser, and so is no secure context over http.
      "--host-resolver-rules=MAP insecure.test 127.0.0.1",
    ],
  },
  [FIREFOX]: {
    browser: "firefox",
    executablePath: process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr",
    headless: true,
    extraPrefsFirefox: {
      "media.navigator.streams.fake": true,
      "media.navigator.permission.disabled": true,
      "media.peerconnection.ice.loopback": true,
      "media.peerconnection.ice.obfuscate_host_addresses": false,
      "media.autoplay.default": 0,
      // A sound device that nobody hears; without one no AudioContext runs.
      "media.cubeb.force_mock_context": true,
    },
  },
};

/** @type {Map<string, Promise<import("puppeteer-core").Browser>>} */
const browsers = new Map();

/** The one browser of this kind; started on first use. @param {string} kind */
export function browser(kind) {
  const running = browsers.get(kind) ?? puppeteer.launch({ ...LAUNCH[kind], timeout: DEADLINE, protocolTimeout: DEADLINE });
  browsers.set(kind, running);
  return running;
}

export async function closeBrowsers() {
  for (const running of browsers.values()) await (await running).close();
  browsers.clear();
}

/**
 * Opens a page in a window of its own; a tab in the background would count as hidden.
 * @param {string} kind
 * @param {string} url
 * @param {{ width?: number, height?: number, before?: () => void, within?: import("puppeteer-core").Browser }} [options] `before` runs in the
 *   page ahead of its scripts; `within` another browser than the shared one
 */
export async function openPage(kind, url, { width = 1000, height = 700, before, within } = {}) {
  const page = await (within ?? (await browser(kind))).newPage({ type: "window" });
  page.setDefaultTimeout(DEADLINE);
  if (process.env.PAGE_LOG) {
    page.on("console", (message) => console.error(`${kind}: ${message.text()}`));
    page.on("pageerror", (error) => console.error(`${kind}: ${error}`));
  }
  await page.setViewport({ width, height });
  if (before) await page.evaluateOnNewDocument(before);
  await page.goto(url);
  return page;
}

// The people.

/** Somebody in a room, in a window. */
export class Person {
  /**
   * @param {string} kind of browser
   * @param {string} server URL
   * @param {{ room: string, name: string, passphrase?: string, params?: Record<string, string>, width?: number, height?: number, before?: () => void, within?: import("puppeteer-core").Browser }} options
   *   `params`: of the page's URL; cameras are small unless it says otherwise, so that a small machine can encode several
   */
  static async join(kind, server, { room, name, passphrase, params = {}, ...window }) {
    const url = new URL(server);
    window.before ??= steadyResolution;
    url.search = String(new URLSearchParams({ room, name, autojoin: "1", size: "640x360", ...params }));
    if (passphrase) url.hash = String(new URLSearchParams({ key: passphrase }));
    const person = new Person();
    person.kind = kind;
    person.name = name;
    person.page = await openPage(kind, url.href, window);
    const says = () => person.page.evaluate(() => document.body.innerText);
    await until(`${name} is in the room`, () => person.page.evaluate(() => Boolean(window.sluice))).catch(async (error) => {
      throw new Error(`${error.message}; the page says ${JSON.stringify(await says().catch(String))}`);
    });
    return person;
  }

  /** Calls a function of the room in the page: `person.room((room) => room.leave())`. */
  room(run, ...args) {
    return this.page.evaluate(`(${run})(window.sluice, ...${JSON.stringify(args)})`);
  }

  /**
   * What arrives from somebody: null, or figures from getStats.
   * @param {string} name whose
   * @param {"camera" | "microphone" | "screen"} source
   * @returns {Promise<null | { state: any, muted: boolean, codec: string, width: number, height: number, frames: number, energy: number, bytes: number, packets: number, lost: number, concealed: number, samples: number, repeated: number, freezes: number, frozen: number }>}
   */
  receives(name, source) {
    return this.room(async (room, name, source) => {
      const track = [...room.tracks.values()].find((track) => track.participant.name === name && track.source === source);
      const report = await track?.receiver?.getStats();
      if (!report) return track ? { state: track.state, muted: track.muted, frames: 0, height: 0, energy: 0, bytes: 0, packets: 0, freezes: 0, frozen: 0 } : null;
      const rtp = [...report.values()].find(({ type }) => type === "inbound-rtp") ?? {};
      return {
        state: track.state, muted: track.muted,
        codec: report.get(rtp.codecId)?.mimeType,
        width: rtp.frameWidth ?? 0, height: rtp.frameHeight ?? 0,
        frames: rtp.framesDecoded ?? 0, energy: rtp.totalAudioEnergy ?? 0, bytes: rtp.bytesReceived ?? 0, packets: rtp.packetsReceived ?? 0,
        // How often and for how many seconds pictures stood still.
        freezes: rtp.kind === "audio" ? 0 : rtp.freezeCount, frozen: rtp.totalFreezesDuration ?? 0,
        lost: rtp.packetsLost ?? 0,
        // Of the samples of sound that were played, those made up for want of a packet.
        concealed: rtp.concealedSamples ?? 0, samples: rtp.totalSamplesReceived ?? 0,
        // Repetitions by redundant audio, in Chromium.
        repeated: rtp.fecPacketsReceived ?? 0,
      };
    }, name, source);
  }

  /** What it sends, by the browser: one entry an encoding. */
  sends() {
    return this.room(async (room) => {
      const report = await room.local("camera")?.sender?.getStats();
      return [...(report?.values() ?? [])].filter(({ type }) => type === "outbound-rtp" || type === "candidate-pair").map(
        ({ type, rid, active, frameHeight, framesEncoded, targetBitrate, qualityLimitationReason, availableOutgoingBitrate, nominated }) =>
          ({ type, rid, active, frameHeight, framesEncoded, targetBitrate, qualityLimitationReason, availableOutgoingBitrate, nominated }),
      );
    });
  }

  /** Waits until some more frames of somebody are decoded than now. @returns the figures then */
  async sees(name, source = "camera", { frames = 10, when = () => true } = {}) {
    const before = (await this.receives(name, source).catch(() => null))?.frames ?? 0;
    return until(`${this.name} (${this.kind}) sees ${name}'s ${source}`, async () => {
      const now = await this.receives(name, source);
      // A new peer connection counts from nothing.
      const grown = now && (now.frames >= before + frames || (now.frames < before && now.frames >= frames));
      if (grown && when(now)) return now;
      this.last = now;
      return null;
    }).catch((error) => {
      throw new Error(`${error.message} ${JSON.stringify(this.last)}`);
    });
  }

  /** Waits until sound of somebody, not silence, is played, and so many more packets of it have come. */
  async hears(name, { packets = 1 } = {}) {
    const before = await this.receives(name, "microphone").catch(() => null);
    return until(`${this.name} (${this.kind}) hears ${name}`, async () => {
      const now = await this.receives(name, "microphone");
      // A new peer connection counts from nothing.
      const arrived = now && (now.packets < (before?.packets ?? 0) ? now.packets : now.packets - (before?.packets ?? 0));
      return now && now.energy !== (before?.energy ?? 0) && now.energy > 0 && arrived >= packets ? now : null;
    });
  }

  /** Waits until the received height satisfies the condition. */
  heightOf(name, condition, { source = "camera", deadline = DEADLINE } = {}) {
    return until(`${this.name} receives ${name} with a height of ${condition}`, async () => {
      const now = await this.receives(name, source);
      return condition(now?.height ?? 0) ? now.height : null;
    }, deadline);
  }

  click(label) {
    return this.page.locator(`button[aria-label="${label}"]`).click();
  }

  async close() {
    await this.page.close();
  }
}

/**
 * Runs in the page: a busy test machine makes encoders drop frames, not lines, so that heights are what the server chose.
 */
function steadyResolution() {
  const { setParameters } = RTCRtpSender.prototype;
  RTCRtpSender.prototype.setParameters = function (parameters) {
    if (parameters.degradationPreference) parameters.degradationPreference = "maintain-resolution";
    return setParameters.call(this, parameters);
  };
}

/** Everybody sees and hears everybody else. @param {Person[]} people */
export async function meet(people) {
  const pairs = people.flatMap((one) => people.filter((other) => other !== one).map((other) => [one, other]));
  await Promise.all(pairs.flatMap(([one, other]) => [one.sees(other.name), one.hears(other.name)]));
}
