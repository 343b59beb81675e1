// What a token is, whether it is active, and if not, why. It goes to the server and nowhere else, and never
// into an address.

import { fill, foreign, h } from "./dom.js";
import { all, at, get, post } from "./api.js";
import { when } from "./time.js";
import { badge, clientLink, facts, field, heading, identifier, notice, problem, section, sessionLink, subjectLink, toQuery } from "./ui.js";

export const title = "Token";

let handed = "";
/** Takes a token that was typed elsewhere. */
export const handOver = (token) => { handed = token; };

const KINDS = { access: "an access token", refresh: "a refresh token", session: "a session token", unknown: "not a token of this installation, or it was altered" };

export async function show(main, { signal }) {
  const text = h("textarea", { rows: "4", autocomplete: "off", spellcheck: "false", autocapitalize: "off", required: true, class: "code" });
  const client = h("select", {}, h("option", { value: "" }, "an administrator (sees every token)"));
  const answer = h("div", { "aria-live": "polite" });
  const form = h("form", { onsubmit }, field("Token", text, "An access, refresh or session token. It is sent to this server and to no other place, and is not stored. A person who sees an active token can use it."),
    field("As seen by", client, "Clients that may introspect. One that neither got the token nor serves its audience is answered “inactive”."),
    h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Inspect"),
      h("button", { type: "button", onclick: () => { text.value = ""; answer.replaceChildren(); text.focus(); } }, "Clear")));
  fill(main, heading(title), form, answer);
  text.value = handed;
  if (handed) onsubmit();
  handed = "";
  const { items } = await all("/v1/clients", {}, signal);
  client.append(...items.filter(mayIntrospect).map(({ client_id: id }) => h("option", { value: id }, id)));

  async function onsubmit(event) {
    event?.preventDefault();
    const token = text.value.trim();
    if (token === "") return;
    if (token.startsWith("kfc_")) {
      fill(answer, notice("alarm", h("p", { class: "title" }, "This is the secret of a client, not a token"), h("p", {}, "A person who has it can act as that client. It was not sent. Clear the field, and rotate the secret if others can have seen it.")));
      return;
    }
    try {
      const found = await post("/console/introspect", { token, as: client.value || undefined });
      // The answer about an inactive token names its session, and the session its subject.
      const session = found.session_id ? await get(at`/v1/sessions/${found.session_id}`, {}, signal).catch(() => null) : null;
      fill(answer, result(found, session, unverified(token)));
    } catch (error) {
      fill(answer, problem(error));
    }
  }
}

/** The others are answered 401 or 403 for every token. */
const mayIntrospect = ({ disabled, permissions }) => !disabled && permissions.some((name) => ["introspect", "introspect:any", "admin"].includes(name));

function result(found, session, content) {
  const { introspection = {}, active } = found;
  const time = (name) => (introspection[name] === undefined ? null : when(introspection[name]));
  const subject = session?.subject ?? introspection.sub ?? null;
  return section("The token",
    h("div", { class: `verdict ${active ? "active" : "ended"}` }, badge(active ? "active" : "inactive", active ? "active" : "ended"),
      h("p", { class: "explain" }, `It is ${KINDS[found.kind] ?? found.kind}. `, active ? "It is active." : [found.reason ? [h("code", {}, found.reason), ": "] : "", found.explanation ? foreign(sentence(here(found.explanation))) : "It is inactive."])),
    facts(["Session", found.session_id ? sessionLink(found.session_id) : null], ["Subject", subject && found.session_id ? subjectLink(subject) : subject && foreign(subject)],
      ["Events", found.session_id ? h("a", { href: toQuery("events", { text: found.session_id }) }, "Events of this session") : null],
      ["Client", found.client_id ? clientLink(found.client_id) : null], ["Family", found.family === undefined ? null : String(found.family)],
      ["Generation", found.generation === undefined ? null : `${found.generation} (${found.kind === "session" ? "counts renewals" : "0 is the first one of the family"})`],
      ["Audience", introspection.aud ? foreign(introspection.aud, "code") : null], ["Scope", introspection.scope ? foreign(introspection.scope, "code") : null],
      ["Issued", time("iat")], ["Expires", time("exp")], ["Subject authenticated", time("auth_time")],
      ["Token id (jti)", introspection.jti ? identifier(introspection.jti, "token id") : null]),
    content ? h("details", {}, h("summary", {}, "What is written in it (read without verifying it)"), h("pre", { tabindex: "0" }, JSON.stringify(content, null, 2))) : null);
}

/** An explanation that the command line gives too, for this page. */
const here = (text) => text.replace("; `keyfob session show` has the details", "; the page of the session, linked below, says when and by whom").replaceAll("`", "");
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

/** The readable part of an access token, of either format. */
function unverified(token) {
  try {
    if (token.startsWith("v4.public.")) {
      const [, , body, footer] = token.split(".");
      return { payload: JSON.parse(decode(body, -64)), footer: footer ? JSON.parse(decode(footer)) : undefined };
    }
    const [header, payload, ...rest] = token.split(".");
    return rest.length === 1 ? { header: JSON.parse(decode(header)), payload: JSON.parse(decode(payload)) } : null;
  } catch {
    return null;
  }
}

function decode(text, end) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
  return new TextDecoder().decode(bytes.slice(0, end));
}
