/**
 * Files over a room's data messages: offered to everybody or to some, taken by who wants them, paced by what each receiver
 * acknowledges, so that a slow one delays nobody. An entry of its own: `import { Files } from "/sdk/files.js"`.
 *
 * On topic `file`, as JSON: `offer {id, name, size, mime}`, `accept {id}`, `refuse {id}`, `ack {id, bytes}`, `cancel {id}`; as bytes: the id (4 bytes, big
 * endian), then a piece of the file. Ids are the sender's own.
 */
import { Emitter } from "./emitter.js";
import { SluiceError } from "./errors.js";

const TOPIC = "file";
/** Bytes: of one piece; received between acknowledgements; on the way to a receiver at most, well below what the server queues. */
const PIECE = 32 * 1024;
const ACK_EVERY = 64 * 1024;
const WINDOW = 256 * 1024;
/** Offers of one participant that wait for an answer; further ones are refused. */
const MOST_OFFERS = 32;

/**
 * A transfer that came to nothing: `file-cancelled`, `file-lost` when the connection or the other one went away, `file-refused` when too
 * many wait for an answer there.
 */
export class FileError extends SluiceError {}

/** A file that we offer. @extends {Emitter<{ progress: { to: string, bytes: number }, done: { to: string }, failed: { to: string, error: FileError } }>} */
export class OutgoingFile extends Emitter {
  /** @type {Map<string, { sent: number, acked: number, wake: () => void }>} by receiver, those who take it now */
  receivers = new Map();
  cancelled = false;

  /** @param {number} id @param {File} file @param {() => void} onCancel */
  constructor(id, file, onCancel) {
    super();
    this.id = id;
    this.file = file;
    /** Stops it for everybody. */
    this.cancel = () => {
      if (this.cancelled) return;
      this.cancelled = true;
      onCancel();
    };
  }
}

/** A file that somebody offers to us. @extends {Emitter<{ progress: number, cancelled: FileError }>} */
export class IncomingFile extends Emitter {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  pieces = [];
  received = 0;
  acked = 0;
  /** @type {{ resolve: (file: Blob) => void, reject: (error: Error) => void } | null} once accepted */
  waiting = null;

  /**
   * @param {string} from participant id
   * @param {{ id: number, name: string, size: number, mime: string }} offer
   * @param {(type: "accept" | "cancel") => void} say
   */
  constructor(from, { id, name, size, mime }, say) {
    super();
    this.from = from;
    this.id = id;
    this.name = name;
    this.size = size;
    this.mime = mime;
    /** Takes it. @returns {Promise<Blob>} rejects with `FileError` */
    this.accept = () => {
      say("accept");
      if (size === 0) return Promise.resolve(new Blob([], { type: mime }));
      return new Promise((/** @type {(file: Blob) => void} */ resolve, reject) => (this.waiting = { resolve, reject }));
    };
    /** Wants it no more. */
    this.cancel = () => {
      say("cancel");
      this.fail(new FileError("file-cancelled", "You cancelled the file."));
    };
  }

  /** @param {FileError} error */
  fail(error) {
    this.pieces = [];
    this.waiting?.reject(error);
    this.waiting = null;
    this.emit("cancelled", error);
  }
}

/** The files of one room. `offer`: somebody offers one to us. @extends {Emitter<{ offer: IncomingFile }>} */
export class Files extends Emitter {
  #room;
  #lastId = 0;
  /** @type {Map<number, OutgoingFile>} */
  #outgoing = new Map();
  /** @type {Map<string, IncomingFile>} by sender and id */
  #incoming = new Map();

  /** @param {import("./room.js").Room} room */
  constructor(room) {
    super();
    this.#room = room;
    room.on("data", ({ from, topic, data }) => {
      if (topic !== TOPIC || from === null) return;
      if (typeof data === "string") this.#onMessage(from, parse(data));
      else this.#onPiece(from, data);
    });
    room.on("participant-left", ({ participant }) => this.#lose((id) => id === participant.id, { offers: true }));
    // What was on its way may be gone.
    room.on("data-lost", () => this.#lose(() => true, { sending: false }));
    room.on("data-state", (open) => open || this.#lose(() => true));
    room.on("closed", () => this.#lose(() => true));
  }

  /**
   * Offers a file; it is sent to whoever accepts, for as long as the page lives or until it is cancelled.
   * @param {File} file
   * @param {{ to?: string[] }} [options] participant ids; everybody who is here when left out
   */
  async offer(file, { to } = {}) {
    const id = ++this.#lastId;
    const outgoing = new OutgoingFile(id, file, () => {
      this.#outgoing.delete(id);
      for (const [receiver, { wake }] of outgoing.receivers) {
        wake();
        outgoing.emit("failed", { to: receiver, error: new FileError("file-cancelled", "You cancelled the file.") });
      }
      outgoing.receivers.clear();
      this.#say({ type: "cancel", id }, to);
    });
    this.#outgoing.set(id, outgoing);
    await this.#room.send(JSON.stringify({ type: "offer", id, name: file.name, size: file.size, mime: file.type }), { topic: TOPIC, to });
    return outgoing;
  }

  /** @param {string} from @param {any} message */
  #onMessage(from, message) {
    const { type, id } = message;
    if (!Number.isInteger(id)) return;
    const key = `${from} ${id}`;
    const outgoing = this.#outgoing.get(id);
    const receiver = outgoing?.receivers.get(from);
    if (type === "offer" && typeof message.name === "string" && Number.isInteger(message.size) && message.size >= 0) {
      if ([...this.#incoming.values()].filter((incoming) => incoming.from === from).length >= MOST_OFFERS) return this.#say({ type: "refuse", id }, [from]);
      const offer = { id, name: message.name.slice(0, 255), size: message.size, mime: String(message.mime ?? "") };
      const incoming = new IncomingFile(from, offer, (type) => {
        if (type === "cancel") this.#incoming.delete(key);
        this.#say({ type, id }, [from]);
      });
      this.#incoming.set(key, incoming);
      this.emit("offer", incoming);
    } else if (type === "refuse" && outgoing && !receiver) {
      outgoing.emit("failed", { to: from, error: new FileError("file-refused", "Too many of your files wait for an answer there. Offer this one again when some are taken.") });
    } else if (type === "accept" && outgoing && !receiver) {
      void this.#stream(outgoing, from);
    } else if (type === "ack" && receiver && Number.isInteger(message.bytes)) {
      receiver.acked = Math.min(receiver.sent, Math.max(receiver.acked, message.bytes));
      receiver.wake();
      outgoing?.emit("progress", { to: from, bytes: receiver.acked });
    } else if (type === "cancel") {
      this.#incoming.get(key)?.fail(new FileError("file-cancelled", "The sender cancelled the file."));
      this.#incoming.delete(key);
      if (outgoing && receiver) this.#drop(outgoing, from, new FileError("file-cancelled", "The receiver cancelled the file."));
    }
  }

  /** @param {OutgoingFile} outgoing @param {string} to */
  async #stream(outgoing, to) {
    const { file, id, receivers } = outgoing;
    const receiver = { sent: 0, acked: 0, wake: () => {} };
    const present = () => receivers.get(to) === receiver;
    receivers.set(to, receiver);
    try {
      while (receiver.acked < file.size) {
        if (receiver.sent < file.size && receiver.sent - receiver.acked < WINDOW) {
          const piece = await file.slice(receiver.sent, receiver.sent + PIECE).arrayBuffer();
          if (!present()) return;
          const framed = new Uint8Array(4 + piece.byteLength);
          new DataView(framed.buffer).setUint32(0, id);
          framed.set(new Uint8Array(piece), 4);
          receiver.sent += piece.byteLength;
          await this.#room.send(framed, { topic: TOPIC, to: [to] });
        } else {
          await new Promise((/** @type {(_: void) => void} */ resolve) => (receiver.wake = resolve));
        }
        if (!present()) return;
      }
      receivers.delete(to);
      outgoing.emit("done", { to });
    } catch (cause) {
      if (present()) this.#drop(outgoing, to, new FileError("file-lost", "The file could not be sent.", { cause }));
    }
  }

  /** @param {string} from @param {Uint8Array} framed */
  #onPiece(from, framed) {
    if (framed.byteLength < 4) return;
    const key = `${from} ${new DataView(framed.buffer, framed.byteOffset).getUint32(0)}`;
    const incoming = this.#incoming.get(key);
    if (!incoming?.waiting) return;
    const piece = framed.slice(4);
    incoming.received += piece.byteLength;
    if (incoming.received > incoming.size) {
      this.#incoming.delete(key);
      return incoming.fail(new FileError("file-lost", "More came than was offered."));
    }
    incoming.pieces.push(piece);
    incoming.emit("progress", incoming.received);
    const whole = incoming.received === incoming.size;
    if (whole || incoming.received - incoming.acked >= ACK_EVERY) {
      incoming.acked = incoming.received;
      this.#say({ type: "ack", id: incoming.id, bytes: incoming.acked }, [from]);
    }
    if (!whole) return;
    incoming.waiting.resolve(new Blob(incoming.pieces, { type: incoming.mime }));
    incoming.waiting = null;
    this.#incoming.delete(key);
  }

  /**
   * @param {(id: string) => boolean} who has gone
   * @param {{ sending?: boolean, offers?: boolean }} [options] `offers`: and what was offered cannot be had any more
   */
  #lose(who, { sending = true, offers = false } = {}) {
    const lost = () => new FileError("file-lost", offers ? "The other one has left." : "The connection was lost while the file was on its way.");
    for (const [key, incoming] of this.#incoming) {
      if (!who(incoming.from) || !(incoming.waiting || offers)) continue;
      this.#incoming.delete(key);
      this.#say({ type: "cancel", id: incoming.id }, [incoming.from]);
      incoming.fail(lost());
    }
    for (const outgoing of sending ? this.#outgoing.values() : []) {
      for (const to of [...outgoing.receivers.keys()]) if (who(to)) this.#drop(outgoing, to, lost());
    }
  }

  /** @param {OutgoingFile} outgoing @param {string} to @param {FileError} error */
  #drop(outgoing, to, error) {
    const receiver = outgoing.receivers.get(to);
    outgoing.receivers.delete(to);
    receiver?.wake();
    outgoing.emit("failed", { to, error });
  }

  /** @param {object} message @param {string[]} [to] */
  #say(message, to) {
    // Where even this cannot be said, the other one learns it from the connection.
    this.#room.send(JSON.stringify(message), { topic: TOPIC, to }).catch(() => {});
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
