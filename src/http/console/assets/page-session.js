// One session: what it is, why it ended, its families, and its life as a line of events.

import { fill, foreign, h } from "./dom.js";
import { at, get } from "./api.js";
import { eventItem, reuse } from "./event.js";
import { between, firstFrom } from "./log.js";
import { device, endButton, families, used } from "./sessions.js";
import { countdown, instant, now, when } from "./time.js";
import { badge, clientLink, empty, facts, heading, identifier, notice, problem, section, subjectLink, to } from "./ui.js";
import { actor, endedAt, explain, stateNow, timeoutOf } from "./words.js";

export const title = "Session";

export async function show(main, { parts, signal, reload }) {
  const id = parts[0] ?? "";
  let session;
  try {
    session = await get(at`/v1/sessions/${id}`, {}, signal);
  } catch (error) {
    if (error.status !== 404) throw error;
    fill(main, heading("Session"), empty("There is no session with this id", "It may have ended so long ago that it was deleted, or the id is not complete. ",
      h("a", { href: to("subjects") }, "Search")));
    return;
  }
  const state = stateNow(session);
  const why = h("div", {});
  const line = h("div", { "aria-busy": "true" }, h("p", { class: "quiet" }, "Reading the event log…"));
  const chains = h("div", {}, families(session));
  fill(main, heading(h("span", {}, "Session of ", foreign(session.subject)), endButton(session, reload)),
    h("div", { class: `verdict ${state}` }, badge(state), h("p", { class: "explain" }, explain(session))), why,
    facts(["Session", identifier(session.id, "session id")], ["Subject", subjectLink(session.subject)], ["Client", clientLink(session.client_id)],
      ["Opened by", actor(session.opened_by)], ["Device", device(session.device)], ["Opened", when(session.created_at)],
      ["Subject authenticated", when(session.authenticated_at)], ["Last used", used(session)],
      ...(state === "active" ? [["Expires if unused", countdown(session.idle_expires_at)], ["Expires in any case", countdown(session.expires_at)]]
        : [[session.ended ? "Ended" : "Expired", when(new Date(endedAt(session)).toISOString())]]),
      ["Methods (amr)", session.amr.length ? session.amr.flatMap((method) => [foreign(method, "code"), " "]) : null],
      ["Context class (acr)", session.acr ? foreign(session.acr, "code") : null],
      ["Scope", session.scope ? foreign(session.scope, "code") : null], ["Remembered", session.remember ? "yes: the timeouts of the policy's remember table apply" : null],
      ["Version", `${session.version} (counts changes and renewals, not refreshes)`]),
    section("Refresh-token families", session.families.length ? h("p", { class: "quiet" }, "A family is the chain of refresh tokens that one client got in this session. Each refresh replaces its token and adds one to its generation.") : null, chains),
    section("Life", line),
    Object.keys(session.claims).length ? section("Claims", h("pre", { tabindex: "0" }, JSON.stringify(session.claims, null, 2))) : null);
  await life(line, why, chains, session, signal, false);
}

/** The recorded events of the session. What is not recorded is said, not invented. */
async function life(place, why, chains, session, signal, all) {
  try {
    const until = session.state === "active" ? now() : Math.max(endedAt(session), instant(session.last_used_at)) + 600_000;
    const wanted = (event) => event.session_id === session.id || ENDS_ALL.has(event.type) && covers(event, session);
    const { items, skipped, isWhole } = await between(instant(session.created_at), Math.min(until, now()), wanted, { signal, all });
    const late = await lateExpiry(items, session, until, { signal, all });
    if (late.event !== null) items.push(late.event);
    const reused = items.findLast((event) => event.type === "refresh.reused");
    if (reused) fill(why, reuse(reused, session));
    if (reused) fill(chains, families(session, reused));
    fill(place,
      items.length ? h("ol", { class: "line" }, withOutlook(items, session)) : empty("The event log has no event of this session", "They are so old that they were deleted."),
      isWhole || items.some(({ type }) => type === "session.opened") ? null : h("p", { class: "quiet" }, "The log does not reach back to the opening: earlier events were deleted after their retention."),
      skipped ? notice("info", `${skipped} events between the first and the last of this time were not read. `, h("button", { type: "button", onclick: () => life(place, why, chains, session, signal, true) }, "Read all of them")) : null,
      late.isWhole ? null : notice("info", "The record of the expiry is not among the first events after it. ", h("button", { type: "button", onclick: () => life(place, why, chains, session, signal, true) }, "Search all of them")),
      h("p", { class: "quiet" }, "Single refreshes, retries and uses are not recorded as events; the families show how many refreshes there were, and when the last one was."));
  } catch (error) {
    fill(place, problem(error, () => life(place, why, chains, session, signal, all)));
  }
  place.removeAttribute("aria-busy");
}

/** The record of an expiry is written when the server notices it: after the next start, if it was stopped. */
async function lateExpiry(items, session, from, options) {
  const isExpiry = (event) => event.type === "session.expired" && event.session_id === session.id;
  if (session.ended || stateNow(session) !== "expired" || items.some(isExpiry)) return { event: null, isWhole: true };
  return firstFrom(from, isExpiry, options);
}

/** Events that end a session without one of its own. */
const ENDS_ALL = new Set(["all.revoked", "subject.revoked", "client.deleted", "store.restored"]);
function covers(event, session) {
  if (!session.ended || Math.abs(instant(event.at) - instant(session.ended.at)) > 5000) return false;
  return event.type === "subject.revoked" ? event.subject === session.subject
    : event.type === "client.deleted" ? event.client_id === session.client_id : true;
}

/** The events, and the timeouts of a session that was not ended: an expiry is recorded later than it comes. */
function withOutlook(items, session) {
  const shown = (event) => eventItem(event, { session, about: ["session", "subject"] });
  const isExpired = !session.ended && stateNow(session) === "expired";
  const isBefore = (event) => !isExpired || instant(event.at) <= instant(timeoutOf(session)) && event.type !== "session.expired";
  return [items.filter(isBefore).map(shown), outlook(session), items.filter((event) => !isBefore(event)).map(shown)];
}

/** What comes, for an active session; when an expired one expired. */
function outlook(session) {
  if (session.ended) return null;
  const idle = session.idle_expires_at < session.expires_at;
  const head = (text, time) => h("li", { class: "event future" }, h("div", { class: "head" }, h("strong", {}, text), h("span", { class: "time" }, time)));
  if (stateNow(session) === "active") return [idle ? head("Expires if it is not used", countdown(session.idle_expires_at)) : null, head("Expires in any case", countdown(session.expires_at))];
  return head(`Expired: ${idle ? "it was not used (idle_timeout)" : "absolute_lifetime passed"}`, when(idle ? session.idle_expires_at : session.expires_at));
}
