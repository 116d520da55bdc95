/**
 * An element: `on…` properties are listeners, `class`, `aria-…`, `data-…` and the like attributes, the rest properties.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key === "class" || key === "for" || key === "role" || key.includes("-")) element.setAttribute(key, String(value));
    else /** @type {any} */ (element)[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @param {string} name of a symbol in icons.svg */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * A note with what is wrong and what to do.
 * @param {string} title
 * @param {string} text
 * @param {{ code?: string, onDismiss?: () => void }} [options]
 */
export function notice(title, text, { code = "", onDismiss } = {}) {
  return h("div", { class: "notice", role: "alert", "data-code": code },
    icon("warning"),
    h("div", {}, h("strong", {}, title), " ", text),
    onDismiss && h("button", { class: "dismiss", type: "button", onclick: onDismiss, "aria-label": "Dismiss" }, "×"));
}

/**
 * A window over the page that holds the focus; Escape and its button close it, and it is gone then.
 * @param {string} title
 * @param {...(Node | string | null | undefined | false)} children
 */
export function dialog(title, ...children) {
  const element = h("dialog", { "aria-label": title, onclose: () => element.remove() },
    h("header", {}, h("h2", {}, title), h("button", { class: "plain", type: "button", "aria-label": "Close", onclick: () => element.close() }, icon("close"))),
    ...children);
  document.body.append(element);
  element.showModal();
  return element;
}
