import { dialog, h } from "./dom.js";
import { recall, remember } from "./memory.js";

/**
 * @typedef {{ key: string, label: string, run: () => void, release?: () => void }} Shortcut
 * `release` runs when the key is let go
 */

const STORED = "sluice-keys";

/**
 * Keyboard shortcuts of the call; `?` lists them. None while a field or a window has the focus.
 * @param {Shortcut[]} shortcuts
 * @returns {{ stop: () => void, showHelp: () => void }}
 */
export function listenForKeys(shortcuts) {
  const all = [...shortcuts, { key: "?", label: "Show this list", run: showHelp }];
  /** @type {Shortcut | undefined} */
  let held;
  let charactersAreOff = recall(STORED) === "off";

  /** @param {KeyboardEvent} event */
  function onDown(event) {
    const target = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || target.closest("input, select, textarea, dialog")) return;
    // Space and Enter press the button that has the focus.
    if (event.key === " " && target.closest("button, summary, a")) return;
    if (charactersAreOff && event.key.length === 1) return;
    const shortcut = all.find(({ key }) => key === (event.key.length === 1 ? event.key.toLowerCase() : event.key));
    if (!shortcut) return;
    event.preventDefault();
    if ("release" in shortcut) held = shortcut;
    shortcut.run();
  }

  /** @param {KeyboardEvent} event */
  function onUp(event) {
    if (event.key === held?.key) letGo();
  }

  /** Also when the window loses the keyboard: it does not hear of the key any more. */
  function letGo() {
    held?.release?.();
    held = undefined;
  }

  function onVisibility() {
    if (document.hidden) letGo();
  }

  /** People who speak to their computer, or whose hands slip, type what they did not mean: they can do without (WCAG 2.1.4). */
  function characterSwitch() {
    const field = h("input", {
      id: "character-keys", type: "checkbox", checked: !charactersAreOff,
      onchange: () => {
        charactersAreOff = !field.checked;
        remember(STORED, charactersAreOff ? "off" : "on");
      },
    });
    return h("p", { class: "check" }, field, h("label", { for: field.id }, "Listen to single characters and Space"));
  }

  function showHelp() {
    dialog("Keyboard shortcuts", h("dl", { class: "keys" }, ...all.flatMap(({ key, label }) => [h("dt", {}, h("kbd", {}, keyName(key))), h("dd", {}, label)])), characterSwitch());
  }

  addEventListener("keydown", onDown);
  addEventListener("keyup", onUp);
  addEventListener("blur", letGo);
  document.addEventListener("visibilitychange", onVisibility);
  const stop = () => {
    removeEventListener("keydown", onDown);
    removeEventListener("keyup", onUp);
    removeEventListener("blur", letGo);
    document.removeEventListener("visibilitychange", onVisibility);
  };
  return { stop, showHelp };
}

/** @param {string} key */
function keyName(key) {
  return key === " " ? "Space" : key.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/^[a-z]$/, (letter) => letter.toUpperCase());
}
