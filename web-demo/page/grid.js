const GAP = 12;
const ASPECT = 16 / 9;
/** Of a tall area, the part for the stage; of a wide one, at least so much. */
const STAGE_SHARE = 0.6;
/** Pixels that a tile beside the stage is wide at least; below that the strip scrolls. */
const MIN_STRIP = 150;

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

/**
 * Lays tiles out: all alike, or, while somebody shares a screen, that on a stage with the others in a strip beside it,
 * or below it where the area is tall.
 */
export class Grid {
  element = document.createElement("div");
  /** @type {{ element: HTMLElement, stage: boolean }[]} */
  #tiles = [];
  #stage = document.createElement("div");
  #rest = document.createElement("div");

  constructor() {
    this.element.className = "grid";
    this.#stage.className = "tiles stage";
    this.#rest.className = "tiles";
    this.element.append(this.#stage, this.#rest);
    new ResizeObserver(() => this.layout()).observe(this.element);
  }

  /**
   * @param {HTMLElement} element
   * @param {{ stage?: boolean }} [options]
   */
  add(element, { stage = false } = {}) {
    this.#tiles.push({ element, stage });
    (stage ? this.#stage : this.#rest).append(element);
    this.layout();
  }

  /** @param {HTMLElement} element */
  remove(element) {
    this.#tiles = this.#tiles.filter((tile) => tile.element !== element);
    element.remove();
    this.layout();
  }

  layout() {
    const { width, height } = this.element.getBoundingClientRect();
    const staged = this.#tiles.filter(({ stage }) => stage).length;
    const others = this.#tiles.length - staged;
    const tall = width < height;
    this.element.classList.toggle("staged", staged > 0);
    this.element.classList.toggle("tall", tall);
    if (!staged) return place(this.#rest, bestFit(others, width, height));
    if (tall) {
      const stage = bestFit(staged, width, height * STAGE_SHARE);
      place(this.#stage, stage);
      return place(this.#rest, bestFit(others, width, height - Math.ceil(staged / stage.columns) * (stage.height + GAP)));
    }
    const each = (height - GAP * (others - 1)) / Math.max(1, others);
    const strip = Math.floor(Math.min(width * (1 - STAGE_SHARE), 260, Math.max(MIN_STRIP, each * ASPECT)));
    place(this.#stage, bestFit(staged, width - strip - GAP, height));
    place(this.#rest, { columns: 1, width: strip, height: Math.floor(strip / ASPECT) });
  }
}

/**
 * @param {HTMLElement} element
 * @param {{ columns: number, width: number, height: number }} fit
 */
function place(element, { columns, width, height }) {
  element.style.setProperty("--columns", String(Math.max(1, columns)));
  element.style.setProperty("--tile-width", `${width}px`);
  element.style.setProperty("--tile-height", `${height}px`);
}
