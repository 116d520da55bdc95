/** What the files of the browser suite share: one server a file, a room a test, and everything closed afterwards. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { closeBrowsers, Person, Server, until } from "./helper.js";

/**
 * Sets a file of tests up.
 * @param {string} prefix of the rooms' names
 * @param {{ args?: string[] }} [options] `args`: of the server
 */
export function suite(prefix, { args = [] } = {}) {
  /** @type {{ close(): Promise<void> | void }[]} what the test at hand leaves behind */
  let open = [];
  let rooms = 0;
  const the = {
    /** @type {Server} */
    server: /** @type {any} */ (null),
    /** The room of the test at hand. */
    room: "",

    /** Closed after the test at hand. @template {{ close(): Promise<void> | void }} T @param {T} thing @returns {T} */
    leave(thing) {
      open.push(thing);
      return thing;
    },

    /** Somebody joins the room of the test at hand. */
    async join(kind, name, options = {}) {
      return the.leave(await Person.join(kind, options.server ?? the.server.url, { room: the.room, name, ...options }));
    },

    /** Closes somebody's window in the middle of a test. */
    async close(person) {
      open = open.filter((thing) => thing !== person);
      await person.close();
    },

    /** A test with a room of its own. Where it fails, server and senders say how things stood. */
    meeting(name, body) {
      test(name, async (t) => {
        the.room = `${prefix}-${++rooms}`;
        try {
          await body(t);
        } catch (error) {
          const people = open.filter((thing) => thing instanceof Person);
          const [stats, sent] = await Promise.all([the.server.statistics(the.room), Promise.all(people.map((person) => person.sends()))].map((said) => said.catch(String)));
          error.message += `\nserver: ${JSON.stringify(stats)}\nsenders: ${JSON.stringify(sent)}`;
          throw error;
        }
      });
    },
  };
  before(async () => {
    the.server = await Server.start({ args });
  });
  after(async () => {
    await closeBrowsers();
    const code = await the.server?.stop();
    assert.equal(code ?? 0, 0, `the server stops cleanly:\n${the.server?.output}`);
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((thing) => thing.close()));
  });
  return the;
}

/** Selects somebody's tile, or what is in it. */
export const tile = (name, suffix = "") => `.tile[aria-label="${name}"]${suffix}`;

const pageOf = (personOrPage) => personOrPage.page ?? personOrPage;
export const appears = (personOrPage, selector) => until(`${selector} appears`, async () => (await pageOf(personOrPage).$$(selector)).length > 0);
export const gone = (personOrPage, selector) => until(`${selector} is gone`, async () => (await pageOf(personOrPage).$$(selector)).length === 0);
/** What an element says. */
export const textOf = (personOrPage, selector) => pageOf(personOrPage).$eval(selector, ({ textContent }) => textContent);

/** Figures of a tile's card in the statistics panel, by name. */
export const figures = (person, name, source) => person.page.$$eval(".card", (cards, title) => {
  const card = cards.find((one) => one.querySelector("h4").textContent === title);
  return card && Object.fromEntries([...card.querySelectorAll("dt")].map((term) => [term.textContent, term.nextElementSibling.textContent]));
}, `${name}, ${source}`);
