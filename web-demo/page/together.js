import { Emitter } from "../sdk/emitter.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {{ name: string, text: string, at: number }} Message `at`: milliseconds since 1970, by the sender's clock */

export const REACTIONS = ["👍", "❤️", "😂", "🎉", "👏"];
const TOPIC = "together";
/** Of the chat that is kept for who comes late; and of one message. */
const MOST_MESSAGES = 100;
const LONGEST = 1000;

/**
 * What people do beside talking: chat, raised hands, reactions. Nothing of it is kept by the server: who comes says hello, and the one
 * who has been here longest answers with the chat, everybody with a raised hand with that.
 * @extends {Emitter<{ message: Message, history: null, hand: { id: string, raised: boolean }, reaction: { id: string, emoji: string } }>}
 */
export class Together extends Emitter {
  /** @type {Message[]} */
  messages = [];
  /** @type {Set<string>} participant ids, our own too */
  hands = new Set();
  #room;
  #greeted = false;

  /** @param {Room} room */
  constructor(room) {
    super();
    this.#room = room;
    room.on("data", ({ from, topic, data, participant }) => {
      if (topic === TOPIC && participant && from && typeof data === "string") this.#onMessage(from, participant.name, data);
    });
    room.on("participant-left", ({ participant }) => this.#setHand(participant.id, false));
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

  get handRaised() {
    return this.hands.has(this.#room.id);
  }

  /** @param {boolean} raised */
  async raiseHand(raised) {
    this.#setHand(this.#room.id, raised);
    await this.#send({ type: "hand", raised });
  }

  #greet() {
    const [longest] = this.#room.participants.keys();
    if (this.#greeted || !this.#room.dataOpen || !longest) return;
    this.#greeted = true;
    void this.#send({ type: "hello", history: longest }).catch(() => {}); // then there is no history
  }

  /** @param {string} from @param {string} name @param {string} data what somebody says, which may be anything */
  #onMessage(from, name, data) {
    const message = parse(data);
    if (message.type === "chat" && typeof message.text === "string") {
      this.#add({ name, text: message.text.slice(0, LONGEST), at: Number(message.at) || Date.now() });
    } else if (message.type === "hand") {
      this.#setHand(from, message.raised === true);
    } else if (message.type === "reaction" && REACTIONS.includes(message.emoji)) {
      this.emit("reaction", { id: from, emoji: message.emoji });
    } else if (message.type === "hello") {
      if (this.handRaised) void this.#send({ type: "hand", raised: true }, { to: [from] }).catch(() => {});
      if (message.history === this.#room.id && this.messages.length) void this.#send({ type: "history", messages: this.messages }, { to: [from] }).catch(() => {});
    } else if (message.type === "history" && Array.isArray(message.messages)) {
      const earlier = message.messages.slice(-MOST_MESSAGES).map(Object).filter((/** @type {any} */ one) => typeof one.text === "string");
      const known = new Set(this.messages.map(({ at, text }) => `${at} ${text}`));
      this.messages.unshift(...earlier
        .map((/** @type {any} */ one) => ({ name: String(one.name).slice(0, 64), text: one.text.slice(0, LONGEST), at: Number(one.at) || 0 }))
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
    if (this.hands.has(id) === raised) return;
    if (raised) this.hands.add(id);
    else this.hands.delete(id);
    this.emit("hand", { id, raised });
  }

  /** @param {object} message @param {import("../sdk/data.js").SendOptions} [options] */
  #send(message, options) {
    return this.#room.send(JSON.stringify(message), { topic: TOPIC, ...options });
  }
}

/** @param {string} text @returns {any} {} for garbage */
function parse(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}
