// Reads the event log: its end, pages before a position, and the events of one session or subject. Positions
// are whole numbers beyond 2^53, hence BigInt. After a restore there is a gap in the positions: those in it are
// of a history that was lost, and are answered with 410.

import { get } from "./api.js";
import { instant } from "./time.js";

const PAGE = 200n;
/** How many events are read without asking. */
const READ_MAX = 15n * PAGE;

const page = (after, limit, signal, wait) =>
  get("/v1/events", { after: after?.toString(), limit: String(limit), wait }, signal);

/** The same, or `null` for a position in a gap. */
const pageOrGap = (after, limit, signal) => page(after, limit, signal).catch((error) => {
  if (error.status !== 410) throw error;
  return null;
});

/** The positions of the oldest and the last event; `null` if the log is empty. */
async function ends(signal) {
  const { items, head } = await page(undefined, 1, signal);
  return items.length ? { oldest: BigInt(items[0].cursor), head: BigInt(head) } : null;
}

/** Events behind a cursor, waiting for one for up to `wait` seconds. */
export const follow = (after, wait, signal) => page(after, PAGE, signal, wait);

/** Events up to `before` (default: the end of the log), oldest first; `more`: whether there are earlier ones. */
export async function pageBefore(before, signal) {
  const log = await ends(signal);
  if (!log) return { items: [], head: "0", more: false };
  const last = before === undefined ? log.head : BigInt(before) - 1n;
  let after = last - PAGE >= log.oldest ? last - PAGE : log.oldest - 1n;
  let items = await collect(after, last, signal);
  const afterGap = items.length === 0 && after >= log.oldest && after < last;
  if (afterGap) {
    after = await endOfGap(after, last, signal);
    items = await collect(after, last, signal);
  }
  return { items, head: log.head.toString(), more: after >= log.oldest && !afterGap, afterGap };
}

/** The last position of the gap that `low` is in. */
async function endOfGap(low, high, signal) {
  while (low + 1n < high) {
    const middle = (low + high) / 2n;
    if (await pageOrGap(middle, 1, signal) === null) low = middle;
    else high = middle;
  }
  return high - 1n;
}

/** The events behind `after`, up to `last`, at most `most` of them: page by page. */
async function* pages(after, last, signal, most = last) {
  for (let from = after; from < last && from - after < most;) {
    const read = await pageOrGap(from, PAGE, signal);
    if (!read?.items.length) return;
    yield read.items.filter(({ cursor }) => BigInt(cursor) <= last);
    from = BigInt(read.items.at(-1).cursor);
  }
}

async function collect(after, last, signal, most) {
  const items = [];
  for await (const some of pages(after, last, signal, most)) items.push(...some);
  return items;
}

/** The first position whose event is not earlier than `time` (milliseconds), by halving; `null` if that met a gap. */
async function positionAt(time, log, signal) {
  let [low, high] = [log.oldest, log.head + 1n];
  while (low < high) {
    const middle = (low + high) / 2n;
    const read = await pageOrGap(middle - 1n, 1, signal);
    if (read === null) return null;
    const event = read.items[0];
    if (event === undefined || instant(event.at) < time) low = middle + 1n;
    else high = middle;
  }
  return low;
}

/** A position for `pageBefore` with which its page ends before `time`; `undefined` if a gap hides it. */
export async function positionAfter(time, signal) {
  const log = await ends(signal);
  return (log && await positionAt(time, log, signal)) ?? undefined;
}

/** The events around a time (milliseconds) that `wanted` accepts. */
export async function near(time, wanted, signal) {
  const log = await ends(signal);
  const first = log && await positionAt(time - 2000, log, signal);
  return first === null ? [] : (await collect(first - 1n, log.head, signal, 2n * PAGE)).filter(wanted);
}

/**
 * The first event from a time (milliseconds) on that `wanted` accepts; `null` if there is none, or none among those that
 * are read unless `all`: `isWhole` says which.
 */
export async function firstFrom(time, wanted, { signal, all = false }) {
  const log = await ends(signal);
  if (!log) return { event: null, isWhole: true };
  const first = await positionAt(time, log, signal) ?? log.oldest;
  for await (const some of pages(first - 1n, log.head, signal, all ? undefined : READ_MAX)) {
    const event = some.find(wanted);
    if (event !== undefined) return { event, isWhole: true };
  }
  return { event: null, isWhole: all || log.head - first < READ_MAX };
}

/**
 * The events between two times (milliseconds) that `wanted` accepts, oldest first. Of a long stretch only the two
 * ends are read unless `all`; `skipped` is how many events were not. `isWhole`: the log reaches back to `from`.
 */
export async function between(from, until, wanted, { signal, all = false } = {}) {
  const log = await ends(signal);
  if (!log) return { items: [], skipped: 0, isWhole: false };
  const found = [await positionAt(from - 2000, log, signal), await positionAt(until + 2000, log, signal)];
  const [first, last] = found.includes(null) ? [log.oldest, log.head] : [found[0], found[1] - 1n];
  const isWhole = first > log.oldest || log.oldest === 1n;
  if (all || found.includes(null) || last - first < READ_MAX) {
    const items = await collect(first - 1n, last, signal, all ? undefined : READ_MAX);
    return { items: items.filter(wanted), skipped: 0, isWhole };
  }
  const half = READ_MAX / 2n;
  const items = [...await collect(first - 1n, first + half, signal), ...await collect(last - half, last, signal)];
  return { items: items.filter(wanted), skipped: Number(last - first - READ_MAX), isWhole };
}
