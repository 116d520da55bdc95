import { h, icon } from "./dom.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {import("../sdk/files.js").Files} Files */
/** @typedef {import("./together.js").Together} Together */
/** @typedef {import("./together.js").Message} Message */

const MOST_SHOWN = 300;
/** Pixels from the end that still count as there. */
const NEAR_END = 60;

/** The panel with messages and files. Files can be dropped anywhere on the page. */
export class Chat {
  #list = h("ol", { class: "messages" });
  #room;
  #files;
  #fail;
  #text;
  element;

  /**
   * @param {Room} room
   * @param {Together} together
   * @param {Files} files
   * @param {(error: unknown) => void} fail says what went wrong
   */
  constructor(room, together, files, fail) {
    this.#room = room;
    this.#files = files;
    this.#fail = fail;
    const text = this.#text = h("input", { id: "chat-text", placeholder: "Write to everybody", maxLength: 1000, autocomplete: "off" });
    const picker = h("input", {
      id: "chat-file", type: "file", multiple: true, hidden: true, "aria-label": "Files to send",
      onchange: () => this.offer(picker.files),
    });
    this.element = h("div", { class: "chat" },
      h("div", { class: "log", role: "log", "aria-label": "Messages" }, this.#list),
      h("form", {
        class: "row",
        onsubmit: (/** @type {SubmitEvent} */ event) => {
          event.preventDefault();
          const said = text.value.trim();
          if (!said) return;
          text.value = "";
          together.say(said).then(() => this.#showEnd()).catch(fail);
        },
      },
        h("label", { for: "chat-text", class: "unseen" }, "Message"), text, picker,
        h("button", { class: "plain", type: "button", title: "Send files", "aria-label": "Send files", onclick: () => picker.click() }, icon("attach")),
        h("button", { class: "plain", type: "submit", title: "Send", "aria-label": "Send" }, icon("send"))));
    together.on("message", (message) => this.#append(line(message)));
    together.on("history", () => this.#list.prepend(...together.messages.filter(({ at }) => !this.#list.querySelector(`[data-at="${at}"]`)).map(line)));
    files.on("offer", (incoming) => this.#showIncoming(incoming));
  }

  /** As the panel opens. */
  focus() {
    this.#showEnd();
    this.#text.focus();
  }

  /** @param {Iterable<File> | ArrayLike<File> | null} list */
  offer(list) {
    for (const file of Array.from(list ?? [])) this.#showOutgoing(file).catch(this.#fail);
  }

  /** @param {File} file */
  async #showOutgoing(file) {
    const outgoing = await this.#files.offer(file);
    const said = h("span", { class: "small", role: "status" }, "offered to everybody");
    const bar = h("progress", { max: file.size || 1, value: 0, "aria-label": `Sending ${file.name}` });
    const cancel = h("button", {
      class: "plain", type: "button", "aria-label": `Cancel ${file.name}`, title: "Cancel",
      onclick: () => {
        outgoing.cancel();
        said.textContent = "cancelled";
        cancel.remove();
      },
    }, icon("close"));
    const nameOf = (/** @type {string} */ id) => this.#room.participants.get(id)?.name ?? "somebody";
    outgoing.on("progress", ({ bytes }) => (bar.value = bytes));
    outgoing.on("done", ({ to }) => (said.textContent = `${nameOf(to)} has it`));
    outgoing.on("failed", ({ to, error }) => (said.textContent = `${nameOf(to)}: ${error.message}`));
    this.#append(h("li", { class: "file" }, h("strong", {}, "You"), h("span", {}, `${file.name}, ${sizeText(file.size)}`), bar, h("div", { class: "row" }, said, cancel)));
    this.#showEnd();
  }

  /** @param {import("../sdk/files.js").IncomingFile} incoming */
  #showIncoming(incoming) {
    const { name, size, from } = incoming;
    const said = h("span", { class: "small", role: "status" });
    const bar = h("progress", { max: size || 1, value: 0, hidden: true, "aria-label": `Receiving ${name}` });
    const take = h("button", { class: "primary", type: "button", "aria-label": `Take ${name}`, onclick: () => accept() }, "Take");
    const cancel = h("button", { class: "plain", type: "button", "aria-label": `Cancel ${name}`, title: "Cancel", hidden: true, onclick: incoming.cancel }, icon("close"));
    const row = h("div", { class: "row" }, take, said, cancel);
    incoming.on("progress", (bytes) => (bar.value = bytes));
    incoming.on("cancelled", (error) => {
      take.remove();
      cancel.remove();
      said.textContent = error.message;
    });
    this.#append(h("li", { class: "file" }, h("strong", {}, this.#room.participants.get(from)?.name ?? "Somebody"), h("span", {}, `${name}, ${sizeText(size)}`), bar, row));

    async function accept() {
      take.remove();
      bar.hidden = cancel.hidden = false;
      const blob = await incoming.accept().catch(() => null); // then `cancelled` says why
      if (!blob) return;
      cancel.remove();
      said.replaceChildren("received ", h("a", { href: URL.createObjectURL(blob), download: name }, "Save"));
    }
  }

  /** @param {HTMLElement} item */
  #append(item) {
    const scroller = this.#list.closest(".scroll");
    // Who reads further up is not moved away from there.
    const follows = scroller && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END;
    this.#list.append(item);
    if (this.#list.childElementCount > MOST_SHOWN) this.#list.firstElementChild?.remove();
    if (follows) this.#showEnd();
  }

  #showEnd() {
    const scroller = this.#list.closest(".scroll");
    if (scroller) scroller.scrollTop = scroller.scrollHeight;
  }
}

/** @param {Message} message */
function line({ name, text, at }) {
  const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return h("li", { "data-at": at }, h("strong", {}, name), " ", h("span", { class: "small" }, time), h("p", {}, text));
}

/** @param {number} bytes */
function sizeText(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
