/**
 * Takes the picture of a call for the README: SLUICE_BIN=… node tests/screenshot.mjs [file]
 * Four people with painted cameras, in Chromium, through the server.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { CHROMIUM, closeBrowsers, Person, Server, until } from "./helper.js";

const file = process.argv[2] ?? fileURLToPath(new URL("../../docs/images/call.png", import.meta.url));
const PEOPLE = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Katherine Johnson"];

/** Runs in the page: a friendly painted figure in place of the browser's green test picture. */
function paintCamera() {
  navigator.mediaDevices.getUserMedia = async ({ video, audio }) => {
    if (audio) {
      const context = new AudioContext();
      return context.createMediaStreamDestination().stream;
    }
    const name = new URLSearchParams(location.search).get("name");
    const hue = [...name].reduce((sum, letter) => sum + letter.codePointAt(0) * 37, 0) % 360;
    const canvas = Object.assign(document.createElement("canvas"), { width: video.width, height: video.height });
    const { width: w, height: h } = canvas;
    const context = canvas.getContext("2d");
    const paint = () => {
      const sway = Math.sin(performance.now() / 900 + hue) * w * 0.012;
      const wall = context.createLinearGradient(0, 0, w, h);
      wall.addColorStop(0, `hsl(${hue} 35% 78%)`);
      wall.addColorStop(1, `hsl(${hue + 40} 30% 52%)`);
      context.fillStyle = wall;
      context.fillRect(0, 0, w, h);
      context.fillStyle = `hsl(${hue + 180} 38% 36%)`;
      context.beginPath();
      context.ellipse(w / 2 + sway / 2, h * 1.02, w * 0.21, h * 0.36, 0, 0, 7);
      context.fill();
      context.fillStyle = `hsl(${hue + 200} 30% 20%)`;
      context.beginPath();
      context.ellipse(w / 2 + sway, h * 0.42, w * 0.098, h * 0.2, 0, 0, 7);
      context.fill();
      context.fillStyle = `hsl(${22 + (hue % 14)} 45% ${52 + (hue % 24)}%)`;
      context.beginPath();
      context.ellipse(w / 2 + sway, h * 0.46, w * 0.08, h * 0.17, 0, 0, 7);
      context.fill();
      context.fillStyle = "#2a1f1c";
      for (const side of [-1, 1]) {
        context.beginPath();
        context.ellipse(w / 2 + sway + side * w * 0.03, h * 0.45, w * 0.007, h * 0.014, 0, 0, 7);
        context.fill();
      }
      context.strokeStyle = "#2a1f1c";
      context.lineWidth = h * 0.008;
      context.lineCap = "round";
      context.beginPath();
      context.arc(w / 2 + sway, h * 0.5, w * 0.028, 0.5, 2.6);
      context.stroke();
    };
    paint();
    setInterval(paint, 66);
    return canvas.captureStream(15);
  };
}

const server = await Server.start();
try {
  const people = [];
  for (const name of PEOPLE) {
    people.push(await Person.join(CHROMIUM, server.url, { room: "quiet-river", name, before: paintCamera, width: 1280, height: 780 }));
  }
  const [me, ...others] = people;
  await Promise.all(others.map(({ name }) => me.sees(name)));
  await others[1].room((room) => room.disable("microphone"));
  await me.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
  await until("every tile shows its rate", () => me.page.$$eval(".tile .layer", (layers) => layers.length === 4 && layers.every(({ textContent }) => /b\/s/.test(textContent))));
  await mkdir(dirname(file), { recursive: true });
  await me.page.screenshot({ path: file });
  console.log(file);
} finally {
  await closeBrowsers();
  await server.stop();
}
