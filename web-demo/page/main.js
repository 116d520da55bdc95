import { Room } from "../sdk/index.js";
import { Call } from "./call.js";
import { chosenDevice } from "./devices.js";
import { h, icon } from "./dom.js";
import { rememberEncryption, wasEncrypted } from "./encryption.js";
import { addressOf, readParams } from "./params.js";
import { showPrejoin } from "./prejoin.js";
import { restoreTheme } from "./theme.js";
import { problem } from "./words.js";

const app = /** @type {HTMLElement} */ (document.getElementById("app"));
/** At first what the address asks for, then what the person chose last. */
const params = readParams(new URL(location.href));
restoreTheme();

if (params.autojoin) void enter({ name: params.name || "Guest", room: params.room, passphrase: params.passphrase, tracks: new Map() }, params.publish);
else begin();

function begin() {
  showPrejoin(app, params, (choice) => void enter(choice, new Set(choice.tracks.keys())));
}

/**
 * @param {import("./prejoin.js").Choice} choice
 * @param {Set<import("./params.js").Publishable>} publish
 */
async function enter({ name, room: roomName, passphrase, tracks }, publish) {
  app.replaceChildren(h("p", { class: "joining", role: "status" }, `Joining ${roomName}…`));
  Object.assign(params, { name, room: roomName, passphrase, publish, invited: true });
  const { token, codec, scalabilityMode, simulcast, subscribe, maxHeight, forceTcp, forceRelay, size } = params;
  try {
    const room = await Room.connect(location.origin, { room: roomName, name, token, codec, scalabilityMode, simulcast, subscribe, maxHeight, forceTcp, forceRelay, passphrase });
    // For the browser suite, and for looking around in the console.
    /** @type {any} */ (window).sluice = room;
    document.title = `${roomName} · Sluice`;
    history.replaceState(null, "", addressOf(new URL(location.href), roomName, passphrase));
    const call = new Call(app, room, { roomName, size, passphrase, token, onPassphrase });
    if (wasEncrypted(roomName) && !passphrase) call.complain({ code: "was-encrypted" });
    onPassphrase(passphrase);
    const speaker = chosenDevice("speaker");
    if (speaker) void room.setSpeaker(speaker).catch(() => {}); // it may be unplugged: the default one plays then
    room.on("closed", (error) => showEnd(error));
    const permitted = [...publish].filter((source) => room.permissions?.publish.includes(source) ?? true);
    for (const source of permitted) void call.enable(source, tracks.get(/** @type {"camera" | "microphone"} */ (source)));
    release([...tracks].filter(([source]) => !permitted.includes(source)));
  } catch (error) {
    release(tracks);
    showEnd(error);
  }
}

/** @param {string} passphrase of the call from now on */
function onPassphrase(passphrase) {
  params.passphrase = passphrase;
  rememberEncryption(params.room, passphrase);
}

/** @param {Iterable<[unknown, Promise<MediaStreamTrack>]>} tracks that go into no call */
function release(tracks) {
  for (const [, opened] of tracks) opened.then((track) => track.stop(), () => {}); // what cannot be opened needs no closing
}

/** The call is over, or never began: why, and what to do. @param {unknown} error */
function showEnd(error) {
  const { code, title, text } = problem(error);
  const again = h("button", { class: "primary", type: "button", onclick: begin }, code === "left" ? "Join again" : "Try again");
  for (const window of document.querySelectorAll("dialog")) window.close();
  document.title = "Sluice";
  app.replaceChildren(h("div", { class: "end", "data-code": code, role: code === "left" ? "status" : "alert" },
    icon(code === "left" ? "check" : "warning"), h("h1", {}, title), h("p", {}, text), again));
  again.focus();
}
