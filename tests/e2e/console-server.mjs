// A server with a console, for the scripts that look at it in a browser.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Debian's libfaketime, which shows a process another time. */
function libfaketime() {
  const found = readdirSync("/usr/lib", { withFileTypes: true }).filter((entry) => entry.isDirectory())
    .map(({ name }) => join("/usr/lib", name, "faketime/libfaketime.so.1")).find(existsSync);
  assert.ok(found, "`apt-get install faketime`");
  return found;
}

/** The server of `keyfob` at a port of this machine, with its files in `directory`. */
export function consoleServer(keyfob, port, directory) {
  const url = `http://127.0.0.1:${port}`;
  let server;
  process.on("exit", () => server?.kill("SIGKILL"));

  /** Starts the server, and waits until it serves. `ahead`: its clock is that much ahead, such as `+6m`. */
  async function start(ahead) {
    // Only the time of day: timers and the times of files stay as they are.
    const env = ahead ? { LD_PRELOAD: libfaketime(), FAKETIME: ahead, FAKETIME_DONT_FAKE_MONOTONIC: "1", NO_FAKE_STAT: "1" } : {};
    server = spawn(keyfob, ["serve", "--listen", `127.0.0.1:${port}`, "--issuer", url], { cwd: directory, env, stdio: "ignore" });
    for (let tries = 0; tries < 400; tries += 1) {
      if (await fetch(`${url}/readyz`).then((answer) => answer.ok, () => false)) return;
      await pause(50);
    }
    assert.fail("keyfob did not start");
  }

  async function stop() {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    server.kill("SIGTERM");
    await ended;
  }

  /** A one-time link, as an operator gets it. */
  const link = (...options) => /\S+\/console#kfl_\S+/.exec(execFileSync(keyfob, ["console", ...options], { cwd: directory, env: {}, encoding: "utf8" }))[0];

  /** A request with the secret of a client. */
  async function api(client, method, path, body) {
    const headers = { authorization: `Basic ${btoa(client)}` };
    const isForm = typeof body === "object" && path.startsWith("/oauth2/");
    if (body !== undefined && !isForm) headers["content-type"] = "application/json";
    const answer = await fetch(url + path, { method, headers, body: isForm ? new URLSearchParams(body) : body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text === "" ? null : JSON.parse(text) };
  }

  /** The administrator, as `api` takes a client. */
  const administrator = () => `admin:${JSON.parse(readFileSync(join(directory, "data/admin.json"), "utf8")).client_secret}`;

  return { url, start, stop, link, api, administrator };
}
