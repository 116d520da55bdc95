import { Connection } from "./connection.js";
import { DataLanes } from "./data.js";
import { Emitter } from "./emitter.js";
import { ClosedError, DataError, ServerError, SluiceError } from "./errors.js";
import { assignSlots, Participant, RemoteTrack } from "./participant.js";
import { Signaling } from "./signaling.js";
import { Speakers } from "./speakers.js";
import { Subscriptions } from "./subscriptions.js";

/** @typedef {import("./protocol.js").Source} Source */
/** @typedef {import("./publish.js").LocalTrack} LocalTrack */
/** @typedef {import("./types.js").Options} Options */
/** @typedef {import("./types.js").State} State */

/** Milliseconds: a path may vanish briefly; and the time that a repaired path gets before we start from scratch. */
const DISCONNECT_GRACE = 2_000;
const REPAIR_TIMEOUT = 8_000;
/** Milliseconds until a first path that does not come about counts as trouble; browsers themselves wait far longer. */
const FIRST_PATH_TIMEOUT = 15_000;
/** Slots asked for up front for those who are already here; the server asks for more where it sees fit. */
const FIRST_SLOTS = { audio: 8, video: 24 };

/**
 * A room on a Sluice server: who is in it, what they publish, what we publish. Survives lost sockets and lost paths.
 * @extends {Emitter<import("./types.js").Events>}
 */
export class Room extends Emitter {
  /** @type {Map<string, Participant>} the others, by id */
  participants = new Map();
  /** @type {Map<string, RemoteTrack>} everything the others publish, by id */
  tracks = new Map();
  /** @type {Set<LocalTrack>} */ localTracks = new Set();
  /** @type {State} */ state = { state: "connected", cause: null };
  /** @type {string | null} participant id of who speaks */
  speaker = null;
  /** Our own id and, as the server has it, name. */
  id = "";
  name = "";
  /** @type {import("./protocol.js").Permissions | null} what the access token grants */
  permissions = null;
  /** @type {{ score: number, details?: import("./protocol.js").QualityDetails } | null} of our own connection, from 1 to 5 */
  quality = null;

  #options;
  #signaling;
  #connection;
  /** @type {RTCIceServer[]} */ #iceServers = [];
  /** @type {import("./e2ee.js").Encryption | null} */ #encryption = null;
  #data = new DataLanes({
    onMessage: (message) => this.emit("data", { ...message, participant: this.participants.get(message.from ?? "") }),
    onLost: (messages) => this.emit("data-lost", { messages }),
    onOpen: (open) => this.emit("data-state", open),
  });
  #speakers = new Speakers();
  #subscriptions;
  /** @type {Promise<import("./stats.js").StatsSampler> | undefined} loaded when it is asked for */
  #stats;
  /** @type {Promise<import("./devices.js").Devices> | undefined} loaded when something is switched on */
  #opened;
  /** What is broken now. */
  #trouble = { signaling: false, media: false };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #grace;

  /**
   * Joins. Rejects with `ConnectError` where there is no server, `ServerError` where it says no.
   * @param {string} url of the server, http(s) or ws(s)
   * @param {Options} options
   * @returns {Promise<Room>}
   */
  static async connect(url, options) {
    const { room, name, token } = options;
    const encryption = await startEncryption(room, options.passphrase);
    const signaling = new Signaling(url, { room, name, token });
    const instance = new Room(signaling, options, encryption);
    try {
      instance.#onJoined(await signaling.connect());
    } catch (error) {
      instance.#teardown();
      throw error;
    }
    return instance;
  }

  /**
   * Use `Room.connect`.
   * @param {Signaling} signaling
   * @param {Options} options
   * @param {import("./e2ee.js").Encryption | null} encryption
   */
  constructor(signaling, options, encryption) {
    super();
    this.#options = options;
    this.#encryption = encryption;
    this.#signaling = signaling;
    this.#subscriptions = new Subscriptions(signaling, options);
    this.#connection = this.#newConnection();
    signaling.on("message", (message) => this.#onMessage(message));
    signaling.on("dropped", () => this.#setTrouble({ signaling: true }));
    signaling.on("joined", (joined) => this.#onJoined(joined));
    signaling.on("closed", (error) => this.#onClosed(error));
    this.#speakers.on("blocked", (blocked) => this.emit("audio-blocked", blocked));
    addEventListener("pagehide", this.leave);
  }

  /** @param {Source} source @returns {LocalTrack | undefined} what we publish of it, muted or not */
  local(source) {
    return [...this.localTracks].find((local) => local.source === source);
  }

  /**
   * Switches camera, microphone or screen on: opens the device and publishes it, or unmutes what is published.
   * @param {"camera" | "microphone" | "screen"} source
   * @param {import("./capture.js").CaptureOptions & { track?: MediaStreamTrack }} [options] `track`: one that is open already
   * @throws {import("./errors.js").MediaError}
   */
  async enable(source, options = {}) {
    return (await this.#devices()).enable(source, options);
  }

  /**
   * Switches it off: camera and microphone are muted and stay published, a screen goes away.
   * @param {"camera" | "microphone" | "screen"} source
   */
  async disable(source) {
    return (await this.#devices()).disable(source);
  }

  /**
   * Publishes any track; resolves once the server takes it.
   * @param {MediaStreamTrack} track
   * @param {ConstructorParameters<typeof import("./publish.js").LocalTrack>[1]} options
   */
  async publish(track, options) {
    const { LocalTrack } = await import("./publish.js");
    if (this.#isClosed) {
      track.stop();
      throw new ClosedError("left", "The room is closed.");
    }
    const { codec, scalabilityMode, simulcast } = this.#options;
    const local = new LocalTrack(track, { codec, scalabilityMode, simulcast, ...options });
    local.on("ended", () => this.#onLocalEnded(local));
    this.localTracks.add(local);
    let connection = this.#connection;
    let negotiation = connection.publish(local);
    for (;;) {
      try {
        await negotiation;
        break;
      } catch (error) {
        if (!this.#isClosed && connection !== this.#connection) {
          connection = this.#connection; // it was bound again there
          negotiation = connection.negotiate();
          continue;
        }
        this.localTracks.delete(local);
        local.stop();
        connection.unpublish(local).catch(() => {});
        throw error;
      }
    }
    this.emit("local-track", local);
    return local;
  }

  /** @param {LocalTrack} local */
  async unpublish(local) {
    if (!this.localTracks.delete(local)) return;
    local.stop();
    const sound = local.source === "screen" && this.local("screen-audio");
    this.emit("local-track-ended", local);
    await Promise.all([this.#connection.unpublish(local), sound && this.unpublish(sound)]);
  }

  /**
   * @param {LocalTrack} local
   * @param {boolean} muted
   */
  async setMuted(local, muted) {
    await local.setMuted(muted);
    if (local.id) this.#signaling.send({ type: "mute", track: local.id, muted });
    this.emit("local-track", local);
  }

  /**
   * Goes on with another camera or microphone.
   * @param {"camera" | "microphone"} source
   * @param {import("./capture.js").CaptureOptions} constraints
   */
  async switchDevice(source, constraints) {
    return (await this.#devices()).change(source, constraints);
  }

  /**
   * Sends a message to the others in the room, or to some; theirs come as `data`. Resolves once it is on its way: who awaits that
   * does not send faster than the connection takes.
   * @param {string | ArrayBuffer | ArrayBufferView} data at most `DATA_LIMITS.message` bytes
   * @param {import("./data.js").SendOptions} [options]
   * @throws {DataError}
   */
  async send(data, options) {
    if (this.permissions?.data === false) throw new DataError("data-not-permitted", "The token does not allow to send data.");
    return this.#data.send(data, options);
  }

  /** Messages can flow now; changes come as `data-state`. */
  get dataOpen() {
    return this.#data.open;
  }

  /** Plays sound after the browser refused to (`audio-blocked`); call it from a click. */
  startAudio() {
    return this.#speakers.start();
  }

  /** @param {string} deviceId where to play sound */
  setSpeaker(deviceId) {
    return this.#speakers.setDevice(deviceId);
  }

  get audioBlocked() {
    return this.#speakers.blocked;
  }

  /** One row per received track and published encoding; rates are since the last call. */
  async stats() {
    this.#stats ??= import("./stats.js").then(({ StatsSampler }) => new StatsSampler());
    const sampler = await this.#stats;
    const receiving = [...this.tracks.values()].filter((track) => track.mid !== null);
    return sampler.sample(this.#connection.pc, receiving, this.localTracks);
  }

  /** Our peer connection; another one after a repair from scratch. */
  get peerConnection() {
    return this.#connection.pc;
  }

  /** Whether what we send is encrypted from end to end, and only such media of others is played. */
  get encrypted() {
    return this.#encryption !== null;
  }

  /**
   * Encrypts media from end to end by this passphrase from now on, or not any more. Turning it on or off takes a new peer connection.
   * @param {string} [passphrase]
   * @throws {SluiceError} `encryption-unsupported`
   */
  async setPassphrase(passphrase) {
    if (passphrase && this.#encryption) return this.#encryption.setPassphrase(passphrase);
    const next = await startEncryption(this.#options.room, passphrase);
    this.#encryption?.close();
    this.#encryption = next;
    if (this.#isClosed) return next?.close();
    this.#replaceConnection();
    this.#requestSlots();
  }

  /**
   * Has the server emulate a worse network for us, where it runs with `--dev` (`permissions.emulate`); without a direction that is as it is.
   * @param {{ up?: import("./protocol.js").NetworkPath | null, down?: import("./protocol.js").NetworkPath | null }} network
   */
  emulate(network) {
    this.#signaling.send({ type: "emulate", ...network });
  }

  /** A new media path by ICE restart, e.g. after changing networks; done by itself when the path fails. */
  restartIce() {
    return this.#connection.restartIce();
  }

  /** A new peer connection in the same session, where a new path is not enough; done by itself too. */
  reconnectMedia() {
    // The server may notice the loss of the old one meanwhile: one repair at a time, or the second would close what the first waits for.
    return this.#repair({ fresh: true });
  }

  leave = () => this.#signaling.leave();

  // What the server says.

  /** @param {import("./protocol.js").ServerMessage} message */
  #onMessage(message) {
    switch (message.type) {
      case "participant-joined": return this.#addParticipant(message.participant);
      case "participant-left": return this.#removeParticipant(message.participant, message.reason);
      case "track-published": return this.#addTrack(message.track);
      case "track-ended": return this.#removeTrack(message.track);
      case "track-muted": return this.#onMuted(message.track, message.muted);
      case "slots": return this.#onSlots(message.slots);
      case "slots-wanted": return this.#report(this.#connection.addSlots(message));
      case "speaker": return this.#setSpeaking(message.participant);
      case "encodings": return this.#report(this.#localById(message.track)?.setWanted(message.encodings));
      case "codec": return this.#report(this.#connection.setCodec(message.track, message.payloadType));
      case "connection": return this.#onServerSide(message);
      case "going-away": return this.emit("going-away", message.reason);
      case "error": return this.emit("error", new ServerError(message));
      case "quality": {
        this.quality = message;
        this.emit("quality", message);
        for (const other of message.others ?? []) {
          const participant = this.participants.get(other.participant);
          if (!participant) continue;
          participant.quality = other.score;
          this.emit("quality", other);
        }
        return;
      }
    }
  }

  /**
   * The whole state, at first, after a resume, or of a new session when the old one is lost. The difference to what we
   * know comes out as events.
   * @param {import("./protocol.js").Joined} joined
   */
  #onJoined(joined) {
    const first = this.id === "";
    this.id = joined.participant;
    this.name = joined.name;
    this.permissions = joined.permissions ?? null;
    this.#iceServers = joined.iceServers ?? [];
    this.#subscriptions.allowed = this.#mayReceive;
    if (first && this.#mayReceive) this.#connection.receive();
    // The ids of another session, perhaps of a server that was started again, may name others.
    const known = new Set(joined.resumed ? joined.participants.map(({ id }) => id) : []);
    for (const id of [...this.participants.keys()]) if (!known.has(id)) this.#removeParticipant(id, "connection-lost");
    if (first || joined.resumed) this.#connection.setIceServers(this.#iceServers);
    else this.#replaceConnection();
    for (const info of joined.participants) this.#addParticipant(info);
    this.#onSlots(joined.slots);
    this.#setSpeaking(joined.speaker);
    if (this.#options.subscribe === false && this.#mayReceive) this.#signaling.send({ type: "subscribe", tracks: [], default: { enabled: false } });
    if (joined.resumed) this.#sayAgain();
    else this.#requestSlots();
    this.#setTrouble({ signaling: false });
    if (first) void this.#connection.connects(FIRST_PATH_TIMEOUT).then((connected) => void (connected || this.#repair()));
    else this.#onMediaState();
  }

  /** What may have been lost with the socket. */
  #sayAgain() {
    for (const { id, muted } of this.localTracks) if (id) this.#signaling.send({ type: "mute", track: id, muted });
    this.#subscriptions.sendAgain(this.tracks.values());
  }

  /** @param {import("./protocol.js").ParticipantInfo} info */
  #addParticipant(info) {
    const known = this.participants.get(info.id);
    const participant = known ?? new Participant(info);
    this.participants.set(info.id, participant);
    if (!known) this.emit("participant-joined", participant);
    const published = new Set(info.tracks.map(({ id }) => id));
    for (const id of [...participant.tracks.keys()]) if (!published.has(id)) this.#removeTrack(id);
    for (const track of info.tracks) this.#addTrack(track);
  }

  /**
   * @param {string} id
   * @param {import("./protocol.js").LeaveReason} reason
   */
  #removeParticipant(id, reason) {
    const participant = this.participants.get(id);
    if (!participant) return;
    for (const track of [...participant.tracks.keys()]) this.#removeTrack(track);
    this.participants.delete(id);
    this.emit("participant-left", { participant, reason });
  }

  /** @param {import("./protocol.js").TrackInfo} info */
  #addTrack(info) {
    const participant = this.participants.get(info.participant);
    if (!participant) return;
    if (this.tracks.has(info.id)) return this.#setRemoteMuted(info.id, info.muted);
    const track = new RemoteTrack(info, participant, {
      receiver: (mid) => this.#connection.receiver(mid),
      decryption: (mid) => this.#connection.decryption(mid),
      subscriptions: this.#subscriptions,
      send: (message) => this.#signaling.send(message),
    });
    this.tracks.set(info.id, track);
    participant.tracks.set(info.id, track);
    this.emit("track-published", track);
  }

  /** @param {string} id */
  #removeTrack(id) {
    const track = this.tracks.get(id);
    if (!track) return;
    this.tracks.delete(id);
    track.participant.tracks.delete(id);
    track.mid = track.state = null;
    track.ended = true;
    track.detach();
    this.#subscriptions.remove(track);
    this.emit("track-ended", track);
  }

  /** @param {string} id @param {boolean} muted */
  #onMuted(id, muted) {
    const local = this.#localById(id);
    if (!local) return this.#setRemoteMuted(id, muted);
    if (local.muted === muted) return;
    // Others may mute what we publish, and only we unmute it: where they tried, the server hears that it is muted.
    this.#report(this.setMuted(local, true));
    if (muted) this.emit("muted-by-server", local);
  }

  /** @param {string} id */
  #localById(id) {
    return [...this.localTracks].find((local) => local.id === id);
  }

  /** @param {string} id @param {boolean} muted */
  #setRemoteMuted(id, muted) {
    const track = this.tracks.get(id);
    if (!track || track.muted === muted) return;
    track.muted = muted;
    this.emit("track-muted", track);
  }

  /** @param {import("./protocol.js").SlotInfo[]} slots */
  #onSlots(slots) {
    for (const track of assignSlots(this.tracks, slots)) this.#refresh(track);
  }

  /** @param {RemoteTrack} track */
  #refresh(track) {
    track.refresh();
    const media = track.mediaStreamTrack;
    if (track.kind === "audio" && track.mid !== null && media) this.#speakers.play(track.mid, media);
    this.emit("track-state", track);
  }

  /** @param {string | null} id */
  #setSpeaking(id) {
    if (this.speaker === id) return;
    this.speaker = id;
    this.emit("speaker", id);
  }

  // What we ask for.

  /** The first offer, with enough slots for what is published already; saves waiting for the server to ask. */
  #requestSlots() {
    const count = { audio: 0, video: 0 };
    for (const { kind } of this.tracks.values()) count[kind] = Math.min(count[kind] + 1, FIRST_SLOTS[kind]);
    const receives = this.#options.subscribe !== false && this.#mayReceive;
    // Data channels want a connection where there is no track, too.
    this.#report(Promise.all([receives && this.#connection.addSlots(count), this.#connection.negotiate()]));
  }

  // The media path.

  #newConnection() {
    /** @type {Connection} */
    const connection = new Connection({
      forceTcp: this.#options.forceTcp, forceRelay: this.#options.forceRelay, iceServers: this.#iceServers,
      encryption: this.#encryption,
      exchange: async (sdp, locals) => {
        const tracks = locals.map(({ mid, source, muted }) => ({ mid: mid ?? "", source, muted }));
        const answer = await this.#signaling.offer({ sdp, tracks }, () => connection === this.#connection);
        if (connection !== this.#connection) throw new ClosedError("replaced", "A newer connection took over.");
        for (const { mid, track } of answer.tracks) {
          const local = locals.find((candidate) => candidate.mid === mid);
          if (!local) continue;
          local.id = track;
          // Muted or unmuted while the offer was out: it had no id yet to say so with.
          const said = tracks.find((candidate) => candidate.mid === mid)?.muted;
          if (local.muted !== said) this.#signaling.send({ type: "mute", track, muted: local.muted });
        }
        return answer.sdp;
      },
    });
    connection.on("state", () => connection === this.#connection && this.#onMediaState());
    connection.on("negotiated", () => {
      for (const track of this.tracks.values()) if (track.mid !== null) this.#refresh(track);
    });
    connection.on("decryption", (mid) => {
      for (const track of this.tracks.values()) if (track.mid === mid) this.emit("track-state", track);
    });
    this.#data.bind(connection.pc);
    return connection;
  }

  /** Starts over with a new peer connection: what we publish is bound again, slots are handed out anew. */
  #replaceConnection() {
    this.#connection.close();
    this.#speakers.clear();
    for (const track of this.tracks.values()) {
      track.mid = track.state = null;
      track.refresh();
    }
    this.#subscriptions.forget(this.tracks.values());
    this.#connection = this.#newConnection();
    if (this.#mayReceive) this.#connection.receive();
    for (const local of this.localTracks) this.#report(this.#connection.publish(local));
  }

  #onMediaState() {
    const { connectionState } = this.#connection.pc;
    clearTimeout(this.#grace);
    if (connectionState === "connected") this.#setTrouble({ media: false });
    else if (connectionState === "failed") void this.#repair();
    else if (connectionState === "disconnected") this.#grace = setTimeout(() => void this.#repair(), DISCONNECT_GRACE);
  }

  /** @param {{ state: string, reason?: import("./protocol.js").DisconnectReason }} message */
  #onServerSide({ state, reason }) {
    if (state === "disconnected") void this.#repair({ fresh: reason !== "consent-expired" });
  }

  /** ICE restart at first, then new peer connections until one connects. */
  async #repair({ fresh = false } = {}) {
    if (this.#trouble.media || this.#isClosed) return;
    this.#setTrouble({ media: true });
    for (let attempt = fresh ? 1 : 0; this.#trouble.media && !this.#isClosed; attempt++) {
      if (attempt > 0) {
        this.#replaceConnection();
        this.#requestSlots();
      }
      const connection = this.#connection;
      try {
        await (attempt > 0 ? connection.negotiate() : connection.restartIce());
        if (await connection.connects(REPAIR_TIMEOUT)) this.#setTrouble({ media: false });
      } catch (error) {
        if (!(error instanceof ClosedError)) this.emit("error", SluiceError.of(error));
        await new Promise((resolve) => setTimeout(resolve, REPAIR_TIMEOUT));
      }
    }
  }

  // The end, and small things.

  /** @param {LocalTrack} local */
  #onLocalEnded(local) {
    if (local.source === "screen" || local.source === "screen-audio") return this.#report(this.unpublish(local));
    this.emit("device-lost", local);
    this.#report(this.setMuted(local, true));
  }

  /** @param {SluiceError} error */
  #onClosed(error) {
    this.state = { state: "closed", cause: null };
    this.#data.close(error);
    this.#teardown();
    this.emit("state", this.state);
    this.emit("closed", error);
  }

  #teardown() {
    clearTimeout(this.#grace);
    removeEventListener("pagehide", this.leave);
    for (const local of this.localTracks) local.stop();
    for (const track of this.tracks.values()) track.detach();
    this.#connection.close();
    this.#encryption?.close();
    this.#speakers.clear();
    this.#subscriptions.close();
  }

  /** @param {Partial<{ signaling: boolean, media: boolean }>} change */
  #setTrouble(change) {
    Object.assign(this.#trouble, change);
    if (this.#isClosed) return;
    const cause = this.#trouble.signaling ? "signaling" : this.#trouble.media ? "media" : null;
    if (this.state.cause === cause) return;
    this.state = { state: cause ? "reconnecting" : "connected", cause };
    this.emit("state", this.state);
  }

  get #mayReceive() {
    return this.permissions?.subscribe ?? true;
  }

  get #isClosed() {
    return this.state.state === "closed";
  }

  #devices() {
    return (this.#opened ??= import("./devices.js").then(({ Devices }) => new Devices(this)));
  }

  /** Failures of work that nobody awaits come out as `error`. @param {Promise<unknown> | undefined} work */
  #report(work) {
    work?.catch((error) => {
      if (!(error instanceof ClosedError)) this.emit("error", SluiceError.of(error));
    });
  }
}

/** @param {string} room @param {string} [passphrase] */
async function startEncryption(room, passphrase) {
  return passphrase ? (await import("./e2ee.js")).Encryption.start(room, passphrase) : null;
}
