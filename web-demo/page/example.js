// A call with the SDK: /example.html?room=daily&name=Ada
import { Room } from "../sdk/index.js";

const query = new URLSearchParams(location.search);
const said = /** @type {HTMLElement} */ (document.getElementById("said"));
try {
  const room = await Room.connect(location.origin, { room: query.get("room") ?? "example", name: query.get("name") ?? "Guest" });
  const show = (/** @type {import("../sdk/index.js").RemoteTrack} */ track) => {
    if (track.kind !== "video") return; // sound plays by itself
    const video = Object.assign(document.createElement("video"), { autoplay: true, muted: true, playsInline: true, width: 480, title: track.participant.name });
    document.getElementById("videos")?.append(video);
    track.attach(video); // in the resolution that the element's size asks for, and only while it is visible
    room.on("track-ended", (ended) => ended === track && video.remove());
  };
  for (const track of room.tracks.values()) show(track);
  room.on("track-published", show);
  room.on("state", ({ state }) => (said.textContent = state));
  room.on("closed", ({ message }) => (said.textContent = message));
  document.getElementById("leave")?.addEventListener("click", room.leave);
  await room.enable("camera");
  await room.enable("microphone");
} catch (error) {
  const { message, hint = "" } = /** @type {import("../sdk/index.js").SluiceError} */ (error);
  said.textContent = `${message} ${hint}`;
}
