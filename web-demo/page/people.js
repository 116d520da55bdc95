import { h, icon } from "./dom.js";
import { qualityText } from "./words.js";

/** @typedef {import("../sdk/index.js").Room} Room */

/** The list of who is here, with what they send. */
export class People {
  element = h("ul", { class: "people" });
  #room;
  #together;

  /**
   * @param {Room} room
   * @param {import("./together.js").Together} together
   */
  constructor(room, together) {
    this.#room = room;
    this.#together = together;
    this.update();
  }

  update() {
    const room = this.#room;
    const own = (/** @type {"camera" | "microphone" | "screen"} */ source) => room.local(source);
    const rows = [
      this.#row(`${room.name} (you)`, own, room.quality?.score ?? null, room.id),
      ...[...room.participants.values()].map((one) => this.#row(one.name, (source) => one.track(source), one.quality, one.id)),
    ];
    this.element.replaceChildren(...rows);
  }

  /**
   * @param {string} name
   * @param {(source: "camera" | "microphone" | "screen") => { muted: boolean } | undefined} track
   * @param {number | null} quality
   * @param {string} id
   */
  #row(name, track, quality, id) {
    const on = (/** @type {"camera" | "microphone"} */ source) => track(source)?.muted === false;
    const sign = (/** @type {string} */ symbol, /** @type {string} */ label) => h("span", { role: "img", "aria-label": label, title: label }, icon(symbol));
    return h("li", { class: id === this.#room.speaker ? "speaking" : "" },
      h("span", { class: "name" }, name),
      quality !== null && h("span", { class: "small" }, qualityText(quality).replace("Connection: ", "")),
      this.#together.hasRaised(id) && sign("hand", "Hand raised"),
      track("screen") && sign("screen", "Shares a screen"),
      sign(on("microphone") ? "microphone" : "microphone-off", on("microphone") ? "Microphone on" : "Microphone off"),
      sign(on("camera") ? "camera" : "camera-off", on("camera") ? "Camera on" : "Camera off"));
  }
}
