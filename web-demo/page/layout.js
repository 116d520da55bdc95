import { h, icon } from "./dom.js";

const GAP = 12;
const ASPECT = 16 / 9;
/** Of a tall area, the part for the stage. */
const STAGE_SHARE = 0.6;
/** Pixels of width below which tiles go to another page, and how wide tiles beside a stage are at most. */
const MIN_TILE = 160;
const MAX_STRIP_TILE = 260;
/** Decoders of small machines give up beyond that. */
const MOST_TILES = 25;

/** @typedef {"auto" | "grid" | "speaker"} View */
/** @typedef {{ element: HTMLElement, isScreen: boolean, isOwn: boolean }} Placed */

/**
 * The columns that make n tiles of 16:9 as large as the area allows.
 * @param {number} n
 * @param {number} width
 * @param {number} height
 * @returns {{ columns: number, width: number, height: number }} size of one tile, in pixels
 */
export function bestFit(n, width, height) {
  let best = { columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= n; columns++) {
    const rows = Math.ceil(n / columns);
    const room = { width: (width - GAP * (columns - 1)) / columns, height: (height - GAP * (rows - 1)) / rows };
    const fit = Math.max(0, Math.floor(Math.min(room.width, room.height * ASPECT)));
    if (fit > best.width) best = { columns, width: fit, height: Math.floor(fit / ASPECT) };
  }
  return best;
}

/** How many of n tiles one page takes, so that none gets too small. @param {number} n @param {number} width @param {number} height */
export function capacity(n, width, height) {
  let count = Math.min(n, MOST_TILES);
  while (count > 1 && bestFit(count, width, height).width < MIN_TILE) count--;
  return Math.max(1, count);
}

/**
 * Lays tiles out. `grid`: all alike. `speaker`: who speaks on a stage, the others in a strip. `auto`: as the grid, until somebody
 * shares a screen; then that is on the stage. A pinned tile has the stage in every view. What does not fit goes to further pages; tiles
 * of other pages are not displayed, so their video stops.
 */
export class Layout {
  /** @type {View} */
  view = "auto";
  /** @type {HTMLElement | null} */
  pinned = null;
  #area = h("div", { class: "area" });
  #pages = h("span", { role: "status" });
  #pager;
  element;
  /** @type {Placed[]} */
  #tiles = [];
  /** @type {HTMLElement | null} */
  #speaker = null;
  #page = 0;
  #pageCount = 1;

  constructor() {
    this.#pager = h("nav", { class: "pager", "aria-label": "Pages of tiles" },
      h("button", { type: "button", "aria-label": "Previous page", onclick: () => this.turn(-1) }, icon("back")),
      this.#pages,
      h("button", { type: "button", "aria-label": "Next page", onclick: () => this.turn(1) }, icon("forth")));
    this.element = h("div", { class: "grid" }, this.#area, this.#pager);
    this.#pager.hidden = true;
    new ResizeObserver(() => this.arrange()).observe(this.#area);
  }

  /** @param {Placed} placed */
  add(placed) {
    this.#tiles.push(placed);
    this.#area.append(placed.element);
    this.arrange();
  }

  /** @param {HTMLElement} element */
  remove(element) {
    this.#tiles = this.#tiles.filter((tile) => tile.element !== element);
    if (this.pinned === element) this.pinned = null;
    if (this.#speaker === element) this.#speaker = null;
    element.remove();
    this.arrange();
  }

  /** @param {HTMLElement | null} element the one to give the stage to; again: no more */
  pin(element) {
    this.pinned = this.pinned === element ? null : element;
    this.arrange();
  }

  /** @param {HTMLElement | null} element who speaks; with nobody speaking the last one stays */
  setSpeaker(element) {
    if (!element || element === this.#speaker) return;
    this.#speaker = element;
    if (this.view === "speaker") this.arrange();
  }

  /** @param {View} view */
  setView(view) {
    this.view = view;
    this.#page = 0;
    this.arrange();
  }

  /** @param {number} by pages */
  turn(by) {
    this.#page = Math.min(this.#pageCount - 1, Math.max(0, this.#page + by));
    this.arrange();
  }

  arrange() {
    const { width, height } = this.#area.getBoundingClientRect();
    if (!width || !height) return;
    const staged = this.#staged();
    const others = this.#tiles.filter((tile) => !staged.includes(tile));
    this.element.classList.toggle("staged", staged.length > 0);
    for (const { element } of this.#tiles) {
      element.classList.toggle("on-stage", staged.some((tile) => tile.element === element));
      element.classList.toggle("pinned", element === this.pinned);
    }
    if (!staged.length) return this.#showPage(others, { x: 0, y: 0, width, height });
    if (width < height) {
      const stage = others.length ? height * STAGE_SHARE : height;
      const { bottom } = place(staged, { x: 0, y: 0, width, height: stage }, { top: true });
      return this.#showPage(others, { x: 0, y: bottom + GAP, width, height: height - bottom - GAP });
    }
    const strip = others.length ? Math.floor(Math.min(width * (1 - STAGE_SHARE), MAX_STRIP_TILE)) : 0;
    place(staged, { x: 0, y: 0, width: width - (strip && strip + GAP), height });
    this.#showPage(others, { x: width - strip, y: 0, width: strip, height });
  }

  /** @returns {Placed[]} what is on the stage: the pinned tile, else screens, else who speaks; nothing in a grid */
  #staged() {
    const pinned = this.#tiles.filter(({ element }) => element === this.pinned);
    if (pinned.length || this.view === "grid" || this.#tiles.length < 2) return pinned;
    const screens = this.#tiles.filter(({ isScreen }) => isScreen);
    if (screens.length || this.view === "auto") return screens;
    const speaker = this.#tiles.find(({ element }) => element === this.#speaker) ?? this.#tiles.find(({ isOwn }) => !isOwn);
    return speaker ? [speaker] : [];
  }

  /**
   * @param {Placed[]} tiles
   * @param {{ x: number, y: number, width: number, height: number }} area
   */
  #showPage(tiles, area) {
    const size = capacity(tiles.length, area.width, area.height);
    this.#pageCount = Math.max(1, Math.ceil(tiles.length / size));
    this.#page = Math.min(this.#page, this.#pageCount - 1);
    const shown = tiles.slice(this.#page * size, (this.#page + 1) * size);
    for (const tile of tiles) tile.element.hidden = !shown.includes(tile);
    place(shown, area);
    this.#pager.hidden = this.#pageCount < 2;
    this.#pages.textContent = `Page ${this.#page + 1} of ${this.#pageCount}`;
  }
}

/**
 * Centres tiles in an area, rows from the top, the last row centred too.
 * @param {Placed[]} tiles
 * @param {{ x: number, y: number, width: number, height: number }} area
 * @param {{ top?: boolean }} [options] `top`: at the top instead of the middle
 * @returns {{ bottom: number }} where the tiles end
 */
function place(tiles, area, { top = false } = {}) {
  const fit = bestFit(tiles.length, area.width, area.height);
  const rows = Math.ceil(tiles.length / fit.columns);
  const used = rows * (fit.height + GAP) - GAP;
  const y = area.y + (top ? 0 : (area.height - used) / 2);
  for (const [index, { element }] of tiles.entries()) {
    const row = Math.floor(index / fit.columns);
    const inRow = Math.min(fit.columns, tiles.length - row * fit.columns);
    const x = area.x + (area.width - inRow * (fit.width + GAP) + GAP) / 2;
    element.hidden = false;
    for (const [name, value] of Object.entries({
      left: x + (index % fit.columns) * (fit.width + GAP), top: y + row * (fit.height + GAP), width: fit.width, height: fit.height,
    })) element.style.setProperty(name, `${Math.round(value)}px`);
  }
  return { bottom: y + used };
}
