import { h } from "./dom.js";
import { networkPanel } from "./network.js";
import { Plot } from "./plot.js";
import { layerReason, rateText } from "./words.js";

/** @typedef {import("../sdk/index.js").Room} Room */
/** @typedef {import("../sdk/index.js").RemoteTrack} RemoteTrack */
/** @typedef {import("../sdk/stats.js").RoomStats} RoomStats */

const HEIGHTS = [180, 360, 720];
const PRIORITIES = /** @type {const} */ (["visible", "speaker", "screen", "pinned"]);

/**
 * For engineers: what every track does and why, what the link gives, and what one may ask for. Fed once a second with the
 * statistics that the tiles show too.
 */
export class Drawer {
  #room;
  #rates = new Plot("Rates", (kbps) => rateText(kbps) || "0 kb/s");
  #layers = new Plot("Received heights", (height) => `${Math.round(height)}p`);
  #transport = h("dl", { class: "figures" });
  #published = h("div");
  #received = h("div");
  /** @type {Map<string, { element: HTMLElement, figures: HTMLElement }>} by track id */
  #cards = new Map();
  element;

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    this.element = h("div", { class: "drawer" }, this.#rates.element, this.#layers.element, this.#transport,
      h("h3", {}, "Received"), this.#received, h("h3", {}, "Sent"), this.#published, room.permissions?.emulate && networkPanel(room));
  }

  /** @param {RoomStats} stats */
  update({ transport, receive, publish }) {
    const room = this.#room;
    const details = room.quality?.details;
    this.#rates.push({
      "estimate of the server": (details?.downlinkEstimate ?? 0) / 1000,
      "received": transport.receiveKbps,
      "sent": transport.sendKbps,
    });
    const video = receive.filter(({ kind }) => kind === "video");
    this.#layers.push(Object.fromEntries(video.map((row) => [this.#nameOf(row.track), row.kbps > 0 ? row.height : 0])));
    fill(this.#transport, {
      "path": `${transport.protocol} ${transport.localAddress} to ${transport.remoteAddress}`,
      "round trip": `${transport.rttMs.toFixed(0)} ms`,
      "loss up, down": `${percent(details?.uplinkLoss ?? 0)}, ${percent(details?.downlinkLoss ?? 0)}`,
      "estimate down, up": `${rateText((details?.downlinkEstimate ?? 0) / 1000) || "none yet"}, ${rateText(transport.availableKbps) || "none yet"}`,
    });
    for (const [id, { element }] of this.#cards) {
      if (room.tracks.has(id)) continue;
      element.remove();
      this.#cards.delete(id);
    }
    for (const track of room.tracks.values()) {
      const row = receive.find((candidate) => candidate.track === track.id);
      const { state } = track;
      const sending = state?.type === "sending";
      fill(this.#card(track).figures, {
        "codec": row?.codec || "none",
        "rate": rateText(row?.kbps ?? 0) || "0 kb/s",
        "loss": percent(row?.loss ?? 0),
        "round trip": `${transport.rttMs.toFixed(0)} ms`,
        "jitter": `${(row?.jitterMs ?? 0).toFixed(0)} ms`,
        ...(track.kind === "video" && {
          "picture": row?.height ? `${row.width}×${row.height} at ${Math.round(row.fps)} fps` : "none",
          "asked for": track.wanted.priority === "hidden" ? "nothing: not shown" : track.wanted.maxHeight ? `up to ${track.wanted.maxHeight} lines` : "the best",
          "target layer": sending ? `${state.targetEncoding} T${state.targetTemporal}` : "none",
          "current layer": sending ? `${state.encoding} T${state.temporal}${state.rid ? `, ${state.rid}` : ""}${state.height ? ` (${state.height} lines)` : ""}` : "none",
          "why": layerReason(track),
        }),
      });
    }
    this.#published.replaceChildren(...publish.map((row) => h("section", { class: "card" },
      h("h4", {}, `${row.source} ${row.rid ?? ""}`),
      fill(h("dl", { class: "figures" }), {
        "codec": row.codec || "none",
        "rate": row.active ? `${rateText(row.kbps) || "0 kb/s"} of ${rateText(row.targetKbps) || "0 kb/s"}` : "off: nobody takes it",
        ...(row.height && { "picture": `${row.width}×${row.height} at ${Math.round(row.fps)} fps`, "limited by": row.limitation }),
        "loss": percent(row.loss),
        "round trip": `${row.rttMs.toFixed(0)} ms`,
      }))));
  }

  /** @param {RemoteTrack} track */
  #card(track) {
    const known = this.#cards.get(track.id);
    if (known) return known;
    const figures = h("dl", { class: "figures" });
    const element = h("section", { class: "card", "data-track": track.id }, h("h4", {}, this.#nameOf(track.id)), figures, track.kind === "video" && controls(track));
    const card = { element, figures };
    this.#cards.set(track.id, card);
    this.#received.append(element);
    return card;
  }

  /** @param {string} id of a track */
  #nameOf(id) {
    const track = this.#room.tracks.get(id);
    return track ? `${track.participant.name}, ${track.source}` : id;
  }
}

/** What one may ask for. @param {RemoteTrack} track */
function controls(track) {
  const height = h("select", { id: `height-${track.id}`, onchange: () => track.prefer({ maxHeight: Number(height.value) || null }) },
    h("option", { value: "0" }, "as the tile"), ...HEIGHTS.map((lines) => h("option", { value: lines }, `${lines} lines`)));
  const priority = h("select", { id: `priority-${track.id}`, onchange: () => track.prefer({ priority: PRIORITIES.find((one) => one === priority.value) }) },
    h("option", { value: "" }, "by itself"), ...PRIORITIES.map((one) => h("option", { value: one }, one)));
  return h("div", { class: "wishes" }, h("label", { for: height.id }, "At most"), height, h("label", { for: priority.id }, "Priority"), priority,
    h("button", { type: "button", onclick: () => track.requestKeyFrame() }, "Key frame"));
}

/** @param {HTMLElement} list @param {Record<string, string>} figures */
function fill(list, figures) {
  list.replaceChildren(...Object.entries(figures).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  return list;
}

/** @param {number} fraction */
function percent(fraction) {
  return `${(fraction * 100).toFixed(fraction && fraction < 0.1 ? 1 : 0)} %`;
}
