/** Chat, files, hands and reactions between real browsers, over the server's data channels. */
import assert from "node:assert/strict";
import { describe } from "node:test";
import { CHROMIUM, FIREFOX, until } from "./helper.js";
import { suite, tile } from "./suite.js";

const BOTH = [[CHROMIUM, FIREFOX], [FIREFOX, CHROMIUM]];
const MIB = 1024 * 1024;

const the = suite("together");

/** Somebody joins, and their data channels are open. */
async function join(kind, name) {
  const person = await the.join(kind, name, { params: { publish: "none" } });
  await until(`${name}'s data channels are open`, () => person.room((room) => room.dataOpen));
  return person;
}

const lines = (person) => person.page.$$eval(".messages li:not(.file)", (items) => items.map((item) => `${item.querySelector("strong").textContent}: ${item.querySelector("p").textContent}`));
const write = async (person, text) => {
  await person.page.type("#chat-text", text);
  await person.page.keyboard.press("Enter");
};

describe("chat, hands, reactions", () => {
  for (const [one, other] of BOTH) {
    the.meeting(`${one} and ${other}: messages arrive under the right name, and who comes late has them all`, async () => {
      const [ada, grace] = [await join(one, "Ada"), await join(other, "Grace")];
      await grace.click("Chat");
      await write(grace, "Hello <b>Ada</b>");
      await until("Ada is told of it", () => ada.page.$(".unread"));
      await ada.click("Chat");
      await write(ada, "Hello Grace");
      const all = ["Grace: Hello <b>Ada</b>", "Ada: Hello Grace"];
      for (const person of [ada, grace]) await until("both messages are there", async () => JSON.stringify(await lines(person)) === JSON.stringify(all));
      const late = await join(one, "Late");
      await late.click("Chat");
      await until("they are there for who comes late", async () => JSON.stringify(await lines(late)) === JSON.stringify(all));
    });

    the.meeting(`${one} and ${other}: a raised hand is seen, also by who comes late; a reaction is seen`, async () => {
      const [ada, grace] = [await join(one, "Ada"), await join(other, "Grace")];
      await ada.click("Raise the hand");
      await until("Grace sees it", () => grace.page.$(tile("Ada", " .hand:not([hidden])")));
      const late = await join(other, "Late");
      await until("who comes late sees it", () => late.page.$(tile("Ada", " .hand:not([hidden])")));
      await ada.click("Lower the hand");
      for (const person of [grace, late]) await until("it is down", async () => !(await person.page.$(tile("Ada", " .hand:not([hidden])"))));
      await grace.page.evaluate((selector) => {
        new MutationObserver(() => (window.reacted = document.querySelector(selector)?.textContent ?? window.reacted)).observe(document.body, { subtree: true, childList: true });
      }, tile("Ada", " .reaction"));
      await ada.click("React");
      await (await ada.page.$(".reactions button")).click();
      await until("Grace sees the reaction", async () => (await grace.page.evaluate(() => window.reacted)) === "👍");
    });
  }

  the.meeting("what is no message of ours disturbs nobody", async () => {
    const [ada, grace] = [await join(CHROMIUM, "Ada"), await join(FIREFOX, "Grace")];
    await ada.click("Chat");
    await grace.room(async (room) => {
      for (const topic of ["together", "file"]) {
        for (const garbage of ["", "{", "null", "[1]", '{"type":"chat","text":7}', '{"type":"history","messages":[null,{"text":{}}]}', '{"type":"ack","id":1,"bytes":9}', '{"type":"offer","id":1}']) {
          await room.send(garbage, { topic });
        }
        await room.send(new Uint8Array([1, 2]), { topic });
        await room.send(new Uint8Array(9000), { topic });
      }
    });
    await grace.click("Chat");
    await write(grace, "still here");
    await until("the next message arrives", async () => (await lines(ada)).join() === "Grace: still here");
    assert.equal((await ada.page.$$(".file, .notice")).length, 0);
  });
});

describe("files", () => {
  for (const [one, other] of BOTH) {
    the.meeting(`${one} to ${other}: 5 MiB dropped on the page arrive intact, with progress`, async () => {
      const [ada, grace] = [await join(one, "Ada"), await join(other, "Grace")];
      const sent = await ada.page.evaluate(drop, "holiday.bin", 5 * MIB);
      await grace.click("Chat");
      await until("it is offered", () => grace.page.$('[aria-label="Take holiday.bin"]'));
      await grace.page.evaluate(() => {
        // The page's policy lets no script read a blob: URL.
        const { createObjectURL } = URL;
        window.blobs = new Map();
        URL.createObjectURL = (blob) => {
          const url = createObjectURL.call(URL, blob);
          window.blobs.set(url, blob);
          return url;
        };
        const bar = document.querySelector("progress");
        window.values = new Set();
        const watch = () => requestAnimationFrame(() => void (window.values.add(bar.value), watch()));
        watch();
      });
      await grace.click("Take holiday.bin");
      const received = await until("it is there", () => grace.page.evaluate(async () => {
        const link = document.querySelector("a[download]");
        if (!link) return null;
        const bytes = await window.blobs.get(link.href).arrayBuffer();
        const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
        return { name: link.download, size: bytes.byteLength, hash: [...hash].join() };
      }));
      assert.deepEqual(received, { name: "holiday.bin", size: 5 * MIB, hash: sent });
      assert.ok(await grace.page.evaluate(() => [...window.values].some((value) => value > 0 && value < document.querySelector("progress").max)), "progress was shown");
      await until("the sender knows", async () => (await ada.page.$eval(".file [role=status]", ({ textContent }) => textContent)) === "Grace has it");
    });

    the.meeting(`${one} to ${other}: a transfer is cancelled by either side, and the other one is told`, async () => {
      const [ada, grace] = [await join(one, "Ada"), await join(other, "Grace")];
      await grace.click("Chat");
      for (const [canceller, name] of [[ada, "first.bin"], [grace, "second.bin"]]) {
        await ada.page.evaluate(drop, name, 64 * MIB);
        await grace.click(`Take ${name}`);
        await until("it is on its way", () => grace.page.$eval(`[aria-label="Receiving ${name}"]`, ({ value }) => value > 0));
        await canceller.click(`Cancel ${name}`);
        const said = canceller === ada ? "The sender cancelled the file." : "Grace: The receiver cancelled the file.";
        const told = canceller === ada ? grace : ada;
        await until("the other one is told", async () => (await told.page.$$eval(".file [role=status]", (all) => all.at(-1).textContent)) === said);
      }
    });
  }
});

/** Runs in the page: drops a file of noise on it. @returns its SHA-256 */
async function drop(name, size) {
  const noise = new Uint8Array(size);
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(noise.subarray(at, Math.min(size, at + 65536)));
  const transfer = new DataTransfer();
  transfer.items.add(new File([noise], name));
  document.querySelector(".call").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  return [...new Uint8Array(await crypto.subtle.digest("SHA-256", noise))].join();
}
