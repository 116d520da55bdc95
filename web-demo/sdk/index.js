/**
 * The Sluice SDK: a room on a Sluice server from the browser. Plain ES modules, no dependencies.
 *
 *     import { Room } from "/sdk/index.js";
 *     const room = await Room.connect(location.origin, { room: "blue-otter", name: "Ada" });
 *     room.on("track-published", (track) => track.kind === "video" && track.attach(document.querySelector("video")));
 *     await room.enable("camera");
 *     await room.enable("microphone");
 *
 * Audio of the others plays by itself; video is asked for in the size in which it is shown.
 */
export { Room } from "./room.js";
export { Participant, RemoteTrack } from "./participant.js";
export { capture, devices, onDevicesChange } from "./capture.js";
export { DATA_LIMITS } from "./data.js";
/** @typedef {import("./publish.js").LocalTrack} LocalTrack */
export { ClosedError, ConnectError, DataError, MediaError, ServerError, SluiceError } from "./errors.js";
