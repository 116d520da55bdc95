/**
 * Records golden captures: plain RTP of the installed browsers in every codec and mode that they send, for the engine's replay test
 * (sfu/engine/tests/golden). They are committed; run this again only for another browser version or mode.
 *
 *     cargo build -p sfu-engine --example record
 *     RECORD_BIN=../target/debug/examples/record node tests/capture.mjs [NAME…]      from web-demo; NAME as chromium-vp9-L3T3
 *
 * The picture is drawn, so that no camera is needed and captures stay small. What a browser does not send in the mode it was asked for is
 * said and left out.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { browser, CHROMIUM, closeBrowsers, FIREFOX } from "./helper.js";

const INTO = fileURLToPath(new URL("../../sfu/engine/tests/golden/captures/", import.meta.url));
/** Seconds of media before the recording, in which the sender's rate rises, and recorded. */
const [SKIP, LENGTH] = ["5", "3.2"];
const SIMULCAST = "simulcast";
const SVC = ["L1T1", "L1T3", "L2T2", "L3T3", "L3T3_KEY"];

/** @type {[kind: string, codec: string, modes: string[]][]} */
const ALL = [
  [CHROMIUM, "VP8", ["L1T1", "L1T3", SIMULCAST]],
  [CHROMIUM, "VP9", [...SVC, SIMULCAST]],
  [CHROMIUM, "AV1", [...SVC, SIMULCAST]],
  [CHROMIUM, "H264", ["L1T1", "L1T3", SIMULCAST]],
  [FIREFOX, "VP8", ["L1T1", SIMULCAST]],
  [FIREFOX, "VP9", ["L1T1", SIMULCAST]],
  [FIREFOX, "AV1", ["L1T1", SIMULCAST]],
  [FIREFOX, "H264", ["L1T1", SIMULCAST]],
];

/** Runs in the page: offers one drawn picture. */
async function offer(codec, mode, simulcast) {
  const canvas = Object.assign(document.createElement("canvas"), { width: 960, height: 540 });
  document.body.append(canvas);
  const draw = canvas.getContext("2d");
  let tick = 0;
  setInterval(() => {
    draw.fillStyle = "#204060";
    draw.fillRect(0, 0, 960, 540);
    draw.fillStyle = "#f0c040";
    draw.fillRect((tick * 16) % 960, 200, 96, 96);
    draw.fillStyle = "#ffffff";
    draw.font = "64px sans-serif";
    draw.fillText(String(tick++), 40, 100);
  }, 100);
  const [track] = canvas.captureStream(10).getVideoTracks();
  const encodings = simulcast
    ? [["q", 4], ["h", 2], ["f", 1]].map(([rid, scaleResolutionDownBy]) => ({ rid, scaleResolutionDownBy, maxBitrate: 300_000, ...(mode && { scalabilityMode: mode }) }))
    // No larger than its spatial layers need: Chromium leaves out layers below 240 x 135.
    : [{ scaleResolutionDownBy: { 2: 2, 3: 1 }[mode?.[1]] ?? 3, maxBitrate: 1_500_000, ...(mode && { scalabilityMode: mode }) }];
  const connection = new RTCPeerConnection();
  window.connection = connection;
  const transceiver = connection.addTransceiver(track, { direction: "sendonly", sendEncodings: encodings });
  await transceiver.sender.setParameters({ ...transceiver.sender.getParameters(), degradationPreference: "maintain-resolution" });
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const wanted = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
  if (wanted.length === 0) throw new Error(`has no ${codec}`);
  // One of its profiles is enough.
  const repair = codecs.filter(({ mimeType }) => mimeType.toLowerCase() === "video/rtx");
  const plain = wanted.find(({ sdpFmtpLine = "" }) => !/packetization-mode=0/.test(sdpFmtpLine)) ?? wanted[0];
  transceiver.setCodecPreferences([plain, ...repair]);
  await connection.setLocalDescription();
  return connection.localDescription.sdp;
}

/** Runs in the page: takes the answer, and after the recording says what was sent. */
async function answer(sdp) {
  await window.connection.setRemoteDescription({ type: "answer", sdp });
}
async function sent() {
  const report = await window.connection.getSenders()[0].getStats();
  const outbound = [...report.values()].filter(({ type }) => type === "outbound-rtp");
  return outbound.map(({ rid, scalabilityMode, codecId, frameWidth, framesEncoded, encoderImplementation }) => ({ rid, scalabilityMode, codec: report.get(codecId)?.mimeType, frameWidth, framesEncoded, encoderImplementation }));
}

async function record(kind, codec, mode, directory) {
  const page = await (await browser(kind)).newPage();
  try {
    const simulcast = mode === SIMULCAST;
    const scalability = kind === FIREFOX ? null : simulcast ? "L1T1" : mode;
    const sdp = await page.evaluate(offer, codec, scalability, simulcast);
    const name = `${kind}-${codec.toLowerCase()}-${mode}`;
    const recorder = spawn(process.env.RECORD_BIN ?? "../target/debug/examples/record", [path.join(directory, name), SKIP, LENGTH], { stdio: ["pipe", "pipe", "inherit"] });
    const exited = once(recorder, "exit");
    recorder.stdin.end(sdp);
    let text = "";
    for await (const piece of recorder.stdout) {
      text += piece;
      if (text.endsWith("\0")) break;
    }
    await page.evaluate(answer, text.slice(0, -1));
    const [code] = await exited;
    if (code !== 0) throw new Error(`the recorder ended with ${code}`);
    const layers = await page.evaluate(sent);
    console.log(name, JSON.stringify(layers));
    if (scalability && layers.some((layer) => layer.scalabilityMode !== scalability)) throw new Error("sends another mode");
    // Firefox 153 sends the smallest picture three times as VP9.
    if (simulcast && new Set(layers.map(({ frameWidth }) => frameWidth)).size < layers.length) throw new Error("sends the same picture twice");
    for (const suffix of [".sdp", ".rtp"]) renameSync(path.join(directory, name + suffix), path.join(INTO, name + suffix));
  } finally {
    await page.close();
  }
}

// The same file system, for the rename.
const directory = mkdtempSync(path.join(INTO, "tmp-"));
const names = new Set(process.argv.slice(2));
for (const [kind, codec, modes] of ALL) {
  for (const mode of modes) {
    const name = `${kind}-${codec.toLowerCase()}-${mode}`;
    if (names.size > 0 && !names.has(name)) continue;
    await record(kind, codec, mode, directory).catch((error) => console.log(name, "left out:", error.message));
  }
}
rmSync(directory, { recursive: true });
await closeBrowsers();
