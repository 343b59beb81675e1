// What a changed policy would have done. What cannot be known from what is stored is said, not guessed.

import { fill, foreign, h } from "./dom.js";
import { get } from "./api.js";
import { policyNames } from "./client-form.js";
import { length, seconds, when } from "./time.js";
import { badge, clientLink, empty, facts, field, heading, notice, problem, section, sessionLink, subjectLink, table, toQuery } from "./ui.js";

export const title = "Policies";

const CHANGES = [
  ["absolute_lifetime", "Absolute lifetime", "8h"], ["idle_timeout", "Idle timeout", "15m"], ["refresh_retry_window", "Refresh retry window", "30s"],
  ["remember_absolute_lifetime", "Absolute lifetime, remembered", "14d"], ["remember_idle_timeout", "Idle timeout, remembered", "7d"], ["max_sessions_per_subject", "Sessions per subject and client", "3"],
];

export async function show(main, { query, signal }) {
  const { items } = await get("/console/configuration", {}, signal);
  const policy = h("select", { onchange: present }, policyNames(items).map((name) => h("option", { value: name, selected: name === query.get("policy") }, name)));
  const inputs = CHANGES.map(([name, label, example]) => [name, label, h("input", { type: "text", value: query.get(name) ?? "", autocomplete: "off", spellcheck: "false", placeholder: `such as ${example}` })]);
  const full = h("select", {}, ["", "evict_oldest", "refuse"].map((value) => h("option", { value, selected: value === query.get("when_full") }, value || "as it is now")));
  const hints = new Map();
  const fields = [...inputs, ["when_full", "When a subject has too many", full]].map(([name, label, input]) => {
    const element = field(label, input, " ");
    hints.set(name, element.querySelector(".hint"));
    return element;
  });
  const result = h("div", { "aria-live": "polite" });
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); run(); } }, h("div", { class: "grid" }, field("Policy", policy), fields),
    h("div", { class: "buttons start" }, h("button", { type: "submit", class: "primary" }, "Rehearse")));
  fill(main, heading(title), h("p", {}, "Rehearse a change: which of the stored sessions it would have ended, and when. Nothing is changed. To change a policy, edit the configuration."), form, result);
  present();
  if (inputs.some(([, , input]) => input.value)) await run();

  /** Shows what the policy says now. */
  function present() {
    for (const [name, hint] of hints) {
      const key = name.startsWith("remember_") ? `remember.${name.slice("remember_".length)}` : name;
      const value = [policy.value, "default"].map((one) => items.find((item) => item.key === `policy.${one}.${key}`)?.value).find(Boolean);
      fill(hint, value === undefined ? "" : ["now ", h("code", {}, value.replaceAll('"', "")), value === "0" ? " (no limit)" : ""]);
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
    history.replaceState(null, "", toQuery("policies", { policy: policy.value, ...changes }));
    try {
      const answer = await get("/v1/policies/simulate", { policy: policy.value, ...changes }, signal);
      fill(result, findings(answer));
      await plots(result, answer, changes, signal);
    } catch (error) {
      fill(result, problem(error));
    }
  }
}

const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function findings(answer) {
  const { lifetime, cap, idle, remember_idle: remembered, retry } = answer;
  return h("div", { class: "compact" }, section("What it would have done",
    lifetime || cap ? h("p", {}, `${count(answer.sessions, "stored session has", "stored sessions have")} the policy `, foreign(answer.policy, "code"), ".") : null,
    answer.complete ? null : notice("warning", `Only the oldest ${count(answer.examined, "session", "sessions")} of all policies were examined: the true counts may be higher.`),
    lifetime ? section("Absolute lifetime", facts(["Would have ended earlier", count(lifetime.ended_earlier, "session", "sessions")], ["Of them active now", String(lifetime.active_among_them)],
      ["Expired by the present one, and would not have", count(lifetime.could_live_longer, "session", "sessions")]), examples(lifetime.items, lifetime.ended_earlier)) : null,
    cap ? section("Sessions per subject and client", facts(["Would have been ended for a newer one", count(cap.evicted, "session", "sessions")], ["Openings that would have been rejected", String(cap.refused)]), examples(cap.items, cap.evicted + cap.refused, false)) : null,
    idle ? section("Idle timeout", gaps(idle), h("div", { "data-plot": "idle" })) : null,
    remembered ? section("Idle timeout of remembered sessions", gaps(remembered), h("div", { "data-plot": "remember" })) : null,
    retry ? section("Refresh retry window", facts(["Retries: the previous refresh token presented again", String(retry.retries)], ["Later than the new window", atMost(retry.later, retry.later_at_most)]), h("div", { "data-plot": "retry" })) : null,
    answer.unknown?.length ? section("What cannot be known", h("ul", {}, answer.unknown.map((sentence) => h("li", {}, sentence)))) : null));
}

const atMost = (least, most) => (most === undefined || most === least ? String(least) : `between ${least} and ${most}`);
const gaps = (part) => facts(["Gaps between two uses of a session", String(part.gaps)], ["Longer than the new timeout: the session would have expired", atMost(part.longer, part.longer_at_most)]);

function examples(items, all, isKnown = true) {
  if (items.length === 0) return empty("No session", "None of the stored sessions would have been different.");
  return [table("Sessions that would have ended", ["Session", "Subject", "Client", "Would have ended", ...(isKnown ? ["What happened"] : [])], items.map((item) => [
    sessionLink(item.session_id, true), subjectLink(item.subject), clientLink(item.client_id), [when(item.would_end_at), item.certain === false ? h("div", { class: "quiet" }, "assumed: see below") : null],
    ...(isKnown ? [[badge(item.state), " ", item.ended_at ? when(item.ended_at) : null]] : [])])),
    all > items.length ? h("p", { class: "quiet" }, `and ${(all - items.length).toLocaleString("en")} more`) : null];
}

/** The histograms, from one range before the first that is not empty to one after the last. */
async function plots(place, { idle, remember_idle: remembered, retry }, changes, signal) {
  const drawn = [["idle", "Gaps between uses", idle?.histogram, changes.idle_timeout], ["remember", "Gaps between uses of remembered sessions", remembered?.histogram, changes.remember_idle_timeout],
    ["retry", "Delays of retries", retry?.histogram, changes.refresh_retry_window]].filter(([, , histogram]) => histogram);
  if (drawn.length === 0) return;
  const { plot } = await import("./plot.js");
  for (const [name, label, histogram, limit] of drawn) {
    const spot = place.querySelector(`[data-plot="${name}"]`);
    const isFilled = (bucket) => bucket.count > 0;
    if (!histogram.some(isFilled)) {
      fill(spot, empty("None yet", "The server counts them in memory, and has counted none of this policy since it started."));
      continue;
    }
    const ranges = histogram.map((bucket, index) => ({ count: bucket.count, from: index ? upTo(histogram[index - 1]) : 0, to: upTo(bucket) }))
      .slice(Math.max(histogram.findIndex(isFilled) - 1, 0), histogram.findLastIndex(isFilled) + 2);
    const labels = ranges.map(({ from, to }) => (to === Infinity ? `> ${exact(from)}` : `≤ ${exact(to)}`));
    const isLonger = ({ from }) => from >= seconds(limit);
    const counts = (wanted) => ranges.map((range) => (isLonger(range) === wanted ? range.count : null));
    const area = h("div", {});
    fill(spot, h("h3", {}, label), ranges.some((range) => isLonger(range) && range.count > 0) ? h("p", {}, badge(`certainly longer than ${limit}`, "expired")) : null, area);
    plot(area, { label: `${label}: ${labels.map((text, index) => `${text}: ${ranges[index].count}`).join("; ")}`, x: ranges.map((_, index) => index), labels,
      series: [{ label, values: counts(false), kind: "bars" }, { label, values: counts(true), kind: "bars", colour: "warning" }], isWhole: true, height: 180, signal });
  }
}

/** The longest time of a range in seconds. */
const upTo = ({ up_to_s: s = null, up_to_ms: ms = null }) => s ?? (ms === null ? Infinity : ms / 1000);
const exact = (time) => (time < 1 ? `${time * 1000} ms` : length(time));
