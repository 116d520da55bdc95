/** @typedef {import("./participant.js").RemoteTrack} RemoteTrack */
/** @typedef {import("./publish.js").LocalTrack} LocalTrack */

/**
 * Rates are over the time since the last sample, in kbit/s; `loss` is a fraction.
 * @typedef {{ track: string, mid: string, kind: string, codec: string, kbps: number, loss: number, jitterMs: number,
 *   width: number, height: number, fps: number, framesDecoded: number, keyFramesDecoded: number, freezes: number,
 *   audioLevel: number, totalAudioEnergy: number, packetsLost: number }} ReceiveStats
 * @typedef {{ track: string | null, source: string, rid: string | null, active: boolean, codec: string, kbps: number, targetKbps: number,
 *   width: number, height: number, fps: number, framesEncoded: number, limitation: string, rttMs: number, loss: number }} PublishStats
 * @typedef {{ state: RTCPeerConnectionState, rttMs: number, protocol: string, localAddress: string, remoteAddress: string,
 *   availableKbps: number, sendKbps: number, receiveKbps: number }} TransportStats
 * @typedef {{ transport: TransportStats, receive: ReceiveStats[], publish: PublishStats[] }} RoomStats
 */

/** Turns `getStats` into one row per received track and per published encoding, with rates between samples. */
export class StatsSampler {
  /** @type {Map<string, { at: number, values: Record<string, number> }>} */
  #last = new Map();

  /**
   * @param {RTCPeerConnection} pc
   * @param {Iterable<RemoteTrack>} remotes
   * @param {Iterable<LocalTrack>} locals
   * @returns {Promise<RoomStats>}
   */
  async sample(pc, remotes, locals) {
    const receive = [...remotes].map((track) => this.#receive(track));
    const publish = [...locals].map((local) => this.#publish(local));
    return {
      transport: await this.#transport(pc),
      receive: (await Promise.all(receive)).flat(),
      publish: (await Promise.all(publish)).flat(),
    };
  }

  /** @param {RemoteTrack} track @returns {Promise<ReceiveStats[]>} */
  async #receive(track) {
    const report = await track.receiver?.getStats();
    if (!report || track.mid === null) return [];
    const [rtp] = ofType(report, "inbound-rtp");
    if (!rtp) return [];
    const rate = this.#rates(`in ${track.mid}`, rtp, ["bytesReceived", "packetsLost", "packetsReceived", "framesDecoded"]);
    return [{
      track: track.id,
      mid: track.mid,
      kind: track.kind,
      codec: codecName(report, rtp),
      kbps: (rate.bytesReceived * 8) / 1000,
      loss: Math.max(0, rate.packetsLost) / (Math.max(0, rate.packetsLost) + rate.packetsReceived || 1),
      jitterMs: (rtp.jitter ?? 0) * 1000,
      width: rtp.frameWidth ?? 0,
      height: rtp.frameHeight ?? 0,
      fps: rtp.framesPerSecond ?? rate.framesDecoded,
      framesDecoded: rtp.framesDecoded ?? 0,
      keyFramesDecoded: rtp.keyFramesDecoded ?? 0,
      freezes: rtp.freezeCount ?? 0,
      audioLevel: rtp.audioLevel ?? 0,
      totalAudioEnergy: rtp.totalAudioEnergy ?? 0,
      packetsLost: rtp.packetsLost ?? 0,
    }];
  }

  /** @param {LocalTrack} local @returns {Promise<PublishStats[]>} */
  async #publish(local) {
    const report = await local.sender?.getStats();
    if (!report) return [];
    const active = new Map(local.encodings.map(({ rid, wanted, enabled }) => [rid, wanted && enabled]));
    return ofType(report, "outbound-rtp").map((rtp) => {
      const remote = report.get(rtp.remoteId) ?? {};
      const rid = rtp.rid ?? null;
      const rate = this.#rates(`out ${local.mid} ${rid} ${rtp.ssrc}`, rtp, ["bytesSent", "framesEncoded"]);
      return {
        track: local.id,
        source: local.source,
        rid,
        active: active.get(rid) ?? true,
        codec: codecName(report, rtp),
        kbps: (rate.bytesSent * 8) / 1000,
        targetKbps: (rtp.targetBitrate ?? 0) / 1000,
        width: rtp.frameWidth ?? 0,
        height: rtp.frameHeight ?? 0,
        fps: rtp.framesPerSecond ?? rate.framesEncoded,
        framesEncoded: rtp.framesEncoded ?? 0,
        limitation: rtp.qualityLimitationReason ?? "none",
        rttMs: (remote.roundTripTime ?? 0) * 1000,
        loss: remote.fractionLost ?? 0,
      };
    });
  }

  /** @param {RTCPeerConnection} pc @returns {Promise<TransportStats>} */
  async #transport(pc) {
    const report = await pc.getStats();
    const [transport] = ofType(report, "transport");
    const pairs = ofType(report, "candidate-pair");
    const pair = report.get(transport?.selectedCandidatePairId) ?? pairs.find(({ selected, nominated }) => selected ?? nominated) ?? {};
    const local = report.get(pair.localCandidateId) ?? {};
    const remote = report.get(pair.remoteCandidateId) ?? {};
    const rate = this.#rates("pair", pair, ["bytesSent", "bytesReceived"]);
    return {
      state: pc.connectionState,
      rttMs: (pair.currentRoundTripTime ?? 0) * 1000,
      protocol: local.protocol ?? "",
      localAddress: address(local),
      remoteAddress: address(remote),
      availableKbps: (pair.availableOutgoingBitrate ?? 0) / 1000,
      sendKbps: (rate.bytesSent * 8) / 1000,
      receiveKbps: (rate.bytesReceived * 8) / 1000,
    };
  }

  /**
   * Growth per second of counters since the last sample under this key; 0 at first and when they started over.
   * @param {string} key
   * @param {any} entry
   * @param {string[]} names
   * @returns {Record<string, number>}
   */
  #rates(key, entry, names) {
    const at = entry.timestamp ?? 0;
    const values = Object.fromEntries(names.map((name) => [name, entry[name] ?? 0]));
    const last = this.#last.get(key);
    this.#last.set(key, { at, values });
    const seconds = last ? (at - last.at) / 1000 : 0;
    return Object.fromEntries(names.map((name) => [name, last && seconds > 0 ? Math.max(0, values[name] - last.values[name]) / seconds : 0]));
  }
}

/** @param {RTCStatsReport} report @param {string} type @returns {any[]} */
function ofType(report, type) {
  return [...report.values()].filter((entry) => entry.type === type);
}

/** @param {RTCStatsReport} report @param {any} rtp */
function codecName(report, rtp) {
  return (report.get(rtp.codecId)?.mimeType ?? "").split("/").pop();
}

/** @param {any} candidate */
function address(candidate) {
  if (!candidate.port) return "";
  const host = candidate.address ?? candidate.ip ?? "";
  return `${host.includes(":") ? `[${host}]` : host}:${candidate.port}`;
}
