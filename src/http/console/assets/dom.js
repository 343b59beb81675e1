// Makes elements. All text enters the page as text nodes, so no value can become markup.

/** An element: attributes, then children. `on…` is a listener, `true` an empty attribute, `null` none. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** Appends texts, elements and lists of both. */
export function append(element, children) {
  for (const child of [children].flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces the content of an element. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
}

// Characters that are not seen, or that reorder what is seen after them. A joiner between emoji is left alone.
const UNSEEN = /[\p{Cc}\p{Zl}\p{Zp}\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]/gu;

/** A value of others: isolated from the direction of the text around it, with its unseen characters named. */
export function foreign(text, className = "") {
  const element = h("bdi", { class: `foreign ${className}` });
  let from = 0;
  for (const match of String(text).matchAll(UNSEEN)) {
    element.append(text.slice(from, match.index));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    element.append(h("span", { class: "unseen", title: "a character that is not visible" }, `U+${code}`));
    from = match.index + match[0].length;
  }
  element.append(String(text).slice(from));
  return element;
}
