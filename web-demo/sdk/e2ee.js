import { SluiceError } from "./errors.js";

/**
 * What became of the frames of a slot: they are played; they are dropped since the sender has another passphrase; or since they
 * were not encrypted at all.
 * @typedef {"decrypted" | "other-passphrase" | "unencrypted"} Decryption
 */

/** What the worker can carry: RED has several frames in one, which the server takes apart; H.264 is packed by what is inside. */
const CARRIED = ["audio/opus", "video/vp8", "video/vp9", "video/av1", "video/rtx"];

/**
 * End-to-end encryption of media: a worker encrypts every encoded frame before it is packed and decrypts it after it is put together
 * (W3C webrtc-encoded-transform), with keys that the server never has. The format is in docs/e2ee.md. Loaded by `Room` where it is asked for.
 */
export class Encryption {
  #worker = new Worker(new URL("./e2ee-worker.js", import.meta.url), { type: "module" });
  #room;
  /** @type {Map<number, (status: Decryption) => void>} by the number of the slot's transform */
  #listeners = new Map();

  /**
   * @param {string} room that the passphrase is for: the same one gives other keys in another room
   * @param {string} passphrase
   * @throws {SluiceError} `encryption-unsupported`
   */
  static async start(room, passphrase) {
    if (typeof RTCRtpScriptTransform !== "function" || !globalThis.crypto?.subtle) {
      throw new SluiceError("encryption-unsupported", "This browser cannot encrypt calls from end to end on this page.", {
        hint: "Open the page over https in a current Chrome, Edge, Firefox or Safari.",
      });
    }
    const encryption = new Encryption(room);
    await encryption.setPassphrase(passphrase);
    return encryption;
  }

  /** Use `Encryption.start`. @param {string} room */
  constructor(room) {
    this.#room = room;
  }

  /** Resolves once frames are encrypted by it; what others encrypt by the earlier one is played no more. @param {string} passphrase */
  setPassphrase(passphrase) {
    const worker = this.#worker;
    return /** @type {Promise<void>} */ (new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.ready ? resolve() : this.#listeners.get(data.id)?.(data.status));
      worker.onerror = ({ message }) => reject(new SluiceError("encryption-unsupported", `The encryption does not start: ${message}`));
      worker.postMessage({ room: this.#room, passphrase });
    }));
  }

  /** Encrypts what is sent. @param {RTCRtpSender} sender */
  send(sender) {
    sender.transform = new RTCRtpScriptTransform(this.#worker, { sends: true });
  }

  /** @param {string} mimeType of a codec @returns {boolean} whether frames of it can be encrypted */
  carries(mimeType) {
    return CARRIED.includes(mimeType.toLowerCase());
  }

  /** Decrypts what is received. @param {RTCRtpTransceiver} transceiver @param {(status: Decryption) => void} listener is told when that changes */
  receive(transceiver, listener) {
    const { receiver } = transceiver;
    const id = this.#listeners.size;
    this.#listeners.set(id, listener);
    receiver.transform = new RTCRtpScriptTransform(this.#worker, { id });
    if (receiver.track.kind !== "audio") return;
    // The server repeats sound for who takes repetitions (RED): what comes then is several frames in one, which nobody can decrypt.
    const codecs = RTCRtpReceiver.getCapabilities("audio")?.codecs ?? [];
    transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => this.carries(mimeType)));
  }

  close() {
    this.#worker.terminate();
  }
}
