/** Every error of this SDK: `code` is for programs, `message` and `hint` (what to do about it) for people. */
export class SluiceError extends Error {
  /**
   * @param {string} code kebab-case
   * @param {string} message
   * @param {{ hint?: string, cause?: unknown }} [options]
   */
  constructor(code, message, { hint = "", cause } = {}) {
    super(message, { cause });
    this.name = new.target.name;
    this.code = code;
    this.hint = hint;
  }

  /** Whatever was thrown, as an error of this SDK: `unexpected` where it is none. @param {unknown} error */
  static of(error) {
    return error instanceof SluiceError ? error : new SluiceError("unexpected", String(error), { cause: error });
  }
}

/** The server cannot be reached (`unreachable`), or was lost for longer than the SDK retries (`lost`). */
export class ConnectError extends SluiceError {}

/** The server said no: `code` is the server's (`room-full`, `bad-token`, ...); after a `fatal` one it hangs up. */
export class ServerError extends SluiceError {
  /** @param {import("./protocol.js").ErrorMessage} message */
  constructor({ code, message, hint, fatal }) {
    super(code, message, { hint });
    this.fatal = fatal;
  }
}

/** The room is closed: `left`, `kicked`, or `replaced` for work that belonged to an abandoned connection. */
export class ClosedError extends SluiceError {}

/**
 * A message cannot be sent. Codes: `data-too-large`, `data-bad-argument`, `data-not-permitted` (by the token), `data-interrupted` (by a
 * reconnect; it may be sent again).
 */
export class DataError extends SluiceError {}

/**
 * Camera, microphone or screen cannot be had. Codes: `insecure-context`, `permission-denied`, `no-device`,
 * `device-busy`, `unsupported`.
 */
export class MediaError extends SluiceError {
  /** @type {import("./protocol.js").Source | undefined} what could not be opened */
  source;

  /**
   * @param {unknown} cause what getUserMedia or getDisplayMedia threw
   * @param {import("./protocol.js").Source} source
   */
  static from(cause, source) {
    const name = cause instanceof Error ? cause.name : "";
    const [code, text, hint] = CAPTURE_ERRORS[name] ?? ["unsupported", `cannot be opened (${cause})`, "Try another device or browser."];
    return Object.assign(new MediaError(code, `The ${source} ${text}.`, { hint, cause }), { source });
  }

  static insecureContext() {
    return new MediaError("insecure-context", "Browsers give camera and microphone only to secure pages.", {
      hint: "Open the page over https, or on this machine as http://localhost.",
    });
  }
}

/** @type {Record<string, [code: string, text: string, hint: string] | undefined>} DOMException name to our words */
const CAPTURE_ERRORS = {
  NotAllowedError: ["permission-denied", "is not allowed", "Allow it in the address bar's site settings, then try again."],
  SecurityError: ["permission-denied", "is not allowed on this page", "Allow it in the browser's or the system's privacy settings."],
  NotFoundError: ["no-device", "was not found", "Plug one in, then try again."],
  NotReadableError: ["device-busy", "cannot be read", "Close other programs that use it, then try again."],
  AbortError: ["device-busy", "stopped while it was opened", "Try again."],
};
