// Signing in with a one-time link. The secret is in the fragment, which no proxy and no log sees.

import { fill, h } from "./dom.js";
import { signIn } from "./api.js";
import { field, problem } from "./ui.js";

export const title = "Sign in";

/** `done` after signing in; `refused` when the link of the address is not valid. */
export function show(main, { link, done, refused }) {
  const outcome = h("div", { "aria-live": "assertive" });
  const pasted = link ? null : h("input", { type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const submit = h("button", { type: "submit", class: "primary" }, "Sign in");
  const form = h("form", { onsubmit }, link ? h("p", {}, "This link signs you in to the console. It works once, within a minute after it was made.")
    : [h("p", {}, "The console opens with a one-time link. On the machine of the server, run"), h("pre", { tabindex: "0" }, "keyfob console"),
      h("p", {}, "and open the link that it prints within a minute. It needs access to the admin socket. ", h("code", {}, "keyfob console --read"), " prints one that may look but change nothing."),
      field("Or paste the link here", pasted)], outcome, h("div", { class: "buttons start" }, submit));
  fill(main, h("div", { class: "sign-in card" }, h("h1", { tabindex: "-1" }, "Sign in to keyfob"), form));
  if (link) submit.focus();

  async function onsubmit(event) {
    event.preventDefault();
    const secret = link ?? pasted.value.slice(pasted.value.lastIndexOf("#") + 1).trim();
    submit.disabled = true;
    try {
      await signIn(secret);
      done();
    } catch (error) {
      submit.disabled = false;
      if (pasted) pasted.value = "";
      else if (error.status === 401) {
        submit.remove();
        refused();
      }
      fill(outcome, error.status === 401 ? h("div", { class: "notice alarm", role: "alert" }, h("p", { class: "title" }, "This link does not sign in"),
        h("p", {}, "It was used before, is older than a minute, or the server was restarted or all sessions were ended since. Run ", h("code", {}, "keyfob console"), " again. If it was used and not by you, someone else is signed in: ", h("code", {}, "keyfob session list --client-id console"), " shows the session, and ", h("code", {}, "keyfob session revoke"), " ends it."))
        : problem(error));
    }
  }
}
