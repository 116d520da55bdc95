/**
 * What the link tests need: a network namespace behind a veth pair, each direction of which can be shaped by `tc tbf`, a browser in
 * it, and a way for that browser to reach a server that listens on loopback. Needs iproute2, and root or user namespaces.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import puppeteer from "puppeteer-core";
import { CHROMIUM, LAUNCH } from "./helper.js";

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"], encoding: "utf8" });

/**
 * Whether this process may make namespaces. If not, runs `file` again as root of a user namespace of its own and gives its exit status.
 * @param {string} file a test
 * @returns {number | null} null: go on here
 */
export function elsewhere(file) {
  if (process.getuid?.() === 0) return null;
  const script = 'mount -t tmpfs none /run && ip link set lo up && exec "$0" --test "$1"';
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const run = spawnSync("unshare", ["--map-root-user", "--net", "--mount", "sh", "-c", script, process.execPath, file], { stdio: "inherit", env });
  if (run.error || spawnSync("unshare", ["--map-root-user", "--net", "true"]).status !== 0) {
    throw new Error("the link test needs root or user namespaces to shape a link: run it as root, or allow unprivileged user namespaces");
  }
  return run.status ?? 1;
}

/** A link between this namespace and one of its own. */
export class Link {
  /** Both ends of the link. */
  static here = "10.213.77.1";
  static there = "10.213.77.2";

  #namespace = `sluice${process.pid}`;
  #near = `sln${process.pid}`;
  #far = `slf${process.pid}`;
  #folder = mkdtempSync(path.join(tmpdir(), "sluice-link-"));

  constructor() {
    try {
      ip("netns", "add", this.#namespace);
      ip("link", "add", this.#near, "type", "veth", "peer", "name", this.#far, "netns", this.#namespace);
      // No address of IPv6: it would come up to 2 s late, and a browser aborts what it is loading when the machine's addresses change.
      ip("link", "set", this.#near, "addrgenmode", "none");
      ip("-n", this.#namespace, "link", "set", this.#far, "addrgenmode", "none");
      ip("addr", "add", `${Link.here}/30`, "dev", this.#near);
      ip("link", "set", this.#near, "up");
      ip("-n", this.#namespace, "link", "set", "lo", "up");
      ip("-n", this.#namespace, "addr", "add", `${Link.there}/30`, "dev", this.#far);
      ip("-n", this.#namespace, "link", "set", this.#far, "up");
      // A browser looks for the interface of the default route.
      ip("-n", this.#namespace, "route", "add", "default", "via", Link.here);
    } catch (error) {
      this.remove();
      throw new Error(`no network namespace can be made; the link test needs iproute2 and the right to: ${error.stderr || error.message}`);
    }
  }

  /** @param {"in" | "out"} way @returns how `tc` is told of the device by which packets travel into the namespace, or out of it */
  #device(way) {
    return way === "in" ? [[], this.#near] : [["-n", this.#namespace], this.#far];
  }

  /**
   * Shapes what travels into the namespace, or out of it.
   * @param {"in" | "out"} way
   * @param {string} rate as `tc` writes it
   * @param {number} bytes that wait at most; what comes beyond is lost
   */
  shape(way, rate, bytes) {
    const [where, device] = this.#device(way);
    execFileSync("tc", [...where, "qdisc", "replace", "dev", device, "root", "tbf", "rate", rate, "burst", "8kb", "limit", String(bytes)]);
  }

  /** What the shaper did, for messages. @param {"in" | "out"} way */
  statistics(way) {
    const [where, device] = this.#device(way);
    return execFileSync("tc", [...where, "-s", "qdisc", "show", "dev", device], { encoding: "utf8" });
  }

  /** A Chromium in the namespace, spoken to by pipe: its own loopback is not ours. @param {string[]} args more of them */
  browser(args = []) {
    const wrapper = path.join(this.#folder, "chromium");
    const { executablePath, args: usual, ...launch } = LAUNCH[CHROMIUM];
    writeFileSync(wrapper, `#!/bin/sh\nexec ip netns exec ${this.#namespace} ${executablePath} "$@"\n`, { mode: 0o755 });
    return puppeteer.launch({ ...launch, executablePath: wrapper, pipe: true, args: [...usual, ...args] });
  }

  remove() {
    spawnSync("ip", ["link", "del", this.#near]);
    spawnSync("ip", ["netns", "del", this.#namespace]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/**
 * A Chromium whose camera shows a film that takes its bit rate: the usual fake camera takes too little to fill a link.
 * @param {(args: string[]) => Promise<import("puppeteer-core").Browser>} launch
 */
export async function filming(launch) {
  const folder = mkdtempSync(path.join(tmpdir(), "sluice-film-"));
  const film = path.join(folder, "film.y4m");
  writeFilm(film, 640, 360, 30);
  const browser = await launch([`--use-file-for-fake-video-capture=${film}`]);
  browser.once("disconnected", () => rmSync(folder, { recursive: true, force: true }));
  return browser;
}

/** A Chromium outside of the namespace. @param {string[]} args more of them */
export function outside(args = []) {
  const { args: usual, ...launch } = LAUNCH[CHROMIUM];
  return puppeteer.launch({ ...launch, args: [...usual, ...args] });
}

/** Blocks of grey that change in every frame. */
function writeFilm(file, width, height, frames) {
  const BLOCK = 8;
  const output = openSync(file, "w");
  writeSync(output, `YUV4MPEG2 W${width} H${height} F30:1 Ip A1:1 C420\n`);
  let random = 1;
  const next = () => (random = (random * 1103515245 + 12345) & 0x7fffffff) >> 16;
  const colour = Buffer.alloc((width * height) / 2, 128);
  for (let frame = 0; frame < frames; frame++) {
    const luma = Buffer.alloc(width * height);
    for (let y = 0; y < height; y += BLOCK) {
      const row = luma.subarray(y * width, (y + 1) * width);
      for (let x = 0; x < width; x += BLOCK) row.fill(96 + (next() % 64), x, x + BLOCK);
      for (let line = 1; line < BLOCK && y + line < height; line++) row.copy(luma, (y + line) * width);
    }
    writeSync(output, "FRAME\n");
    writeSync(output, luma);
    writeSync(output, colour);
  }
  closeSync(output);
}

/** Lets the namespace reach a server on loopback, for the page and signaling. @returns its URL and how to stop it */
export async function gateway(url) {
  const { hostname, port } = new URL(url);
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => sockets.delete(from) && to.destroy());
    }
  });
  server.listen(0, Link.here);
  await once(server, "listening");
  const stop = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `http://${Link.here}:${/** @type {net.AddressInfo} */ (server.address()).port}/`, stop };
}

/**
 * Begins to watch a page's video from within: how long nothing moved, and how long the page itself did not run.
 * @param {import("./helper.js").Person} person
 * @param {string | null} name whose camera is received; null watches what the page itself sends
 */
export function watch(person, name) {
  return person.room(async (room, name) => {
    const INTERVAL_MS = 100;
    const seen = { freezes: 0, frozen: 0, longestFreeze: 0, longestGap: 0, longestSleep: 0, frames: 0, height: 0 };
    globalThis.seen = seen;
    const figures = async () => {
      if (name === null) {
        const stats = [...(await room.local("camera").sender.getStats()).values()].filter(({ type }) => type === "outbound-rtp");
        return { framesDecoded: stats.reduce((sum, { framesEncoded }) => sum + (framesEncoded ?? 0), 0) };
      }
      const track = [...room.tracks.values()].find((track) => track.participant.name === name && track.source === "camera");
      return [...((await track?.receiver?.getStats())?.values() ?? [])].find(({ type }) => type === "inbound-rtp");
    };
    let moved = performance.now();
    let looked = moved;
    globalThis.reset = () => {
      Object.assign(seen, { longestFreeze: 0, longestGap: 0, longestSleep: 0 });
      moved = performance.now();
    };
    const look = async () => {
      const { framesDecoded = 0, frameHeight = 0, freezeCount = 0, totalFreezesDuration = 0 } = (await figures().catch(() => undefined)) ?? {};
      const now = performance.now();
      if (framesDecoded !== seen.frames) moved = now;
      seen.longestGap = Math.max(seen.longestGap, (now - moved) / 1000);
      seen.longestSleep = Math.max(seen.longestSleep, (now - looked - INTERVAL_MS) / 1000);
      // One look sees one freeze, or more than one and then at most as long as all of them.
      if (freezeCount > seen.freezes) seen.longestFreeze = Math.max(seen.longestFreeze, totalFreezesDuration - seen.frozen);
      Object.assign(seen, { frames: framesDecoded, height: frameHeight, freezes: freezeCount, frozen: totalFreezesDuration });
      looked = now;
      setTimeout(look, INTERVAL_MS);
    };
    await look();
  }, name);
}

/** What a watched page saw since the start, or since `forget`. */
export const seen = (person) => person.page.evaluate(() => ({ ...globalThis.seen }));
export const forget = (person) => person.page.evaluate(() => globalThis.reset());
