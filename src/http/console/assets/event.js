// An event of the log, as the pages show it.

import { foreign, h } from "./dom.js";
import { at, get } from "./api.js";
import { when } from "./time.js";
import { clientLink, identifier, sessionLink, subjectLink, toQuery } from "./ui.js";
import { actor, EVENTS, REASONS, reusedGeneration, timeoutOf } from "./words.js";

/** What keyfob did itself when it wrote an event of these types: it noticed what others did, or what time did. */
const DETECTED = { "refresh.reused": "Detected", "session.expired": "Recorded" };
/** Where the event log shows an event. */
const eventAddress = (event) => toQuery("events", { at: event.at, position: event.cursor });

const KINDS = { alarms: "alarm" };

/** The title of a type. */
export const title = (type) => EVENTS[type]?.[0] ?? type;
/** The group of a type, for the filter. */
export const group = (type) => EVENTS[type]?.[1] ?? "other";
/** Whether an operator must look at it. */
export const isAlarm = (event) => group(event.type) === "alarms" || event.reason === "refresh_reuse";

/** An item of a list. `about` names what the list is about, which is not repeated: `session`, `subject`. */
export function eventItem(event, { session = null, about = [] } = {}) {
  const row = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const details = [];
  if (event.subject !== undefined && !about.includes("subject")) details.push(row("Subject", subjectLink(event.subject)));
  if (event.session_id !== undefined && !about.includes("session")) details.push(row("Session", sessionLink(event.session_id)));
  if (event.client_id !== undefined) details.push(row("Client", clientLink(event.client_id)));
  if (event.family !== undefined) details.push(row("Family", String(event.family)));
  if (event.generations_behind !== undefined) details.push(row("Generation", generation(event, session)));
  if (event.reason !== undefined) details.push(row("Reason", [foreign(event.reason, "code"), REASONS[event.reason] ? ` – ${REASONS[event.reason]}` : ""]));
  if (event.note !== undefined) details.push(row("Note", foreign(event.note)));
  if (event.jti !== undefined) details.push(row("Token (jti)", identifier(event.jti, "token id")));
  if (event.kid !== undefined) details.push(row("Key", identifier(event.kid, "key id")));
  if (event.address_hash !== undefined) details.push(row("Address (keyed hash)", identifier(event.address_hash, "address hash")));
  if (event.type === "session.expired") details.push(session ? row("Expired", when(timeoutOf(session))) : row("Time", "when keyfob noticed it; the session shows when it expired"));
  details.push(DETECTED[event.type] && event.by === "keyfob" ? row(DETECTED[event.type], "by keyfob") : row("By", actor(event.by)));
  details.push(row("Position", h("a", { href: eventAddress(event), title: "Its place in the event log, as a link to it" }, event.cursor)));
  return h("li", { class: `event ${isAlarm(event) ? "alarm" : KINDS[group(event.type)] ?? ""}`, "data-cursor": event.cursor },
    h("div", { class: "head" }, h("strong", {}, isAlarm(event) ? h("span", { "aria-hidden": "true" }, "⚠ ") : null, title(event.type)), " ",
      h("code", { class: "type" }, event.type), h("span", { class: "time" }, when(event.at))),
    h("dl", { class: "inline" }, details));
}

/** The same; a reuse names its generation as soon as its session was read. */
export function completedItem(event, signal, sessions = new Map()) {
  const element = eventItem(event);
  if (event.type === "refresh.reused") complete(event, element, signal, sessions);
  return element;
}

async function complete(event, element, signal, sessions) {
  const id = event.session_id;
  if (!sessions.has(id)) sessions.set(id, get(at`/v1/sessions/${id}`, {}, signal).catch(() => null));
  const session = await sessions.get(id);
  if (session !== null) element.replaceChildren(...eventItem(event, { session }).childNodes);
}

function generation(event, session) {
  const reused = reusedGeneration(event, session);
  if (reused === null) return `${event.generations_behind} behind the current one; the session shows which one that is`;
  return reusedSentence(reused, event);
}

/** Which token was presented, in one sentence. */
const reusedSentence = ({ presented, current }, event) =>
  h("strong", {}, `generation ${presented} was presented; the current one was ${current} `, h("span", { class: "whole" }, `(${event.generations_behind} behind)`));

/** What is known of a reuse: the session, client, family and generation of the token that was presented again. */
export function reuse(event, session) {
  const reused = reusedGeneration(event, session);
  if (reused === null) return null;
  const { family } = reused;
  return h("div", { class: "notice alarm reuse" },
    h("p", { class: "title" }, "The refresh token that was presented again"),
    h("dl", { class: "facts" },
      h("div", {}, h("dt", {}, "Session"), h("dd", {}, sessionLink(session.id))),
      h("div", {}, h("dt", {}, "Subject"), h("dd", {}, subjectLink(session.subject))),
      h("div", {}, h("dt", {}, "Client"), h("dd", {}, clientLink(family.client_id))),
      h("div", {}, h("dt", {}, "Family"), h("dd", {}, String(family.id))),
      h("div", {}, h("dt", {}, "Generation"), h("dd", {}, reusedSentence(reused, event))),
      h("div", {}, h("dt", {}, "When"), h("dd", {}, when(event.at))),
      event.address_hash === undefined ? null : h("div", {}, h("dt", {}, "Address (keyed hash)"), h("dd", {}, identifier(event.address_hash, "address hash"))),
      h("div", {}, h("dt", {}, "Event"), h("dd", {}, h("a", { href: eventAddress(event) }, `position ${event.cursor}`)))),
    h("p", { class: "quiet" }, "Generation 0 is the first refresh token of the family. The same hash in two events is the same address. keyfob cannot tell whether the token was stolen or an application kept an old one."));
}
