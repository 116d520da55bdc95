/** @typedef {"camera" | "microphone" | "screen"} Publishable */

/**
 * What the page's URL asks for. `room` comes from the path (`/r/blue-otter`), the query or the hash; the rest from the query:
 * `name`, `autojoin=1`, `publish=camera,mic,screen|none`, `codec=vp8|h264|vp9|av1`, `scalability=L3T3_KEY` (one encoding with layers), `simulcast=1` (encodings at most), `subscribe=0`, `maxheight=360`, `size=640x360` (of the camera),
 * `token`, `forceTcp=1` to take the TCP path even where UDP works, and `forceRelay=1` to go
 * through a TURN server even where there is a direct way. The passphrase of an encrypted call comes as `#key=…`, which browsers
 * do not send to the server.
 * @param {URL} url
 */
export function readParams(url) {
  const query = url.searchParams;
  const [, width, height] = /^(\d+)x(\d+)$/.exec(query.get("size") ?? "") ?? [];
  const pathRoom = /^\/r\/([^/]+)\/?$/.exec(url.pathname)?.[1];
  const passphrase = new URLSearchParams(url.hash.slice(1)).get("key") ?? "";
  const room = pathRoom ?? query.get("room") ?? (passphrase ? "" : url.hash.slice(1));
  return {
    room: decode(room).trim() || randomRoom(),
    invited: Boolean(room),
    name: query.get("name") ?? "",
    token: query.get("token") ?? undefined,
    autojoin: query.get("autojoin") === "1",
    publish: readPublish(query.get("publish") ?? "camera,mic"),
    codec: query.get("codec") ?? undefined,
    scalabilityMode: query.get("scalability") ?? undefined,
    simulcast: Number(query.get("simulcast")) || undefined,
    subscribe: query.get("subscribe") !== "0",
    maxHeight: Number(query.get("maxheight")) || undefined,
    passphrase,
    forceTcp: query.get("forceTcp") === "1",
    forceRelay: query.get("forceRelay") === "1",
    size: width && height ? { width: Number(width), height: Number(height) } : {},
  };
}

/** @typedef {ReturnType<typeof readParams>} Params */

/** The link to give to others. @param {string} room @param {string} passphrase of an encrypted call */
export function shareLink(room, passphrase) {
  const key = passphrase && `#${new URLSearchParams({ key: passphrase })}`;
  return new URL(`/r/${encodeURIComponent(room)}${key}`, location.href).href;
}

/**
 * The address of the page while in a room. The passphrase stays in it where it came with it.
 * @param {URL} url the present one
 * @param {string} room
 * @param {string} passphrase
 */
export function addressOf(url, room, passphrase) {
  const came = new URLSearchParams(url.hash.slice(1)).get("key");
  return `/r/${encodeURIComponent(room)}${url.search}${passphrase && passphrase === came ? url.hash : ""}`;
}

/** @param {string} list @returns {Set<Publishable>} */
function readPublish(list) {
  const known = /** @type {Record<string, Publishable>} */ ({ camera: "camera", mic: "microphone", microphone: "microphone", screen: "screen" });
  return new Set(list.split(",").map((word) => known[word.trim()]).filter(Boolean));
}

/** A room name that one can say on the phone. */
function randomRoom() {
  const pick = (/** @type {string} */ words) => {
    const list = words.split(" ");
    return list[crypto.getRandomValues(new Uint32Array(1))[0] % list.length];
  };
  const how = pick("amber brisk calm clear deep early fair gentle green happy kind light mellow misty quiet rapid silver still sunny swift");
  const what = pick("bay beck brook canal creek delta eddy fjord harbor lagoon lake meadow mill pond reef river shore spring stream weir");
  return `${how}-${what}-${crypto.getRandomValues(new Uint32Array(1))[0] % 900 + 100}`;
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
