// node docs.mjs URL CHROMIUM PICTURES SECRET: does with the documentation page what a newcomer does, with the administrator's credentials.

import assert from "node:assert/strict";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, pictures, secret] = process.argv.slice(2);

setTimeout(() => { console.error("it hangs"); process.exit(1); }, 300_000).unref();

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
const requests = [];
page.on("request", (request) => { if (!request.url().startsWith("data:")) requests.push(request.url()); });
page.on("pageerror", (error) => assert.fail(error));
page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
const complaints = [];
const done = (what) => console.log(`done: ${what}`);

await page.goto(`${url}/docs`);
await page.waitForSelector(".opblock");
assert.equal(await page.title(), "keyfob");
assert.deepEqual(requests, [`${url}/docs`], "the page is whole");
const groups = await page.$$eval(".opblock-tag-section h3", (headings) => headings.map((heading) => heading.dataset.tag));
assert.deepEqual(groups, ["Sessions", "OAuth", "People", "Clients", "Keys", "Discovery", "Operation"]);
const sessions = await page.$$eval("[id^=operations-Sessions-]", (blocks) => blocks.map((block) => block.id.split("-")[2]));
assert.deepEqual([sessions[0], sessions.at(-1)], ["openSession", "endSessions"], "first what one begins with, last what ends everything");
await page.screenshot({ path: join(pictures, "docs-1-page.png") });
done("the page shows the groups, and sends requests to no other server");

await page.click(".auth-wrapper .authorize");
await page.fill("#auth-basic-username", "admin");
await page.fill("#auth-basic-password", secret);
await page.click(".auth-container:has(#auth-basic-username) button[type=submit]");
await page.waitForSelector(".auth-container:has-text('basic') >> text=Logout");
await page.screenshot({ path: join(pictures, "docs-2-authorized.png") });
await page.click(".close-modal");
done("authorize with the administrator's name and secret");

/** Opens an operation, fills the given fields, and executes it: the status and the body of the answer. */
async function tryOut(tag, id, fields = {}) {
  const block = page.locator(`#operations-${tag}-${id}`);
  if (await block.locator(".try-out__btn").count() === 0) await block.locator(".opblock-summary-control").click();
  const cancelled = await block.locator(".try-out__btn.cancel").count() === 1;
  if (!cancelled) await block.locator(".try-out__btn").click();
  for (const [name, value] of Object.entries(fields)) {
    await block.locator(`tr[data-param-name="${name}"], tr:has(.parameter__name:text-is("${name}"))`).locator("input, textarea").first().fill(value);
  }
  const answer = page.waitForResponse((response) => response.request().method() !== "OPTIONS" && new URL(response.url()).origin === url);
  await block.locator("button.execute").click();
  const response = await answer;
  await block.locator(".live-responses-table .response-col_status").first().waitFor();
  const text = await response.text();
  return { status: response.status(), body: text === "" ? null : JSON.parse(text), block };
}

const opened = await tryOut("Sessions", "openSession");
assert.equal(opened.status, 201);
assert.ok((await opened.block.locator(".live-responses-table").textContent()).includes(opened.body.session.id), "the answer is shown");
await opened.block.screenshot({ path: join(pictures, "docs-3-opened.png") });
done("open a session as the example stands");

assert.deepEqual((await tryOut("OAuth", "introspect")).body, { active: false }, "the example's token does not exist");
const good = await tryOut("OAuth", "introspect", { token: opened.body.access_token });
assert.deepEqual([good.status, good.body.active, good.body.sub], [200, true, "alice"]);
await good.block.screenshot({ path: join(pictures, "docs-4-introspected.png") });
done("introspect the token that came");

assert.equal((await tryOut("Sessions", "readSession", { id: opened.body.session.id })).body.subject, "alice");
assert.equal((await tryOut("OAuth", "token")).body.token_type, "Bearer");
assert.equal((await tryOut("Clients", "createClient")).status, 201);
assert.equal((await tryOut("Clients", "rotateSecret")).status, 200);
assert.equal((await tryOut("Sessions", "endSubject")).body.ended, 1);
assert.equal((await tryOut("OAuth", "introspect", { token: opened.body.access_token })).body.active, false);
done("what the example of an operation says succeeds at the first click");

assert.deepEqual(complaints, [], "nothing is amiss in the console");
assert.deepEqual(requests.filter((request) => new URL(request).origin !== url), [], "nothing is fetched from elsewhere");

// Whatever is still open goes with the process.
await Promise.race([browser.close(), new Promise((resolve) => setTimeout(resolve, 2000))]);
process.exit(0);
