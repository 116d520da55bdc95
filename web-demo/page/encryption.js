import { dialog, h } from "./dom.js";
import { recall, remember } from "./memory.js";
import { problem } from "./words.js";

const STORED = "sluice-encrypted-";

/** Whether the room was encrypted when we were in it last. @param {string} room */
export function wasEncrypted(room) {
  return recall(STORED + room) !== null;
}

/** Remembers that, but not the passphrase. @param {string} room @param {string} passphrase */
export function rememberEncryption(room, passphrase) {
  remember(STORED + room, passphrase ? "yes" : null);
}

/**
 * The window in which encryption is turned on, off, or to another passphrase.
 * @param {string} current passphrase; empty: off
 * @param {(passphrase: string) => Promise<void>} apply
 */
export function showEncryption(current, apply) {
  const field = h("input", { id: "new-passphrase", type: "password", value: current, maxLength: 200, autocomplete: "off" });
  const said = h("p", { class: "small", role: "alert" });
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    try {
      await apply(field.value);
      window.close();
    } catch (error) {
      const { title, text } = problem(error);
      said.textContent = `${title} ${text}`;
    }
  };
  const window = dialog("End-to-end encryption",
    h("p", {}, "With a passphrase, only people who have the same one hear and see each other: the server cannot. Agree on it by another way than this server. Chat and files are not covered."),
    h("form", { class: "row", onsubmit: submit },
      h("label", { for: "new-passphrase", class: "unseen" }, "Passphrase"), field,
      h("button", { class: "primary", type: "submit" }, "Apply")),
    h("p", { class: "small" }, "Leave it empty to turn encryption off."), said);
  field.focus();
}
