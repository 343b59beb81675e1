// One client: what it may do, in sentences, and its administration.

import { fill, foreign, h } from "./dom.js";
import { at, get, patch, post, remove } from "./api.js";
import { clientFields, policyNames } from "./client-form.js";
import { when } from "./time.js";
import { badge, changeButton, empty, facts, field, heading, identifier, notice, section, showSecret, to, toQuery } from "./ui.js";
import { clientSentences } from "./words.js";

export const title = "Client";

export async function show(main, { parts, signal, reload }) {
  const id = parts[0] ?? "";
  const name = h("span", {}, "Client ", foreign(id));
  if (id === "console") {
    fill(main, heading(name), empty("This console", "Sessions of the console belong to this reserved name. It is not registered, and can do nothing elsewhere. ",
      h("a", { href: toQuery("subjects", { state: "active", client: id }) }, "Its active sessions")));
    return;
  }
  let client;
  try {
    client = await get(at`/v1/clients/${id}`, {}, signal);
  } catch (error) {
    if (error.status !== 404 && error.status !== 400) throw error;
    fill(main, heading(name), empty("No client of this name is registered", "It may have been deleted: then everything that was issued to it has ended. ",
      h("a", { href: toQuery("events", { text: id }) }, "Events that name it"), " or ", h("a", { href: to("clients") }, "all clients")));
    return;
  }
  const { items } = await get("/console/configuration", {}, signal);
  fill(main, heading(name, badge(client.disabled ? "disabled" : "enabled", client.disabled ? "ended" : "active")),
    section("What it may do", h("ul", {}, clientSentences(client))),
    facts(["Client id", identifier(id, "client id")], ["Kind", client.kind], ["Registered", when(client.created_at)], ["Last changed", when(client.updated_at)],
      ["More", [h("a", { href: toQuery("subjects", { state: "active", client: id }) }, "its active sessions"), ", ", h("a", { href: toQuery("events", { text: id }) }, "its events")]]),
    client.declared ? notice("info", "This client is declared in the configuration: change it there and restart the server.") : changes(client, policyNames(items), reload));
}

function changes(client, policies, done) {
  const id = client.client_id;
  const path = at`/v1/clients/${id}`;
  let form;
  const keep = h("select", {}, [["0s", "not at all: it is invalid at once"], ["1h", "1 hour"], ["24h", "24 hours"], ["7d", "7 days"]].map(([value, text]) => h("option", { value }, text)));
  const name = foreign(id);
  const buttons = [
    changeButton("Change…", {
      title: "Change this client", button: "Change", isDangerous: false, said: "the client was changed", done, text: null,
      get fields() { form = clientFields(client, policies); return form.elements; },
      run: () => patch(path, form.settings()),
    }),
    client.kind === "confidential" ? changeButton("Rotate secret…", {
      title: "Rotate the secret", button: "Rotate", said: "the secret was rotated",
      text: h("p", {}, "The client ", name, " gets a new secret. If the old one does not stay valid, the client's own access tokens end too."),
      fields: field("Keep the old secret valid", keep, "Long enough to give the new one to every instance of the application."),
      run: () => post(`${path}/secret`, { keep_old_for: keep.value }),
      done: async (answer) => { await done(); showSecret("The new secret", "This is the only time that it is shown: keyfob stores only a hash of it.", answer.client_secret); },
    }) : null,
    client.grants.includes("client_credentials") || client.kind === "confidential" ? changeButton("Revoke its tokens…", {
      title: "Revoke the client's own tokens", button: "Revoke", said: "the client's own tokens are revoked", done,
      text: h("p", {}, "Every access token that ", name, " got for itself (client_credentials) is invalid at once. Sessions of users are not changed, and the client can get new tokens."),
      run: () => post(`${path}/tokens/revoke`),
    }) : null,
    client.disabled ? changeButton("Enable…", {
      title: "Enable this client", button: "Enable", isDangerous: false, said: "the client is enabled", done,
      text: h("p", {}, "Its requests are accepted again, and its tokens and sessions that have not expired are active again."), run: () => patch(path, { disabled: false }),
    }) : changeButton("Disable…", {
      title: "Disable this client", button: "Disable", said: "the client is disabled", done,
      text: h("p", {}, "While it is disabled, its requests are rejected and its tokens are inactive. Enabling it restores what has not expired."), run: () => patch(path, { disabled: true }),
    }, "danger"),
    changeButton("Delete…", {
      title: "Delete this client", button: "Delete", said: "the client is deleted", word: id,
      text: h("p", {}, "Everything that was issued to ", name, " ends permanently, also if another client gets the same name later."),
      run: () => remove(path), done: () => { location.hash = to("clients"); },
    }, "danger"),
  ];
  return buttons.some(Boolean) ? section("Administration", h("div", { class: "buttons start" }, buttons)) : null;
}
