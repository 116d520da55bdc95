import { dialog, h, icon } from "./dom.js";
import { shareLink } from "./params.js";
import { qrCode } from "./qr.js";

/** Modules of white around the code, as scanners want it. */
const QUIET = 4;

/** Shows the link to a room, to copy or to scan. @param {string} roomName @param {string} passphrase of an encrypted call, which the link contains @param {boolean} needsToken */
export function showInvite(roomName, passphrase, needsToken) {
  const link = shareLink(roomName, passphrase);
  const field = h("input", { id: "invite-link", value: link, readOnly: true, onfocus: () => field.select() });
  const said = h("p", { class: "small", role: "status" }, [
    needsToken ? "This server lets in invited people only: who opens this link needs a token of their own, which who invited you gives out." : "Everybody who opens this link joins the room.",
    passphrase && "The link has the passphrase in it: give it to those only who may listen.",
  ].filter(Boolean).join(" "));
  const copy = h("button", {
    class: "primary",
    type: "button",
    onclick: async () => {
      // Insecure pages have no clipboard, and browsers may refuse it: then the link is selected for the person to copy.
      const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false);
      if (!copied) field.select();
      said.textContent = copied ? "The link is copied." : "The link is selected: copy it with the keyboard.";
    },
  }, icon("link"), "Copy");
  const window = dialog("Invite others", h("label", { for: "invite-link" }, "Link"), h("div", { class: "row" }, field, copy), said, drawCode(link));
  window.classList.add("invite");
  copy.focus();
}

/** @param {string} link */
function drawCode(link) {
  const rows = qrCode(link);
  if (!rows) return h("p", { class: "small" }, "The link is too long for a code.");
  const size = rows.length + 2 * QUIET;
  const path = rows.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const code = document.createElementNS("http://www.w3.org/2000/svg", "path");
  code.setAttribute("d", path);
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("class", "qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR code of the link, to scan with a phone");
  svg.append(code);
  return svg;
}
