// The event log: its end, live by long poll, filtered; earlier events on demand.

import { fill, h } from "./dom.js";
import { completedItem, group, isAlarm } from "./event.js";
import { follow, pageBefore, positionAfter } from "./log.js";
import { announce, empty, field, heading, notice, problem } from "./ui.js";
import { EVENTS } from "./words.js";

export const title = "Events";

const WAIT_S = 25;
/** How many events the page holds; older ones leave it while it is live. */
const HELD_MAX = 2000;

export async function show(main, { query, signal }) {
  const choices = [["", "All types"], ["alarms", "Alarms"], ["sessions", "Sessions"], ["tokens", "Tokens"], ["clients", "Clients"], ["keys", "Keys"]];
  const type = h("select", { onchange: shownAgain }, choices.map(([value, text]) => h("option", { value, selected: value === query.get("type") }, text)),
    h("optgroup", { label: "One type" }, Object.keys(EVENTS).map((value) => h("option", { value, selected: value === query.get("type") }, value))));
  const text = h("input", { type: "search", value: query.get("text") ?? "", oninput: shownAgain, autocomplete: "off", spellcheck: "false" });
  const time = h("input", { type: "datetime-local", step: "1", value: query.get("at") ? localTime(new Date(query.get("at"))) : "" });
  const live = h("p", { class: "live", role: "status" });
  const list = h("ol", { class: "events" });
  const note = h("div", {});
  const older = h("button", { type: "button", onclick: earlier }, "Show earlier events");
  const form = h("form", { class: "row", onsubmit: (event) => { event.preventDefault(); jump(); } }, field("Type", type), field("Contains", text, "A subject, session, client, key, reason or note."),
    field("Until", time, "Your local time; empty is now."), h("button", { type: "submit" }, "Go"));
  let events = [];
  let [oldest, moreBefore, cursor] = [undefined, false, undefined];
  const sessions = new Map();
  fill(main, heading(title), form, live, list, note, older);

  const until = Date.parse(query.get("at") ?? "");
  await start(Number.isNaN(until) ? null : until);

  /** A reload at another time: the address says it, so that it can be sent to others. */
  function jump() {
    const chosen = new URLSearchParams();
    if (type.value) chosen.set("type", type.value);
    if (text.value) chosen.set("text", text.value);
    if (time.value) chosen.set("at", new Date(time.value).toISOString());
    location.hash = `#/events?${chosen}`;
  }

  async function start(until) {
    const page = await pageBefore(until ? await positionAfter(until + 1000, signal) : undefined, signal);
    accept(page);
    cursor = page.head;
    shownAgain();
    // A filter that matches little reads on by itself, for a while.
    for (let pages = 0; pages < 10 && moreBefore && list.children.length < 20 && (type.value || text.value); pages += 1) await earlier();
    if (until) fill(live, "Events up to the chosen time. ", h("a", { href: "#/events" }, "Show the newest ones, live"));
    else watch();
  }

  function accept(page) {
    events = [...page.items, ...events];
    oldest = events[0]?.cursor;
    moreBefore = page.more;
    older.hidden = !moreBefore;
    fill(note, page.afterGap ? notice("info", "The store was restored from a backup here: earlier events are of the time before. The command ", h("code", {}, "keyfob events tail"), " prints them.") : null);
  }

  async function earlier() {
    older.disabled = true;
    try {
      accept(await pageBefore(oldest, signal));
      shownAgain();
    } catch (error) {
      fill(note, problem(error, earlier));
    }
    older.disabled = false;
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
    const wanted = text.value.trim().toLowerCase();
    return wanted === "" || Object.values(event).some((value) => String(value).toLowerCase().includes(wanted));
  }

  function shownAgain() {
    fill(list, events.filter(matches).reverse().map(item));
    if (list.children.length === 0) {
      fill(list, h("li", {}, empty("No event matches", events.length ? `None of the ${events.length} events that were read matches. ${moreBefore ? "Earlier ones can be read." : ""}` : "The event log is empty.")));
    }
  }

  function item(event) {
    return completedItem(event, signal, sessions);
  }
}

function localTime(date) {
  const two = (number) => String(number).padStart(2, "0");
  return Number.isNaN(date.getTime()) ? "" : `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

