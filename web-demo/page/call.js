import { Files } from "../sdk/files.js";
import { Chat } from "./chat.js";
import { deviceChooser, presentDevice } from "./devices.js";
import { dialog, h, icon } from "./dom.js";
import { Drawer } from "./drawer.js";
import { showEncryption } from "./encryption.js";
import { showInvite } from "./invite.js";
import { listenForKeys } from "./keys.js";
import { Layout } from "./layout.js";
import { People } from "./people.js";
import { Problems } from "./problems.js";
import { toggleTheme } from "./theme.js";
import { Tile } from "./tile.js";
import { REACTIONS, Together } from "./together.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {import("../sdk/index.js").RemoteTrack} RemoteTrack */
/** @typedef {import("../sdk/index.js").Participant} Participant */
/** @typedef {import("./params.js").Publishable} Publishable */

const STATS_INTERVAL = 1000;
const VIEWS = /** @type {const} */ ({ auto: "Grid, screens large", grid: "Grid", speaker: "Speaker" });
const PANELS = { chat: "Chat", people: "People", stats: "Statistics" };
/** @typedef {keyof typeof PANELS} PanelName */

/** The page during the call: tiles, controls, what the connection does. Lives as long as the room. */
export class Call {
  #room;
  #size;
  #layout = new Layout();
  /** @type {Map<string, Tile>} by participant id; ours is "own" */
  #people = new Map();
  /** @type {Map<string, Tile>} shared screens, by track id; ours is "own" */
  #screens = new Map();
  #buttons;
  #banner = h("div", { class: "banner", role: "status" });
  #problems = new Problems();
  #count = h("span", { class: "count" });
  #news = h("p", { class: "unseen", role: "status" });
  #panel = h("aside", { class: "panel" });
  /** @type {PanelName | null} what the panel shows */
  #open = null;
  #together;
  #chat;
  #list;
  #tools;
  #drawer;
  #keys;
  #passphrase;
  #onPassphrase;
  #hear = h("button", { class: "hear", type: "button", onclick: () => this.#room.startAudio() }, icon("sound"), "Click to hear the others");

  /**
   * @param {HTMLElement} app
   * @param {Room} room
   * @param {{
   *   roomName: string, size: import("../sdk/capture.js").CaptureOptions, passphrase: string, token?: string, onPassphrase: (passphrase: string) => void,
   * }} options `onPassphrase`: it is another one from now on
   */
  constructor(app, room, { roomName, size, passphrase, token, onPassphrase }) {
    this.#room = room;
    this.#size = size;
    this.#passphrase = passphrase;
    this.#onPassphrase = onPassphrase;
    this.#together = new Together(room);
    this.#chat = new Chat(room, this.#together, new Files(room), (error) => this.complain(error));
    this.#list = new People(room, this.#together);
    this.#drawer = new Drawer(room);
    this.#buttons = {
      microphone: this.#control("microphone"),
      camera: this.#control("camera"),
      screen: this.#control("screen"),
      hand: h("button", { class: "control", type: "button", onclick: () => void this.#attempt(() => this.#together.raiseHand(!this.#together.handRaised)) }),
    };
    const reactions = h("div", { class: "reactions", role: "toolbar", "aria-label": "Reactions", hidden: true },
      ...REACTIONS.map((emoji) => h("button", { class: "plain", type: "button", onclick: () => void this.#attempt(() => this.#together.react(emoji)) }, emoji)));
    const react = h("button", {
      class: "control", type: "button", title: "React", "aria-label": "React", "aria-expanded": "false",
      onclick: () => {
        reactions.hidden = !reactions.hidden;
        react.setAttribute("aria-expanded", String(!reactions.hidden));
      },
    }, icon("smile"));
    this.#tools = {
      invite: tool("invite", "Invite others", () => showInvite(roomName, this.#passphrase, Boolean(token))),
      encryption: tool("lock-open", "", () => this.#choosePassphrase()),
      view: tool("view-auto", "", () => this.#nextView()),
      chat: tool("chat", "Chat", () => this.#togglePanel("chat")),
      people: tool("people", "People", () => this.#togglePanel("people")),
      stats: tool("gauge", "Statistics", () => this.#togglePanel("stats")),
      settings: tool("settings", "Devices", () => this.#chooseDevices()),
      theme: tool("theme", "Light or dark", () => void toggleTheme()),
      help: tool("help", "Keyboard shortcuts", () => this.#keys.showHelp()),
    };
    this.#keys = listenForKeys(this.#shortcuts());
    app.replaceChildren(
      h("div", { class: "call" },
        h("header", {},
          h("img", { src: "/favicon.svg", alt: "", width: 24, height: 24 }),
          h("h1", {}, roomName), this.#count,
          h("div", { class: "tools", role: "toolbar", "aria-label": "View" }, ...Object.values(this.#tools))),
        this.#banner, this.#hear, this.#news,
        h("div", { class: "middle" }, this.#layout.element, this.#panel),
        h("footer", {}, reactions,
          h("div", { class: "controls", role: "toolbar", "aria-label": "Call" },
            this.#buttons.microphone, this.#buttons.camera, this.#buttons.screen, this.#buttons.hand, react,
            h("button", { class: "control leave", type: "button", title: "Leave", "aria-label": "Leave", onclick: room.leave }, icon("leave")))),
        this.#problems.element));
    for (const control of [this.#buttons.hand, react, this.#tools.chat]) control.hidden = room.permissions?.data === false;
    this.#buttons.screen.hidden ||= !("getDisplayMedia" in (navigator.mediaDevices ?? {}));
    this.#panel.hidden = true;
    this.#panel.onkeydown = ({ key, isComposing }) => void (key === "Escape" && !isComposing && this.#open && this.#togglePanel(this.#open));
    this.#setView("auto");
    this.#acceptDrops(app);
    this.#addPerson("own", `${room.name} (you)`);
    this.#showEncryption();
    this.#listen();
    const timer = setInterval(() => void this.#showStats(), STATS_INTERVAL);
    room.on("closed", () => {
      clearInterval(timer);
      this.#keys.stop();
    });
  }

  /**
   * Publishes, and says in words why it cannot.
   * @param {Publishable} source
   * @param {Promise<MediaStreamTrack>} [opened] or being opened already
   */
  async enable(source, opened) {
    await this.#attempt(async () => this.#room.enable(source, { track: await opened, ...this.#size, deviceId: await presentDevice(source) }));
  }

  #listen() {
    const room = this.#room;
    for (const participant of room.participants.values()) this.#onParticipant(participant);
    room.on("participant-joined", (participant) => this.#onParticipant(participant));
    room.on("participant-joined", ({ name }) => this.#announce(`${name} joined`));
    room.on("participant-left", ({ participant }) => {
      this.#removePerson(participant.id);
      this.#announce(`${participant.name} left`);
    });
    room.on("quality", ({ participant, score }) => this.#people.get(participant === room.id ? "own" : participant)?.setQuality(score));
    this.#together.on("hand", ({ id, raised }) => this.#onHand(id, raised));
    this.#together.on("reaction", ({ id, emoji }) => {
      this.#tileOf(id)?.react(emoji);
      this.#announce(`${this.#tileOf(id)?.name ?? "Somebody"} reacts: ${emoji}`);
    });
    this.#together.on("message", ({ name, text }) => {
      if (this.#open === "chat") return;
      this.#tools.chat.classList.add("unread");
      this.#announce(`${name} writes: ${text}`);
    });
    room.on("track-published", (track) => this.#onTrack(track));
    room.on("track-ended", (track) => this.#onTrackEnded(track));
    room.on("track-muted", (track) => this.#updateRemote(track));
    room.on("track-state", (track) => this.#updateRemote(track));
    room.on("local-track", () => this.#updateOwn());
    room.on("local-track-ended", () => this.#updateOwn());
    room.on("speaker", () => this.#markSpeaker());
    let lost = false;
    room.on("state", ({ cause }) => {
      if (lost && cause !== "signaling") this.#problems.remove("going-away"); // the server that is reached again stays
      lost = cause === "signaling";
      this.#updateBanner();
    });
    room.on("audio-blocked", () => this.#updateBanner());
    room.on("going-away", () => this.complain({ code: "going-away" }));
    room.on("device-lost", ({ source }) => this.complain({ code: "device-lost", message: `The ${source} is gone.`, hint: "Plug it in and switch it on again." }));
    room.on("muted-by-server", ({ source }) => this.complain({ code: "muted-by-server", message: `Your ${source} was muted by who runs this call.`, hint: "Switch it on again when it is your turn." }));
    room.on("error", (error) => this.complain(error));
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
      const tile = this.#newTile({ id: track.participant.id, name: `${track.participant.name}'s screen`, kind: "screen" });
      this.#screens.set(track.id, tile);
      tile.show(track);
      this.#announce(`${track.participant.name} shares a screen`);
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
    tile?.setDecryption([...participant.tracks.values()].filter(({ source }) => source !== "screen").map(({ decryption }) => decryption));
    tile?.setMicrophoneMuted(participant.track("microphone")?.muted ?? true);
    this.#screens.get(id)?.update();
    this.#screens.get(id)?.setDecryption([this.#room.tracks.get(id)?.decryption ?? null]);
    this.#list.update();
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
      const own = this.#newTile({ id: this.#room.id, name: "Your screen", kind: "screen", own: true });
      this.#screens.set("own", own);
      own.showLocal(screen);
      this.#showEncryption();
    } else if (!screen) {
      this.#removeScreen("own");
    }
    this.#updateControls();
    this.#list.update();
  }

  #updateControls() {
    const raised = this.#together.handRaised;
    this.#buttons.hand.replaceChildren(icon("hand"));
    this.#buttons.hand.classList.toggle("on", raised);
    this.#buttons.hand.title = raised ? "Lower the hand" : "Raise the hand";
    this.#buttons.hand.setAttribute("aria-label", this.#buttons.hand.title);
    for (const source of /** @type {Publishable[]} */ (["microphone", "camera", "screen"])) {
      const on = this.#isOn(source);
      const button = this.#buttons[source];
      const label = source === "screen" ? (on ? "Stop sharing the screen" : "Share the screen") : `Turn ${source} ${on ? "off" : "on"}`;
      button.replaceChildren(icon(on === (source === "screen") ? `${source}-off` : source));
      button.hidden ||= !(this.#room.permissions?.publish.includes(source) ?? true);
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
    const { speaker, id: ownId } = this.#room;
    for (const [id, tile] of this.#people) tile.setSpeaking((id === "own" ? ownId : id) === speaker);
    // One's own picture never takes the stage.
    this.#layout.setSpeaker((speaker && speaker !== ownId && this.#people.get(speaker)?.element) || null);
    this.#list.update();
  }

  async #showStats() {
    const stats = await this.#room.stats();
    const { receive, publish, transport } = stats;
    if (this.#open === "stats") this.#drawer.update(stats);
    if (transport.protocol === "tcp") this.#problems.add({ code: "udp-blocked" }, { once: true });
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
    const tile = this.#newTile({ id: id === "own" ? this.#room.id : id, name, kind: "person", own: id === "own" });
    tile.setMicrophoneMuted(true);
    this.#people.set(id, tile);
    this.#list.update();
    this.#updateBanner();
  }

  /** @param {string} id */
  #removePerson(id) {
    const tile = this.#people.get(id);
    if (tile) this.#layout.remove(tile.element);
    this.#people.delete(id);
    this.#list.update();
    this.#updateBanner();
  }

  /** @param {string} id */
  #removeScreen(id) {
    const tile = this.#screens.get(id);
    if (tile) this.#layout.remove(tile.element);
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
      onclick: async (/** @type {MouseEvent} */ event) => {
        const hadKeyboard = event.detail === 0 && document.activeElement === button;
        button.disabled = true;
        await (this.#isOn(source) ? this.#attempt(() => this.#room.disable(source)) : this.enable(source));
        button.disabled = false;
        // Back to where the keyboard was. After a click of the pointer, or a shortcut, Space is for talking.
        if (hadKeyboard) button.focus();
        else button.blur();
      },
    });
    return button;
  }

  /** @param {{ id: string, name: string, kind: "person" | "screen", own?: boolean }} options */
  #newTile(options) {
    const tile = new Tile({ ...options, onPin: () => this.#pin(tile) });
    this.#layout.add({ element: tile.element, isScreen: options.kind === "screen", isOwn: Boolean(options.own) });
    return tile;
  }

  /** Gives a tile the stage here, and its video the highest priority. @param {Tile} tile */
  #pin(tile) {
    this.#layout.pin(tile.element);
    for (const each of [...this.#people.values(), ...this.#screens.values()]) {
      each.update();
      const track = each.track;
      if (track && "prefer" in track) track.prefer({ priority: this.#layout.pinned === each.element ? "pinned" : undefined });
    }
  }

  /** @param {string} id of a participant @param {boolean} raised */
  #onHand(id, raised) {
    this.#tileOf(id)?.setHand(raised);
    if (raised) this.#announce(`${this.#tileOf(id)?.name ?? "Somebody"} raises a hand`);
    this.#updateControls();
    this.#list.update();
  }

  /** @param {string} id of a participant */
  #tileOf(id) {
    return this.#people.get(id === this.#room.id ? "own" : id);
  }

  /** Files that are dropped on the page are offered in the chat. @param {HTMLElement} area */
  #acceptDrops(area) {
    const call = /** @type {HTMLElement} */ (area.firstElementChild);
    if (this.#tools.chat.hidden) return;
    call.ondragover = (event) => event.preventDefault();
    call.ondrop = (event) => {
      event.preventDefault();
      if (!event.dataTransfer?.files.length) return;
      if (this.#open !== "chat") this.#togglePanel("chat");
      this.#chat.offer(event.dataTransfer.files);
    };
  }

  #nextView() {
    const views = /** @type {(keyof typeof VIEWS)[]} */ (Object.keys(VIEWS));
    this.#setView(views[(views.indexOf(this.#layout.view) + 1) % views.length]);
  }

  /** @param {keyof typeof VIEWS} view */
  #setView(view) {
    this.#layout.setView(view);
    const label = `View: ${VIEWS[view]}`;
    this.#tools.view.replaceChildren(icon(`view-${view}`));
    this.#tools.view.title = label;
    this.#tools.view.setAttribute("aria-label", label);
  }

  /** @param {PanelName} name */
  #togglePanel(name) {
    this.#open = this.#open === name ? null : name;
    this.#panel.hidden = this.#open === null;
    for (const each of /** @type {PanelName[]} */ (Object.keys(PANELS))) this.#tools[each].setAttribute("aria-expanded", String(each === this.#open));
    if (!this.#open) return this.#tools[name].focus();
    const close = h("button", { class: "plain", type: "button", "aria-label": "Close", onclick: () => this.#togglePanel(name) }, icon("close"));
    // What scrolls can be reached by keyboard.
    const content = h("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": PANELS[name] }, { chat: this.#chat, people: this.#list, stats: this.#drawer }[name].element);
    this.#panel.setAttribute("aria-label", PANELS[name]);
    this.#panel.replaceChildren(h("header", {}, h("h2", {}, PANELS[name]), close), content);
    if (name === "chat") this.#tools.chat.classList.remove("unread");
    if (name === "chat") this.#chat.focus();
    else close.focus();
    if (name === "stats") void this.#showStats();
  }

  #chooseDevices() {
    const chooser = deviceChooser((kind, deviceId) => {
      void this.#attempt(() => (kind === "speaker" ? this.#room.setSpeaker(deviceId) : this.#room.switchDevice(kind, { ...this.#size, deviceId })));
    });
    dialog("Devices", chooser.element).addEventListener("close", chooser.stop);
  }

  #choosePassphrase() {
    showEncryption(this.#passphrase, async (passphrase) => {
      await this.#room.setPassphrase(passphrase);
      this.#passphrase = passphrase;
      this.#onPassphrase(passphrase);
      this.#showEncryption();
    });
  }

  #showEncryption() {
    const { encrypted } = this.#room;
    const label = `End-to-end encryption: ${encrypted ? "on" : "off"}`;
    this.#tools.encryption.replaceChildren(icon(encrypted ? "lock" : "lock-open"));
    this.#tools.encryption.title = label;
    this.#tools.encryption.setAttribute("aria-label", label);
    for (const tile of [this.#people.get("own"), this.#screens.get("own")]) tile?.setDecryption([encrypted ? "decrypted" : null]);
  }

  /** @returns {import("./keys.js").Shortcut[]} */
  #shortcuts() {
    const press = (/** @type {HTMLButtonElement} */ button) => button.hidden || button.click();
    const { microphone, camera, screen, hand } = this.#buttons;
    const { chat, people, stats, invite } = this.#tools;
    /** Whether Space has unmuted us and shall mute us again. */
    let talking = false;
    return [
      { key: "m", label: "Microphone on or off", run: () => press(microphone) },
      { key: "v", label: "Camera on or off", run: () => press(camera) },
      { key: "s", label: "Share the screen, or stop", run: () => press(screen) },
      {
        key: " ", label: "Talk while held",
        run: () => {
          talking = !microphone.hidden && !this.#isOn("microphone");
          if (talking) void this.enable("microphone");
        },
        release: () => {
          if (talking) void this.#attempt(() => this.#room.disable("microphone"));
        },
      },
      { key: "h", label: "Raise or lower the hand", run: () => press(hand) },
      { key: "c", label: "Chat", run: () => press(chat) },
      { key: "l", label: "Next view", run: () => this.#nextView() },
      { key: "p", label: "People", run: () => press(people) },
      { key: "e", label: "Statistics", run: () => press(stats) },
      { key: "i", label: "Invite others", run: () => press(invite) },
      { key: "PageDown", label: "Next page of tiles", run: () => this.#layout.turn(1) },
      { key: "PageUp", label: "Previous page of tiles", run: () => this.#layout.turn(-1) },
    ];
  }

  /** For those who do not see it. @param {string} text */
  #announce(text) {
    this.#news.textContent = text;
  }

  /** @param {() => Promise<unknown>} action */
  async #attempt(action) {
    try {
      await action();
    } catch (error) {
      this.complain(error);
    }
  }

  /** Says in words what is wrong. @param {unknown} error */
  complain(error) {
    const { code, source } = /** @type {{ code?: unknown, source?: string }} */ (Object(error));
    if (code === "permission-denied" && source === "screen") return; // who closed the browser's window knows
    this.#problems.add(error);
  }
}

/**
 * @param {string} symbol
 * @param {string} label
 * @param {() => void} onclick
 */
function tool(symbol, label, onclick) {
  return h("button", { class: "plain", type: "button", title: label, "aria-label": label, onclick }, icon(symbol));
}
