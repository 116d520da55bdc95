import { MediaError } from "./errors.js";

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {{ deviceId?: string, width?: number, height?: number, frameRate?: number, sound?: boolean }} CaptureOptions `sound`: of a screen */

/**
 * Opens camera, microphone or screen. A screen may come with its sound.
 * @param {"camera" | "microphone" | "screen"} source
 * @param {CaptureOptions} [options] a wish, not a demand; default 1280x720 at 30
 * @returns {Promise<{ video?: MediaStreamTrack, audio?: MediaStreamTrack }>}
 * @throws {MediaError}
 */
export async function capture(source, { deviceId, width = 1280, height = 720, frameRate = 30, sound = true } = {}) {
  const media = navigator.mediaDevices;
  if (!media) throw MediaError.insecureContext();
  const open = (/** @type {MediaTrackConstraints} */ device) =>
    source === "screen" ? media.getDisplayMedia({ video: { frameRate: 15 }, audio: sound })
    : source === "camera" ? media.getUserMedia({ video: { ...device, width, height, frameRate } })
    : media.getUserMedia({ audio: { ...device, echoCancellation: true, noiseSuppression: true, autoGainControl: true } });
  try {
    const stream = await open(deviceId ? { deviceId: { exact: deviceId } } : {}).catch((error) => {
      // It is not plugged in: then the browser's own choice does.
      if (deviceId && /^(Overconstrained|NotFound)Error$/.test(error.name)) return open({});
      throw error;
    });
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
