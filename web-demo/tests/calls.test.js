/** Calls between real browsers through the real server. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { browser, CHROMIUM, FIREFOX, freePort, meet, openPage, Person, Proxy, Server, until } from "./helper.js";
import { appears, gone, suite, textOf, tile } from "./suite.js";

const the = suite("calls");
const { join, meeting: call } = the;

const BOTH = [[CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]];
const participantId = (person) => person.room((room) => room.id);
const codecsOf = (kind, direction) => openPage(kind, the.server.url + "?publish=none").then(async (page) => {
  the.leave(page);
  return page.evaluate((direction) => globalThis[direction].getCapabilities("video").codecs.map(({ mimeType }) => mimeType.toLowerCase()), direction);
});

describe("three people", () => {
  for (const kinds of [[CHROMIUM, CHROMIUM, CHROMIUM], [CHROMIUM, CHROMIUM, FIREFOX], [CHROMIUM, FIREFOX, FIREFOX], [FIREFOX, FIREFOX, FIREFOX]]) {
    call(`${kinds.join(", ")}: everybody sees and hears everybody, in the height asked for`, async () => {
      const people = [];
      for (const [index, kind] of kinds.entries()) people.push(await join(kind, `P${index}`));
      await meet(people);
      // Tiles of some 270 lines: of 180 and 360, the larger one is needed.
      for (const one of people) for (const other of people) if (one !== other) await one.heightOf(other.name, (height) => height === 360);
    });
  }

  call("who comes late meets those who are there, and they go on", async () => {
    const early = [await join(CHROMIUM, "Ada"), await join(FIREFOX, "Grace")];
    await meet(early);
    await meet([...early, await join(CHROMIUM, "Late")]);
  });

  call("who leaves is gone for the others at once", async () => {
    const [ada, grace, edsger] = [await join(CHROMIUM, "Ada"), await join(FIREFOX, "Grace"), await join(CHROMIUM, "Edsger")];
    await meet([ada, grace, edsger]);
    await grace.click("Leave");
    await until("Grace is told", () => grace.page.$("[data-code=left]"));
    await Promise.all([ada, edsger].map((person) => gone(person, tile("Grace"))));
    await meet([ada, edsger]);
  });
});

describe("layers", () => {
  for (const [sender, receiver] of [...BOTH, [CHROMIUM, CHROMIUM], [FIREFOX, FIREFOX]]) {
    call(`${sender} to ${receiver}: a smaller tile lowers the received height within 3 s, a larger one raises it`, async () => {
      await join(sender, "Ada", { params: { size: "960x540", publish: "camera" } });
      const grace = await join(receiver, "Grace", { width: 1000, height: 1300, params: { publish: "none" } });
      await grace.heightOf("Ada", (height) => height === 540);
      await grace.page.setViewport({ width: 300, height: 420 });
      await grace.heightOf("Ada", (height) => height <= 270, { deadline: 3000 });
      await grace.sees("Ada");
      await grace.page.setViewport({ width: 1000, height: 1300 });
      await grace.heightOf("Ada", (height) => height === 540, { deadline: 10_000 });
      await grace.sees("Ada");
    });
  }

  call("each receiver has its own layer", async () => {
    await join(CHROMIUM, "Ada", { params: { size: "960x540", publish: "camera" } });
    const near = await join(CHROMIUM, "Near", { width: 1000, height: 1600, params: { publish: "none" } });
    const far = await join(FIREFOX, "Far", { width: 300, height: 500, params: { publish: "none" } });
    await near.heightOf("Ada", (height) => height === 540);
    await far.heightOf("Ada", (height) => height > 0 && height <= 270);
    assert.equal((await near.receives("Ada", "camera")).height, 540);
  });

  call("maxheight limits what is received, and the tile says what that is", async () => {
    await join(CHROMIUM, "Ada", { params: { publish: "camera" } });
    const grace = await join(CHROMIUM, "Grace", { params: { publish: "none", maxheight: "180" } });
    await grace.heightOf("Ada", (height) => height === 180);
    await until("the tile says so", async () => /^180p · h · \d+ kb\/s$/.test(await textOf(grace, tile("Ada", " .layer"))));
  });

  for (const [sender, receiver] of BOTH) {
    call(`${sender} to ${receiver}: when the top encoding stops, a lower one flows on; when it is back, it is taken again`, async () => {
      const ada = await join(sender, "Ada", { params: { size: "960x540", publish: "camera" } });
      const grace = await join(receiver, "Grace", { width: 1000, height: 1300, params: { publish: "none" } });
      await grace.heightOf("Ada", (height) => height === 540);
      await ada.room((room) => room.local("camera").setEncodingEnabled("f", false));
      await grace.heightOf("Ada", (height) => height === 270);
      await grace.sees("Ada", "camera", { frames: 30 });
      await ada.room((room) => room.local("camera").setEncodingEnabled("f", true));
      await grace.heightOf("Ada", (height) => height === 540);
      await grace.sees("Ada");
    });

    call(`${sender} to ${receiver}: encodings that nobody takes are not made, and are again when somebody does`, async () => {
      const ada = await join(sender, "Ada", { params: { size: "960x540", publish: "camera" } });
      const active = () => ada.room((room) => room.local("camera").sender.getParameters().encodings.filter(({ active }) => active).map(({ rid }) => rid).join());
      const grace = await join(receiver, "Grace", { width: 300, height: 420, params: { publish: "none" } });
      await grace.sees("Ada");
      await until("the large one stops", async () => !(await active()).includes("f"));
      await grace.sees("Ada");
      await grace.page.setViewport({ width: 1000, height: 1300 });
      await until("it is made again", async () => (await active()).includes("f"));
      await grace.heightOf("Ada", (height) => height === 540);
    });
  }
});

/** Runs in the page ahead of its scripts: what it publishes as audio repeats older packets (RFC 2198). */
function sendRedundantly() {
  const { addTransceiver } = RTCPeerConnection.prototype;
  RTCPeerConnection.prototype.addTransceiver = function (track, init) {
    const transceiver = addTransceiver.call(this, track, init);
    if (transceiver.sender.track?.kind === "audio") {
      const { codecs } = RTCRtpSender.getCapabilities("audio");
      const isRed = ({ mimeType }) => mimeType.toLowerCase() === "audio/red";
      transceiver.setCodecPreferences([...codecs.filter(isRed), ...codecs.filter((codec) => !isRed(codec))]);
    }
    return transceiver;
  };
}

describe("codecs", () => {
  call("redundant audio: Chromium gets the repetitions, Firefox, which does not take them, the sound alone", async () => {
    await join(CHROMIUM, "Ada", { params: { publish: "mic" }, before: sendRedundantly });
    const [grace, linus] = [await join(CHROMIUM, "Grace", { params: { publish: "none" } }), await join(FIREFOX, "Linus", { params: { publish: "none" } })];
    await Promise.all([grace.hears("Ada"), linus.hears("Ada", { packets: 100 })]);
    await until("packets repeat others", async () => (await grace.receives("Ada", "microphone")).repeated > 50);
    assert.equal((await linus.receives("Ada", "microphone")).codec, "audio/opus");
  });

  for (const codec of ["vp8", "h264"]) {
    for (const sender of [CHROMIUM, FIREFOX]) {
      for (const receiver of [CHROMIUM, FIREFOX]) {
        call(`${codec}, ${sender} to ${receiver}`, async (t) => {
          if (!(await codecsOf(sender, "RTCRtpSender")).includes(`video/${codec}`)) return t.skip(`this ${sender} cannot encode ${codec} (no OpenH264 plugin)`);
          const decodes = (await codecsOf(receiver, "RTCRtpReceiver")).includes(`video/${codec}`);
          await join(sender, "Ada", { params: { publish: "camera", codec } });
          const grace = await join(receiver, "Grace", { params: { publish: "none" } });
          if (decodes) {
            const seen = await grace.sees("Ada", "camera", { when: ({ height }) => height === 360 });
            assert.equal(seen.codec.toLowerCase(), `video/${codec}`);
          } else {
            t.diagnostic(`this ${receiver} cannot decode ${codec} (no OpenH264 plugin): it must be told so`);
            await until("the tile says why there is no picture", async () => /codec/.test(await textOf(grace, tile("Ada", " .layer"))));
          }
        });
      }
    }
  }
});

describe("in the call", () => {
  for (const [sender, receiver] of BOTH) {
    call(`${sender} to ${receiver}: camera and microphone are muted and unmuted`, async () => {
      const [ada, grace] = [await join(sender, "Ada"), await join(receiver, "Grace")];
      await meet([ada, grace]);

      await ada.click("Turn camera off");
      await gone(grace, tile("Ada", ".plays"));
      await until("it is known as muted", async () => (await grace.receives("Ada", "camera")).muted);
      await until("no frame comes while sound does", async () => {
        const before = (await grace.receives("Ada", "camera")).frames;
        await grace.hears("Ada", { packets: 25 });
        return (await grace.receives("Ada", "camera")).frames === before;
      });
      await ada.click("Turn camera on");
      await grace.sees("Ada");
      await appears(grace, tile("Ada", ".plays"));

      await ada.click("Turn microphone off");
      await appears(grace, tile("Ada", " .badge:not([hidden])"));
      await ada.click("Turn microphone on");
      await gone(grace, tile("Ada", " .badge:not([hidden])"));
      await grace.hears("Ada");
    });

    call(`${sender} to ${receiver}: a screen is shared beside the camera, and stops`, async (t) => {
      const [ada, grace] = [await join(sender, "Ada"), await join(receiver, "Grace")];
      await meet([ada, grace]);
      for (let round = 0; round < 2; round++) {
        if (sender === CHROMIUM) {
          await ada.click("Share the screen");
        } else {
          t.diagnostic("headless Firefox has no screen to share: a canvas stands in");
          await ada.room(async (room) => {
            const canvas = Object.assign(document.createElement("canvas"), { width: 1280, height: 720 });
            const context = canvas.getContext("2d");
            setInterval(() => context.fillRect(Math.random() * 1280, Math.random() * 720, 9, 9), 100);
            await room.publish(canvas.captureStream(10).getTracks()[0], { source: "screen" });
          });
        }
        await appears(grace, ".tile.screen.on-stage");
        await grace.sees("Ada", "screen");
        await grace.sees("Ada", "camera");
        if (sender === CHROMIUM) await ada.click("Stop sharing the screen");
        else await ada.room((room) => room.unpublish(room.local("screen")));
        await gone(grace, ".tile.on-stage");
      }
      await meet([ada, grace]);
    });

    call(`${sender} to ${receiver}: the one who speaks is marked`, async () => {
      await join(sender, "Ada");
      const grace = await join(receiver, "Grace", { params: { publish: "camera" } });
      await grace.hears("Ada");
      await appears(grace, tile("Ada", ".speaking"));
    });
  }

  call("who publishes nothing still sees and hears, and has a tile", async () => {
    const ada = await join(CHROMIUM, "Ada");
    const kiosk = await join(FIREFOX, "Kiosk", { params: { publish: "none" } });
    await Promise.all([kiosk.sees("Ada"), kiosk.hears("Ada"), appears(ada, tile("Kiosk"))]);
  });

  call("more tracks than slots were foreseen: all are seen", async () => {
    const first = await join(CHROMIUM, "First", { params: { publish: "none" } });
    const others = [];
    for (const name of ["A", "B", "C", "D"]) others.push(await join(name < "C" ? CHROMIUM : FIREFOX, name, { params: { size: "320x180" } }));
    await Promise.all(others.flatMap(({ name }) => [first.sees(name), first.hears(name)]));
  });
});

describe("when something breaks", () => {
  for (const [breaking, other] of BOTH) {
    call(`${breaking}: a reloaded tab is back in the call`, async () => {
      const [ada, grace] = [await join(breaking, "Ada"), await join(other, "Grace")];
      await meet([ada, grace]);
      await ada.page.reload();
      await until("Ada is in the room", () => ada.page.evaluate(() => Boolean(window.sluice)));
      await until("there is one Ada", async () => (await grace.page.$$(tile("Ada"))).length === 1);
      await meet([ada, grace]);
    });

    call(`${breaking}: media goes on while the WebSocket is cut, and the session is resumed`, async () => {
      const proxy = await Proxy.start(the.server.url);
      the.leave({ close: () => proxy.stop() });
      const ada = await join(breaking, "Ada", { server: proxy.url });
      const grace = await join(other, "Grace");
      await meet([ada, grace]);
      await grace.room((room) => {
        window.left = 0;
        room.on("participant-left", () => window.left++);
      });
      const before = await participantId(ada);
      await ada.room((room) => (window.firstConnection = room.peerConnection) && null);

      proxy.cut();
      await until("the page says so", () => ada.room((room) => room.state.cause === "signaling"));
      await meet([ada, grace]);
      proxy.mend();
      await until("the session is resumed", () => ada.room((room) => room.state.state === "connected"));

      assert.equal(await participantId(ada), before);
      assert.equal(await ada.room((room) => room.peerConnection === window.firstConnection), true, "the peer connection is the same");
      assert.equal(await grace.page.evaluate(() => window.left), 0, "nobody left");
      await ada.click("Turn microphone off");
      await appears(grace, tile("Ada", " .badge:not([hidden])"));
      await Promise.all([ada.sees("Grace"), grace.sees("Ada")]);
    });

    call(`${breaking}: an ICE restart changes credentials, and media goes on`, async () => {
      const [ada, grace] = [await join(breaking, "Ada"), await join(other, "Grace")];
      await meet([ada, grace]);
      const credentials = () => ada.room(({ peerConnection }) => [peerConnection.localDescription, peerConnection.remoteDescription].map(({ sdp }) => /a=ice-ufrag:(\S+)/.exec(sdp)[1]));
      const before = await credentials();
      await ada.room((room) => room.restartIce());
      const after = await credentials();
      assert.notEqual(after[0], before[0]);
      assert.notEqual(after[1], before[1]);
      await meet([ada, grace]);
      assert.equal(await ada.room((room) => room.peerConnection.connectionState), "connected");
    });

    call(`${breaking}: a new peer connection in the same session starts over, for everybody`, async () => {
      const [ada, grace] = [await join(breaking, "Ada"), await join(other, "Grace")];
      await meet([ada, grace]);
      const before = await participantId(ada);
      await ada.room((room) => (window.firstConnection = room.peerConnection).close());
      await ada.room((room) => room.reconnectMedia());
      await meet([ada, grace]);
      assert.equal(await participantId(ada), before);
      assert.equal((await grace.page.$$(tile("Ada"))).length, 1);
    });

    call(`${breaking}: without UDP, media takes TCP`, async () => {
      const ada = await join(breaking, "Ada", { params: { forceTcp: "1" } });
      const grace = await join(other, "Grace");
      await meet([ada, grace]);
      await until("the path is TCP", async () => (await ada.room((room) => room.stats())).transport.protocol === "tcp");
    });
  }

  call("when the server restarts, everybody is back by themselves", async () => {
    const port = await freePort();
    const first = await Server.start({ http: `127.0.0.1:${port}` });
    the.leave({ close: () => void first.stop("SIGKILL") });
    const [ada, grace] = [await join(CHROMIUM, "Ada", { server: first.url }), await join(FIREFOX, "Grace", { server: first.url })];
    await meet([ada, grace]);
    await first.stop("SIGKILL");
    await until("it is noticed", () => ada.room((room) => room.state.cause === "signaling"));
    const second = await Server.start({ http: `127.0.0.1:${port}` });
    the.leave({ close: () => void second.stop() });
    for (const person of [ada, grace]) await until("the room is joined again", () => person.room((room) => room.state.state === "connected" && room.participants.size === 1));
    await meet([ada, grace]);
  });

  call("Ctrl-C ends the server at once, in the middle of a call", async () => {
    const short = await Server.start();
    const [ada, grace] = [await join(CHROMIUM, "Ada", { server: short.url }), await join(CHROMIUM, "Grace", { server: short.url })];
    await meet([ada, grace]);
    const code = await Promise.race([short.stop("SIGINT"), new Promise((resolve) => setTimeout(resolve, 5000, "still running"))]);
    assert.equal(code, 0);
  });

  call("a full room is said in words", async () => {
    const small = await Server.start({ env: { SLUICE_LIMITS__PARTICIPANTS_PER_ROOM: "1" } });
    the.leave({ close: () => void small.stop() });
    await join(CHROMIUM, "Ada", { server: small.url, params: { publish: "none" } });
    const page = the.leave(await openPage(FIREFOX, `${small.url}?room=${the.room}&name=Grace&autojoin=1&publish=none`));
    await until("the page says so", () => page.$("[data-code=room-full]"));
  });

  call("a token in the URL lets one in, and without one the page says what to do", async () => {
    const env = { SLUICE_ACCESS__KEYS__MAIN: "a secret of the browser suite, long enough" };
    const guarded = await Server.start({ env });
    the.leave({ close: () => void guarded.stop() });
    const stranger = the.leave(await openPage(CHROMIUM, `${guarded.url}?room=${the.room}&name=Eve&autojoin=1&publish=none`));
    await until("the page says so", () => stranger.$("[data-code=token-required]"));
    const token = Server.mint(["--room", the.room], env);
    const ada = await join(CHROMIUM, "Ada", { server: guarded.url, params: { token } });
    const grace = await join(CHROMIUM, "Grace", { server: guarded.url, params: { token, publish: "none" } });
    await grace.sees("Ada");
    await appears(ada, tile("Grace"));
  });

  call("on an insecure address the page says what to do, and one can still watch", async () => {
    const ada = await join(CHROMIUM, "Ada", { params: { publish: "camera" } });
    const page = await (await browser(CHROMIUM)).newPage();
    the.leave(page);
    await page.goto(`${the.server.url.replace("127.0.0.1", "insecure.test")}?room=${the.room}&name=Grace&autojoin=1`);
    await until("the page says so", () => page.$("[data-code=insecure-context]"));
    const grace = Object.assign(new Person(), { kind: CHROMIUM, name: "Grace", page });
    await grace.sees("Ada");
    await appears(ada, tile("Grace"));
  });
});
