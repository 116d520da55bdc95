import { h, icon, notice } from "./dom.js";
import { Grid } from "./grid.js";
import { shareLink } from "./params.js";
import { Tile } from "./tile.js";
import { problem } from "./words.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {import("../sdk/index.js").RemoteTrack} RemoteTrack */
/** @typedef {import("../sdk/index.js").Participant} Participant */
/** @typedef {import("./params.js").Publishable} Publishable */

const STATS_INTERVAL = 1000;

/** The page during the call: tiles, controls, what the connection does. Lives as long as the room. */
export class Call {
  #room;
  #size;
  #grid = new Grid();
  /** @type {Map<string, Tile>} by participant id; ours is "own" */
  #people = new Map();
  /** @type {Map<string, Tile>} shared screens, by track id; ours is "own" */
  #screens = new Map();
  #buttons;
  #banner = h("div", { class: "banner", role: "status" });
  #problems = h("div", { class: "problems" });
  #count = h("span", { class: "count" });
  #hear = h("button", { class: "hear", type: "button", onclick: () => this.#room.startAudio() }, icon("sound"), "Click to hear the others");

  /**
   * @param {HTMLElement} app
   * @param {Room} room
   * @param {{ roomName: string, size: import("../sdk/capture.js").CaptureOptions }} options
   */
  constructor(app, room, { roomName, size }) {
    this.#room = room;
    this.#size = size;
    this.#buttons = {
      microphone: this.#control("microphone"),
      camera: this.#control("camera"),
      screen: this.#control("screen"),
    };
    app.replaceChildren(
      h("div", { class: "call" },
        h("header", {},
          h("img", { src: "/favicon.svg", alt: "", width: 24, height: 24 }),
          h("h1", {}, roomName), this.#count, this.#copyButton(roomName)),
        this.#banner, this.#hear,
        this.#grid.element,
        h("footer", {},
          h("div", { class: "controls", role: "toolbar", "aria-label": "Call" },
            this.#buttons.microphone, this.#buttons.camera, "getDisplayMedia" in (navigator.mediaDevices ?? {}) && this.#buttons.screen,
            h("button", { class: "control leave", type: "button", title: "Leave", "aria-label": "Leave", onclick: room.leave }, icon("leave")))),
        this.#problems));
    this.#addPerson("own", `${room.name} (you)`);
    this.#listen();
    const timer = setInterval(() => void this.#showStats(), STATS_INTERVAL);
    room.on("closed", () => clearInterval(timer));
  }

  /**
   * Publishes, and says in words why it cannot.
   * @param {Publishable} source
   * @param {MediaStreamTrack} [track] opened already
   */
  async enable(source, track) {
    await this.#attempt(() => this.#room.enable(source, { track, ...this.#size }));
  }

  #listen() {
    const room = this.#room;
    for (const participant of room.participants.values()) this.#onParticipant(participant);
    room.on("participant-joined", (participant) => this.#onParticipant(participant));
    room.on("participant-left", ({ participant }) => this.#removePerson(participant.id));
    room.on("track-published", (track) => this.#onTrack(track));
    room.on("track-ended", (track) => this.#onTrackEnded(track));
    room.on("track-muted", (track) => this.#updateRemote(track));
    room.on("track-state", (track) => this.#updateRemote(track));
    room.on("local-track", () => this.#updateOwn());
    room.on("local-track-ended", () => this.#updateOwn());
    room.on("speaker", () => this.#markSpeaker());
    room.on("state", () => this.#updateBanner());
    room.on("audio-blocked", () => this.#updateBanner());
    room.on("going-away", (reason) => this.#complain({ code: "going-away", message: "The server is going away.", hint: reason }));
    room.on("device-lost", ({ source }) => this.#complain({ code: "device-lost", message: `The ${source} is gone.`, hint: "Plug it in and switch it on again." }));
    room.on("error", (error) => this.#complain(error));
    this.#updateOwn();
    this.#updateBanner();
    this.#markSpeaker();
  }

  /** @param {Participant} participant */
  #onParticipant(participant) {
    this.#addPerson(participant.id, participant.name);
    for (const track of participant.tracks.values()) this.#onTrack(track);
  }

  /** @param {RemoteTrack} track */
  #onTrack(track) {
    if (track.source === "screen") {
      const tile = new Tile({ id: track.participant.id, name: `${track.participant.name}'s screen`, kind: "screen" });
      this.#screens.set(track.id, tile);
      this.#grid.add(tile.element, { stage: true });
      tile.show(track);
    } else if (track.source === "camera") {
      this.#people.get(track.participant.id)?.show(track);
    }
    this.#updateRemote(track);
  }

  /** @param {RemoteTrack} track */
  #onTrackEnded(track) {
    if (track.source === "screen") this.#removeScreen(track.id);
    else if (track.source === "camera") this.#people.get(track.participant.id)?.clear();
    this.#updateRemote(track);
  }

  /** @param {RemoteTrack} track */
  #updateRemote({ id, participant }) {
    const tile = this.#people.get(participant.id);
    tile?.update();
    tile?.setMicrophoneMuted(participant.track("microphone")?.muted ?? true);
    this.#screens.get(id)?.update();
  }

  #updateOwn() {
    const tile = this.#people.get("own");
    const camera = this.#room.local("camera");
    const microphone = this.#room.local("microphone");
    const screen = this.#room.local("screen");
    if (camera) tile?.showLocal(camera);
    else tile?.clear();
    tile?.setMicrophoneMuted(microphone?.muted ?? true);
    if (screen && !this.#screens.has("own")) {
      const own = new Tile({ id: this.#room.id, name: "Your screen", kind: "screen", own: true });
      this.#screens.set("own", own);
      this.#grid.add(own.element, { stage: true });
      own.showLocal(screen);
    } else if (!screen) {
      this.#removeScreen("own");
    }
    this.#updateControls();
  }

  #updateControls() {
    for (const source of /** @type {Publishable[]} */ (["microphone", "camera", "screen"])) {
      const on = this.#isOn(source);
      const button = this.#buttons[source];
      const label = source === "screen" ? (on ? "Stop sharing the screen" : "Share the screen") : `Turn ${source} ${on ? "off" : "on"}`;
      button.replaceChildren(icon(on === (source === "screen") ? `${source}-off` : source));
      button.classList.toggle("off", source !== "screen" && !on);
      button.classList.toggle("on", source === "screen" && on);
      button.title = label;
      button.setAttribute("aria-label", label);
    }
  }

  #updateBanner() {
    const { cause } = this.#room.state;
    this.#banner.textContent =
      cause === "signaling" ? "Connection to the server lost. Reconnecting; picture and sound may go on meanwhile."
      : cause === "media" ? "Picture and sound do not get through. Looking for another path. If this stays, a firewall may block the server's media port."
      : "";
    this.#hear.hidden = !this.#room.audioBlocked;
    this.#count.textContent = `${this.#people.size} here`;
  }

  #markSpeaker() {
    for (const [id, tile] of this.#people) tile.setSpeaking((id === "own" ? this.#room.id : id) === this.#room.speaker);
  }

  async #showStats() {
    const { receive, publish } = await this.#room.stats();
    for (const track of this.#room.tracks.values()) {
      const tile = track.source === "screen" ? this.#screens.get(track.id) : track.source === "camera" && this.#people.get(track.participant.id);
      if (tile) tile.update(receive.find((row) => row.track === track.id));
    }
    for (const [source, tiles] of /** @type {const} */ ([["camera", this.#people], ["screen", this.#screens]])) {
      const rows = publish.filter((row) => row.source === source && row.active && row.kbps > 0);
      tiles.get("own")?.update({ height: Math.max(0, ...rows.map(({ height }) => height)), kbps: rows.reduce((sum, { kbps }) => sum + kbps, 0) });
    }
  }

  /**
   * @param {string} id
   * @param {string} name
   */
  #addPerson(id, name) {
    const tile = new Tile({ id: id === "own" ? this.#room.id : id, name, kind: "person", own: id === "own" });
    tile.setMicrophoneMuted(true);
    this.#people.set(id, tile);
    this.#grid.add(tile.element);
    this.#updateBanner();
  }

  /** @param {string} id */
  #removePerson(id) {
    const tile = this.#people.get(id);
    if (tile) this.#grid.remove(tile.element);
    this.#people.delete(id);
    this.#updateBanner();
  }

  /** @param {string} id */
  #removeScreen(id) {
    const tile = this.#screens.get(id);
    if (tile) this.#grid.remove(tile.element);
    this.#screens.delete(id);
  }

  /** @param {Publishable} source */
  #isOn(source) {
    const local = this.#room.local(source);
    return Boolean(local && !local.muted);
  }

  /** @param {Publishable} source */
  #control(source) {
    const button = h("button", {
      class: "control",
      type: "button",
      "data-source": source,
      onclick: async () => {
        button.disabled = true;
        await (this.#isOn(source) ? this.#attempt(() => this.#room.disable(source)) : this.enable(source));
        button.disabled = false;
        button.focus();
      },
    });
    return button;
  }

  /** @param {string} roomName */
  #copyButton(roomName) {
    const link = shareLink(roomName);
    const label = h("span", {}, link.replace(/^https?:\/\//, ""));
    const button = h("button", {
      class: "link",
      type: "button",
      title: "Copy the link to this room",
      "aria-label": `Copy the link to this room: ${link}`,
      onclick: async () => {
        // Insecure pages have no clipboard; there the link is selected for the person to copy.
        await navigator.clipboard?.writeText(link).catch(() => {});
        if (!navigator.clipboard) getSelection()?.selectAllChildren(label);
        button.firstChild?.replaceWith(icon(navigator.clipboard ? "check" : "link"));
        setTimeout(() => button.firstChild?.replaceWith(icon("link")), 1500);
      },
    }, icon("link"), label);
    return button;
  }

  /** @param {() => Promise<unknown>} action */
  async #attempt(action) {
    try {
      await action();
    } catch (error) {
      this.#complain(error);
    }
  }

  /** @param {unknown} error */
  #complain(error) {
    const { code, title, text } = problem(error);
    if (this.#problems.querySelector(`[data-code="${code}"]`)) return;
    const note = notice(title, text, { code, onDismiss: () => note.remove() });
    this.#problems.append(note);
  }
}
