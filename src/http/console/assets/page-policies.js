// What a changed policy would have done. What cannot be known from what is stored is said, not guessed.

import { fill, foreign, h } from "./dom.js";
import { get } from "./api.js";
import { policyNames } from "./client-form.js";
import { length, when } from "./time.js";
import { badge, clientLink, empty, facts, field, heading, notice, problem, section, sessionLink, subjectLink, table } from "./ui.js";

export const title = "Policies";

const CHANGES = [
  ["absolute_lifetime", "Absolute lifetime"], ["idle_timeout", "Idle timeout"], ["refresh_retry_window", "Refresh retry window"],
  ["remember_absolute_lifetime", "Absolute lifetime, remembered"], ["remember_idle_timeout", "Idle timeout, remembered"], ["max_sessions_per_subject", "Sessions per subject and client"],
];

export async function show(main, { query, signal }) {
  const { items } = await get("/console/configuration", {}, signal);
  const policy = h("select", { onchange: present }, policyNames(items).map((name) => h("option", { value: name, selected: name === query.get("policy") }, name)));
  const inputs = CHANGES.map(([name, label]) => [name, label, h("input", { type: "text", value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false", placeholder: name === "max_sessions_per_subject" ? "such as 3" : "such as 8h" })]);
  const full = h("select", {}, ["", "evict_oldest", "refuse"].map((value) => h("option", { value, selected: value === query.get("when_full") }, value || "as it is")));
  const hints = new Map();
  const fields = inputs.map(([name, label, input]) => {
    const element = field(label, input, " ");
    hints.set(name, element.querySelector(".hint"));
    return element;
  });
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); run(); } }, h("div", { class: "grid" }, field("Policy", policy), fields, field("When a subject has too many", full)),
    h("div", { class: "buttons start" }, h("button", { type: "submit", class: "primary" }, "Rehearse")));
  fill(main, heading(title), h("p", {}, "Rehearse a change: which of the stored sessions it would have ended, and when. Nothing is changed. To change a policy, edit the configuration."), form, result);
  present();
  if (inputs.some(([, , input]) => input.value)) await run();

  /** Shows what the policy says now. */
  function present() {
    for (const [name] of inputs) {
      const key = name.startsWith("remember_") ? `remember.${name.slice("remember_".length)}` : name;
      const value = [policy.value, "default"].map((one) => items.find((item) => item.key === `policy.${one}.${key}`)?.value).find(Boolean);
      fill(hints.get(name), value === undefined ? "" : ["now ", h("code", {}, value.replaceAll('"', "")), value === "0" ? " (no limit)" : ""]);
    }
  }

  async function run() {
    const changes = Object.fromEntries(inputs.map(([name, , input]) => [name, input.value.trim()]).filter(([, value]) => value !== ""));
    if (full.value) changes.when_full = full.value;
    if (Object.keys(changes).length === 0) {
      fill(result, notice("info", "Fill in at least one value that is to be different."));
      return;
    }
    fill(result, h("p", { class: "quiet" }, "Rehearsing…"));
    history.replaceState(null, "", `#/policies?${new URLSearchParams({ policy: policy.value, ...changes })}`);
    try {
      const answer = await get("/v1/policies/simulate", { policy: policy.value, ...changes }, signal);
      fill(result, findings(answer));
      await plots(result, answer, signal);
    } catch (error) {
      fill(result, problem(error));
    }
  }
}

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function findings(answer) {
  const { lifetime, cap, idle, remember_idle: remembered, retry } = answer;
  return h("div", { class: "compact" }, section("What it would have done",
    h("p", {}, `${count(answer.examined, "session", "sessions")} of the policy `, foreign(answer.policy, "code"), " examined."),
    answer.complete ? null : notice("warning", `Only ${answer.examined} of ${answer.sessions} sessions were examined: the figures are lower bounds.`),
    lifetime ? section("Absolute lifetime", facts(["Would have ended earlier", count(lifetime.ended_earlier, "session", "sessions")], ["Of them active now", String(lifetime.active_among_them)],
      ["Could last longer", count(lifetime.could_live_longer, "session", "sessions")]), examples(lifetime.items)) : null,
    cap ? section("Sessions per subject", facts(["Would have been evicted", cap.evicted === undefined ? null : count(cap.evicted, "session", "sessions")], ["Openings refused", cap.refused === undefined ? null : String(cap.refused)]), examples(cap.items, false)) : null,
    idle ? section("Idle timeout", gaps(idle), h("div", { "data-plot": "idle" })) : null,
    remembered ? section("Idle timeout of remembered sessions", gaps(remembered), h("div", { "data-plot": "remember" })) : null,
    retry ? section("Refresh retry window", facts(["Retries seen", String(retry.retries)], ["Later than the new window", atMost(retry.later, retry.later_at_most)]), h("div", { "data-plot": "retry" })) : null,
    answer.unknown?.length ? section("What cannot be known", h("ul", {}, answer.unknown.map((sentence) => h("li", {}, sentence)))) : null));
}

const atMost = (least, most) => (most === undefined || most === least ? String(least) : `between ${least} and ${most}`);
const gaps = (part) => facts(["Gaps between uses", String(part.gaps)], ["Longer than the new timeout", atMost(part.longer, part.longer_at_most)]);

function examples(items = [], isKnown = true) {
  if (items.length === 0) return empty("No session", "None of the stored sessions would have been different.");
  return table("Sessions that would have ended", ["Session", "Subject", "Client", "Would have ended", ...(isKnown ? ["What happened"] : [])], items.map((item) => [
    sessionLink(item.session_id, true), subjectLink(item.subject), clientLink(item.client_id), [when(item.would_end_at), item.certain === false ? h("div", { class: "quiet" }, "an assumption") : null],
    ...(isKnown ? [[badge(item.state), " ", item.ended_at ? when(item.ended_at) : null]] : [])]));
}

async function plots(place, { idle, remember_idle: remembered, retry }, signal) {
  const drawn = [["idle", "Gaps between uses", idle?.histogram], ["remember", "Gaps between uses of remembered sessions", remembered?.histogram], ["retry", "Delays of retries", retry?.histogram]];
  if (!drawn.some(([, , histogram]) => histogram?.length)) return;
  const { plot } = await import("./plot.js");
  for (const [name, label, histogram] of drawn) {
    const spot = place.querySelector(`[data-plot="${name}"]`);
    if (!spot || !histogram?.length) continue;
    const counts = histogram.map((bucket) => bucket.count);
    if (counts.every((count) => count === 0)) {
      fill(spot, empty("None yet", "The server counts them in memory, and has counted none of this policy since it started."));
      continue;
    }
    const labels = histogram.map(bound);
    fill(spot, h("h3", {}, label));
    const area = h("div", {});
    spot.append(area);
    plot(area, { label: `${label}: ${labels.map((text, index) => `${text}: ${counts[index]}`).join("; ")}`, x: counts.map((_, index) => index), isTime: false, labels,
      series: [{ label, values: counts, kind: "bars" }], isWhole: true, height: 180, signal });
  }
}

function bound(bucket, index, all) {
  const value = bucket.up_to_s ?? (bucket.up_to_ms === undefined || bucket.up_to_ms === null ? null : bucket.up_to_ms / 1000);
  const text = (seconds) => (seconds < 1 ? `${seconds * 1000} ms` : length(seconds));
  if (value !== null && value !== undefined) return `≤ ${text(value)}`;
  const before = all[index - 1];
  return before ? `> ${bound(before, index - 1, all).slice(2)}` : "any";
}
