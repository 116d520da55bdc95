import { capture } from "./capture.js";

/** @typedef {"camera" | "microphone" | "screen"} Device */
/** @typedef {import("./capture.js").CaptureOptions} CaptureOptions */

/**
 * Camera, microphone and screen of a room: opened, muted, exchanged. What is asked of one of them happens in the order in which it was
 * asked, so that who switches off what is still being opened has it off in the end. Used by `Room` alone.
 */
export class Devices {
  #room;
  /** @type {Map<Device, Promise<void>>} the last thing that was asked of each */
  #last = new Map();

  /** @param {import("./room.js").Room} room */
  constructor(room) {
    this.#room = room;
  }

  /**
   * @param {Device} source
   * @param {CaptureOptions & { track?: MediaStreamTrack }} options
   */
  enable(source, { track, ...constraints }) {
    return this.#inTurn(source, async () => {
      const room = this.#room;
      const local = room.local(source);
      if (local) {
        track?.stop();
        return room.setMuted(local, false);
      }
      const sound = room.permissions?.publish.includes("screen-audio") ?? true;
      const captured = track ? { [track.kind]: track } : await capture(source, { ...constraints, sound });
      const main = captured[kindOf(source)];
      if (!main) return;
      await room.publish(main, source === "screen" ? { source } : { source, recapture: opener(source, constraints) });
      if (source === "screen" && captured.audio) await room.publish(captured.audio, { source: "screen-audio" });
    });
  }

  /** @param {Device} source */
  disable(source) {
    return this.#inTurn(source, async () => {
      const local = this.#room.local(source);
      if (local && source === "screen") await this.#room.unpublish(local);
      else if (local) await this.#room.setMuted(local, true);
    });
  }

  /**
   * @param {"camera" | "microphone"} source
   * @param {CaptureOptions} constraints
   */
  change(source, constraints) {
    return this.#inTurn(source, async () => {
      const local = this.#room.local(source);
      if (!local) return;
      await local.change(opener(source, constraints));
      this.#room.emit("local-track", local);
    });
  }

  /** @param {Device} source @param {() => Promise<void>} work */
  #inTurn(source, work) {
    const turn = (this.#last.get(source) ?? Promise.resolve()).catch(() => {}).then(work);
    this.#last.set(source, turn);
    return turn;
  }
}

/** @param {Device} source */
function kindOf(source) {
  return source === "microphone" ? "audio" : "video";
}

/** @param {"camera" | "microphone"} source @param {CaptureOptions} constraints */
function opener(source, constraints) {
  return async () => /** @type {MediaStreamTrack} */ ((await capture(source, constraints))[kindOf(source)]);
}
