// The parts that several pages use: links, badges, tables, notices, and the dialogs for changes.

import { fill, foreign, h } from "./dom.js";
import { ApiError, StepUpNeeded, mayChange, signIn } from "./api.js";

/** The address of a page of the console. */
export const to = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;
/** The same with a query. */
export const toQuery = (page, query) => `#/${page}?${new URLSearchParams(query)}`;

export const subjectLink = (subject) => h("a", { href: to("subject", subject) }, foreign(subject));
export const clientLink = (id) => h("a", { href: to("client", id) }, foreign(id));
/** The whole id with a button that copies it; `short` shows its end, which tells neighbours apart. */
export const sessionLink = (id, short = false) =>
  h("span", { class: short ? "id short" : "id" }, h("a", { href: to("session", id), class: "code", title: id }, short ? `…${id.slice(-8)}` : id), copyButton(id, "session id"));

/** An identifier with a button that copies it. */
export const identifier = (text, what) => h("span", { class: "id" }, foreign(text, "code"), copyButton(text, what));

/** Copies a text to the clipboard, and reports it to screen readers. */
function copyButton(text, what) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, title: `Copy ${what}`, onclick: copy });
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.classList.add("copied");
      announce(`${what} copied`);
    } catch {
      announce(`this browser did not allow copying; select the ${what} and copy it`, true);
    }
    setTimeout(() => button.classList.remove("copied"), 1500);
  }
  return button;
}

let announced;
/** A message at the edge of the page, which screen readers read out. */
export function announce(text, isError = false) {
  const place = document.getElementById("announcements");
  fill(place, h("p", { class: isError ? "error" : "" }, text));
  clearTimeout(announced);
  announced = setTimeout(() => place.replaceChildren(), 6000);
}

/** `active`, `expired`, `ended` and other states: the text says it, the colour repeats it. */
export const badge = (state, kind = state) => h("span", { class: `badge ${kind}` }, state);

/** Names and values. A value of `null` leaves the row out. */
export const facts = (...rows) => h("dl", { class: "facts" }, rows.filter((row) => row && row[1] !== null && row[1] !== undefined)
  .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/** A table whose rows become cards on narrow screens: each cell repeats its heading. */
export function table(caption, headings, rows) {
  const cells = (row) => row.map((cell, index) => h(index ? "td" : "th", { scope: index ? null : "row", "data-heading": headings[index], role: index ? "cell" : "rowheader" }, h("div", {}, cell)));
  return h("div", { class: "table" }, h("table", { role: "table" },
    h("caption", { class: "hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, headings.map((text) => h("th", { scope: "col", role: "columnheader" }, text)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) => h("tr", { role: "row" }, cells(row))))));
}

/** What stands where there is nothing to show. */
export const empty = (title, ...text) => h("div", { class: "empty" }, h("p", { class: "title" }, title), h("p", {}, text));

/** A notice: `alarm`, `warning` or `info`. */
export const notice = (kind, ...content) => h("div", { class: `notice ${kind}`, role: kind === "alarm" ? "alert" : null }, content);

/** An error, for people: what happened, and what to do. */
export function problem(error, retry) {
  if (error.name === "AbortError") return null;
  const known = error instanceof ApiError;
  const title = known ? error.title : "This page has an error";
  const details = [];
  if (known && error.requestId) details.push(h("p", { class: "quiet" }, "Request ", identifier(error.requestId, "request id"), ": the server log names it."));
  return h("div", { class: "notice alarm", role: "alert" }, h("p", { class: "title" }, title),
    h("p", {}, foreign(known ? error.detail : String(error.message))), details,
    retry ? h("button", { type: "button", onclick: retry }, "Try again") : null);
}

/** A heading of a page, with what can be done there. */
export const heading = (title, ...actions) => h("div", { class: "heading" }, h("h1", { tabindex: "-1" }, title), h("div", { class: "actions" }, actions));

/** A part of a page with a title. */
export const section = (title, ...content) => h("section", {}, h("h2", {}, title), content);

/** Text from a field with a label. */
export function field(label, input, hint) {
  const id = `field-${counter += 1}`;
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" }, h("label", { for: id }, label), input, hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null);
}
let counter = 0;

/** A button for a change: absent for those who may only read. */
export const changeButton = (label, change, kind = "") => (mayChange() ? h("button", { type: "button", class: kind, onclick: () => confirmChange(change) }, label) : null);

/**
 * Asks before a change, runs it, and explains how to get a younger link if the server asks for one.
 * `change`: `title`, `text` (an array), `button`, `run`, `word` (to be typed), `fields`, `done` (after it succeeded), `isDangerous`.
 */
function confirmChange(change) {
  const opener = document.activeElement;
  const id = `dialog-${counter += 1}`;
  const outcome = h("div", { "aria-live": "assertive" });
  const word = change.word ? h("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off" }) : null;
  const submit = h("button", { type: "submit", class: change.isDangerous === false ? "primary" : "danger" }, change.button);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const form = h("form", { onsubmit },
    h("h2", { id }, change.title), h("div", { class: "text" }, change.text), change.fields,
    word ? field(`Type “${change.word}” to confirm`, word) : null, outcome, h("div", { class: "buttons" }, cancel, submit));
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => { dialog.remove(); opener?.isConnected && opener.focus(); } }, form);
  if (word) {
    submit.disabled = true;
    word.addEventListener("input", () => { submit.disabled = word.value !== change.word; });
  }
  document.body.append(dialog);
  dialog.showModal();
  (word ?? form.querySelector("input, select, textarea") ?? cancel).focus();

  async function onsubmit(event) {
    event?.preventDefault();
    if (word && word.value !== change.word) return;
    submit.disabled = true;
    outcome.replaceChildren();
    try {
      const result = await change.run();
      dialog.close();
      announce(change.said ?? "done");
      await change.done?.(result);
    } catch (error) {
      submit.disabled = false;
      fill(outcome, error instanceof StepUpNeeded ? stepUp(() => onsubmit()) : problem(error));
    }
  }
}

/** How to get a younger link, and where to paste it. `signedIn` goes on with the change. */
function stepUp(signedIn) {
  const link = h("input", { type: "password", autocomplete: "off", spellcheck: "false" });
  const outcome = h("div", {});
  const enter = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    submit();
  };
  link.addEventListener("keydown", enter);
  const submit = async () => {
    const secret = link.value.slice(link.value.lastIndexOf("#") + 1).trim();
    try {
      await signIn(secret);
      signedIn();
    } catch (error) {
      fill(outcome, problem(error));
    }
  };
  return notice("warning",
    h("p", { class: "title" }, "A change needs a new link"),
    h("p", {}, "You signed in more than five minutes ago. To show that it is still you:"),
    h("ol", {}, h("li", {}, "On the machine of the server, run ", h("code", {}, "keyfob console"), "."),
      h("li", {}, "Paste the link that it prints here within a minute, or open it in another tab, sign in there, and confirm the change here again.")),
    field("Link", link), h("button", { type: "button", onclick: submit }, "Sign in again and go on"), outcome);
}

/** Shows a secret once. */
export function showSecret(title, text, secret) {
  const id = `dialog-${counter += 1}`;
  const close = h("button", { type: "button", class: "primary", onclick: () => dialog.close() }, "I have stored it");
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() },
    h("h2", { id }, title), h("p", {}, text), h("p", { class: "secret" }, identifier(secret, "secret")), h("div", { class: "buttons" }, close));
  document.body.append(dialog);
  dialog.showModal();
}
