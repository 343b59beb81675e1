// node further.mjs KEYFOB CHROMIUM OURS THEIRS COOKIE: what a page of a further origin (OURS), and one of any other (THEIRS), may do with a session.

import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const [keyfob, executablePath, ours, theirs, cookie] = process.argv.slice(2);

setTimeout(() => { console.error("it hangs"); process.exit(1); }, 300_000).unref();

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const context = await browser.newContext();
const [name, value] = cookie.split("=");
await context.addCookies([{ name, value, domain: "localhost", path: "/", secure: true, httpOnly: true, sameSite: "Lax" }]);

/** A page of the origin, and what becomes of a request that it sends: status and subject, or the browser's refusal. */
async function pageOf(origin) {
  const page = await context.newPage();
  await page.goto(origin);
  return (method) => page.evaluate(async ([url, method]) => {
    try {
      const answer = await fetch(url, { method, credentials: "include" });
      return [answer.status, answer.status === 200 ? (await answer.json()).subject : undefined];
    } catch (error) {
      return [error.name];
    }
  }, [`${keyfob}/v1/session`, method]);
}

const [we, they] = [await pageOf(ours), await pageOf(theirs)];
assert.deepEqual(await they("GET"), ["TypeError"], "it cannot read the answer");
assert.deepEqual(await they("DELETE"), ["TypeError"], "and ends nothing");
assert.deepEqual(await we("GET"), [200, "alice"]);
assert.deepEqual(await we("PATCH"), ["TypeError"], "what is not there is not allowed");
assert.deepEqual(await we("DELETE"), [204, undefined]);
assert.deepEqual(await we("GET"), [401, undefined]);
assert.deepEqual((await context.cookies()).map((cookie) => cookie.name), [], "the browser has forgotten the cookie");
console.log("done");

// Whatever is still open goes with the process.
await Promise.race([browser.close(), new Promise((resolve) => setTimeout(resolve, 2000))]);
process.exit(0);
