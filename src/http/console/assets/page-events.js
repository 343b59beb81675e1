// The event log: its end, live by long poll, filtered; earlier events on demand.

import { fill, h } from "./dom.js";
import { completedItem, group, isAlarm } from "./event.js";
import { follow, pageBefore, positionAfter } from "./log.js";
import { absolute, instant } from "./time.js";
import { announce, empty, field, heading, notice, problem } from "./ui.js";
import { EVENTS } from "./words.js";

export const title = "Events";

const WAIT_S = 25;
/** How many events the page holds; older ones leave it while it is live. */
const HELD_MAX = 2000;
/** How many matching events a filter looks for, and how many pages of the log it reads for them without asking. */
const WANTED = 20;
const PAGES_MAX = 50;

export async function show(main, { query, signal }) {
  const choices = [["", "All types"], ["alarms", "Alarms"], ["sessions", "Sessions"], ["tokens", "Tokens"], ["clients", "Clients"], ["keys", "Keys"]];
  const type = h("select", { onchange: refilter }, choices.map(([value, text]) => h("option", { value, selected: value === query.get("type") }, text)),
    h("optgroup", { label: "One type" }, Object.keys(EVENTS).map((value) => h("option", { value, selected: value === query.get("type") }, value))));
  const text = h("input", { type: "search", value: query.get("text") ?? "", oninput: refilter, autocomplete: "off", spellcheck: "false" });
  let subject = query.get("subject") ?? "";
  const subjectInput = h("input", { type: "search", value: subject, oninput: () => { subject = subjectInput.value; refilter(); }, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const given = Date.parse(query.get("at") ?? "");
  // Events are shown to the second: the chosen second is part of the time.
  const until = Number.isNaN(given) ? null : Math.floor(given / 1000) * 1000;
  const time = h("input", { type: "datetime-local", step: "1", value: until === null ? "" : new Date(until).toISOString().slice(0, 19) });
  const timeBefore = time.value;
  const linked = query.get("position");
  const live = h("p", { class: "live", role: "status" });
  const list = h("ol", { class: "events" });
  const note = h("div", {});
  const older = h("button", { type: "button", onclick: earlier }, "Show earlier events");
  const form = h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); jump(); } }, field("Type", type), field("Subject", subjectInput, "Exactly this one."),
    field("Contains", text, "A part of a subject, session, client, key, reason or note."), field("Until (UTC)", time, "In UTC, as the events are shown; empty is now."), h("button", { type: "submit" }, "Go"));
  let events = [];
  let [oldest, moreBefore, cursor, reading] = [undefined, false, undefined, 0];
  const sessions = new Map();
  fill(main, heading(title), form, live, list, note, older);

  await start();

  /** A reload at another time: the address says it, so that it can be sent to others. */
  function jump() {
    const chosen = new URLSearchParams();
    if (type.value) chosen.set("type", type.value);
    if (text.value) chosen.set("text", text.value);
    if (subject) chosen.set("subject", subject);
    // A time that was not touched stays as exact as the link that gave it, and so does the event of that link.
    if (time.value && time.value === timeBefore) {
      chosen.set("at", query.get("at"));
      if (linked !== null) chosen.set("position", linked);
    } else if (time.value) chosen.set("at", new Date(`${time.value}Z`).toISOString());
    location.hash = `#/events?${chosen}`;
  }

  async function start() {
    const page = await pageBefore(until === null ? undefined : await positionAfter(until + 1000, signal), signal);
    accept(page);
    cursor = page.head;
    shownAgain();
    await readOn();
    if (until === null) watch();
    else fill(live, h("span", {}, `Events up to ${absolute(until)}. `, h("a", { href: "#/events" }, "Show the newest ones, live")));
    if (linked !== null) mark();
  }

  function refilter() {
    shownAgain();
    return readOn();
  }

  /** Reads earlier events while a filter matches few, or the event of the address is missing. A later filter ends it. */
  async function readOn() {
    const [mine, isFiltered] = [(reading += 1), Boolean(type.value || text.value || subject)];
    const isWanting = () => events.length === 0 || isFiltered && events.filter(matches).length < WANTED || linked !== null && !events.some(({ cursor }) => cursor === linked);
    for (let pages = 0; pages < PAGES_MAX && moreBefore && mine === reading && !signal.aborted && isWanting(); pages += 1) {
      if (!await earlier()) return;
    }
  }

  /** Scrolls to the event that the address names. */
  function mark() {
    const element = list.querySelector(".linked");
    if (element === null) {
      fill(note, notice("info", `The event at position ${linked} is not among these: it is of another time, was deleted after the retention of events, or does not match the filter.`));
      return;
    }
    element.setAttribute("tabindex", "-1");
    element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "center" });
  }

  function accept(page) {
    oldest = page.items[0]?.cursor ?? oldest;
    events = [...page.items.filter((event) => until === null || instant(event.at) < until + 1000), ...events];
    moreBefore = page.more;
    older.hidden = !moreBefore;
    fill(note, page.afterGap ? notice("info", "The store was restored from a backup here: earlier events are of the time before. The command ", h("code", {}, "keyfob events tail"), " prints them.") : null);
  }

  /** Reads one page of earlier events; whether that succeeded. */
  async function earlier() {
    older.disabled = true;
    try {
      accept(await pageBefore(oldest, signal));
      shownAgain();
      return true;
    } catch (error) {
      fill(note, problem(error, earlier));
      return false;
    } finally {
      older.disabled = false;
    }
  }

  /** Long poll until the page is left. */
  async function watch() {
    fill(live, h("span", { class: "pulse", "aria-hidden": "true" }), "Live: new events appear here.");
    while (!signal.aborted) {
      try {
        const page = await follow(cursor, WAIT_S, signal);
        if (page.items.length) {
          cursor = page.items.at(-1).cursor;
          events = [...events, ...page.items].slice(-HELD_MAX);
          oldest = events[0].cursor;
          page.items.forEach((event) => { if (matches(event)) list.prepend(item(event)); });
          while (list.children.length > HELD_MAX) list.lastChild.remove();
          list.querySelector(".empty")?.closest("li").remove();
          const alarms = page.items.filter(isAlarm).length;
          if (alarms) announce(`${alarms} ${alarms === 1 ? "alarm" : "alarms"} in the event log`, true);
        }
      } catch (error) {
        if (signal.aborted || error.status === 401) return;
        if (error.status === 410) { location.reload(); return; }
        fill(live, problem(error, () => watch()));
        return;
      }
    }
  }

  function matches(event) {
    if (type.value && event.type !== type.value && group(event.type) !== type.value && !(type.value === "alarms" && isAlarm(event))) return false;
    if (subject && event.subject !== subject) return false;
    const wanted = text.value.trim().toLowerCase();
    return wanted === "" || Object.values(event).some((value) => String(value).toLowerCase().includes(wanted));
  }

  function shownAgain() {
    fill(list, events.filter(matches).reverse().map(item));
    if (list.children.length === 0) {
      fill(list, h("li", {}, nothing()));
    }
  }

  function nothing() {
    const further = moreBefore ? "Earlier ones can be read." : "";
    if (events.length) return empty("No event matches", `None of the ${events.length} events that were read matches. ${further}`);
    if (until !== null) return empty("No event up to this time", `The log has no event of ${absolute(until)} or before${moreBefore ? " among those that were read" : ""}. ${further}`);
    return empty("No event yet", "The event log is empty.");
  }

  function item(event) {
    const element = completedItem(event, signal, sessions);
    if (event.cursor === linked) {
      element.classList.add("linked");
      element.setAttribute("aria-current", "true");
    }
    return element;
  }
}

