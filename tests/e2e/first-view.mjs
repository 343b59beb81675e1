// node first-view.mjs KEYFOB [CHROMIUM]: how long the first view of the console takes, beside a page without a script, and
// what each page weighs.

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { chromium } from "playwright-core";
import { consoleServer } from "./console-server.mjs";

const [keyfob, executablePath = "/usr/bin/chromium"] = process.argv.slice(2);
const RUNS = 11;
const directory = mkdtempSync(join(tmpdir(), "keyfob-"));
const { url, start, stop, link, api, administrator } = consoleServer(resolve(keyfob), await freePort(), directory);

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await new Promise((ready) => probe.once("listening", ready));
  const { port } = probe.address();
  await new Promise((closed) => probe.close(closed));
  return port;
}

// More events than the overview reads, the last ones with an alarm, and figures of two intervals.
await start();
const { body: { client_secret: secret } } = await api(administrator(), "POST", "/v1/clients", { client_id: "shop", permissions: ["sessions"], grants: ["refresh_token"], scopes: ["read"] });
const shop = `shop:${secret}`;
const open = async (subject) => (await api(shop, "POST", "/v1/sessions", { subject, amr: ["pwd"], device: { label: "Desk" } })).body;
const refresh = async (token) => (await api(shop, "POST", "/oauth2/token", { grant_type: "refresh_token", refresh_token: token })).body.refresh_token;
let session;
for (let count = 0; count < 250; count += 1) session = await open(`subject-${count}`);
await refresh(await refresh(await refresh(session.refresh_token)));
await refresh(session.refresh_token);
await new Promise((resolved) => setTimeout(resolved, 21_000));
const active = await open("alice");
await refresh(active.refresh_token);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const signedIn = await browser.newContext();
const first = await signedIn.newPage();
await first.goto(link("--read"));
await first.getByRole("button", { name: "Sign in" }).click();
await first.getByRole("heading", { name: "Overview" }).waitFor();
const cookies = await signedIn.cookies();
await signedIn.close();

/** A tab that is signed in. */
async function openTab() {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  await context.addCookies(cookies);
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send("Network.setCacheDisabled", { cacheDisabled: true });
  await page.addInitScript(() => {
    // The alarm of the overview is complete when its session was read too.
    const isComplete = () => document.querySelector("main h1") !== null && document.querySelector("[aria-busy]") === null
      && (location.hash !== "#/overview" || document.querySelector(".event.alarm")?.textContent.includes("was presented"));
    new MutationObserver((_, observer) => {
      if (!isComplete()) return;
      observer.disconnect();
      requestAnimationFrame(() => { window.complete = performance.now(); });
    }).observe(document, { subtree: true, childList: true, attributes: true });
  });
  return page;
}

/** Loads a page without a cache. `complete`: when its last data were drawn, measured by the changes of the page. */
async function load(page, path) {
  await page.goto("about:blank");
  await page.goto(url + path);
  const isConsole = path !== "/";
  await page.waitForFunction((console) => (!console || window.complete !== undefined) && performance.getEntriesByName("first-contentful-paint").length > 0, isConsole);
  return page.evaluate(() => {
    const files = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
      .filter(({ name }) => /\/console(#|$)|\.(js|css|svg)$/.test(name));
    const sum = (member) => files.reduce((total, file) => total + file[member], 0);
    return { paint: performance.getEntriesByName("first-contentful-paint")[0].startTime, complete: window.complete, files: files.length, sent: sum("encodedBodySize"), size: sum("decodedBodySize") };
  });
}

const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
// In turn, in the same tab and in a new one, for which the browser starts a process.
const tab = await openTab();
const views = new Map();
for (let run = 0; run <= RUNS; run += 1) {
  for (const path of ["/", "/console#/overview"]) {
    const other = await openTab();
    for (const [name, page] of [["a new tab", other], ["a used tab", tab]]) {
      const view = await load(page, path);
      // The first run fills the caches of the system.
      if (run > 0) views.set(`${path} in ${name}`, [...views.get(`${path} in ${name}`) ?? [], view]);
    }
    await other.context().close();
  }
}
console.log(`without a cache, medians of ${RUNS} (load average ${loadavg()[0].toFixed(1)}):`);
for (const [name, seen] of views) {
  const [paint, complete] = ["paint", "complete"].map((member) => median(seen.map((view) => view[member])));
  console.log(`${name.padEnd(48)} first contentful paint ${paint.toFixed(0)} ms${complete === undefined ? "" : `, all data drawn ${complete.toFixed(0)} ms`}`);
}
for (const hash of ["", "#/overview", "#/subjects", `#/subject/alice`, `#/session/${active.session.id}`, "#/events", "#/token", "#/clients", "#/client/shop", "#/keys", "#/policies", "#/configuration"]) {
  const page = await openTab();
  const { files, sent, size } = await load(page, `/console${hash}`);
  await page.context().close();
  console.log(`${(hash || "/console").padEnd(48)} ${files} files, ${sent} bytes as sent, ${size} bytes`);
}
await Promise.race([browser.close(), new Promise((resolved) => setTimeout(resolved, 2000))]);
await stop();
rmSync(directory, { recursive: true });
process.exit(0);
