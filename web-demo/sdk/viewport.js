/** @typedef {import("./participant.js").RemoteTrack} RemoteTrack */

/** Milliseconds in which changes of size and visibility are gathered into one message. */
const SETTLE = 120;

/**
 * Watches the elements that show video, and says in what height, in device pixels, each track is needed: the largest
 * visible one counts. Nothing is needed off screen or in a hidden tab.
 */
export class Viewport {
  /** @type {Map<Element, { track: RemoteTrack, video: HTMLVideoElement, onScreen: boolean }>} by the observed box */
  #boxes = new Map();
  /** @type {Set<RemoteTrack>} */
  #dirty = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #onChange;

  /** @param {(needs: { track: RemoteTrack, height: number }[]) => void} onChange height 0: not visible */
  constructor(onChange) {
    this.#onChange = onChange;
    this.#resizes = new ResizeObserver((entries) => entries.forEach(({ target }) => this.#touch(target)));
    this.#crossings = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const box = this.#boxes.get(target);
        if (box) box.onScreen = isIntersecting;
        this.#touch(target);
      }
    });
    document.addEventListener("visibilitychange", this.#touchAll);
  }

  #resizes;
  #crossings;

  /**
   * @param {RemoteTrack} track
   * @param {HTMLVideoElement} video
   * @param {Element} box what is watched: the video itself, or the tile around it where the video is hidden at first
   */
  watch(track, video, box) {
    this.#boxes.set(box, { track, video, onScreen: false });
    this.#resizes.observe(box);
    this.#crossings.observe(box);
  }

  /** @param {HTMLVideoElement} video */
  unwatch(video) {
    for (const [box, entry] of this.#boxes) {
      if (entry.video !== video) continue;
      this.#touch(box);
      this.#boxes.delete(box);
      this.#resizes.unobserve(box);
      this.#crossings.unobserve(box);
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#resizes.disconnect();
    this.#crossings.disconnect();
    document.removeEventListener("visibilitychange", this.#touchAll);
  }

  #touchAll = () => [...this.#boxes.keys()].forEach((box) => this.#touch(box));

  /** @param {Element} box */
  #touch(box) {
    const entry = this.#boxes.get(box);
    if (!entry) return;
    this.#dirty.add(entry.track);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const tracks = [...this.#dirty];
      this.#dirty.clear();
      this.#onChange(tracks.map((track) => ({ track, height: this.#height(track) })));
    }, SETTLE);
  }

  /** @param {RemoteTrack} track */
  #height(track) {
    if (document.visibilityState === "hidden") return 0;
    const heights = [...this.#boxes]
      .filter(([, entry]) => entry.track === track && entry.onScreen)
      .map(([box, { video }]) => heightNeeded(box, video));
    return Math.max(0, ...heights);
  }
}

/**
 * @param {Element} box
 * @param {HTMLVideoElement} video
 */
function heightNeeded(box, video) {
  const { width, height } = box.getBoundingClientRect();
  if (!width || !height) return 0;
  const aspect = video.videoWidth ? video.videoWidth / video.videoHeight : 16 / 9;
  const fit = getComputedStyle(video).objectFit === "cover" ? Math.max : Math.min;
  return Math.round(fit(height, width / aspect) * devicePixelRatio);
}
