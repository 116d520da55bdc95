/**
 * The pictures of the README: four people with painted cameras, in Chromium, through the server. They go into a temporary folder; `npm run pictures`
 * takes those in docs/images anew.
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe } from "node:test";
import { CHROMIUM, openPage, until } from "./helper.js";
import { suite } from "./suite.js";

const the = suite("quiet-river", { args: ["--dev"] });
const folder = process.env.PICTURES ?? (await mkdtemp(join(tmpdir(), "sluice-pictures-")));
const PEOPLE = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Katherine Johnson"];
/** Bytes; a page without anything on it has fewer. */
const SMALLEST = 20_000;

after(() => process.env.PICTURES || rm(folder, { recursive: true }));

/** Runs in the page: a friendly painted figure in place of the browser's green test picture. */
function paintCamera() {
  navigator.mediaDevices.getUserMedia = async ({ video, audio }) => {
    if (audio) {
      const context = new AudioContext();
      return context.createMediaStreamDestination().stream;
    }
    const name = new URLSearchParams(location.search).get("name") ?? "Ada Lovelace";
    const hue = [...name].reduce((sum, letter) => sum + letter.codePointAt(0) * 37, 0) % 360;
    const canvas = Object.assign(document.createElement("canvas"), { width: video.width ?? 1280, height: video.height ?? 720 });
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

const DESK = { width: 1280, height: 780 };
const TALL = { width: 1280, height: 1040 };
const PHONE = { width: 390, height: 780 };
const LOBBY = { width: 1100, height: 720 };

describe("pictures", () => {
  the.meeting("call, chat, drawer, phone, lobby", async () => {
    const take = async (page, name, { width, height }) => {
      const path = join(folder, `${name}.png`);
      await page.screenshot({ path });
      const png = await readFile(path);
      assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [width, height], name);
      assert.ok(png.length > SMALLEST, `${name}: ${png.length} bytes`);
    };
    const theme = (page, value) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
    const allPlay = (page) => until("every tile shows its rate", () => page.$$eval(".tile:not([hidden]) .layer", (layers) => layers.length > 0 && layers.every(({ textContent }) => /b\/s/.test(textContent))));
    const people = [];
    for (const name of PEOPLE) {
      people.push(await the.join(CHROMIUM, name, { passphrase: "a river of stones", before: paintCamera, ...DESK }));
    }
    const [me, grace, alan, katherine] = people;
    await Promise.all([grace, alan, katherine].map(({ name }) => me.sees(name)));
    await alan.room((room) => room.disable("microphone"));
    await grace.click("Raise the hand");
    await until("the hand is seen", () => me.page.$(".hand:not([hidden])"));
    await theme(me.page, "dark");
    await allPlay(me.page);
    await take(me.page, "call", DESK);

    await theme(me.page, "light");
    for (const [person, text] of [[katherine, "The figures are in the shared folder."], [grace, "Thanks! I have one question."]]) {
      await person.click("Chat");
      await person.page.type("#chat-text", text);
      await person.page.keyboard.press("Enter");
    }
    await me.click("Chat");
    await until("both messages are there", async () => (await me.page.$$(".messages li")).length === 2);
    await allPlay(me.page);
    await take(me.page, "chat", DESK);

    await me.page.setViewport(TALL);
    await me.click("Statistics");
    await until("the plot has some seconds", () => me.page.$eval(".plot canvas", (canvas) => {
      const { data, width } = canvas.getContext("2d").getImageData(0, 20, canvas.width, canvas.height - 20);
      return data.some((value, at) => at % 4 === 3 && value > 0 && (at >> 2) % width < width * 0.8);
    }));
    await allPlay(me.page);
    await take(me.page, "drawer", TALL);

    await me.click("Close");
    await me.page.setViewport({ ...PHONE, deviceScaleFactor: 2 });
    await allPlay(me.page);
    await take(me.page, "mobile", { width: 2 * PHONE.width, height: 2 * PHONE.height });

    const prejoin = the.leave(await openPage(CHROMIUM, the.server.url, { before: paintCamera, ...LOBBY }));
    await until("the preview plays", () => prejoin.$eval("video", ({ videoWidth }) => videoWidth > 0));
    await prejoin.type("#name", "Ada Lovelace");
    await take(prejoin, "prejoin", LOBBY);
  });
});
