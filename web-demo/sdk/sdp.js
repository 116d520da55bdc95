/** The few edits this SDK makes to answers, as text: browsers offer no API for them. */

/**
 * @param {string} answer
 * @param {Map<string, import("./protocol.js").Source>} sources mid to source of the sections that we publish on
 * @param {boolean} tcpOnly leaves only TCP candidates, so that media has to take the TCP path
 */
export function edit(answer, sources, tcpOnly) {
  const sdp = preferOpusSettings(answer, sources);
  return tcpOnly ? sdp.replace(/^a=candidate:\S+ \d+ udp .*\r\n/gim, "") : sdp;
}

/**
 * What we send as Opus is what the *answer* says the receiver likes. Speech: silence costs nothing (DTX) and a lost packet is
 * mended from the next one (FEC); shared sound: stereo, and no DTX, which would cut quiet music.
 * @param {string} sdp
 * @param {Map<string, import("./protocol.js").Source>} sources
 */
function preferOpusSettings(sdp, sources) {
  return mapSections(sdp, (section) => {
    const source = sources.get(midOf(section) ?? "");
    const payloadType = /^a=rtpmap:(\d+) opus\//im.exec(section)?.[1];
    if (!source || !payloadType) return section;
    const wanted = { ...(source === "screen-audio" ? { stereo: "1", usedtx: "0" } : { usedtx: "1" }), useinbandfec: "1" };
    return mergeFmtp(section, payloadType, wanted);
  });
}

/**
 * @param {string} section
 * @param {string} payloadType
 * @param {Record<string, string>} wanted
 */
function mergeFmtp(section, payloadType, wanted) {
  const line = new RegExp(`^a=fmtp:${payloadType} (.*)\\r\\n`, "m");
  const present = line.exec(section)?.[1] ?? "";
  const values = Object.fromEntries(present.split(";").filter(Boolean).map((pair) => pair.trim().split("=")));
  const merged = Object.entries({ ...values, ...wanted }).map((pair) => pair.join("="));
  const fmtp = `a=fmtp:${payloadType} ${merged.join(";")}\r\n`;
  if (present) return section.replace(line, fmtp);
  return section.replace(new RegExp(`^a=rtpmap:${payloadType} .*\\r\\n`, "m"), (rtpmap) => rtpmap + fmtp);
}

/**
 * @param {string} sdp
 * @param {(section: string) => string} edit
 */
function mapSections(sdp, edit) {
  const [session, ...sections] = sdp.split(/^(?=m=)/m);
  return session + sections.map(edit).join("");
}

/** @param {string} section */
function midOf(section) {
  return /^a=mid:(\S+)/m.exec(section)?.[1];
}
