import { dialog, h } from "./dom.js";

/**
 * @typedef {{ key: string, label: string, run: () => void, release?: () => void }} Shortcut
 * `release` runs when the key is let go
 */

/**
 * Keyboard shortcuts of the call; `?` lists them. None while a field or a window has the focus.
 * @param {Shortcut[]} shortcuts
 * @returns {{ stop: () => void, showHelp: () => void }}
 */
export function listenForKeys(shortcuts) {
  const all = [...shortcuts, { key: "?", label: "Show this list", run: showHelp }];
  /** @type {Shortcut | undefined} */
  let held;

  /** @param {KeyboardEvent} event */
  function onDown(event) {
    const target = /** @type {Element} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || target.closest("input, select, textarea, dialog")) return;
    // Space and Enter press the button that has the focus.
    if (event.key === " " && target.closest("button, summary, a")) return;
    const shortcut = all.find(({ key }) => key === (event.key.length === 1 ? event.key.toLowerCase() : event.key));
    if (!shortcut) return;
    event.preventDefault();
    if ("release" in shortcut) held = shortcut;
    shortcut.run();
  }

  /** @param {KeyboardEvent} event */
  function onUp(event) {
    if (event.key !== held?.key) return;
    held.release?.();
    held = undefined;
  }

  function showHelp() {
    dialog("Keyboard shortcuts", h("dl", { class: "keys" }, ...all.flatMap(({ key, label }) => [h("dt", {}, h("kbd", {}, keyName(key))), h("dd", {}, label)])));
  }

  addEventListener("keydown", onDown);
  addEventListener("keyup", onUp);
  const stop = () => {
    removeEventListener("keydown", onDown);
    removeEventListener("keyup", onUp);
  };
  return { stop, showHelp };
}

/** @param {string} key */
function keyName(key) {
  return key === " " ? "Space" : key.replace(/([a-z])([A-Z])/g, "$1 $2").replace(/^[a-z]$/, (letter) => letter.toUpperCase());
}
