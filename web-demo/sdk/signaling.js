import { Emitter } from "./emitter.js";
import { ClosedError, ConnectError, ServerError } from "./errors.js";
import { PROTOCOL_VERSION } from "./protocol.js";

/** @typedef {import("./protocol.js").ClientMessage} ClientMessage */
/** @typedef {import("./protocol.js").ServerMessage} ServerMessage */
/** @typedef {import("./protocol.js").Joined} Joined */

/** Milliseconds: to open and join; between pings; of silence until the socket counts as dead; of retries until we give up. */
const JOIN_TIMEOUT = 10_000;
const PING_INTERVAL = 5_000;
const SILENCE_LIMIT = 12_000;
const GIVE_UP_AFTER = 300_000;
const LONGEST_BACKOFF = 5_000;

/**
 * @typedef {{
 *   message: ServerMessage,
 *   dropped: null,
 *   joined: Joined,
 *   closed: import("./errors.js").SluiceError,
 * }} Events
 * `dropped`: the socket is gone and is being reopened; `joined`: it is back, `resumed` says whether the session survived;
 * `closed`: it is gone for good.
 */

/**
 * The WebSocket of one session: joins, answers requests, notices a dead socket, reconnects with backoff and resumes.
 * Used by `Room` alone.
 * @extends {Emitter<Events>}
 */
export class Signaling extends Emitter {
  #url;
  #join;
  /** @type {WebSocket | null} joined and usable */
  #socket = null;
  /** @type {string | undefined} */
  #resumeToken;
  /** @type {Map<number, { resolve: (answer: any) => void, reject: (error: Error) => void }>} */
  #pending = new Map();
  #lastId = 0;
  #lastHeard = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #pinger;
  #closed = false;
  /** @type {(() => void)[]} woken when the state changes: back online, joined, closed */
  #waiters = [];

  /**
   * @param {string} url http(s) or ws(s); an empty path stands for `/ws`
   * @param {{ room: string, name: string, token?: string }} join
   */
  constructor(url, join) {
    super();
    this.#url = socketUrl(url);
    this.#join = join;
  }

  /** Opens the socket and joins, once. @returns {Promise<Joined>} */
  async connect() {
    const joined = await this.#open();
    addEventListener("online", this.#wake);
    return joined;
  }

  /** Whether messages can be sent now. */
  get up() {
    return this.#socket !== null;
  }

  /**
   * Sends, or drops the message while the socket is down: after a resume `Room` sends its whole state again.
   * @param {ClientMessage} message
   */
  send(message) {
    this.#socket?.send(JSON.stringify(message));
  }

  /**
   * Sends an offer and waits for its answer, across reconnects: until it is answered, refused, or the session ends.
   * @param {Omit<Extract<ClientMessage, { type: "offer" }>, "id" | "type">} offer
   * @param {() => boolean} stillWanted asked before every attempt
   * @returns {Promise<import("./protocol.js").Answer>}
   */
  async offer(offer, stillWanted) {
    for (;;) {
      while (!this.up && !this.#closed) await new Promise((/** @type {(_: void) => void} */ wake) => this.#waiters.push(wake));
      if (this.#closed) throw new ClosedError("left", "The room is closed.");
      if (!stillWanted()) throw new ClosedError("replaced", "A newer connection took over.");
      const id = ++this.#lastId;
      const answer = await new Promise((resolve, reject) => {
        this.#pending.set(id, { resolve, reject });
        this.send({ type: "offer", id, ...offer });
      });
      if (answer) return answer;
    }
  }

  /** Says goodbye and closes for good. */
  leave() {
    this.send({ type: "leave" });
    this.#close(new ClosedError("left", "You left the room."));
  }

  /** One attempt to open the socket and join. @returns {Promise<Joined>} */
  #open() {
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(this.#url);
      const fail = (/** @type {Error} */ error) => {
        clearTimeout(timer);
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close();
        reject(error);
      };
      const unreachable = () =>
        fail(new ConnectError("unreachable", "The server cannot be reached.", { hint: "Check that it runs and that this machine is online." }));
      const timer = setTimeout(unreachable, JOIN_TIMEOUT);
      socket.onclose = unreachable;
      socket.onopen = () =>
        socket.send(JSON.stringify({ type: "join", version: PROTOCOL_VERSION, ...this.#join, resume: this.#resumeToken }));
      socket.onmessage = ({ data }) => {
        /** @type {ServerMessage} */
        const message = JSON.parse(data);
        if (message.type === "error") return fail(new ServerError(message));
        if (message.type === "kicked") return fail(new ClosedError("kicked", message.reason));
        if (message.type !== "joined") return;
        clearTimeout(timer);
        this.#use(socket, message);
        resolve(message);
      };
    });
  }

  /**
   * @param {WebSocket} socket
   * @param {Joined} joined
   */
  #use(socket, joined) {
    this.#socket = socket;
    this.#resumeToken = joined.resumeToken;
    this.#lastHeard = performance.now();
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = () => this.#drop();
    this.#pinger = setInterval(() => {
      if (performance.now() - this.#lastHeard > SILENCE_LIMIT) this.#drop();
      else this.send({ type: "ping", id: ++this.#lastId });
    }, PING_INTERVAL);
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    this.#lastHeard = performance.now();
    if (message.type === "kicked") return this.#close(new ClosedError("kicked", message.reason));
    if (message.type === "answer" || (message.type === "error" && message.id !== undefined)) {
      const id = /** @type {number} */ (message.id);
      const request = this.#pending.get(id);
      this.#pending.delete(id);
      if (message.type === "answer") request?.resolve(message);
      else request?.reject(new ServerError(message));
      return;
    }
    this.emit("message", message);
    if (message.type === "error" && message.fatal) this.#close(new ServerError(message));
  }

  /** The socket is dead: forget it and reconnect. Requests are sent again afterwards. */
  #drop() {
    this.#forgetSocket();
    if (this.#closed) return;
    for (const { resolve } of this.#pending.values()) resolve(null);
    this.#pending.clear();
    this.emit("dropped", null);
    void this.#reconnect();
  }

  async #reconnect() {
    const started = performance.now();
    for (let attempt = 0; !this.#closed; attempt++) {
      try {
        const joined = await this.#open();
        if (this.#closed) return this.#forgetSocket();
        this.emit("joined", joined);
        return this.#wake();
      } catch (error) {
        if (error instanceof ServerError && this.#resumeToken) this.#resumeToken = undefined; // join as somebody new
        else if (error instanceof ServerError || error instanceof ClosedError) return this.#close(error);
        else if (performance.now() - started > GIVE_UP_AFTER) {
          return this.#close(new ConnectError("lost", "The connection to the server was lost.", { hint: "Check the network, then join again." }));
        } else {
          const delay = Math.min(LONGEST_BACKOFF, 200 * 2 ** attempt) * (0.5 + Math.random());
          await new Promise((/** @type {(_: void) => void} */ wake) => {
            this.#waiters.push(wake);
            setTimeout(wake, delay);
          });
        }
      }
    }
  }

  #wake = () => {
    for (const wake of this.#waiters.splice(0)) wake();
  };

  #forgetSocket() {
    clearInterval(this.#pinger);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /** @param {import("./errors.js").SluiceError} error */
  #close(error) {
    if (this.#closed) return;
    this.#closed = true;
    removeEventListener("online", this.#wake);
    this.#forgetSocket();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#wake();
    this.emit("closed", error);
  }
}

/** @param {string} url */
function socketUrl(url) {
  const parsed = new URL(url, location.href);
  parsed.protocol = parsed.protocol.replace("http", "ws");
  if (parsed.pathname === "/") parsed.pathname = "/ws";
  parsed.search = parsed.hash = "";
  return parsed.href;
}
