// A plot by uPlot, with its figures as text for those who do not see it.

import { fill, h } from "./dom.js";
import { now } from "./time.js";
import uPlot from "./uplot.js";

/** Steps of an axis of whole numbers. */
const WHOLE = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();

const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = new Map();
// Before the plots do, which draw themselves again then.
dark.addEventListener("change", () => colours.clear());
document.addEventListener("themechange", () => colours.clear());

/** The value of a colour of the style sheet, which a canvas needs. Computed once: it makes the browser style the whole page. */
function colour(name) {
  if (!colours.has(name)) {
    const probe = h("span", { class: `probe ${name}` });
    document.body.append(probe);
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

/**
 * Draws a plot into `place` and again when its width or the colours change. `x`: seconds since 1970, or the numbers of
 * `labels`; `isWhole` if all values are whole numbers; `span`: the seconds that the plot shows up to its last
 * time; `series`: `label`, `values`, `kind` (`line` or `bars`), `colour` (a class); `format` prints a value.
 */
export function plot(place, { label, x, labels = null, series, format = String, isWhole = false, span = null, height = 120, signal }) {
  let [drawn, width] = [undefined, 0];
  const canvas = h("div", { class: "plot", role: "img", "aria-label": label });
  fill(place, canvas);
  const axis = () => ({ stroke: colour("quiet"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" });
  const options = () => ({
    width, height, padding: [8, 18, 0, 0], legend: { show: false }, select: { show: false }, cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: labels === null, range }, y: { range: (self, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis(), size: 22, space: 70, ...(labels ? { splits: () => some(labels, width), values: (self, splits) => splits.map((index) => labels[index]) } : { values: clock }) },
      { ...axis(), size: 56, space: 30, ...(isWhole ? { incrs: WHOLE } : {}), values: (self, splits) => splits.map((value) => (value === null ? "" : format(value))) },
    ],
    series: [{}, ...series.map((one) => ({
      label: one.label, stroke: colour(one.colour ?? "accent"), fill: one.kind === "bars" ? colour(one.colour ?? "accent") : undefined, width: one.kind === "bars" ? 0 : 1.5,
      paths: one.kind === "bars" ? uPlot.paths.bars({ size: [0.8, span === null ? 60 : 12, 2] }) : undefined, points: { show: false, filter: one.kind === "line" ? alone : null, size: 6, fill: colour(one.colour ?? "accent") }, spanGaps: false,
    }))],
    hooks: { setCursor: [read] },
  });
  function range(self, low, high) {
    if (labels) return [-0.6, labels.length - 0.4];
    const end = x.at(-1) ?? Math.floor(now() / 1000);
    return span === null ? [low, high] : [end - span, end];
  }
  const reading = h("output", { class: "reading", "aria-hidden": "true" });
  canvas.after(reading);

  function read(self) {
    const index = self.cursor.idx;
    if (index === null || index === undefined) return reading.replaceChildren();
    const point = labels ? labels[index] : new Date(x[index] * 1000).toISOString().slice(11, 19);
    const known = series.filter(({ values }) => values[index] !== null);
    return fill(reading, `${point}: `, known.map(({ label: name, values }) => `${known.length > 1 ? `${name} ` : ""}${format(values[index])}`).join(", ") || "none");
  }

  function draw() {
    if (width < 50) return;
    drawn?.destroy();
    drawn = new uPlot(options(), [x, ...series.map(({ values }) => values)], canvas);
  }

  // It also reports the width at first, when all plots are in the page: asking each for it would lay out the page each time.
  const resized = new ResizeObserver(([{ contentRect }]) => {
    if (Math.floor(contentRect.width) === width) return;
    width = Math.floor(contentRect.width);
    draw();
  });
  resized.observe(canvas);
  dark.addEventListener("change", draw, { signal });
  document.addEventListener("themechange", draw, { signal });
  signal?.addEventListener("abort", () => { resized.disconnect(); drawn?.destroy(); });
  return { update: (next, values, seconds) => { [x, span] = [next, seconds]; series.forEach((one, index) => { one.values = values[index]; }); drawn?.setData([x, ...values]); }, describe: (text) => canvas.setAttribute("aria-label", text) };
}

/** As many labels as there is room for. */
function some(labels, width) {
  const step = Math.ceil((labels.length * 56) / Math.max(width - 70, 56));
  return labels.map((_, index) => index).filter((index) => index % step === 0);
}

/** The values without a neighbour: no line shows them. */
function alone(self, index) {
  const values = self.data[index];
  const isKnown = (at) => values[at] !== null && values[at] !== undefined;
  return values.flatMap((_, at) => (isKnown(at) && !isKnown(at - 1) && !isKnown(at + 1) ? [at] : []));
}

const clock = (self, splits) => splits.map((at) => new Date(at * 1000).toISOString().slice(11, 16));
