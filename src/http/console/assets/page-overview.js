// The figures of the last hour or day, from the memory of the server, and the latest alarms.

import { fill, h } from "./dom.js";
import { get } from "./api.js";
import { completedItem, group } from "./event.js";
import { pageBefore } from "./log.js";
import { instant, length, now, when } from "./time.js";
import { facts, heading, notice, problem, section, to, toQuery } from "./ui.js";

export const title = "Overview";

const REFRESH_MS = 10_000;
/** How many alarms are shown, and how many pages of the log are read for them. */
const [ALARMS, ALARM_PAGES_MAX] = [3, 20];
/** How long the figures of a replica are shown while only others answer. */
const REPLICA_MS = 120_000;
/** Seconds of the two plots. */
const SPANS = { hour: 3600, day: 86400 };

const [tenths, whole, digits] = [{ maximumFractionDigits: 1 }, { maximumFractionDigits: 0 }, { maximumSignificantDigits: 3 }].map((options) => new Intl.NumberFormat("en", options));
const bytes = (count) => {
  const [unit, name] = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([unit]) => count >= unit) ?? [1, "B"];
  return `${(count / unit < 10 ? tenths : whole).format(count / unit)} ${name}`;
};
const number = (count) => tenths.format(count);
const milliseconds = (value) => `${digits.format(value)} ms`;

/** Columns, how they are drawn, which figure stands below the title, and what it is. */
const FIGURES = [
  { name: "Active sessions", about: "now", columns: ["active_sessions"], kind: "line", format: number, sum: latest, href: to("subjects") },
  { name: "Sessions opened", about: "sign-ins", columns: ["openings"], kind: "bars", format: number, sum: total },
  { name: "Refreshes", about: "refresh tokens exchanged, retries included", columns: ["refreshes"], kind: "bars", format: number, sum: total },
  { name: "Introspections", about: "answers to APIs whether a token is active", columns: ["introspections"], kind: "bars", format: number, sum: total },
  { name: "Reuse alarms", about: "spent refresh tokens presented again; each ended its session", columns: ["reuse_alarms"], kind: "bars", format: number, sum: total, colour: "alarm", href: toQuery("events", { type: "refresh.reused" }) },
  { name: "Failed authentications", about: "of clients, by a wrong secret or token, and of links to this console", columns: ["failed_authentications"], kind: "bars", format: number, sum: total, colour: "warning" },
  { name: "Commit latency", about: "99 % of the last writes were on the disk within this time; the grey line is the mean", columns: ["commit_ms_p99", "commit_ms_mean"], labels: ["99 % within", "mean"], kind: "line", format: milliseconds, sum: latest },
  { name: "Database file", about: "its size now", columns: ["file_bytes"], kind: "line", format: bytes, sum: latest },
];

function latest(values) { return values.findLast((value) => value !== null) ?? null; }
function total(values) { const known = values.filter((value) => value !== null); return known.length ? known.reduce((sum, value) => sum + value, 0) : null; }

/** The columns of the day with the interval that is not over, of which the hour has the figures. */
function withUnfinished({ hour, day }) {
  const from = hour.at.findIndex((at) => at > (day.at.at(-1) ?? 0));
  if (from === -1) return day;
  const isCount = (name) => FIGURES.some(({ columns, kind }) => kind === "bars" && columns.includes(name));
  const last = (name) => (isCount(name) ? total : latest)(hour[name].slice(from));
  return Object.fromEntries(Object.entries(day).map(([name, values]) => [name, Array.isArray(values) ? [...values, last(name)] : values]));
}

export async function show(main, { query, signal }) {
  let span = query.get("span") === "day" ? "day" : "hour";
  const choose = (value, text) => h("button", { type: "button", "aria-pressed": String(span === value), "data-span": value, onclick: () => choice(value) }, text);
  const spans = h("div", { class: "segments", role: "group", "aria-label": "Time span" }, choose("hour", "Last hour"), choose("day", "Last day"));
  const state = h("div", {});
  const intervals = h("p", { class: "quiet" });
  const grid = h("div", { class: "figures" });
  const alarms = h("div", {}, h("p", { class: "quiet" }, "Reading the event log…"));
  const cards = FIGURES.map((figure) => {
    const [value, place] = [h("p", { class: "figure" }, "–"), h("div", { class: "place" })];
    const name = figure.href ? h("a", { href: figure.href }, figure.name) : figure.name;
    const none = h("p", { class: "quiet none" });
    const element = h("section", { class: "card" }, h("h3", {}, name), value, h("p", { class: "hint" }, figure.about), place, none);
    grid.append(element);
    return { figure, element, value, place, none, plot: null };
  });
  fill(main, heading(title, spans), state, section("Latest alarms", alarms), h("h2", {}, "Figures"), intervals, grid);
  const alarming = lately(alarms, signal);
  const reading = get("/console/figures", {}, signal);
  // Evaluated while the server answers: the library takes longer than all the rest of the page.
  const drawing = import("./plot.js");
  let figures = await reading;
  let readAt = now();
  const { plot } = await drawing;
  draw();
  const timer = setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await get("/console/figures", {}, signal);
      // Behind a load balancer each replica answers with its own counts.
      if (answer.now.replica !== figures.now.replica && now() - readAt < REPLICA_MS) return;
      [figures, readAt] = [answer, now()];
      draw();
    } catch (error) {
      if (!signal.aborted && error.status !== 401) fill(state, problem(error));
    }
  }, REFRESH_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  await alarming;

  function choice(value) {
    span = value;
    history.replaceState(null, "", span === "day" ? toQuery("overview", { span }) : to("overview"));
    spans.querySelectorAll("button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.span === span)));
    draw();
  }

  function draw() {
    const columns = span === "day" ? withUnfinished(figures) : figures.hour;
    const current = figures.now;
    const age = (now() - instant(current.started_at)) / 1000;
    const since = age < SPANS[span] ? "since the server started" : `in the last ${span}`;
    fill(intervals, `Counts of the last ${span}; each bar is an interval of ${length(columns.step_s)}. Times are UTC.`);
    fill(state,
      current.ready ? null : notice("alarm", h("p", { class: "title" }, "The server is not ready"), h("p", {}, "The store cannot commit, or the server is stopping. Its log says why.")),
      h("div", { class: "compact" }, facts(["Sessions stored", number(current.sessions_stored)], ["Events stored", number(current.events)], ["Free on the disk", current.disk_free_bytes === null ? null : bytes(current.disk_free_bytes)],
        ["Running since", when(current.started_at)], ...(current.replica === null ? [] : [["Replica", current.replica]]))));
    for (const card of cards) {
      const { figure } = card;
      let [x, values] = [columns.at, figure.columns.map((column) => columns[column] ?? [])];
      const isNow = figure.columns[0] === "active_sessions";
      // The line ends with the figure above it, not with the last interval; that of the day is not over.
      if (isNow) {
        const over = span === "day" ? x.length - 1 : x.length;
        [x, values] = [[...x.slice(0, over), Math.floor(now() / 1000)], [[...values[0].slice(0, over), current.active_sessions]]];
      }
      const sum = isNow ? current.active_sessions : figure.sum(values[0]);
      const text = sum === null || sum === undefined ? "–" : figure.format(sum);
      card.value.textContent = text;
      card.value.classList.toggle("alarm", figure.colour === "alarm" && sum > 0);
      const label = describe(figure, text, values[0], columns);
      const isEmpty = !values.flat().some((value) => value !== null && value > 0);
      card.element.classList.toggle("none", isEmpty);
      card.place.hidden = isEmpty;
      fill(card.none, isEmpty ? (columns.at.length === 0 ? `The first figure comes ${length(figures.hour.step_s)} after the start of the server.` : `None ${since}.`) : null);
      card.none.hidden = !isEmpty;
      if (isEmpty) continue;
      if (card.plot === null) {
        card.plot = plot(card.place, { label, x, span: SPANS[span], format: figure.format, isWhole: figure.format === number, signal,
          series: figure.columns.map((column, index) => ({ label: figure.labels?.[index] ?? figure.name, values: values[index], kind: figure.kind, colour: index ? "quiet" : figure.colour })) });
      } else {
        card.plot.update(x, values, SPANS[span]);
        card.plot.describe(label);
      }
    }
    if (current.replica !== null) state.append(h("p", { class: "quiet" }, `Sessions and events are those of all replicas; the other figures are counts of ${current.replica} alone.`));
    if (age < SPANS[span]) state.append(h("p", { class: "quiet" }, `The figures are in memory since the server started, ${length(age)} ago.`));
  }
}

/** A plot in words. */
function describe(figure, text, values, columns) {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${figure.name}: no figures yet; the first come ${columns.step_s} s after the start of the server`;
  return `${figure.name}: ${text}; at most ${figure.format(Math.max(...known))}, at least ${figure.format(Math.min(...known))} in one of ${known.length} intervals of ${length(columns.step_s)}`;
}

/** The last alarms of the last day. Of a busy day the latest events are read. */
async function lately(place, signal) {
  const more = (type, text) => h("a", { href: type ? toQuery("events", { type }) : to("events") }, text);
  try {
    let [found, oldest, isMore, read] = [[], undefined, true, null];
    for (let pages = 0; pages < ALARM_PAGES_MAX && isMore && found.length < ALARMS && (oldest === undefined || now() - instant(read) < SPANS.day * 1000); pages += 1) {
      const { items, more: isEarlier } = await pageBefore(oldest, signal);
      found = [...found, ...items.filter((event) => group(event.type) === "alarms").reverse()].slice(0, ALARMS);
      [oldest, isMore, read] = [items[0]?.cursor, isEarlier && items.length > 0, items[0]?.at ?? read];
    }
    fill(place, found.length ? [h("ol", { class: "events" }, found.map((event) => completedItem(event, signal))), h("p", {}, more("alarms", "All alarms"))]
      : h("p", { class: "quiet" }, isMore ? ["No alarm since ", when(read)] : "No alarm in the event log", ": no reused refresh token, revoked key, restore, or end of all sessions. ", more("alarms", "Look further back"), " ", more(null, "See all events")));
  } catch (error) {
    fill(place, problem(error));
  }
}
