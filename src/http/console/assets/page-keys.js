// The signing keys: which one signs, what happens when, rotation and revocation.

import { fill, foreign, h } from "./dom.js";
import { at, get, post, remove } from "./api.js";
import { instant, seconds, when } from "./time.js";
import { badge, changeButton, heading, identifier, table } from "./ui.js";

export const title = "Keys";

const MEANING = {
  active: "It signs new tokens.",
  next: "It is published, so that verifiers know it, and signs after the next rotation.",
  retired: "It signs nothing new; tokens that it signed stay valid until they expire.",
};

export async function show(main, { signal, reload }) {
  const [{ items }, { items: settings }] = await Promise.all([get("/v1/keys", {}, signal), get("/console/configuration", {}, signal)]);
  const every = settings.find(({ key }) => key === "keys.rotate_every")?.value.replaceAll('"', "");
  const rows = items.map((key) => [badge(key.status, key.status === "active" ? "active" : key.status === "next" ? "plain" : "expired"), identifier(key.kid, "key id"), key.alg,
    [MEANING[key.status] ?? "", due(key, every)], times(key), revokeButton(key, reload) ?? "–"]);
  fill(main, heading(title, rotateButton(reload)),
    h("p", {}, "Access tokens are signed. ", every ? ["Keys rotate by themselves every ", h("code", {}, every), "; no session ends by that."] : null),
    table("Signing keys", ["Status", "Key id", "Algorithm", "What it does", "When", "Action"], rows));
}

function due(key, every) {
  const period = every && seconds(every);
  if (key.status !== "active" || !period || !key.active_since) return null;
  return h("div", {}, "The next rotation is due ", when(new Date(instant(key.active_since) + period * 1000).toISOString()));
}

const times = (key) => [["created", key.created_at], ["active since", key.active_since], ["retired", key.retired_at]]
  .filter(([, time]) => time).map(([name, time]) => h("div", {}, `${name} `, when(time)));

function rotateButton(done) {
  const force = h("input", { type: "checkbox" });
  return changeButton("Rotate…", {
    title: "Rotate the signing key", button: "Rotate", isDangerous: false, said: "the key was rotated", done,
    text: h("p", {}, "The next key becomes the active one, the active one is retired, and a new next one is published. No session ends."),
    fields: h("label", { class: "box" }, force, h("span", {}, "Rotate even if verifiers with a cached key set may not know the next key yet: they then reject new tokens until they fetch the set again.")),
    run: () => post("/v1/keys/rotate", undefined, { force: force.checked ? "true" : undefined }),
  });
}

const revokeButton = (key, done) => changeButton("Revoke…", {
  title: "Revoke a compromised key", button: "Revoke the key", word: "revoke", said: "the key is revoked", done,
  text: [h("p", {}, "Key ", foreign(key.kid, "code")), h("p", {}, "Every token that it signed is invalid at once, and applications get new ones by refreshing. Only for a key that others may have: rotation is enough otherwise.")],
  run: () => remove(at`/v1/keys/${key.kid}`),
}, "danger small");
