// Requests to the server: the documented routes, with the cookie of the console.

import { learnTime } from "./time.js";

/** An answer that is not 2xx, or none (`status` 0). */
export class ApiError extends Error {
  constructor(status, body, requestId) {
    super(body.detail ?? body.error_description ?? body.title ?? `status ${status}`);
    this.status = status;
    this.body = body;
    this.requestId = requestId;
    this.title = TITLES[status] ?? (status >= 500 ? "The server has an internal error" : "The request was rejected");
    this.detail = this.message;
  }
}

/** A change that needs a younger sign-in. */
export class StepUpNeeded extends ApiError {}

const TITLES = {
  0: "The server cannot be reached",
  400: "The request is not valid",
  401: "You are not signed in",
  403: "You are not authorized to do this",
  404: "Not found",
  409: "This is in conflict with what is stored",
  429: "Too many attempts",
  503: "The store cannot answer",
};

let identity = null;
const listeners = [];

/** Who is signed in; `null` when no one is. */
export const who = () => identity;
/** Whether the signed-in operator may change anything. */
export const mayChange = () => identity?.role === "admin";
/** Calls `listener` when the operator signs in or out. */
export const onIdentity = (listener) => listeners.push(listener);

function become(next) {
  if (next !== null) learnTime(next.now);
  identity = next;
  listeners.forEach((listener) => listener());
}

/** Reads who is signed in. */
export async function identify() {
  try {
    become(await send("GET", "/console/session"));
  } catch (error) {
    if (error.status !== 401) throw error;
    become(null);
  }
}

/** Signs in with the secret of a link. */
export async function signIn(link) {
  become(await send("POST", "/console/session", { json: { link } }));
}

/** Ends the session of the console. */
export async function signOut() {
  await send("DELETE", "/console/session").catch((error) => {
    if (error.status !== 401) throw error;
  });
  become(null);
}

async function send(method, path, { query = {}, json, signal } = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const search = new URLSearchParams(given).toString();
  const headers = { Accept: "application/json" };
  let body;
  if (json !== undefined) [headers["Content-Type"], body] = ["application/json", JSON.stringify(json)];
  let response;
  try {
    response = await fetch(search ? `${path}?${search}` : path, { method, headers, body, signal, credentials: "same-origin", cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { detail: "It does not answer. It may be stopped or starting; this page tries again when you ask it to." });
  }
  const text = await response.text();
  let answer = null;
  try {
    answer = text === "" ? null : JSON.parse(text);
  } catch {
    if (response.ok) throw new ApiError(0, { detail: "The answer is not JSON: is something between this browser and keyfob?" });
  }
  if (response.ok) return answer;
  throw refused(response, answer ?? {});
}

function refused(response, body) {
  const id = response.headers.get("X-Request-Id");
  const challenge = response.headers.get("WWW-Authenticate") ?? "";
  const needsStepUp = response.status === 403 && challenge.includes('error="insufficient_user_authentication"');
  return needsStepUp ? new StepUpNeeded(403, body, id) : new ApiError(response.status, body, id);
}

/** The same; a 401 shows the page for signing in. */
async function request(method, path, options) {
  try {
    return await send(method, path, options);
  } catch (error) {
    if (error.status === 401) become(null);
    throw error;
  }
}

export const get = (path, query, signal) => request("GET", path, { query, signal });
/** All items of a list that has pages, at most 2000; `isCut` if there are more. */
export async function all(path, query, signal) {
  const items = [];
  let cursor;
  do {
    const page = await get(path, { ...query, limit: 200, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor && items.length < 2000);
  return { items, isCut: Boolean(cursor) };
}
export const post = (path, json, query) => request("POST", path, { json, query });
export const patch = (path, json) => request("PATCH", path, { json });
export const remove = (path, query) => request("DELETE", path, { query });
/** A path with values in it. */
export const at = (strings, ...values) => String.raw({ raw: strings }, ...values.map(encodeURIComponent));
