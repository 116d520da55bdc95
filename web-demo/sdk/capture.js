import { MediaError } from "./errors.js";

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {{ deviceId?: string, width?: number, height?: number, frameRate?: number }} CaptureOptions */

/**
 * Opens camera, microphone or screen. A screen may come with its sound.
 * @param {"camera" | "microphone" | "screen"} source
 * @param {CaptureOptions} [options] a wish, not a demand; default 1280x720 at 30
 * @returns {Promise<{ video?: MediaStreamTrack, audio?: MediaStreamTrack }>}
 * @throws {MediaError}
 */
export async function capture(source, { deviceId, width = 1280, height = 720, frameRate = 30 } = {}) {
  const media = navigator.mediaDevices;
  if (!media) throw MediaError.insecureContext();
  const device = deviceId ? { deviceId: { exact: deviceId } } : {};
  try {
    const stream =
      source === "screen" ? await media.getDisplayMedia({ video: { frameRate: 15 }, audio: true })
      : source === "camera" ? await media.getUserMedia({ video: { ...device, width, height, frameRate } })
      : await media.getUserMedia({ audio: { ...device, echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
    return { video: stream.getVideoTracks()[0], audio: stream.getAudioTracks()[0] };
  } catch (error) {
    throw MediaError.from(error, source);
  }
}

/**
 * Devices to choose from. Before the first permission they have no names.
 * @returns {Promise<{ cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], speakers: MediaDeviceInfo[] }>}
 */
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const of = (/** @type {MediaDeviceKind} */ kind) => all.filter((device) => device.kind === kind);
  return { cameras: of("videoinput"), microphones: of("audioinput"), speakers: of("audiooutput") };
}

/**
 * Calls back when a device is plugged in or out.
 * @param {() => void} listener
 * @returns {() => void} ends it
 */
export function onDevicesChange(listener) {
  const media = navigator.mediaDevices;
  media?.addEventListener("devicechange", listener);
  return () => media?.removeEventListener("devicechange", listener);
}
