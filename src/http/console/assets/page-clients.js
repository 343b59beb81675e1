// The registered clients, and registering one.

import { fill, foreign, h } from "./dom.js";
import { all, get, post } from "./api.js";
import { clientFields, policyNames } from "./client-form.js";
import { when } from "./time.js";
import { badge, changeButton, clientLink, empty, heading, showSecret, table, to } from "./ui.js";

export const title = "Clients";

export async function show(main, { signal }) {
  const [{ items, isCut }, { items: settings }] = await Promise.all([all("/v1/clients", {}, signal), get("/console/configuration", {}, signal)]);
  const codes = (values) => (values.length ? values.flatMap((value) => [foreign(value, "code"), " "]) : h("span", { class: "quiet" }, "none"));
  const state = (client) => [client.disabled ? badge("disabled", "ended") : badge("enabled", "active"), client.declared ? [" ", badge("declared", "plain")] : null];
  fill(main, heading(title, register(settings)),
    h("p", {}, "A client is an application, an API or a tool that uses keyfob. Each is named by its client id."),
    items.length ? table("Registered clients", ["Client", "Kind", "State", "Permissions", "Grants", "Policy", "Changed"],
      items.map((client) => [clientLink(client.client_id), client.kind, state(client), codes(client.permissions), codes(client.grants), foreign(client.policy, "code"), when(client.updated_at)]))
      : empty("No client", "Register the application that signs users in."),
    isCut ? h("p", { class: "quiet" }, "Only the first 2000 clients are shown.") : null);
}

function register(settings) {
  let form = clientFields(null, policyNames(settings));
  const change = {
    title: "Register a client", button: "Register", isDangerous: false, said: "the client is registered",
    text: h("p", {}, "What is not chosen here can be changed later, except id and kind."),
    get fields() {
      form = clientFields(null, policyNames(settings));
      return form.elements;
    },
    run: () => post("/v1/clients", form.settings()),
    done: (client) => {
      location.hash = to("client", client.client_id);
      if (client.client_secret) showSecret("The secret of the new client", "This is the only time that it is shown: keyfob stores only a hash of it. Give it to the application by its secret store.", client.client_secret);
    },
  };
  return changeButton("Register a client…", change, "primary");
}
