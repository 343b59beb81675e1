// The settings of a client as fields, for registering and changing one.

import { h } from "./dom.js";
import { field } from "./ui.js";
import { GRANTS, PERMISSIONS } from "./words.js";

const words = (input) => input.value.split(/[\s,]+/).filter(Boolean);

/** Fields for `client` (empty for a new one), and what they say: only what was changed. */
export function clientFields(client, policies) {
  const isNew = client === null;
  const text = (name) => h("input", { type: "text", value: (client?.[name] ?? []).join(" "), autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const select = (values, chosen) => h("select", {}, values.map((value) => h("option", { value, selected: value === chosen }, value)));
  const boxes = (legend, all, chosen) => {
    const inputs = Object.entries(all).map(([value, meaning]) => [value, h("input", { type: "checkbox", value, checked: chosen.includes(value) }), meaning]);
    const element = h("fieldset", {}, h("legend", {}, legend), inputs.map(([value, input, meaning]) => h("label", { class: "box" }, input, h("span", {}, h("code", {}, value), ` ${meaning}`))));
    return { element, values: () => inputs.filter(([, input]) => input.checked).map(([value]) => value) };
  };
  const id = h("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "off", maxlength: "64", pattern: "[A-Za-z0-9._~\\-]*" });
  const kind = select(["confidential", "public"], "confidential");
  const permissions = boxes("Permissions", PERMISSIONS, client?.permissions ?? []);
  const grants = boxes("Grants", GRANTS, client?.grants ?? []);
  const [scopes, audiences, serves, opensFor] = ["scopes", "audiences", "serves", "opens_for"].map(text);
  const policy = select([...new Set([...policies, client?.policy ?? "default"])], client?.policy ?? "default");
  const format = select(["paseto", "jwt", "jwt_es256"], client?.access_token_format ?? "paseto");
  const elements = [
    isNew ? field("Client id", id, "1 to 64 of A–Z a–z 0–9 . _ ~ -; empty is a random one.") : null,
    isNew ? field("Kind", kind, "A public client (a mobile or browser application) has no secret, and no permissions.") : null,
    permissions.element, grants.element,
    field("Scopes", scopes, "Separated by spaces."), field("Audiences", audiences, "What its access tokens may be for."),
    field("Serves", serves, "The audiences that it is the resource server of."), field("Opens for", opensFor, "Other clients that it may open sessions for."),
    field("Policy", policy), field("Access tokens", format),
  ];
  const all = () => ({
    permissions: permissions.values(), grants: grants.values(), scopes: words(scopes), audiences: words(audiences), serves: words(serves),
    opens_for: words(opensFor), policy: policy.value, access_token_format: format.value,
  });
  const settings = () => {
    if (isNew) return { ...all(), kind: kind.value, ...(id.value ? { client_id: id.value } : {}) };
    return Object.fromEntries(Object.entries(all()).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(client[name])));
  };
  return { elements, settings };
}

/** The names of the policies, from the configuration. */
export function policyNames(items) {
  const names = items.map(({ key }) => /^policy\.([^.]+)\./.exec(key)?.[1]).filter(Boolean);
  return [...new Set(["default", ...names])];
}
