// One subject: sessions and devices, why each ended, and ending them.

import { fill, foreign, h } from "./dom.js";
import { reuse } from "./event.js";
import { now, when } from "./time.js";
import { card, device, endAllButtons, retention, reuseOf, sessionsOf } from "./sessions.js";
import { clientLink, empty, heading, identifier, notice, problem, section, to, toQuery } from "./ui.js";
import { endedAt, ending, stateNow } from "./words.js";

export const title = "Subject";

export async function show(main, { parts, signal, reload }) {
  const subject = parts[0] ?? "";
  const [{ items, isCut }, kept] = await Promise.all([sessionsOf(subject, signal), retention(signal)]);
  const active = items.filter((session) => stateNow(session) === "active");
  const past = items.filter((session) => stateNow(session) !== "active");
  const cards = new Map(items.slice(0, 100).map((session) => [session, card(session, reload)]));
  const shown = (sessions) => sessions.filter((session) => cards.has(session)).map((session) => cards.get(session).element);
  const name = h("span", {}, "Subject ", foreign(subject));
  if (items.length === 0) {
    fill(main, heading(name), empty("No session of this subject is retained", "Either no application has opened one under exactly this name, or the last one ended so long ago that it was deleted. ",
      h("a", { href: to("subjects") }, "Search again")));
    return;
  }
  fill(main, heading(name, endAllButtons(subject, active, reload)),
    h("p", { class: "id" }, identifier(subject, "subject")),
    h("p", {}, `${active.length} active ${active.length === 1 ? "session" : "sessions"}, ${past.length} expired or ended. Ended sessions stay here ${kept ? `for ${kept} (events.retention)` : "as long as the configuration keeps events"}.`),
    lastEnds(past),
    isCut || items.length > 100 ? notice("info", `Only ${cards.size} of the ${isCut ? "first 2000" : items.length} sessions are shown.`) : null,
    section("Active sessions", active.length ? shown(active) : empty("No active session", "This subject is not signed in anywhere.")),
    past.length ? section("Expired and ended sessions", shown(past)) : null,
    h("p", {}, h("a", { href: toQuery("events", { subject }) }, "Events of this subject")));
  await Promise.all(past.slice(0, 20).map(async (session) => {
    const event = await reuseOf(session, signal).catch((error) => problem(error));
    if (event instanceof Node) fill(cards.get(session).why, event);
    else if (event !== null) fill(cards.get(session)?.why ?? h("div"), reuse(event, session));
  }));
}

const DAY_MS = 86_400_000;
/** How many endings the first box names. */
const ENDS_MAX = 5;
const isReuse = (session) => session.ended?.reason === "refresh_reuse";

/** Why the subject was signed out, before all else: the endings of the last day, alarms first, or the last one. */
function lastEnds(past) {
  if (past.length === 0) return null;
  const newest = [...past].sort((a, b) => endedAt(b) - endedAt(a));
  const recent = newest.filter((session) => endedAt(session) > now() - DAY_MS);
  const named = recent.length ? [...recent.filter(isReuse), ...recent.filter((session) => !isReuse(session))] : newest.slice(0, 1);
  const alarms = named.filter(isReuse).length;
  const time = (session) => when(new Date(endedAt(session)).toISOString());
  const which = (session) => [h("a", { href: to("session", session.id) }, "The session"), " on ", device(session.device), " at ", clientLink(session.client_id), " ", ending(session), "."];
  const kind = alarms ? "alarm" : "info";
  if (named.length === 1) return notice(kind, h("p", { class: "title" }, "Last signed out ", time(named[0]), alarms ? ", by a reuse alarm" : null), h("p", {}, which(named[0])));
  const by = alarms === 0 ? "" : alarms === named.length ? ", each by a reuse alarm" : `, ${alarms === 1 ? "one" : alarms} by a reuse alarm`;
  return notice(kind, h("p", { class: "title" }, `${named.length} sessions ended in the last day${by}`),
    h("ul", {}, named.slice(0, ENDS_MAX).map((session) => h("li", {}, isReuse(session) ? h("strong", {}, "Reuse alarm, ", time(session), ": ") : [time(session), ": "], which(session)))),
    named.length > ENDS_MAX ? h("p", {}, `${named.length - ENDS_MAX} more are below.`) : null);
}
