import { exec, execSync } from "node:child_process";
import { promisify } from "node:util";
const sh = promisify(exec);
import { browser, CHROMIUM, FIREFOX, Person, Server, until, closeBrowsers } from "./tests/helper.js";
const server = await Server.start();
const ada = await Person.join(CHROMIUM, server.url, { room: "r", name: "Ada", params: { size: "960x540", publish: "camera" } });
const grace = await Person.join(FIREFOX, server.url, { room: "r", name: "Grace", width: 1000, height: 1300, params: { publish: "none" } });
await grace.heightOf("Ada", (h) => h === 540);
console.log("both in");
const pids = (root) => { const all = execSync("ps -eo pid,ppid").toString().trim().split("\n").slice(1).map((l) => l.trim().split(/\s+/)); const out = [root]; for (let i = 0; i < out.length; i++) for (const [p, pp] of all) if (+pp === out[i]) out.push(+p); return out; };
const fx = (await browser(FIREFOX)).process().pid, ch = (await browser(CHROMIUM)).process().pid;
const seed = Number(process.argv[2] ?? 1); let x = seed * 7919 + 13;
const rnd = () => (x = (x * 1103515245 + 12345) % 2147483648) / 2147483648;
for (let round = 0; round < Number(process.argv[3] ?? 25); round++) {
  const who = rnd() < 0.6 ? fx : rnd() < 0.6 ? ch : server.process.pid;
  const stalls = 1 + Math.floor(rnd() * 6);
  for (let i = 0; i < stalls; i++) {
    const list = pids(who).join(" ");
    try { await sh(`kill -STOP ${list}; sleep ${(0.05 + rnd() * rnd() * 2).toFixed(2)}; kill -CONT ${list}; sleep ${(rnd() * 0.4).toFixed(2)}`); } catch {}
  }
  const began = Date.now();
  let ok = true, times = 0;
  await until("f", async () => { const g = (await server.statistics("r")).participants.find((p) => p.name === "Grace"); const s = g.slots.find((s) => s.track); if (s.rid === "f" && s.state === "sending") times++; else times = 0; return times > 6; }, 30000).catch(() => ok = false);
  const stats = await server.statistics("r");
  const g = stats.participants.find((p) => p.name === "Grace");
  const enc = stats.participants.find((p) => p.name === "Ada").tracks[0].encodings.map((e) => `${e.rid}:${e.active ? "a" : "-"}${e.wanted ? "w" : "-"}${e.height}@${e.rate}`).join(" ");
  const slot = g.slots.find((s) => s.track);
  console.log(round, who === fx ? "firefox" : who === ch ? "chromium" : "server", stalls, ok ? "ok" : "STUCK", Date.now() - began, "est", g.downlinkEstimate, "demand", g.downlinkDemand, "loss", g.downlinkLoss.toFixed(3), "rtt", g.rttMs, slot.state, slot.pauseReason, slot.rid, enc);
  if (!ok) { console.log(JSON.stringify(await ada.sends()), JSON.stringify(await grace.receives("Ada", "camera"))); }
}
await closeBrowsers(); await server.stop("SIGKILL"); process.exit(0);
