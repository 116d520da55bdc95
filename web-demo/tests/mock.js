/**
 * A stand-in for the server, for what the real one cannot be made to do on command: refuse, stall, ask for slots, forget a
 * session. Serves page and SDK with the real security policy, speaks the rooms protocol, answers offers with SDP that negotiates
 * but leads nowhere. Every message that clients send is kept.
 */
import { readFile } from "node:fs/promises";
import http from "node:http";
import { WebSocketServer } from "ws";

const ROOT = new URL("../", import.meta.url);
const MIME = { html: "text/html; charset=utf-8", js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8", svg: "image/svg+xml" };

export class Mock {
  /** @type {{ socket: import("ws").WebSocket, id: string, received: any[] }[]} in the order of their joins */
  clients = [];
  /** What `joined` says beyond the plain: participants, slots, ... */
  joined = {};
  /** Errors to answer joins and offers with, by type; `null` lets them through. */
  refuse = { join: null, offer: null };
  /** Whether a `resume` is honoured. */
  resumes = true;

  static async start() {
    const mock = new Mock();
    mock.http = http.createServer((request, response) => void mock.#serve(request, response));
    new WebSocketServer({ server: mock.http, path: "/ws" }).on("connection", (socket) => mock.#accept(socket));
    await new Promise((listening) => mock.http.listen(0, "127.0.0.1", listening));
    mock.url = `http://127.0.0.1:${mock.http.address().port}/`;
    return mock;
  }

  stop() {
    for (const { socket } of this.clients) socket.terminate();
    this.http.closeAllConnections();
    this.http.close();
  }

  get client() {
    return this.clients.at(-1);
  }

  /** Everything received of a type, over all connections. */
  received(type) {
    return this.clients.flatMap(({ received }) => received).filter((message) => message.type === type);
  }

  send(message) {
    this.client.socket.send(JSON.stringify(message));
  }

  #accept(socket) {
    const client = { socket, id: "", received: [] };
    socket.on("message", (data) => {
      const message = JSON.parse(data);
      client.received.push(message);
      const reply = (answer) => socket.send(JSON.stringify(answer));
      if (message.type === "ping") reply({ type: "pong", id: message.id });
      const refusal = this.refuse[message.type];
      if (refusal) return reply({ type: "error", id: message.id, message: "No.", hint: "", fatal: message.type === "join", ...refusal });
      if (message.type === "offer") reply({ type: "answer", id: message.id, sdp: answerTo(message.sdp), tracks: message.tracks.map(({ mid }) => ({ mid, track: `${client.id}t${mid}` })) });
      if (message.type !== "join") return;
      const resumed = Boolean(message.resume) && this.resumes;
      client.id = resumed ? this.client.id : `p${this.clients.length + 100}`;
      this.clients.push(client);
      reply({ type: "joined", version: 1, room: message.room, participant: client.id, name: message.name, resumeToken: `token-${client.id}`, resumed, participants: [], limits: {}, slots: [], speaker: null, permissions: { publish: ["camera", "microphone", "screen", "screen-audio"], subscribe: true, data: true, hidden: false }, ...this.joined });
    });
  }

  async #serve(request, response) {
    const path = new URL(request.url, this.url).pathname;
    const name = path === "/" || path.startsWith("/r/") ? "page/index.html" : path.startsWith("/sdk/") ? path.slice(1) : `page${path}`;
    try {
      const body = await readFile(new URL(name, ROOT));
      const policy = /CONTENT_SECURITY_POLICY: &str = "([^;]*(?:.|\n)*?)";/.exec(await readFile(new URL("src/lib.rs", ROOT), "utf8"))[1].replace(/\\\n\s*/g, "");
      response.writeHead(200, { "content-type": MIME[name.split(".").pop()], "content-security-policy": policy, "cache-control": "no-store" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  }
}

/** An answer that takes everything offered, from an ICE-lite address where nobody is. */
function answerTo(offer) {
  const [session, ...sections] = offer.split(/^(?=m=)/m);
  const bundle = /^a=group:BUNDLE.*\r\n/m.exec(session)?.[0] ?? "";
  const turn = { sendonly: "recvonly", recvonly: "sendonly", inactive: "inactive", sendrecv: "sendrecv" };
  const answered = sections.map((section) => {
    const [media, ...lines] = section.trimEnd().split("\r\n");
    const kept = lines.filter((line) => /^a=(mid|rtcp-mux|rtcp-rsize|rtpmap|fmtp|rtcp-fb|extmap|sctp-port|max-message-size)\b/.test(line));
    const mirrored = lines.flatMap((line) => {
      if (/^a=(sendonly|recvonly|inactive|sendrecv)$/.test(line)) return [`a=${turn[line.slice(2)]}`];
      if (/^a=rid:\S+ send/.test(line)) return [line.replace(/ send.*/, " recv")];
      if (/^a=simulcast:send /.test(line)) return [line.replace("send", "recv")];
      return [];
    });
    const rejected = / 0 /.test(media) && !lines.some((line) => line.startsWith("a=bundle-only"));
    return [
      rejected ? media : media.replace(/^(m=\w+) \d+/, "$1 9"), "c=IN IP4 127.0.0.1", ...kept, ...mirrored,
      "a=ice-ufrag:mock", "a=ice-pwd:mockmockmockmockmockmock", "a=setup:passive",
      `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
      "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host", "a=end-of-candidates", "",
    ].join("\r\n");
  });
  return ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite", `${bundle}`].join("\r\n") + answered.join("");
}
