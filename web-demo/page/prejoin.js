import { capture } from "../sdk/index.js";
import { deviceChooser, levelMeter, presentDevice } from "./devices.js";
import { h, icon } from "./dom.js";
import { wasEncrypted } from "./encryption.js";
import { recall, remember } from "./memory.js";
import { Problems } from "./problems.js";

/** @typedef {import("./params.js").Params} Params */
/** @typedef {{ name: string, room: string, passphrase: string, tracks: Map<"camera" | "microphone", Promise<MediaStreamTrack>> }} Choice */

const NAME_KEY = "sluice-name";

/**
 * The page before the call: preview, name, room.
 * @param {HTMLElement} app
 * @param {Params} params
 * @param {(choice: Choice) => void} onJoin the tracks are open, or being opened, and go into the call
 */
export function showPrejoin(app, params, onJoin) {
  /** @type {Map<"camera" | "microphone", MediaStreamTrack>} */
  const tracks = new Map();
  /** @type {Choice["tracks"]} */
  const opening = new Map();
  let joined = false;
  const video = h("video", { autoplay: true, playsInline: true, muted: true, "aria-label": "Preview of your camera" });
  const off = h("p", { class: "preview-off" }, "Your camera is off");
  const problems = new Problems();
  const name = h("input", {
    id: "name", name: "name", value: params.name || (recall(NAME_KEY) ?? ""), placeholder: "What others call you", maxLength: 64, required: true, autocomplete: "nickname",
    oninput: () => validate(),
  });
  const room = h("input", {
    id: "room", name: "room", value: params.room, maxLength: 64, required: true, spellcheck: false, autocomplete: "off",
    pattern: "[A-Za-z0-9._~\\-]+", title: "Letters A to Z, digits and - . _ ~",
    oninput: () => {
      room.value = room.value.replace(/\s+/g, "-");
      validate();
    },
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
        problems.element)));
  update();
  validate();
  if (wasEncrypted(params.room) && !params.passphrase) problems.add({ code: "was-encrypted" });
  (name.value ? room : name).focus();
  for (const source of /** @type {const} */ (["camera", "microphone"])) if (params.publish.has(source)) void open(source);

  /** @param {"camera" | "microphone"} source */
  function toggle(source) {
    return h("button", { class: "control", type: "button", "data-source": source, onclick: () => (tracks.has(source) ? close(source) : open(source)) });
  }

  /** What the browser does not see: it takes spaces for a name, and length for what is typed only. */
  function validate() {
    name.setCustomValidity(!name.value.trim() ? "Type the name that others shall see." : tooLong(name) ? "Type a shorter name: 64 characters at most." : "");
    room.setCustomValidity(tooLong(room) ? "Type a shorter name for the room: 64 characters at most." : /^\.{1,2}$/.test(room.value) ? "Type more than dots." : "");
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
    const opened = openTrack(source);
    const isLast = () => opening.get(source) === opened;
    opening.set(source, opened);
    try {
      const track = await opened;
      if (!isLast()) return track.stop();
      if (joined) return; // the call has it
      tracks.get(source)?.stop();
      tracks.set(source, track);
      void chooser.refresh();
    } catch (error) {
      problems.add(error);
    }
    if (joined) return;
    if (isLast()) opening.delete(source);
    update();
  }

  /** @param {"camera" | "microphone"} source */
  async function openTrack(source) {
    const { video, audio } = await capture(source, { ...params.size, deviceId: await presentDevice(source) });
    return /** @type {MediaStreamTrack} */ (video ?? audio);
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
    joined = true;
    meter.show(null);
    chooser.stop();
    remember(NAME_KEY, name.value);
    onJoin({ name: name.value.trim(), room: room.value.trim(), passphrase: passphrase.value, tracks: new Map([...[...tracks].map(([source, track]) => /** @type {const} */ ([source, Promise.resolve(track)])), ...opening]) });
  }
}

/** In characters, as the server counts them. @param {HTMLInputElement} field */
function tooLong(field) {
  return [...field.value.trim()].length > field.maxLength;
}
