// Searching: a subject, a session id or a token, and the sessions that there are.

import { append, fill, h } from "./dom.js";
import { get, remove } from "./api.js";
import { pageBefore } from "./log.js";
import { countdown, when } from "./time.js";
import { badge, changeButton, clientLink, empty, field, heading, problem, section, sessionLink, subjectLink, table, to, toQuery } from "./ui.js";
import { stateNow, timeoutOf } from "./words.js";
import { handOver } from "./page-token.js";

const SESSION_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TOKEN = /^(kf[rs]_|v4\.public\.|eyJ)/;

export const title = "Subjects and sessions";

export async function show(main, { query, signal }) {
  const search = h("input", { type: "search", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true });
  const find = h("form", { role: "search", class: "row", onsubmit }, field("Subject, session id or token", search, "A subject is found by its whole name, as the application gave it to keyfob."),
    h("button", { type: "submit", class: "primary" }, "Search"));
  const lately = h("div", {}, h("p", { class: "quiet" }, "Loading…"));
  const list = h("div", {});
  fill(main, heading(title), find, section("Recently in the event log", lately), section("Sessions", h("p", { class: "quiet" }, "The oldest is first. A client is found by its whole id."), filters(), list), everything());

  function onsubmit(event) {
    event.preventDefault();
    const text = search.value;
    if (TOKEN.test(text.trim())) {
      handOver(text.trim());
      location.hash = to("token");
    } else location.hash = SESSION_ID.test(text.trim()) ? to("session", text.trim()) : to("subject", text);
  }

  function filters() {
    const state = h("select", { name: "state" }, ["active", "expired", "ended", ""].map((value) => h("option", { value, selected: value === (query.get("state") ?? "active") }, value || "any")));
    const client = h("input", { type: "text", name: "client", value: query.get("client") ?? "", autocomplete: "off", spellcheck: "false" });
    const form = h("form", { class: "row", onsubmit: (event) => {
      event.preventDefault();
      location.hash = toQuery("subjects", { state: state.value, client: client.value });
    } }, field("State", state), field("Client", client), h("button", { type: "submit" }, "Show"));
    return form;
  }

  const names = pageBefore(undefined, signal).then(({ items }) => {
    const subjects = newest(items).slice(0, 12);
    fill(lately, subjects.length ? h("ul", { class: "chips" }, subjects.map((event) => h("li", {}, subjectLink(event.subject), " ", h("span", { class: "quiet" }, when(event.at).firstChild))))
      : empty("No subject yet", "The last 200 events name no subject. When an application opens a session, its subject appears here."));
  }).catch((error) => fill(lately, problem(error)));
  await Promise.all([names, sessions(list, { state: query.get("state") ?? "active", client_id: query.get("client") }, signal)]);
}

/** The last event of each subject, newest first. */
function newest(items) {
  const found = new Map();
  for (const event of [...items].reverse()) if (event.subject !== undefined && !found.has(event.subject)) found.set(event.subject, event);
  return [...found.values()];
}

async function sessions(place, filter, signal) {
  const items = [];
  const more = h("button", { type: "button", onclick: () => load() }, "Show more");
  let cursor;
  async function load() {
    more.disabled = true;
    try {
      const page = await get("/v1/sessions", { ...filter, limit: 50, cursor }, signal);
      items.push(...page.items);
      cursor = page.next_cursor;
      const rows = items.map((session) => [sessionLink(session.id, true), subjectLink(session.subject), clientLink(session.client_id), badge(stateNow(session)),
        when(session.created_at), session.state === "active" ? countdown(timeoutOf(session)) : when(session.ended?.at ?? timeoutOf(session))]);
      fill(place, items.length ? table("Sessions, oldest first", ["Session", "Subject", "Client", "State", "Opened", "Ends or ended"], rows)
        : cursor ? null : empty("No session", filter.state ? `There is no session in the state “${filter.state}”${filter.client_id ? " of this client" : ""}.` : "No application has opened a session yet."));
      if (cursor) append(place, [more]);
      more.disabled = false;
    } catch (error) {
      fill(place, problem(error, load));
    }
  }
  await load();
}

function everything() {
  const button = changeButton("End every session…", {
    title: "End every session of every subject",
    text: [h("p", {}, "All sessions of all subjects and clients end at once, this console's too, and the clients' own access tokens become invalid. Every user has to sign in again. This cannot be undone.")],
    fields: null, word: "everything", button: "End every session",
    run: () => remove("/v1/sessions", { all: "true", reason: "console" }),
    said: "every session has ended",
    done: () => location.reload(),
  }, "danger");
  return button && section("In an emergency", h("p", {}, "If you cannot tell which tokens have leaked, end everything. It takes the same short time for any number of sessions."), button);
}
