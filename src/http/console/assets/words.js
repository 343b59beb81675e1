// What the engine's words mean, in sentences. The command line explains with the same ones.

import { h, foreign } from "./dom.js";
import { absolute, distance, instant, length, now } from "./time.js";
import { clientLink } from "./ui.js";

export const REASONS = {
  logout: "the subject logged out, or the application did it for them",
  admin: "an administrator ended this session",
  subject_revoked: "the subject's sessions were all ended at once, as by “log out everywhere”",
  all_revoked: "all sessions of that time were ended at once",
  refresh_reuse: "a spent refresh token was presented again: it was stolen, or an application kept an old token; keyfob cannot tell which",
  evicted: "max_sessions_per_subject was reached, and of the subject's sessions this one was used longest ago",
  client_deleted: "the client that the session belonged to was deleted",
  store_rollback: "the database was restored to an earlier state, which does not show what happened to the session since",
  token_revoked: "its last refresh token was revoked",
};

export const PERMISSIONS = {
  sessions: "opens sessions, and reads, changes, renews and ends those that it opened",
  introspect: "introspects tokens that were issued to it or are for a resource that it serves",
  "introspect:any": "introspects the tokens of every client",
  events: "reads the whole event log, subjects included",
  metrics: "reads the metrics",
  admin: "administers keyfob: it may do everything",
};

export const GRANTS = {
  refresh_token: "gets refresh tokens and exchanges them",
  client_credentials: "gets access tokens of its own, without a subject",
};

const FORMATS = {
  paseto: "PASETO v4.public",
  jwt: "JWT signed with EdDSA",
  jwt_es256: "JWT signed with ES256",
};

/** Who did it. */
export function actor(by) {
  if (by === "keyfob") return "keyfob itself";
  if (by === "admin.sock") return "an operator at the admin socket";
  if (by === "console") return "an operator in this console";
  return clientLink(by);
}

const at = (milliseconds) => `${absolute(milliseconds)} (${distance(milliseconds)})`;

/** Which timeout of a session passes first, and when. */
export const timeoutOf = (session) => (instant(session.idle_expires_at) < instant(session.expires_at) ? session.idle_expires_at : session.expires_at);

/** When a session ended or expired, or will. */
export const endedAt = (session) => instant(session.ended?.at ?? timeoutOf(session));

/** Why a session ended or expired: parts of a sentence that begins with the session. `time` is put into it. */
export function ending(session, time = "") {
  const [idle, expires] = [instant(session.idle_expires_at), instant(session.expires_at)];
  if (session.ended) return [`ended${time} by `, actor(session.ended.by), `: ${session.ended.reason} – ${REASONS[session.ended.reason] ?? "a reason that this console does not know"}`];
  return [idle < expires ? `expired${time}: it was not used for ${length((idle - instant(session.last_used_at)) / 1000)} (idle_timeout)`
    : `expired${time}: the subject had authenticated ${length((expires - instant(session.authenticated_at)) / 1000)} before (absolute_lifetime)`];
}

/** Why a session is active, expired or ended: parts of a sentence. */
export function explain(session) {
  if (stateNow(session) !== "active") return ["It ", ending(session, ` ${at(endedAt(session))}`), "."];
  const [idle, expires] = [instant(session.idle_expires_at), instant(session.expires_at)];
  return idle < expires
    ? [`It is active. It expires ${at(idle)} unless it is used before, and ${at(expires)} in any case, unless the subject authenticates again.`]
    : [`It is active. It expires ${at(expires)} unless the subject authenticates again.`];
}

/** The state that a session has now: its timeouts may have passed since it was read. */
export function stateNow(session) {
  const passed = Math.min(instant(session.idle_expires_at), instant(session.expires_at)) <= now();
  return session.state === "active" && passed ? "expired" : session.state;
}

/** When a session was last used: recorded to the minute, rounded up, which its end and now limit. */
export const lastUsed = (session) => new Date(Math.min(instant(session.last_used_at), session.ended ? instant(session.ended.at) : Infinity, now())).toISOString();

/** What a client may do, as a list of sentences. */
export function clientSentences(client) {
  const list = (values) => values.flatMap((value, index) => [index ? ", " : "", foreign(value, "code")]);
  const sentences = [];
  const add = (...parts) => sentences.push(h("li", {}, parts));
  if (client.disabled) add(h("strong", {}, "It is disabled: its requests are rejected and its tokens are inactive."));
  if (client.kind === "public") add("It is public: it has no secret, and only refreshes and revokes its own tokens.");
  for (const permission of client.permissions) add(`It ${PERMISSIONS[permission] ?? `has the permission ${permission}`}.`);
  for (const grant of client.grants) add(`It ${GRANTS[grant] ?? `has the grant ${grant}`}.`);
  if (client.scopes.length) add("It may ask for the scopes ", list(client.scopes), ".");
  else add("It has no scopes.");
  if (client.audiences.length) add("Its access tokens are for ", list(client.audiences), ".");
  else add("Its access tokens are for the issuer: no audience is set.");
  if (client.serves.length) add("It is the resource server of ", list(client.serves), ".");
  if (client.opens_for.length) add("It opens sessions for ", client.opens_for.flatMap((id, index) => [index ? ", " : "", clientLink(id)]), ".");
  add("Its sessions follow the policy ", foreign(client.policy, "code"), `, and its access tokens are ${FORMATS[client.access_token_format] ?? client.access_token_format}.`);
  if (client.declared) add("The configuration declares it: it can only be changed there.");
  return sentences;
}

/** The types of events: a title, and the group that the filter shows. */
export const EVENTS = {
  "session.opened": ["Session opened", "sessions"],
  "session.updated": ["Session changed", "sessions"],
  "session.renewed": ["Session renewed", "sessions"],
  "session.expired": ["Session expiry recorded", "sessions"],
  "session.ended": ["Session ended", "sessions"],
  "family.opened": ["Family opened", "sessions"],
  "family.ended": ["Family ended", "sessions"],
  "token.revoked": ["Access token revoked", "tokens"],
  "client.tokens_revoked": ["Client's tokens revoked", "clients"],
  "refresh.reused": ["Refresh token reused", "alarms"],
  "subject.revoked": ["Subject logged out everywhere", "sessions"],
  "all.revoked": ["Everything ended", "alarms"],
  "client.created": ["Client registered", "clients"],
  "client.updated": ["Client changed", "clients"],
  "client.deleted": ["Client deleted", "clients"],
  "key.rotated": ["Key rotated", "keys"],
  "key.revoked": ["Key revoked", "alarms"],
  "store.restored": ["Store restored", "alarms"],
};

/** The generation of a reused refresh token: rotation stops when the session ends, so the family keeps its last one. */
export function reusedGeneration(event, session) {
  const family = session?.families.find(({ id }) => id === event.family);
  if (family === undefined || event.generations_behind === undefined) return null;
  return { presented: family.generation - event.generations_behind, current: family.generation, family };
}
