import { capture } from "../sdk/index.js";
import { deviceChooser, levelMeter, presentDevice } from "./devices.js";
import { h, icon, notice } from "./dom.js";
import { problem } from "./words.js";

/** @typedef {import("./params.js").Params} Params */
/** @typedef {{ name: string, room: string, passphrase: string, tracks: Map<"camera" | "microphone", MediaStreamTrack> }} Choice */

const NAME_KEY = "sluice-name";

/**
 * The page before the call: preview, name, room.
 * @param {HTMLElement} app
 * @param {Params} params
 * @param {(choice: Choice) => void} onJoin the tracks are open and go into the call
 */
export function showPrejoin(app, params, onJoin) {
  /** @type {Choice["tracks"]} */
  const tracks = new Map();
  const video = h("video", { autoplay: true, playsInline: true, muted: true, "aria-label": "Preview of your camera" });
  const off = h("p", { class: "preview-off" }, "Your camera is off");
  const problems = h("div", { class: "problems" });
  const name = h("input", { id: "name", name: "name", value: params.name || stored(), placeholder: "What others call you", maxLength: 64, required: true, autocomplete: "nickname" });
  const room = h("input", {
    id: "room", name: "room", value: params.room, maxLength: 64, required: true, spellcheck: false, autocomplete: "off",
    pattern: "[A-Za-z0-9._~\\-]+", title: "Letters A to Z, digits and - . _ ~",
    oninput: () => (room.value = room.value.replace(/\s+/g, "-")),
  });
  const passphrase = h("input", { id: "passphrase", type: "password", value: params.passphrase, maxLength: 200, autocomplete: "off", placeholder: "None: the server could listen" });
  const meter = levelMeter();
  const chooser = deviceChooser((kind) => {
    if (kind === "speaker" || !tracks.has(kind)) return;
    close(kind);
    void open(kind);
  });
  const toggles = { camera: toggle("camera"), microphone: toggle("microphone") };

  app.replaceChildren(
    h("div", { class: "prejoin" },
      h("header", {}, h("img", { src: "/favicon.svg", alt: "", width: 32, height: 32 }), h("h1", {}, "Sluice")),
      h("section", { class: "preview", "aria-label": "Camera and microphone" },
        h("div", { class: "picture" }, video, off, h("div", { class: "controls" }, toggles.microphone, toggles.camera)),
        meter.element, chooser.element),
      h("form", { onsubmit: join },
        h("h2", {}, params.invited ? "Join the room" : "Start a room"),
        h("label", { for: "name" }, "Your name"), name,
        h("label", { for: "room" }, "Room"), room,
        h("label", { for: "passphrase" }, "Passphrase for end-to-end encryption"), passphrase,
        h("button", { class: "primary", type: "submit" }, "Join"),
        h("p", { class: "small" }, "Everyone who opens the same room meets. The link to share is shown inside."),
        problems)));
  update();
  (name.value ? room : name).focus();
  for (const source of /** @type {const} */ (["camera", "microphone"])) if (params.publish.has(source)) void open(source);

  /** @param {"camera" | "microphone"} source */
  function toggle(source) {
    return h("button", { class: "control", type: "button", "data-source": source, onclick: () => (tracks.has(source) ? close(source) : open(source)) });
  }

  function update() {
    for (const source of /** @type {const} */ (["camera", "microphone"])) {
      const on = tracks.has(source);
      toggles[source].replaceChildren(icon(on ? source : `${source}-off`));
      toggles[source].classList.toggle("off", !on);
      toggles[source].setAttribute("aria-label", `Turn ${source} ${on ? "off" : "on"}`);
      toggles[source].title = `Turn ${source} ${on ? "off" : "on"}`;
    }
    const camera = tracks.get("camera");
    video.srcObject = camera ? new MediaStream([camera]) : null;
    off.hidden = Boolean(camera);
    meter.show(tracks.get("microphone") ?? null);
  }

  /** @param {"camera" | "microphone"} source */
  async function open(source) {
    try {
      const { video, audio } = await capture(source, { ...params.size, deviceId: await presentDevice(source) });
      const track = video ?? audio;
      if (!track) return;
      if (!app.contains(problems)) return track.stop();
      tracks.get(source)?.stop();
      tracks.set(source, track);
      void chooser.refresh();
    } catch (error) {
      const { code, title, text } = problem(error);
      if (!problems.querySelector(`[data-code="${code}"]`)) problems.append(notice(title, text, { code }));
    }
    update();
  }

  /** @param {"camera" | "microphone"} source */
  function close(source) {
    tracks.get(source)?.stop();
    tracks.delete(source);
    update();
  }

  /** @param {SubmitEvent} event */
  function join(event) {
    event.preventDefault();
    meter.show(null);
    chooser.stop();
    try {
      localStorage.setItem(NAME_KEY, name.value);
    } catch {} // private windows may refuse; the name is then asked for again
    onJoin({ name: name.value.trim(), room: room.value.trim(), passphrase: passphrase.value, tracks });
  }
}

function stored() {
  try {
    return localStorage.getItem(NAME_KEY) ?? "";
  } catch {
    return "";
  }
}
