/** What the page says, in plain words. */

/** @typedef {import("../sdk/protocol.js").SlotState} SlotState */

/** @type {Record<string, [title: string, text: string] | undefined>} by error code, and source where another text suits that; others bring their own words */
const PROBLEMS = {
  "insecure-context": [
    "The browser keeps camera and microphone off on this address.",
    "Open the page over https, or on the server's own machine as http://localhost. You can still join to watch and listen.",
  ],
  "permission-denied": [
    "The {source} is not allowed.",
    "Click the icon left of the address, allow it for this site, then switch it on again. You can still join to watch and listen.",
  ],
  "no-device": ["No {source} was found.", "Plug one in and switch it on again. You can still join to watch and listen."],
  "no-device screen": ["No screen can be shared here.", "The browser found none. Try another browser, or share from another machine."],
  "device-busy": ["The {source} cannot be opened.", "Another program probably uses it: close that, then switch it on again."],
  "device-busy screen": ["The screen cannot be shared.", "The system does not show it to the browser: look into its privacy settings, then share it again."],
  "bad-message": [
    "The server does not take this name or room.",
    "A name has 1 to 64 visible characters, a room 1 to 64 letters A to Z, digits and - . _ ~, but not . or .. alone. If yours has, reload the page: it may be older than the server.",
  ],
  "unreachable": ["The server cannot be reached.", "Check that it runs, that the address is right, and that you are online. Then try again."],
  "lost": ["The connection to the server was lost.", "Check your network, then join again."],
  "room-full": ["This room is full.", "Ask somebody to leave, or meet in another room."],
  "draining": ["The server is about to stop.", "It takes no new calls. Try again in some minutes, or use another server."],
  "going-away": ["The server is about to stop.", "The call goes on for a little while. Agree with the others on where to meet next."],
  "overloaded": ["The server has too much to do.", "Wait a few seconds, then try again."],
  "udp-blocked": [
    "Sound and picture take a detour over TCP.",
    "UDP does not get through to the server, which a firewall may block. The call works, but may lag. Who runs this network can open the server's UDP media port.",
  ],
  "was-encrypted": [
    "This room was encrypted when you were here last.",
    "Without its passphrase the server could see and hear what you send, and who has the passphrase does not. Type it again.",
  ],
  "token-required": ["This server lets in invited people only.", "Ask who invited you for a link with a token in it."],
  "left": ["You left the room.", "See you next time."],
};

/**
 * @param {unknown} error
 * @returns {{ code: string, title: string, text: string }}
 */
export function problem(error) {
  const said = /** @type {{ code?: unknown, source?: string, message?: string, hint?: string }} */ (Object(error));
  const { message = String(error), hint = "", source = "device" } = said;
  // Those of the browser have numbers.
  const code = typeof said.code === "string" ? said.code : "unexpected";
  if (code.startsWith("token-") && !PROBLEMS[code]) {
    return { code, title: "This invitation does not let you in.", text: `${message} Ask who invited you for a new link.` };
  }
  if (code === "kicked") return { code, title: "You were removed from the room.", text: message };
  const [title, text] = PROBLEMS[`${code} ${source}`] ?? PROBLEMS[code] ?? [message, hint];
  return { code, title: title.replace("{source}", source), text };
}

/** @type {Record<import("../sdk/protocol.js").PauseReason, string>} */
const PAUSES = {
  "bandwidth": "paused: bandwidth",
  "server-load": "paused: the server is overloaded",
  "muted": "camera off",
  "not-visible": "paused: not visible",
  "codec": "paused: this browser lacks the codec",
  "no-media": "paused: nothing arrives",
  "not-talking": "paused: not talking",
};

/**
 * What a tile receives: "720p · f · 1.6 Mb/s", or why it does not.
 * @param {SlotState | null} state
 * @param {import("./tile.js").Stats | undefined} stats
 */
export function layerText(state, stats) {
  if (!state) return "waiting";
  if (state.type === "starting") return "starting";
  if (state.type === "paused") return PAUSES[state.reason] ?? `paused: ${state.reason}`;
  const height = stats?.height || state.height;
  return [height && `${height}p`, state.rid ?? state.codec, rateText(stats?.kbps ?? 0)].filter(Boolean).join(" · ");
}

/** Why what somebody sends is not played, in an encrypted call. */
export const DECRYPTION = {
  "decrypted": "",
  "other-passphrase": "Encrypted with another passphrase: compare yours",
  "unencrypted": "Sends without encryption: not played here",
};

/** @param {number} score from 1 (bad) to 5 (good) */
export function qualityText(score) {
  return `Connection: ${score >= 4 ? "good" : score >= 2.5 ? "fair" : "poor"}`;
}

/**
 * Why a tile gets the layer that it gets, for engineers.
 * @param {import("../sdk/index.js").RemoteTrack} track
 */
export function layerReason({ state, wanted, preference }) {
  if (!state) return "no slot yet";
  if (state.type === "starting") return "waits for a key frame";
  if (state.type === "paused") return PAUSES[state.reason] ?? `paused: ${state.reason}`;
  if (state.targetEncoding > state.encoding) return "waits for the target's key frame";
  if (state.limit === "source") return "the sender gives no more";
  if (state.limit === "bandwidth") return "the link takes no more";
  if (state.limit === "server-load") return "the server is overloaded";
  return preference.maxHeight ? `limited to ${preference.maxHeight} lines here` : `the tile needs ${wanted.maxHeight} lines`;
}

/** @param {number} kbps */
export function rateText(kbps) {
  if (kbps < 1) return "";
  return kbps < 1000 ? `${Math.round(kbps)} kb/s` : `${(kbps / 1000).toFixed(1)} Mb/s`;
}

/** Up to two letters for who has no picture. @param {string} name */
export function initials(name) {
  const words = name.split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const letters = [words[0], words.length > 1 ? words[words.length - 1] : ""].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toUpperCase() || "?";
}
