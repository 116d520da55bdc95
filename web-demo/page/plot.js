import { h } from "./dom.js";

/** Seconds that a plot goes back. */
const SPAN = 60;

/**
 * Lines over the last minute, on a canvas, with a legend that says the latest figures.
 */
export class Plot {
  #canvas = h("canvas", { role: "img" });
  #legend = h("ul", { class: "legend" });
  #format;
  #title;
  /** @type {Map<string, number[]>} one value a second, latest last */
  #lines = new Map();
  element;

  /**
   * @param {string} title
   * @param {(value: number) => string} format of a value, with its unit
   */
  constructor(title, format) {
    this.#title = title;
    this.#format = format;
    this.element = h("figure", { class: "plot" }, h("figcaption", {}, title), this.#canvas, this.#legend);
  }

  /** @param {Record<string, number>} values of this second, by line; a line that is left out ends */
  push(values) {
    for (const name of this.#lines.keys()) if (!(name in values)) this.#lines.delete(name);
    for (const [name, value] of Object.entries(values)) this.#lines.set(name, [...(this.#lines.get(name) ?? []), value].slice(-SPAN));
    this.#draw();
  }

  #draw() {
    const latest = [...this.#lines].map(([name, line]) => `${name}: ${this.#format(line[line.length - 1])}`);
    this.#canvas.setAttribute("aria-label", `${this.#title}. ${latest.join(", ")}`);
    this.#legend.replaceChildren(...latest.map((text, index) => h("li", { class: `line-${index % 6}` }, text)));
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    if (!width || !context) return;
    this.#canvas.width = width * devicePixelRatio;
    this.#canvas.height = height * devicePixelRatio;
    context.scale(devicePixelRatio, devicePixelRatio);
    const top = Math.max(1, ...[...this.#lines.values()].flat()) * 1.1;
    const style = getComputedStyle(this.#canvas);
    context.fillStyle = style.color;
    context.font = "11px system-ui, sans-serif";
    context.fillText(this.#format(top / 1.1), 2, 11);
    context.lineWidth = 2;
    for (const [index, line] of [...this.#lines.values()].entries()) {
      context.strokeStyle = getComputedStyle(this.#legend.children[index]).color;
      context.beginPath();
      line.forEach((value, at) => context.lineTo(width - ((line.length - 1 - at) * width) / (SPAN - 1), height - 2 - (value / top) * (height - 4)));
      context.stroke();
    }
  }
}
