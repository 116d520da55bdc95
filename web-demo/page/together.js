import { Emitter } from "../sdk/emitter.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {{ name: string, text: string, at: number }} Message `at`: milliseconds since 1970, by the sender's clock */

export const REACTIONS = ["👍", "❤️", "😂", "🎉", "👏"];
const TOPIC = "together";
/** Of the chat that is kept for who comes late; and of one message. */
const MOST_MESSAGES = 100;
const LONGEST = 1000;
/** Milliseconds that somebody may take to answer with the chat before the next one is asked; the latest time that a `Date` has. */
const PATIENCE = 3000;
const LATEST = 8.64e15;

/**
 * What people do beside talking: chat, raised hands, reactions. Nothing of it is kept by the server: who comes says hello, and the one
 * who has been here longest answers with the chat, everybody with a raised hand with that. Where the longest is a program that knows
 * nothing of this, the next one is asked.
 * @extends {Emitter<{ message: Message, history: null, hand: { id: string, raised: boolean }, reaction: { id: string, emoji: string } }>}
 */
export class Together extends Emitter {
  /** @type {Message[]} */
  messages = [];
  /** Whether our own hand is up, under whatever id we are in the room. */
  handRaised = false;
  /** @type {Set<string>} ids of the others with a raised hand */
  #hands = new Set();
  #room;
  /** Whether the earlier chat is here, or cannot be had. */
  #isComplete = false;
  /** @type {Set<string>} who was asked for it */
  #asked = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;

  /** @param {Room} room */
  constructor(room) {
    super();
    this.#room = room;
    room.on("data", ({ from, topic, data, participant }) => {
      if (topic === TOPIC && participant && from && typeof data === "string") this.#onMessage(from, participant.name, data);
    });
    room.on("participant-left", ({ participant }) => {
      this.#setHand(participant.id, false);
      if (this.#asked.delete(participant.id)) this.#ask();
    });
    room.on("closed", () => clearTimeout(this.#patience));
    room.on("data-state", () => this.#greet());
    this.#greet();
  }

  /** @param {string} text */
  async say(text) {
    const message = { name: this.#room.name, text: text.slice(0, LONGEST), at: Date.now() };
    await this.#send({ type: "chat", text: message.text, at: message.at });
    this.#add(message);
  }

  /** @param {string} emoji */
  async react(emoji) {
    this.emit("reaction", { id: this.#room.id, emoji });
    await this.#send({ type: "reaction", emoji }, { lossy: true });
  }

  /** @param {boolean} raised */
  async raiseHand(raised) {
    this.handRaised = raised;
    this.emit("hand", { id: this.#room.id, raised });
    await this.#send({ type: "hand", raised });
  }

  /** @param {string} id of a participant, or our own */
  hasRaised(id) {
    return id === this.#room.id ? this.handRaised : this.#hands.has(id);
  }

  /** Whenever messages can flow: at first, and after what may have been a change of the session. */
  #greet() {
    if (!this.#room.dataOpen) return;
    if (this.handRaised) this.#tell({ type: "hand", raised: true });
    if (!this.#room.participants.size) this.#isComplete = true;
    else if (this.#isComplete) this.#tell({ type: "hello" });
    else this.#ask();
  }

  /** Says hello to everybody, and asks the one who is here longest of those who were not asked yet for the chat. */
  #ask() {
    clearTimeout(this.#patience);
    const longest = [...this.#room.participants.keys()].find((id) => !this.#asked.has(id));
    if (this.#isComplete || !longest) return;
    this.#tell({ type: "hello", history: longest }, this.#asked.size ? [longest] : undefined);
    this.#asked.add(longest);
    this.#patience = setTimeout(() => this.#ask(), PATIENCE);
  }

  /** @param {string} from @param {string} name @param {string} data what somebody says, which may be anything */
  #onMessage(from, name, data) {
    const message = parse(data);
    if (message.type === "chat" && typeof message.text === "string") {
      this.#add({ name, text: message.text.slice(0, LONGEST), at: timeOf(message.at) });
    } else if (message.type === "hand") {
      this.#setHand(from, message.raised === true);
    } else if (message.type === "reaction" && REACTIONS.includes(message.emoji)) {
      this.emit("reaction", { id: from, emoji: message.emoji });
    } else if (message.type === "hello") {
      if (this.handRaised) this.#tell({ type: "hand", raised: true }, [from]);
      if (message.history === this.#room.id) this.#tell({ type: "history", messages: this.messages }, [from]);
    } else if (message.type === "history" && Array.isArray(message.messages) && this.#asked.has(from) && !this.#isComplete) {
      this.#isComplete = true;
      clearTimeout(this.#patience);
      const earlier = message.messages.slice(-MOST_MESSAGES).map(Object).filter((/** @type {any} */ one) => typeof one.text === "string");
      const known = new Set(this.messages.map(({ at, text }) => `${at} ${text}`));
      this.messages.unshift(...earlier
        .map((/** @type {any} */ one) => ({ name: String(one.name).slice(0, 64), text: one.text.slice(0, LONGEST), at: timeOf(one.at) }))
        .filter((/** @type {Message} */ { at, text }) => !known.has(`${at} ${text}`)));
      this.emit("history", null);
    }
  }

  /** @param {Message} message */
  #add(message) {
    this.messages.push(message);
    this.messages.splice(0, this.messages.length - MOST_MESSAGES);
    this.emit("message", message);
  }

  /** @param {string} id @param {boolean} raised */
  #setHand(id, raised) {
    if (this.#hands.has(id) === raised) return;
    if (raised) this.#hands.add(id);
    else this.#hands.delete(id);
    this.emit("hand", { id, raised });
  }

  /** What is no loss where it cannot be sent. @param {object} message @param {string[]} [to] */
  #tell(message, to) {
    this.#send(message, { to }).catch(() => {});
  }

  /** @param {object} message @param {import("../sdk/data.js").SendOptions} [options] */
  #send(message, options) {
    return this.#room.send(JSON.stringify(message), { topic: TOPIC, ...options });
  }
}

/** When it was said, by what somebody says of that. @param {unknown} at */
function timeOf(at) {
  return Math.min(LATEST, Math.max(0, Number(at) || Date.now()));
}

/** @param {string} text @returns {any} {} for garbage */
function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
