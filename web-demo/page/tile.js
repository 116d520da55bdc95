import { h, icon } from "./dom.js";
import { DECRYPTION, initials, layerText, qualityText, rateText } from "./words.js";

/** @typedef {import("../sdk/index.js").RemoteTrack} RemoteTrack */
/** @typedef {import("../sdk/index.js").LocalTrack} LocalTrack */
/** @typedef {{ height: number, kbps: number, framesDecoded?: number }} Stats */

/** Seconds that a first frame may take. */
const PATIENCE = 5;

/** One picture with a name on it: a person's camera, or a screen. */
export class Tile {
  #video = h("video", { autoplay: true, playsInline: true, muted: true });
  #avatar;
  #badge = h("span", { class: "badge", role: "img", "aria-label": "Microphone off" }, icon("microphone-off"));
  #quality = h("span", { class: "quality", role: "img" }, h("i"), h("i"), h("i"));
  #layer = h("span", { class: "layer" });
  #hand = h("span", { class: "hand", role: "img", "aria-label": "Hand raised", hidden: true }, icon("hand"));
  #lock = h("span", { class: "badge lock", role: "img", "aria-label": "End-to-end encrypted", title: "End-to-end encrypted", hidden: true }, icon("lock"));
  #locked = h("p", { class: "locked" });
  #pin;
  /** @type {RemoteTrack | LocalTrack | null} */
  #track = null;
  /** @type {Stats | undefined} of the last second */
  #stats;
  /** Seconds in which media came and no frame of all could be decoded. */
  #undecoded = 0;

  /**
   * @param {{ id: string, name: string, kind: "person" | "screen", own?: boolean, onPin: () => void }} options `name` as it is shown
   */
  constructor({ id, name, kind, own = false, onPin }) {
    this.name = name;
    this.own = own;
    this.#avatar = h("div", { class: "avatar", "aria-hidden": "true" }, h("span", {}, kind === "screen" ? icon("screen") : initials(name)));
    this.#avatar.style.setProperty("--hue", String(hue(id + name)));
    this.#pin = h("button", { class: "pin", type: "button", onclick: onPin, "aria-pressed": "false", "aria-label": `Pin ${name}`, title: "Pin" }, icon("pin"));
    this.element = h("figure", { class: `tile ${kind}${own ? " own" : ""}`, "data-participant": id, "aria-label": name },
      this.#video,
      this.#avatar,
      this.#locked,
      h("figcaption", {}, this.#hand, this.#lock, kind === "person" && this.#badge, h("span", { class: "name" }, name), kind === "person" && this.#quality),
      this.#layer,
      this.#pin);
    this.#badge.hidden = this.#quality.hidden = true;
    this.#video.addEventListener("resize", () => this.update());
    this.#video.addEventListener("emptied", () => this.update());
    this.update();
  }

  /** What it shows. */
  get track() {
    return this.#track;
  }

  /** @param {RemoteTrack} track */
  show(track) {
    if (this.#track === track) return;
    this.#track = track;
    track.attach(this.#video, { box: this.element });
    this.update();
  }

  /** @param {LocalTrack} local */
  showLocal(local) {
    if (this.#track !== local) this.#stats = undefined;
    this.#track = local;
    const current = /** @type {MediaStream | null} */ (this.#video.srcObject)?.getTracks()[0] ?? null;
    if (current !== local.track) this.#video.srcObject = local.track && new MediaStream([local.track]);
    this.update();
  }

  clear() {
    this.#track = null;
    this.#stats = undefined;
    this.#video.srcObject = null;
    this.update();
  }

  /** @param {Stats} [stats] what arrives or leaves now, where that was measured anew */
  update(stats = this.#stats) {
    if (stats !== this.#stats) this.#undecoded = stats?.kbps && stats.framesDecoded === 0 ? this.#undecoded + 1 : 0;
    this.#stats = stats;
    const track = this.#track;
    const arrives = track && (!("state" in track) || track.state?.type === "sending");
    const plays = Boolean(arrives && !track.muted && this.#video.videoWidth && !this.#locked.textContent);
    this.element.classList.toggle("plays", plays);
    this.#layer.textContent = this.#describe();
    const pinned = this.element.classList.contains("pinned");
    this.#pin.setAttribute("aria-pressed", String(pinned));
    this.#pin.title = pinned ? "Unpin" : "Pin";
  }

  /** @param {boolean} muted */
  setMicrophoneMuted(muted) {
    this.#badge.hidden = !muted;
  }

  /** @param {(import("../sdk/e2ee.js").Decryption | null)[]} all that is known of its tracks: the worst is said */
  setDecryption(all) {
    const wrong = all.find((one) => one && one !== "decrypted");
    this.#lock.hidden = Boolean(wrong) || !all.includes("decrypted");
    this.#locked.textContent = wrong ? DECRYPTION[wrong] : "";
    this.update();
  }

  /** @param {boolean} speaking */
  setSpeaking(speaking) {
    this.element.classList.toggle("speaking", speaking);
  }

  /** @param {boolean} raised */
  setHand(raised) {
    this.#hand.hidden = !raised;
  }

  /** Shows an emoji over it for a moment. @param {string} emoji */
  react(emoji) {
    const shown = h("span", { class: "reaction", "aria-hidden": "true" }, emoji);
    this.element.append(shown);
    setTimeout(() => shown.remove(), 4000);
  }

  /** @param {number} score from 1 (bad) to 5 (good) */
  setQuality(score) {
    this.#quality.hidden = false;
    this.#quality.dataset.level = score >= 4 ? "3" : score >= 2.5 ? "2" : "1";
    this.#quality.title = qualityText(score);
    this.#quality.setAttribute("aria-label", qualityText(score));
  }

  #describe() {
    const stats = this.#stats;
    const track = this.#track;
    if (!track || track.muted) return "";
    if (this.#undecoded > PATIENCE) return "cannot be read: perhaps encrypted";
    if ("state" in track) return layerText(track.state, stats);
    if (!track.encodings.some(({ wanted, enabled }) => wanted && enabled)) return "not sent: nobody watches";
    if (!stats?.height) return "starting";
    return ["sending", `${stats.height}p`, rateText(stats.kbps)].filter(Boolean).join(" · ");
  }
}

/** A colour for a person, always the same. @param {string} text */
function hue(text) {
  return [...text].reduce((hash, letter) => (hash * 31 + (letter.codePointAt(0) ?? 0)) % 360, 7);
}
