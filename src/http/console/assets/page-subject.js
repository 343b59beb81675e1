// One subject: sessions and devices, why each ended, and ending them.

import { fill, foreign, h } from "./dom.js";
import { reuse } from "./event.js";
import { when } from "./time.js";
import { card, endAllButtons, endedAt, reuseOf, sessionsOf } from "./sessions.js";
import { empty, heading, identifier, notice, problem, section, to } from "./ui.js";
import { explain, stateNow } from "./words.js";

export const title = "Subject";

export async function show(main, { parts, signal, reload }) {
  const subject = parts[0] ?? "";
  const { items, isCut } = await sessionsOf(subject, signal);
  const active = items.filter((session) => stateNow(session) === "active");
  const past = items.filter((session) => stateNow(session) !== "active");
  const cards = new Map(items.slice(0, 100).map((session) => [session, card(session, reload)]));
  const shown = (sessions) => sessions.filter((session) => cards.has(session)).map((session) => cards.get(session).element);
  const name = h("span", {}, "Subject ", foreign(subject));
  if (items.length === 0) {
    fill(main, heading(name), empty("No session of this subject is retained", "Either no application has opened one under exactly this name, or the last one ended longer ago than [events] retention. ",
      h("a", { href: to("subjects") }, "Search again")));
    return;
  }
  fill(main, heading(name, endAllButtons(subject, active, reload)),
    h("p", { class: "id" }, identifier(subject, "subject")),
    h("p", {}, `${active.length} active ${active.length === 1 ? "session" : "sessions"}, ${past.length} expired or ended. Ended sessions stay here for [events] retention.`),
    lastEnd(past),
    isCut || items.length > 100 ? notice("info", `Only ${cards.size} of the ${isCut ? "first 2000" : items.length} sessions are shown.`) : null,
    section("Active sessions", active.length ? shown(active) : empty("No active session", "This subject is not signed in anywhere.")),
    past.length ? section("Expired and ended sessions", shown(past)) : null,
    h("p", {}, h("a", { href: `${to("events")}?text=${encodeURIComponent(subject)}` }, "Events that name this subject")));
  await Promise.all(past.slice(0, 20).map(async (session) => {
    const event = await reuseOf(session, signal).catch((error) => problem(error));
    if (event instanceof Node) fill(cards.get(session).why, event);
    else if (event !== null) fill(cards.get(session)?.why ?? h("div"), reuse(event, session));
  }));
}

/** Why the subject was signed out last, before all else. */
function lastEnd(past) {
  const last = [...past].sort((a, b) => endedAt(b) - endedAt(a))[0];
  if (last === undefined) return null;
  const isReuse = last.ended?.reason === "refresh_reuse";
  return notice(isReuse ? "warning" : "info", h("p", { class: "title" }, "Last signed out ", when(new Date(endedAt(last)).toISOString())),
    h("p", {}, explain(last)), h("p", {}, h("a", { href: to("session", last.id) }, "See this session")));
}
