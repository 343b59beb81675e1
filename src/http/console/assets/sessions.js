// A session as a card, and the changes to sessions.

import { foreign, h } from "./dom.js";
import { all, at, get, remove } from "./api.js";
import { near } from "./log.js";
import { countdown, instant, when } from "./time.js";
import { badge, changeButton, clientLink, facts, field, sessionLink, table } from "./ui.js";
import { endedAt, explain, lastUsed, stateNow } from "./words.js";

/** All sessions of a subject that are retained, at most 2000: active ones first, then the newest ends. */
export async function sessionsOf(subject, signal) {
  const { items, isCut } = await all("/v1/sessions", { subject }, signal);
  const rank = (session) => (session.state === "active" ? [0, -instant(session.last_used_at)] : [1, -endedAt(session)]);
  items.sort((a, b) => { const [x, y] = [rank(a), rank(b)]; return x[0] - y[0] || x[1] - y[1]; });
  return { items, isCut };
}

/** How long ended sessions and events are kept, as the configuration says it; `null` if that cannot be read. */
export async function retention(signal) {
  const { items } = await get("/console/configuration", {}, signal).catch(() => ({ items: [] }));
  return items.find(({ key }) => key === "events.retention")?.value.replaceAll('"', "") ?? null;
}

/** When a session was last used, which is recorded to the minute. */
export const used = (session) => [when(lastUsed(session)), h("span", { class: "quiet" }, " (recorded to the minute)")];

/** The device, in a few words. */
export function device({ label, user_agent: agent, ip }) {
  if (!label && !agent && !ip) return h("span", { class: "quiet" }, "unknown device");
  return [label ? h("strong", {}, foreign(label)) : null, label && (agent || ip) ? " – " : null, agent ? foreign(agent) : null, ip ? [agent ? ", " : "", "address ", foreign(ip, "code")] : null];
}

/** The families of a session. `reused` marks the one whose token was presented again. */
export function families(session, reused) {
  if (session.families.length === 0) return h("p", { class: "quiet" }, "It has no refresh tokens: its client does not have the grant refresh_token, or the families have ended and were removed.");
  return table("Refresh-token families", ["Family", "State", "Client", "Generation", "Scope", "Audience", "Last refreshed"], session.families.map((family) => [
    String(family.id), [badge(family.state), reused?.family === family.id ? [" ", badge("reused", "alarm")] : null], clientLink(family.client_id), String(family.generation),
    family.scope ? foreign(family.scope, "code") : "–", foreign(family.audience, "code"), when(family.refreshed_at)]));
}

/** The event of the reuse that ended a session, or `null`. */
export async function reuseOf(session, signal) {
  if (session.ended?.reason !== "refresh_reuse") return null;
  const items = await near(instant(session.ended.at), (event) => event.session_id === session.id && event.type === "refresh.reused", signal);
  return items.at(-1) ?? null;
}

/** Ends one session. */
export const endButton = (session, done) => (stateNow(session) === "active" ? changeButton("End session…", {
  title: "End this session",
  text: [h("p", {}, "The session of ", foreign(session.subject), " at the client ", foreign(session.client_id), " ends at once, with all its tokens. The subject has to sign in again on that device.")],
  button: "End session", said: "the session has ended", done,
  run: () => remove(at`/v1/sessions/${session.id}`),
}, "danger") : null);

/** Ends all sessions of a subject, or all but one. */
export function endAllButtons(subject, active, done) {
  if (active.length === 0) return null;
  const note = () => h("input", { type: "text", maxlength: "200", autocomplete: "off" });
  const [noteAll, noteOthers] = [note(), note()];
  const keep = h("select", {}, active.map((session) => h("option", { value: session.id }, `${session.device.label ?? session.device.user_agent ?? "unknown device"} – ${session.client_id}, …${session.id.slice(-8)}`)));
  const hint = "Recorded in the event log; at most 200 characters.";
  const ended = (count) => `${count} ${count === 1 ? "session has" : "sessions have"} ended`;
  return [
    changeButton("End all…", {
      title: "Log this subject out everywhere", button: "End all sessions", said: ended(active.length), done,
      text: [h("p", {}, `All sessions of `, foreign(subject), ` end at once (${active.length} active now), at every client and on every device.`)],
      fields: field("Reason (optional)", noteAll, hint),
      run: () => remove("/v1/sessions", { subject, reason: noteAll.value }),
    }, "danger"),
    active.length > 1 ? changeButton("End all but one…", {
      title: "End all sessions but one", button: "End the others", said: ended(active.length - 1), done,
      text: [h("p", {}, "All sessions of ", foreign(subject), " end at once, except the one that you choose.")],
      fields: [field("Keep", keep), field("Reason (optional)", noteOthers, hint)],
      run: () => remove("/v1/sessions", { subject, except: keep.value, reason: noteOthers.value }),
    }, "danger") : null,
  ];
}

/** A session among those of its subject. */
export function card(session, done) {
  const state = stateNow(session);
  const why = h("div", {});
  return {
    why,
    element: h("article", { class: `card session ${state}`, "data-session": session.id },
      h("header", {}, badge(state), h("h3", {}, device(session.device)), h("div", { class: "actions" }, endButton(session, done))),
      h("p", { class: "explain" }, explain(session)), why,
      facts(["Session", sessionLink(session.id)], ["Client", clientLink(session.client_id)], ["Opened", when(session.created_at)],
        ["Last used", used(session)], state === "active" ? ["Expires if unused", countdown(session.idle_expires_at)] : null,
        state === "active" ? ["Expires in any case", countdown(session.expires_at)] : [session.ended ? "Ended" : "Expired", when(new Date(endedAt(session)).toISOString())]),
      h("details", {}, h("summary", {}, `Refresh-token families (${session.families.length})`), families(session))),
  };
}
