/** The page around the call: layouts, panels, windows, keyboard, accessibility, in real browsers through the real server. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { describe, test } from "node:test";
import decodeQR from "qr/decode.js";
import { CHROMIUM, FIREFOX, openPage, Person, Server, until } from "./helper.js";
import { appears, figures, gone, suite, textOf, tile } from "./suite.js";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const BOTH = [[CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]];

const the = suite("page", { args: ["--dev"] });
const { join, meeting } = the;

/** What axe-core finds against WCAG 2.2 A and AA, one line a finding. */
async function violations(page) {
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join("; ")}`);
  });
}

describe("layouts", () => {
  for (const [watcher, sender] of BOTH) {
    meeting(`${watcher}: tiles of another page stop their video, and start again when their page is turned to`, async () => {
      const names = ["A", "B", "C"];
      for (const name of names) await join(sender, name, { params: { publish: "camera", size: "320x180" } });
      const ada = await join(watcher, "Ada", { width: 1000, height: 700, params: { publish: "none" } });
      await Promise.all(names.map((name) => ada.sees(name)));
      // Room for two tiles of the four.
      await ada.page.setViewport({ width: 320, height: 440 });
      await until("there are two pages", async () => (await ada.page.$eval(".pager", (pager) => pager.innerText.trim())) === "Page 1 of 2");
      const off = await ada.page.$$eval(".tile[hidden]", (tiles) => tiles.map((one) => one.getAttribute("aria-label")));
      assert.deepEqual(off, ["B", "C"]);
      for (const name of off) await until(`${name} is paused`, async () => (await ada.receives(name, "camera")).state?.reason === "not-visible");
      await until("no frame of B is decoded while A goes on", async () => {
        const { frames } = await ada.receives("B", "camera");
        await ada.sees("A", "camera", { frames: 15 });
        return (await ada.receives("B", "camera")).frames === frames;
      });
      const said = JSON.stringify(await the.server.statistics(the.room));
      assert.match(said, /not-visible/, "the server says so too");
      await ada.click("Next page");
      await Promise.all([ada.sees("B"), ada.sees("C")]);
      await until("the first page's are paused now", async () => (await ada.receives("A", "camera")).state?.reason === "not-visible");
    });

    meeting(`${watcher}: the speaker view shows who speaks large, the grid all alike, a pinned tile is large in both`, async () => {
      const ada = await join(watcher, "Ada", { width: 1200, height: 800, params: { publish: "none" } });
      await join(sender, "Quiet", { params: { publish: "camera" } });
      const loud = await join(sender, "Loud");
      await appears(ada.page, tile("Loud", ".speaking"));
      assert.equal((await ada.page.$$(".on-stage")).length, 0);
      await ada.click("View: Grid, screens large");
      await ada.click("View: Grid");
      await appears(ada.page, tile("Loud", ".on-stage"));
      const [large, small] = await Promise.all(["Loud", "Quiet"].map((name) => ada.page.$eval(tile(name), (one) => one.clientHeight)));
      assert.ok(large > 2 * small, `${large} and ${small}`);
      await ada.heightOf("Quiet", (height) => height > 0 && height <= 180);
      await ada.heightOf("Loud", (height) => height === 360);
      await ada.click("Pin Quiet");
      await appears(ada.page, tile("Quiet", ".on-stage.pinned"));
      await ada.heightOf("Quiet", (height) => height === 360);
      await ada.click("Pin Quiet");
      await gone(ada.page, ".pinned");
      await appears(ada.page, tile("Loud", ".on-stage"));
      await the.close(loud);
    });
  }

  meeting("a shared screen is on the stage, with its sound, and a tile like others in the grid view", async () => {
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "camera" } });
    const grace = await join(FIREFOX, "Grace", { params: { publish: "none" } });
    // Headless Chromium shares no sound: an oscillator stands in.
    await ada.page.evaluate(() => {
      const { getDisplayMedia } = navigator.mediaDevices;
      navigator.mediaDevices.getDisplayMedia = async (options) => {
        const stream = await getDisplayMedia.call(navigator.mediaDevices, { ...options, audio: false });
        const context = new AudioContext();
        const [out, tone] = [context.createMediaStreamDestination(), context.createOscillator()];
        tone.connect(out);
        tone.start();
        stream.addTrack(out.stream.getAudioTracks()[0]);
        return stream;
      };
    });
    await ada.click("Share the screen");
    await appears(grace.page, tile("Ada's screen", ".on-stage"));
    await grace.sees("Ada", "screen");
    await until("the screen's sound is heard", async () => (await grace.receives("Ada", "screen-audio"))?.energy > 0);
    await grace.click("View: Grid, screens large");
    await gone(grace.page, ".on-stage");
    await ada.click("Stop sharing the screen");
    await gone(grace.page, ".tile.screen");
    await until("the sound has ended with it", async () => (await grace.receives("Ada", "screen-audio")) === null);
  });
});

describe("panels and windows", () => {
  for (const [watcher, sender] of BOTH) {
    meeting(`${watcher}: the statistics agree with getStats and the server, and what is asked for there is done`, async () => {
      await join(sender, "Grace", { params: { publish: "camera" } });
      const ada = await join(watcher, "Ada", { width: 1200, height: 800 });
      await ada.heightOf("Grace", (height) => height === 360);
      await ada.click("Statistics");
      const shown = await until("the figures are there", async () => {
        const now = await figures(ada, "Grace", "camera");
        const { codec, state } = await ada.receives("Grace", "camera");
        return now?.picture.startsWith("640×360") && /b\/s/.test(now.rate) && `video/${now.codec}` === codec
          && now["current layer"] === `${state.encoding} T${state.temporal}, ${state.rid} (360 lines)` && now;
      });
      assert.match(shown["asked for"], /^up to \d+ lines$/);
      for (const figure of ["loss", "round trip", "jitter", "why"]) assert.ok(shown[figure], figure);
      await until("the plot says the rates", async () => /estimate of the server: [\d.]+ [kM]b\/s, received: \d/.test(await ada.page.$eval(".plot canvas", (canvas) => canvas.getAttribute("aria-label"))));

      await ada.page.select(".wishes select", "180");
      await ada.heightOf("Grace", (height) => height === 180);
      await until("it says why", async () => (await figures(ada, "Grace", "camera")).why === "limited to 180 lines here");
      await ada.page.select(".wishes select:last-of-type", "pinned");
      await until("the server knows the priority", async () => /"priority":"pinned"/.test(JSON.stringify(await the.server.statistics(the.room))));
    });

    meeting(`${watcher}: people are listed with what they send`, async () => {
      const ada = await join(watcher, "Ada", { params: { publish: "none" } });
      const grace = await join(sender, "Grace", { params: { publish: "mic" } });
      await ada.click("People");
      const rows = () => ada.page.$$eval(".people li", (list) => list.map((row) => [row.querySelector(".name").textContent, ...[...row.querySelectorAll("[role=img]")].map((sign) => sign.getAttribute("aria-label"))].join(", ")));
      await until("Grace is in it", async () => (await rows()).join("; ") === "Ada (you), Microphone off, Camera off; Grace, Microphone on, Camera off");
      await grace.click("Turn microphone off");
      await until("it is known as off", async () => (await rows())[1] === "Grace, Microphone off, Camera off");
    });
  }

  meeting("the invitation's code leads to the room, and the link is copied", async () => {
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "none" } });
    await (await ada.page.browserContext()).overridePermissions(new URL(the.server.url).origin, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
    await ada.click("Invite others");
    const link = new URL(`/r/${the.room}`, the.server.url).href;
    assert.equal(await ada.page.$eval("#invite-link", ({ value }) => value), link);
    assert.equal(decodeQR(await pixels(ada.page, ".qr")), link);
    await (await ada.page.$("dialog .primary")).click();
    await until("it says so", async () => (await textOf(ada, "dialog [role=status]")) === "The link is copied.");
    assert.equal(await ada.page.evaluate(() => navigator.clipboard.readText()), link);
    await ada.page.keyboard.press("Escape");
    await gone(ada.page, "dialog");
  });

  for (const kind of [CHROMIUM, FIREFOX]) {
    meeting(`${kind}: everything is done by keyboard, and the help lists how`, async () => {
      const ada = await join(kind, "Ada", { params: { publish: "camera,mic" } });
      await until("both are published", () => ada.room((room) => room.local("camera")?.id && room.local("microphone")?.id));
      const muted = (source) => ada.room((room, source) => room.local(source).muted, source);
      await ada.page.evaluate(() => document.activeElement.blur());
      await ada.page.keyboard.press("v");
      await until("the camera is off", () => muted("camera"));
      await ada.page.keyboard.press("m");
      await until("the microphone is off", () => muted("microphone"));
      await ada.page.keyboard.down(" ");
      await until("one talks while Space is held", async () => !(await muted("microphone")));
      await ada.page.keyboard.up(" ");
      await until("and no longer", () => muted("microphone"));
      await ada.page.keyboard.press("p");
      await appears(ada.page, ".panel .people");
      assert.equal(await ada.page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Close", "the focus goes along");
      await ada.page.keyboard.press("p");
      await gone(ada.page, ".panel:not([hidden])");
      await ada.page.keyboard.press("?");
      const keys = await until("the help is shown", async () => {
        const list = await ada.page.$$eval("dialog kbd", (keys) => keys.map(({ textContent }) => textContent));
        return list.length && list;
      });
      for (const key of ["M", "V", "S", "Space", "?"]) assert.ok(keys.includes(key), key);
      await ada.page.keyboard.press("m");
      assert.equal(await muted("microphone"), true, "no shortcut while a window is open");
    });

    meeting(`${kind}: another camera goes on in the middle of the call, and is the one taken next time`, async () => {
      // Both browsers have one fake camera only: a canvas stands in for a second one.
      const ada = await join(kind, "Ada", { before: twoCameras, params: { publish: "camera" } });
      // Firefox lists devices to the focused window only: the other one is of another browser.
      const grace = await join(kind === FIREFOX ? CHROMIUM : FIREFOX, "Grace", { params: { publish: "none" } });
      await grace.heightOf("Ada", (height) => height === 360);
      await ada.click("Devices");
      await until("both are listed", async () => (await ada.page.$$("#device-camera option")).length === 2);
      await ada.page.select("#device-camera", "second");
      await until("the other picture arrives", () => grace.page.$eval(tile("Ada", " video"), (video) => {
        const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
        const context = canvas.getContext("2d");
        context.drawImage(video, 0, 0, 1, 1);
        const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
        return red > 150 && green < 90 && blue < 90;
      }));
      assert.equal(await ada.page.evaluate(() => localStorage.getItem("sluice-device-camera")), "second");
      await ada.page.evaluate(() => window.unplug());
      await until("a camera that is unplugged leaves the list", async () => (await ada.page.$$("#device-camera option")).length === 1);
    });
  }
});

describe("before the call", () => {
  for (const kind of [CHROMIUM, FIREFOX]) {
    test(`${kind}: preview, devices and level, then the call`, async () => {
      const page = the.leave(await openPage(kind, the.server.url));
      await until("the preview plays", () => page.$eval(".preview video", (video) => video.videoWidth > 0 && video.currentTime > 0));
      await until("the microphone's level moves", () => page.$eval(".meter", (meter) => Number(meter.getAttribute("aria-valuenow")) > 5));
      await until("cameras are listed by name", () => page.$eval("#device-camera option", (option) => option.textContent.length > 3));
      await page.type("#name", "Ada");
      await page.keyboard.press("Enter");
      await appears(page, tile("Ada (you)", ".plays"));
      await until("the own tile goes from starting to what is sent or that nobody watches, never to nothing", async () => {
        const text = await page.$eval(tile("Ada (you)", " .layer"), ({ textContent }) => textContent);
        assert.doesNotMatch(text, /sending nothing/);
        return /^not sent: nobody watches$|^sending \d+p/.test(text);
      });
    });
  }

  for (const [name, code] of [["NotAllowedError", "permission-denied"], ["NotFoundError", "no-device"], ["NotReadableError", "device-busy"]]) {
    test(`${code} is said in words, with what to do`, async () => {
      const refuse = `navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("", "${name}"); };`;
      const page = the.leave(await openPage(CHROMIUM, the.server.url, { before: refuse }));
      await appears(page, `[role=alert][data-code=${code}]`);
    });
  }
});

describe("accessibility", () => {
  for (const kind of [CHROMIUM, FIREFOX]) {
    for (const theme of ["light", "dark"]) {
      meeting(`${kind}, ${theme}: axe-core finds nothing to complain about, on any view`, async () => {
        const themed = `localStorage.setItem("sluice-theme", "${theme}")`;
        const found = {};
        const before = the.leave(await openPage(kind, `${the.server.url}?publish=none`, { before: themed }));
        await appears(before, ".prejoin");
        found.prejoin = await violations(before);

        await join(kind, "Grace", { params: { publish: "camera" } });
        const ada = await join(kind, "Ada", { before: themed, params: { publish: "none" } });
        await ada.sees("Grace");
        assert.equal(await ada.page.evaluate(() => document.documentElement.dataset.theme), theme);
        found.call = await violations(ada.page);
        for (const label of ["Chat", "People", "Statistics"]) {
          await ada.click(label);
          if (label === "Statistics") await appears(ada.page, ".card");
          found[label] = await violations(ada.page);
        }
        await ada.click("React");
        found.reactions = await violations(ada.page);
        for (const label of ["Invite others", "End-to-end encryption: off", "Devices", "Keyboard shortcuts"]) {
          await ada.click(label);
          await appears(ada.page, "dialog");
          found[label] = await violations(ada.page);
          await ada.page.keyboard.press("Escape");
          await gone(ada.page, "dialog");
        }
        // A note, and a tile that cannot be decrypted.
        await ada.room((room) => room.emit("going-away", ""));
        await appears(ada.page, ".notice");
        await ada.room((room) => room.setPassphrase("another"));
        await until("the tile says so", async () => /without encryption/.test(await textOf(ada, tile("Grace", " .locked"))));
        found.undecrypted = await violations(ada.page);
        await ada.page.setViewport({ width: 390, height: 780 });
        found.mobile = await violations(ada.page);
        await ada.click("Leave");
        await appears(ada.page, ".end");
        found.end = await violations(ada.page);
        assert.deepEqual(Object.fromEntries(Object.entries(found).filter(([, list]) => list.length)), {});
      });
    }
  }

  meeting("a choice of light or dark stays", async () => {
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "none" } });
    const ground = () => ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await ada.page.evaluate(() => localStorage.removeItem("sluice-theme"));
    const light = await ground();
    await ada.click("Light or dark");
    const dark = await ground();
    assert.notEqual(dark, light);
    await ada.page.reload();
    await until("it is as before", async () => (await ground()) === dark);
    await ada.page.evaluate(() => localStorage.removeItem("sluice-theme"));
  });
});

describe("errors in words", () => {
  meeting("without UDP the page says that TCP is taken", async () => {
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "camera", forceTcp: "1" } });
    await appears(ada.page, "[data-code=udp-blocked]");
  });

  for (const kind of [CHROMIUM, FIREFOX]) {
    test(`${kind}: a page one of whose scripts did not come says that it is to be reloaded`, async () => {
      const page = the.leave(await openPage(kind, "about:blank"));
      await page.setRequestInterception(true);
      let refused = false;
      page.on("request", (request) => {
        if (refused || !request.url().endsWith("/theme.js")) return request.continue();
        refused = true;
        return request.abort();
      });
      await page.goto(the.server.url);
      const shown = () => page.$eval("#app", (app) => app.checkVisibility({ visibilityProperty: true }) && app.firstElementChild.checkVisibility({ visibilityProperty: true }) && app.innerText);
      await until("the page says so", async () => (await shown()) === "The page has not loaded completely. Reload it to try again.");
      await page.reload();
      await appears(page, ".prejoin");
      await gone(page, ".overdue");
    });
  }

  test("a server that drains says so to who is in a call, and to who comes", async () => {
    const draining = await Server.start();
    the.leave({ close: () => void draining.stop("SIGKILL") });
    const ada = the.leave(await Person.join(CHROMIUM, draining.url, { room: "drain", name: "Ada", params: { publish: "none" } }));
    const late = the.leave(await openPage(CHROMIUM, `${draining.url}?room=other&name=Late&publish=none`));
    await appears(late, ".prejoin");
    draining.process.kill("SIGTERM");
    await appears(ada.page, "[data-code=going-away]");
    await (await late.$("button[type=submit]")).click();
    await appears(late, ".end[data-code=draining], .end[data-code=unreachable]");
  });

  test("a refused token is said in words, and what one does not grant keeps nobody from the rest", async () => {
    const env = { SLUICE_ACCESS__KEYS__MAIN: "a secret of the browser suite, long enough" };
    const guarded = await Server.start({ env });
    the.leave({ close: () => void guarded.stop() });
    const token = Server.mint(["--room", "other"], env);
    const page = the.leave(await openPage(FIREFOX, `${guarded.url}?room=guarded&name=Eve&autojoin=1&publish=none&token=${token}`));
    await appears(page, ".end[data-code=token-wrong-room]");
    assert.equal(await textOf(page, ".end h1"), "This invitation does not let you in.");
    const enter = async (kind, name, ...grants) => the.leave(await Person.join(kind, guarded.url, {
      room: "guarded", name, params: { publish: "mic", token: Server.mint(["--room", "guarded", "--name", name, ...grants], env) },
    }));
    const ada = await enter(FIREFOX, "Ada");
    // Chromium bundles on the first section, which must not be a slot that the server refuses.
    for (const [kind, name] of [[CHROMIUM, "Camera 1"], [FIREFOX, "Camera 2"]]) {
      const camera = await enter(kind, name, "--no-subscribe");
      await ada.hears(name);
      assert.equal((await camera.page.$$(".notice")).length, 0);
    }
  });
});

/** Runs in the page: a second, red camera, until `unplug` is called. */
function twoCameras() {
  const media = MediaDevices.prototype;
  const { getUserMedia, enumerateDevices } = media;
  let plugged = true;
  media.enumerateDevices = async () => [...(await enumerateDevices.call(navigator.mediaDevices)), ...(plugged ? [{ kind: "videoinput", deviceId: "second", label: "Red camera", groupId: "" }] : [])];
  media.getUserMedia = async (wish) => {
    if (wish.video?.deviceId?.exact !== "second") return getUserMedia.call(navigator.mediaDevices, wish);
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
    const context = canvas.getContext("2d");
    setInterval(() => {
      context.fillStyle = `rgb(${220 + Math.random() * 30} 20 20)`;
      context.fillRect(0, 0, 640, 360);
    }, 66);
    return canvas.captureStream(15);
  };
  window.unplug = () => {
    plugged = false;
    navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
  };
}

/** An element as pixels. */
async function pixels(page, selector) {
  const png = await (await page.$(selector)).screenshot({ encoding: "base64" });
  const { width, height, data } = await page.evaluate(async (png) => {
    const image = await createImageBitmap(new Blob([Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0))]));
    const canvas = new OffscreenCanvas(image.width, image.height);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return { width: image.width, height: image.height, data: [...context.getImageData(0, 0, image.width, image.height).data] };
  }, png);
  return { width, height, data: Uint8Array.from(data) };
}
