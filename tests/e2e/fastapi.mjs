// node fastapi.mjs URL CHROMIUM PICTURES: two users of examples/fastapi, by clicks.

import assert from "node:assert/strict";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, pictures] = process.argv.slice(2);

setTimeout(() => { console.error("the browser does not answer"); process.exit(1); }, 120_000).unref();

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const done = (what) => console.log(`done: ${what}`);

/** A browser of its own: no cookie is shared. */
async function device(width = 900) {
  const context = await browser.newContext({ viewport: { width, height: 640 } });
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error));
  page.on("request", (request) => assert.ok(/^(data:|http:\/\/127\.0\.0\.1|ws:\/\/127\.0\.0\.1)/.test(request.url()), request.url()));
  return page;
}

async function signIn(page, user, password, remember = false) {
  await page.fill("[name=user]", user);
  await page.fill("[name=password]", password);
  if (remember) await page.check("[name=remember]");
  await page.click("main button");
}

const laptop = await device();
await laptop.goto(`${url}/account`);
assert.ok(laptop.url().endsWith("/login?next=%2Faccount"), "a visitor is sent to the sign-in page");
await laptop.screenshot({ path: join(pictures, "fastapi-login.png") });
await signIn(laptop, "alice", "wrong");
await laptop.waitForSelector("[role=alert]");
await signIn(laptop, "alice", "wonderland");
await laptop.waitForURL("**/account");
const cookies = await laptop.context().cookies();
assert.deepEqual(cookies.map(({ name, secure, httpOnly, sameSite, expires }) => [name, secure, httpOnly, sameSite, expires]),
  [["__Host-keyfob", true, true, "Lax", -1]]);
done("a visitor signs in and comes back to the page");

await laptop.goto(`${url}/`);
await laptop.waitForFunction(() => /\d min/.test(document.getElementById("idle").textContent));
await laptop.waitForFunction(() => document.getElementById("live").textContent === "connected");
await laptop.fill("[name=text]", "hello");
await laptop.click("#say button");
await laptop.waitForFunction(() => document.getElementById("live").textContent === "alice: hello");
await laptop.screenshot({ path: join(pictures, "fastapi-home.png") });
const left = () => laptop.$eval("#idle", (idle) => idle.textContent.split(/\D+/).reduce((sum, part) => sum * 60 + Number(part || 0), 0));
assert.ok(await left() > 0);
done("the page shows the session and talks over a WebSocket");

await laptop.goto(`${url}/payment`);
assert.ok(laptop.url().endsWith("/step-up?next=%2Fpayment"), "the payment needs a second factor");
await laptop.fill("[name=code]", "123456");
await laptop.screenshot({ path: join(pictures, "fastapi-step-up.png") });
await laptop.click("main button");
await laptop.waitForURL("**/payment");
assert.ok((await laptop.textContent("main")).includes("4111"));
done("a step-up opens the payment");

const phone = await device(400);
await phone.goto(`${url}/login`);
await signIn(phone, "alice", "wonderland", true);
await phone.waitForFunction(() => document.getElementById("live")?.textContent === "connected");
assert.ok((await phone.context().cookies())[0].expires > Date.now() / 1000 + 13 * 86_400, "a remembered session outlives the browser");
const tablet = await device();
await tablet.goto(`${url}/login`);
await signIn(tablet, "alice", "wonderland");
await tablet.waitForFunction(() => document.getElementById("live")?.textContent === "connected");
await laptop.goto(`${url}/account`);
const rows = await laptop.locator("tbody tr").count();
assert.ok(rows >= 3);
await laptop.screenshot({ path: join(pictures, "fastapi-devices.png") });
await laptop.click("#others");
await laptop.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
for (const page of [phone, tablet]) {
  await page.waitForFunction(() => document.getElementById("live").textContent === "You were signed out.", null, { timeout: 2000 });
}
await phone.screenshot({ path: join(pictures, "fastapi-signed-out.png") });
await tablet.goto(`${url}/account`);
assert.ok(tablet.url().includes("/login"), "the other device is signed out");
done("signing out everywhere else closes the other devices' WebSockets at once");

await laptop.click("#sign-out");
await laptop.waitForSelector("#sign-in");
assert.deepEqual(await laptop.context().cookies(), []);
done("signing out takes the cookie away");

await browser.close();
