/** Messages over data channels between real browsers, through the real server. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { CHROMIUM, closeBrowsers, FIREFOX, Person, Server, until } from "./helper.js";

/** @type {Server} */
let server;
/** @type {Person[]} */
let open = [];
let room = "";
let rooms = 0;

before(async () => {
  server = await Server.start();
});
after(async () => {
  await closeBrowsers();
  assert.equal((await server?.stop()) ?? 0, 0, server?.output);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((person) => person.close()));
});

/** Somebody without media joins the room of this test, keeps what arrives, and has both lanes open. */
async function join(kind, name, options = {}) {
  const person = await Person.join(kind, options.server ?? server.url, { room, name, params: { publish: "none", ...options.params } });
  open.push(person);
  await person.room((room) => {
    globalThis.got = [];
    room.on("data", ({ from, participant, topic, data, lossy }) => {
      // The page itself greets whoever comes.
      if (topic !== "together") globalThis.got.push({ from, name: participant?.name, topic, data, lossy });
    });
  });
  await until(`${name}'s lanes are open`, () => person.room((room) => room.dataOpen));
  return person;
}

/** What has arrived; bytes as their length and a hash. */
const got = (person) => person.room(async () => Promise.all(globalThis.got.map(async ({ data, ...rest }) => ({
  ...rest, data: typeof data === "string" ? data : `${data.length} bytes ${[...new Uint8Array(await crypto.subtle.digest("SHA-256", data))].join(" ")}`,
}))));
const count = (person) => person.room(() => globalThis.got.length);
const id = (person) => person.room((room) => room.id);

describe("data channels", () => {
  for (const kinds of [[CHROMIUM, FIREFOX], [CHROMIUM, CHROMIUM], [FIREFOX, FIREFOX]]) {
    test(`${kinds.join(" and ")}: text both ways, 256 KiB intact, the lossy lane, the limits`, async () => {
      room = `data-${++rooms}`;
      const [ada, grace] = [await join(kinds[0], "Ada"), await join(kinds[1], "Grace")];
      await ada.room((room) => room.send("hällo", { topic: "chat" }));
      await until("Grace has it", async () => (await count(grace)) === 1);
      assert.deepEqual(await got(grace), [{ from: await id(ada), name: "Ada", topic: "chat", data: "hällo", lossy: false }]);
      await grace.room((room) => room.send("", { topic: "pointer", lossy: true }));
      await until("Ada has it", async () => (await count(ada)) === 1);
      assert.deepEqual(await got(ada), [{ from: await id(grace), name: "Grace", topic: "pointer", data: "", lossy: true }]);

      for (const [from, to] of [[ada, grace], [grace, ada]]) {
        const before = await count(to);
        const hash = await from.room(async (room) => {
          const bytes = new Uint8Array(256 * 1024);
          for (let at = 0; at < bytes.length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
          await room.send(bytes);
          await room.send("after it");
          return [...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))].join(" ");
        });
        await until("both have come", async () => (await count(to)) === before + 2);
        assert.deepEqual((await got(to)).slice(before).map(({ data }) => data), [`262144 bytes ${hash}`, "after it"]);
      }

      const refusals = await ada.room((room) => Promise.all([
        room.send(new Uint8Array(256 * 1024 + 1)), room.send(new Uint8Array(14 * 1024 + 1), { lossy: true }), room.send(7), room.send("", { topic: "x".repeat(65) }),
      ].map((sent) => sent.then(() => "sent", ({ name, code }) => `${name} ${code}`))));
      assert.deepEqual(refusals, ["DataError data-too-large", "DataError data-too-large", "DataError data-bad-argument", "DataError data-bad-argument"]);
    });
  }

  test("a message for one participant reaches nobody else; one by the admin API has no sender", async () => {
    room = `data-${++rooms}`;
    const [ada, grace, edsger] = [await join(CHROMIUM, "Ada"), await join(FIREFOX, "Grace"), await join(CHROMIUM, "Edsger")];
    await ada.room((room, to) => room.send("for you", { to: [to] }), await id(grace));
    // The lane is in order: whoever has this one has missed what went before.
    await ada.room((room) => room.send("for all"));
    for (const person of [grace, edsger]) await until(`${person.name} has what is for all`, async () => (await got(person)).some(({ data }) => data === "for all"));
    assert.deepEqual((await got(grace)).map(({ data }) => data), ["for you", "for all"]);
    assert.deepEqual((await got(edsger)).map(({ data }) => data), ["for all"]);
    assert.equal(await count(ada), 0);

    const body = JSON.stringify({ topic: "notice", text: "closing", to: [await id(ada)] });
    const response = await fetch(`${server.admin}/api/v1/rooms/${room}/data`, { method: "POST", body });
    assert.equal(response.status, 204, await response.text());
    await until("Ada has it", async () => (await count(ada)) === 1);
    assert.deepEqual((await got(ada)).map(({ from, topic, data }) => ({ from, topic, data })), [{ from: null, topic: "notice", data: "closing" }]);
  });

  for (const kind of [CHROMIUM, FIREFOX]) {
    test(`${kind}: after a new peer connection messages flow again, also those sent meanwhile`, async () => {
      room = `data-${++rooms}`;
      const [ada, grace] = [await join(kind, "Ada"), await join(CHROMIUM, "Grace")];
      await ada.room((room) => {
        void room.reconnectMedia();
        void room.send("meanwhile");
      });
      await until("Grace has it", async () => (await count(grace)) === 1);
      await until("Ada's lanes are open", () => ada.room((room) => room.dataOpen));
      await grace.room((room) => room.send("welcome back"));
      await until("Ada has it", async () => (await count(ada)) === 1);
    });
  }

  test("who has no grant for data is told so and hears the others", async () => {
    room = `data-${++rooms}`;
    const env = { SLUICE_ACCESS__KEYS__MAIN: "a secret of the browser suite, long enough" };
    const closed = await Server.start({ env });
    try {
      const token = (...more) => Server.mint(["--room", room, ...more], env);
      const ada = await join(CHROMIUM, "Ada", { server: closed.url, params: { token: token() } });
      const mute = await join(FIREFOX, "Mute", { server: closed.url, params: { token: token("--no-data") } });
      assert.equal(await mute.room((room) => room.send("psst").catch(({ code }) => code)), "data-not-permitted");
      await ada.room((room) => room.send("hello"));
      await until("the one without hears", async () => (await count(mute)) === 1);
    } finally {
      await closed.stop();
    }
  });
});
