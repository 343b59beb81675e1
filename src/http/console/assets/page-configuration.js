// The effective configuration, with the origin of each value. Secrets are redacted by the server.

import { fill, foreign, h } from "./dom.js";
import { get } from "./api.js";
import { empty, field, heading, table } from "./ui.js";

export const title = "Configuration";

export async function show(main, { signal }) {
  const { items } = await get("/console/configuration", {}, signal);
  const text = h("input", { type: "search", autocomplete: "off", spellcheck: "false", oninput: list });
  const changed = h("input", { type: "checkbox", onchange: list });
  const place = h("div", {});
  fill(main, heading(title), h("p", {}, "What the running server uses. It is changed in the configuration file, the environment or the command line, and read at the start. Secrets are not shown."),
    h("div", { class: "row" }, field("Contains", text), h("label", { class: "box" }, changed, h("span", {}, "Only what is not a default"))), place);
  list();

  function list() {
    const wanted = text.value.trim().toLowerCase();
    const chosen = items.filter(({ key, value, origin }) => (!changed.checked || origin !== "default") && `${key} ${value} ${origin}`.toLowerCase().includes(wanted));
    fill(place, chosen.length ? table("Settings", ["Setting", "Value", "Origin"], chosen.map(({ key, value, origin }) => [setting(key), foreign(value, "code"),
      origin === "default" ? h("span", { class: "quiet" }, "default") : foreign(origin)]))
      : empty("No setting matches", wanted ? `No key, value or origin contains “${text.value.trim()}”.` : "Every setting has its default."));
  }
}

/** A key, which wraps between its words only. */
const setting = (key) => h("code", { class: "setting" }, key.split(/(?<=[._\]])/).map((part) => [foreign(part), h("wbr")]));
