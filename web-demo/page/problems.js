import { h, notice } from "./dom.js";
import { problem } from "./words.js";

/** The notes that say what is wrong, each once at a time. */
export class Problems {
  element = h("div", { class: "problems" });
  /** @type {Set<string>} codes of what the person has read and does not want to be told again */
  #read = new Set();

  /** @param {unknown} error @param {{ once?: boolean }} [options] `once`: it lasts, so who dismissed it is not told again */
  add(error, { once = false } = {}) {
    const { code, title, text } = problem(error);
    if (this.#read.has(code) || this.#notes(code).some((note) => note.querySelector("strong")?.textContent === title)) return;
    const note = notice(title, text, {
      code,
      onDismiss: () => {
        note.remove();
        if (once) this.#read.add(code);
      },
    });
    this.element.append(note);
  }

  /** It is over. @param {string} code */
  remove(code) {
    for (const note of this.#notes(code)) note.remove();
  }

  /** @param {string} code */
  #notes(code) {
    return [...this.element.querySelectorAll(`[data-code="${code}"]`)];
  }
}
