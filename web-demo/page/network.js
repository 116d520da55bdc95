import { h } from "./dom.js";

/** @typedef {"down" | "up"} Direction */

const TITLES = /** @type {Record<Direction, string>} */ ({ down: "To here", up: "From here" });

/**
 * A worse network for this participant alone, emulated by a server that runs with `--dev`.
 * @param {import("../sdk/index.js").Room} room
 */
export function networkPanel(room) {
  const paths = /** @type {Direction[]} */ (Object.keys(TITLES)).map((direction) => pathFields(direction));
  const said = h("p", { class: "small", role: "status" }, "As it is.");
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    const wanted = paths.map((path) => path.read());
    room.emulate(Object.fromEntries(wanted));
    said.textContent = wanted.some(([, path]) => path) ? "Emulated by the server." : "As it is.";
  };
  const reset = () => {
    room.emulate({});
    said.textContent = "As it is.";
  };
  return h("form", { class: "network", onsubmit: apply, onreset: reset }, h("h3", {}, "Network"), ...paths.map(({ element }) => element),
    h("div", { class: "wishes" }, h("button", { type: "submit" }, "Emulate"), h("button", { type: "reset" }, "As it is")), said);
}

/** @param {Direction} direction */
function pathFields(direction) {
  const field = (/** @type {string} */ name, /** @type {object} */ limits) => h("input", { id: `${direction}-${name}`, type: "number", min: "0", ...limits });
  const kbps = field("kbps", { min: "1", placeholder: "any" });
  const delay = field("delay", { max: "5000", placeholder: "0" });
  const loss = field("loss", { max: "100", step: "any", placeholder: "0" });
  const label = (/** @type {HTMLInputElement} */ input, /** @type {string} */ text) => h("label", { for: input.id }, text);
  return {
    element: h("fieldset", {}, h("legend", {}, TITLES[direction]), label(kbps, "kb/s"), kbps, label(delay, "delay, ms"), delay, label(loss, "loss, %"), loss),
    /** @returns {[Direction, import("../sdk/protocol.js").NetworkPath | null]} */
    read: () => [direction, kbps.value || delay.value || loss.value
      ? { kbps: Number(kbps.value) || null, delayMs: Math.round(Number(delay.value)), loss: Number(loss.value) / 100 } : null],
  };
}
