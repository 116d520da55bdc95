import { devices, onDevicesChange } from "../sdk/index.js";
import { h, icon } from "./dom.js";
import { recall, remember } from "./memory.js";

/** @typedef {"camera" | "microphone" | "speaker"} DeviceKind */

const KEY = "sluice-device-";
const LABELS = { camera: "Camera", microphone: "Microphone", speaker: "Speaker" };

/** The device last chosen, or undefined for the browser's own choice. @param {DeviceKind} kind */
export function chosenDevice(kind) {
  return recall(KEY + kind) ?? undefined;
}

/** The device last chosen, where it is plugged in. @param {"camera" | "microphone" | "screen"} source */
export async function presentDevice(source) {
  const deviceId = source === "screen" ? undefined : chosenDevice(source);
  if (!deviceId) return undefined; // and no question to the browser, which Firefox answers to the focused window only
  const { cameras, microphones } = await devices();
  return (source === "camera" ? cameras : microphones).some((device) => device.deviceId === deviceId) ? deviceId : undefined;
}

/**
 * Lists to choose camera, microphone and speaker from, which follow what is plugged in and out.
 * @param {(kind: DeviceKind, deviceId: string) => void} onChoose
 * @returns {{ element: HTMLElement, refresh: () => Promise<void>, stop: () => void }} `refresh` when permission has given the devices names
 */
export function deviceChooser(onChoose) {
  const choices = /** @type {DeviceKind[]} */ (["camera", "microphone", "speaker"]).map((kind) => {
    const select = h("select", { id: `device-${kind}`, onchange: () => choose(kind, select.value) });
    return { kind, select, row: h("div", { class: "device" }, h("label", { for: select.id }, LABELS[kind]), select) };
  });
  const element = h("div", { class: "devices" }, ...choices.map(({ row }) => row));
  const stop = onDevicesChange(() => void refresh());
  void refresh();
  return { element, refresh, stop };

  /** @param {DeviceKind} kind @param {string} deviceId */
  function choose(kind, deviceId) {
    remember(KEY + kind, deviceId);
    onChoose(kind, deviceId);
  }

  async function refresh() {
    const { cameras, microphones, speakers } = await devices();
    for (const { kind, select, row } of choices) {
      const list = (kind === "camera" ? cameras : kind === "microphone" ? microphones : speakers).filter(({ deviceId }) => deviceId);
      const value = select.value || chosenDevice(kind);
      select.replaceChildren(...list.map(({ deviceId, label }, index) => h("option", { value: deviceId }, label || `${LABELS[kind]} ${index + 1}`)));
      if (list.some(({ deviceId }) => deviceId === value)) select.value = /** @type {string} */ (value);
      row.hidden = !list.length;
    }
  }
}

/** A bar that shows how loud a microphone is. Give it another track, or null, at any time. */
export function levelMeter() {
  const bar = h("i");
  const element = h("div", { class: "meter", role: "meter", "aria-label": "Microphone level", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0 }, icon("microphone"), h("span", {}, bar));
  /** @type {AudioContext | null} */
  let context = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;

  /** @param {MediaStreamTrack | null} track */
  function show(track) {
    clearInterval(timer);
    void context?.close();
    context = null;
    set(0);
    if (!track) return;
    context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
      // -60 dB is silence, 0 dB the loudest.
      set(Math.round(Math.min(100, Math.max(0, 100 + (20 * Math.log10(rms || 1e-6) * 100) / 60))));
    }, 100);
  }

  /** @param {number} percent */
  function set(percent) {
    bar.style.setProperty("width", `${percent}%`);
    element.setAttribute("aria-valuenow", String(percent));
  }

  return { element, show };
}
