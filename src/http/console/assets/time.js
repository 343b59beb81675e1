// Times: absolute, and relative to the clock of the server. All relative times of a page move with the clock.

import { h } from "./dom.js";

let ahead = 0;

/** Learns the server's time. */
export function learnTime(time) {
  const difference = Date.parse(time) - Date.now();
  ahead = Math.abs(difference) < 1000 ? 0 : difference;
}

/** The server's time in milliseconds. */
export const now = () => Date.now() + ahead;

const UNITS = [[86400, "d"], [3600, "h"], [60, "min"]];

/** A duration in the largest unit of which there are at least two, as the command line prints it. */
export function length(seconds) {
  const whole = Math.floor(seconds);
  const [unit, name] = UNITS.find(([unit]) => whole >= 2 * unit) ?? [1, "s"];
  return `${Math.floor((whole + Math.floor(unit / 2)) / unit)} ${name}`;
}

/** `12 min ago`, `in 3 h`, `now`. */
export function distance(at) {
  const seconds = (now() - at) / 1000;
  if (seconds >= 1) return `${length(seconds)} ago`;
  return seconds <= -1 ? `in ${length(-seconds)}` : "now";
}

/** `2026-11-24 03:51:43Z`. */
export const absolute = (at) => `${new Date(at).toISOString().slice(0, 19).replace("T", " ")}Z`;

/** A time of an answer: RFC 3339, or seconds since 1970. */
export const instant = (time) => (typeof time === "number" ? time * 1000 : Date.parse(time));

// Made once, and not before a page needs it: that takes milliseconds.
let format = null;
function local(at) {
  format ??= new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  return format.format(at);
}

/** A time as an element: relative, and absolute behind it. */
export function when(time) {
  const at = instant(time);
  if (Number.isNaN(at)) return h("span", {}, String(time));
  return h("time", { datetime: new Date(at).toISOString(), title: `here: ${local(at)}` },
    h("span", { class: "relative", "data-at": at }, distance(at)), " ",
    h("span", { class: "absolute" }, absolute(at)));
}

/** A time that counts down in seconds when it is near. */
export function countdown(time) {
  const at = instant(time);
  return h("time", { datetime: new Date(at).toISOString() },
    h("span", { class: "relative", "data-at": at, "data-countdown": true }, remaining(at)), " ",
    h("span", { class: "absolute" }, absolute(at)));
}

function remaining(at) {
  const seconds = Math.ceil((at - now()) / 1000);
  if (seconds <= 0) return "passed";
  if (seconds >= 7200) return `in ${length(seconds)}`;
  return seconds < 60 ? `in ${seconds} s` : `in ${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

setInterval(() => {
  for (const element of document.querySelectorAll("[data-at]")) {
    const at = Number(element.dataset.at);
    const text = element.dataset.countdown === undefined ? distance(at) : remaining(at);
    if (element.textContent !== text) element.textContent = text;
  }
}, 1000);

/** The seconds of a duration of the configuration, such as `90d` or `1h 30m`; `null` if it is none. */
export function seconds(text) {
  const unit = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };
  const parts = [...text.matchAll(/(\d+)\s*(ms|s|m|h|d)/g)];
  return parts.length ? parts.reduce((sum, [, number, name]) => sum + number * unit[name], 0) : null;
}
