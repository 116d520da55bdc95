import { Emitter } from "./emitter.js";

/**
 * Plays the audio slots. Browsers may refuse sound until the person has clicked: then `blocked` is true until `start`
 * is called from a click.
 * @extends {Emitter<{ blocked: boolean }>}
 */
export class Speakers extends Emitter {
  blocked = false;
  /** @type {Map<string, HTMLAudioElement>} by slot */
  #elements = new Map();
  #deviceId = "";

  /**
   * @param {string} mid
   * @param {MediaStreamTrack} track of the slot; the same one all along, whoever is heard on it
   */
  play(mid, track) {
    const element = this.#elements.get(mid) ?? new Audio();
    const current = /** @type {MediaStream | null} */ (element.srcObject)?.getTracks()[0];
    if (current === track) return;
    this.#elements.set(mid, element);
    element.srcObject = new MediaStream([track]);
    if (this.#deviceId) void element.setSinkId?.(this.#deviceId);
    void this.#start(element);
  }

  /** Plays everything again, after the person clicked. */
  async start() {
    this.#setBlocked(false);
    await Promise.all([...this.#elements.values()].map((element) => this.#start(element)));
  }

  /** @param {string} deviceId "" is the default device */
  async setDevice(deviceId) {
    this.#deviceId = deviceId;
    await Promise.all([...this.#elements.values()].map((element) => element.setSinkId?.(deviceId)));
  }

  /** The slots are gone, with their connection. */
  clear() {
    for (const element of this.#elements.values()) element.srcObject = null;
    this.#elements.clear();
  }

  /** @param {HTMLAudioElement} element */
  async #start(element) {
    try {
      await element.play();
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") this.#setBlocked(true);
    }
  }

  /** @param {boolean} blocked */
  #setBlocked(blocked) {
    if (this.blocked === blocked) return;
    this.blocked = blocked;
    this.emit("blocked", blocked);
  }
}
