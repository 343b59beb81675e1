// node console.mjs KEYFOB PORT CHROMIUM DIRECTORY PICTURES STORE: does in the console what an operator does, with a server of its own.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { consoleServer, pause } from "./console-server.mjs";

const [keyfob, port, executablePath, directory, pictures, store] = process.argv.slice(2);
const { url, start, stop, link, api, administrator } = consoleServer(keyfob, port, directory);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const HOSTILE = {
  markup: `<img src=x onerror="window.hit=1"><script>window.hit=1</script>`,
  long: `${"wide-".repeat(51)}x`,
  arabic: "\u0645\u0633\u062a\u062e\u062f\u0645\u202e/../gpj.exe",
  emoji: "👩🏽‍🚀 astronaut/#?&%",
};
mkdirSync(pictures, { recursive: true });
/** The pictures of docs/console.md; the others are for those who look. */
const DOCUMENTED = new Set(["overview-light-wide", "subject-reuse-light-wide", "session-light-wide", "token-light-wide", "events-dark-wide", "policies-light-wide", "client-dark-narrow"]);
const picture = (page, name) => page.screenshot({ path: join(DOCUMENTED.has(name) ? pictures : directory, `${name}.png`), ...(page.url ? { fullPage: !DOCUMENTED.has(name) || name.startsWith("session") } : {}) });
setTimeout(() => { console.error("it hangs"); process.exit(1); }, 600_000).unref();
const done = (what) => console.log(`done: ${what}`);

await start();
const admin = administrator();
const registered = await api(admin, "POST", "/v1/clients", {
  client_id: "shop", permissions: ["sessions", "introspect"], grants: ["refresh_token", "client_credentials"], scopes: ["read", "write"],
});
const shop = `shop:${registered.body.client_secret}`;
const open = async (subject, device = {}) => {
  const opened = await api(shop, "POST", "/v1/sessions", { subject, amr: ["pwd"], device });
  assert.equal(opened.status, 201, JSON.stringify(opened.body));
  return opened.body;
};
const refresh = (token) => api(shop, "POST", "/oauth2/token", { grant_type: "refresh_token", refresh_token: token });

/** Sessions whose refresh token was presented again: generation 1 when 3 was current. */
async function reused(subject, device) {
  const opened = await open(subject, device);
  let token = opened.refresh_token;
  const tokens = [token];
  for (let count = 0; count < 3; count += 1) {
    const { body } = await refresh(token);
    token = body.refresh_token;
    tokens.push(token);
  }
  assert.equal((await refresh(tokens[1])).status, 400);
  return { ...opened, spent: tokens[1] };
}

const firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:148.0) Gecko/20100101 Firefox/148.0";
const alice = { phone: await open("alice", { label: "Alice's phone", ip: "203.0.113.7" }), laptop: await open("alice", { label: "Laptop", user_agent: firefox, ip: "198.51.100.23" }), old: await open("alice", { label: "Old tablet" }) };
await api(shop, "DELETE", `/v1/sessions/${alice.old.session.id}`);
const bob = await reused("bob", { label: "Bob's browser", user_agent: firefox, ip: "192.0.2.9" });
await open("bob", { label: "Bob's phone" });
for (const subject of Object.values(HOSTILE)) await open(subject, { label: HOSTILE.markup, user_agent: HOSTILE.long.repeat(3), ip: HOSTILE.arabic });
await open("carol", { label: "Desk" });
await open("carol", { label: "Sofa" });
await open("carol", { label: "Train" });
await api(admin, "POST", "/v1/clients", { client_id: "mobile", kind: "public", grants: ["refresh_token"], scopes: ["read"] });
await api(admin, "POST", "/oauth2/introspect", { token: alice.phone.access_token });

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const problems = [];
/** A browser of its own. What Chromium says of an expected status is no fault. */
async function person(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const expected = [];
  watch(page, expected);
  return { context, page, expected };
}
function watch(page, expected = []) {
  page.on("pageerror", (error) => problems.push(`page: ${error.stack}`));
  page.on("request", (request) => { if (new URL(request.url()).origin !== url) problems.push(`request to ${request.url()}`); });
  page.on("console", (message) => {
    if (!["error", "warning"].includes(message.type()) || expected.some((text) => message.text().includes(text))) return;
    problems.push(`console: ${message.text()} ${message.location().url}`);
  });
}
async function signIn({ page }, at = link()) {
  await page.goto("about:blank");
  await page.goto(at);
  const button = page.getByRole("button", { name: "Sign in" });
  await button.waitFor();
  assert.equal(page.url(), `${url}/console`, "the secret is not in the address bar");
  await button.click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
}
const heading = (page, name) => page.getByRole("heading", { level: 1, name }).waitFor();
async function visit(page, hash, name) {
  await page.goto(`${url}/console${hash}`);
  await heading(page, name);
  await page.waitForFunction(() => !document.querySelector("[aria-busy]"));
}

// Signing in.
const stranger = await person();
stranger.expected.push("401");
await stranger.page.goto(`${url}/console`);
await heading(stranger.page, "Sign in to keyfob");
assert.ok((await stranger.page.textContent("main")).includes("keyfob console"));
await picture(stranger.page, "sign-in");
done("without a session the console shows how to get a link");

const operator = await person();
const { page } = operator;
const first = link();
await signIn(operator, first);
const [cookie] = await operator.context.cookies();
assert.deepEqual([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], ["__Host-keyfob-console", true, true, "Strict", "/"]);
assert.equal(await page.evaluate(() => document.cookie), "");
await page.goBack().catch(() => null);
assert.ok(!page.url().includes("kfl_"), "the history does not have the secret");
for (const stale of [first, `${url}/console#kfl_${"A".repeat(72)}`]) {
  await stranger.page.goto("about:blank");
  await stranger.page.goto(stale);
  await stranger.page.getByRole("button", { name: "Sign in" }).click();
  await stranger.page.getByText("This link does not sign in").waitFor();
}
done("a link signs in once, and a forged one never");

const before = link();
await stop();
await start();
if (store === "file") {
  await stranger.page.goto("about:blank");
  await stranger.page.goto(before);
  await stranger.page.getByRole("button", { name: "Sign in" }).click();
  await stranger.page.getByText("This link does not sign in").waitFor();
  done("a link does not survive a restart");
}

// A foreign page of the same site: its requests do not count.
const keysBefore = (await api(admin, "GET", "/v1/keys")).body;
const foreign = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!DOCTYPE html><title>foreign</title>")).listen(0, "127.0.0.1");
await new Promise((resolve) => foreign.once("listening", resolve));
const tab = await operator.context.newPage();
await tab.goto(`http://127.0.0.1:${foreign.address().port}/`);
const readable = await tab.evaluate(async (url) => {
  const tries = [[`${url}/v1/keys/rotate?force=true`, { method: "POST", mode: "no-cors" }], [`${url}/console/session`, {}]];
  const seen = await Promise.all(tries.map(([at, options]) => fetch(at, { credentials: "include", ...options }).then((answer) => answer.type, () => "refused")));
  return seen;
}, url);
assert.equal(readable[1], "refused");
assert.deepEqual((await api(admin, "GET", "/v1/keys")).body, keysBefore, "the foreign page rotated nothing");
await tab.close();
foreign.close();
done("a foreign page of the same site neither reads nor changes");

// Something to see in the figures, which start with the server.
await reused("eve", { label: "Eve's browser" });
for (let count = 0; count < 30; count += 1) await api(shop, "POST", "/oauth2/introspect", { token: alice.phone.access_token });
await api("shop:wrong", "POST", "/oauth2/introspect", { token: alice.phone.access_token });

// Every page, wide and narrow, light and dark.
await signIn(operator);
const PAGES = [
  ["overview", "#/overview", "Overview"], ["subjects", "#/subjects", "Subjects and sessions"], ["subject", "#/subject/alice", "Subject alice"], ["subject-reuse", "#/subject/bob", "Subject bob"],
  ["session", `#/session/${bob.session.id}`, "Session"], ["events", "#/events", "Events"], ["token", "#/token", "Token"], ["clients", "#/clients", "Clients"], ["client", "#/client/shop", "Client shop"],
  ["keys", "#/keys", "Keys"], ["policies", "#/policies?policy=default&absolute_lifetime=1s&idle_timeout=1s&max_sessions_per_subject=1", "Policies"], ["configuration", "#/configuration", "Configuration"],
  ["nothing", "#/subject/no%20such%20subject", "Subject no such subject"], ["gone", `#/session/${crypto.randomUUID()}`, "Session"],
  ...Object.entries(HOSTILE).map(([name, subject]) => [`hostile-${name}`, `#/subject/${encodeURIComponent(subject)}`, /^Subject/]),
];
for (const [scheme, width, withAxe] of [["dark", 320, true], ["light", 1280, true], ["light", 320, false], ["dark", 1280, false]]) {
  const { page: shown, context, expected } = await person({ viewport: { width, height: 800 }, colorScheme: scheme });
  expected.push("404");
  await context.addCookies(await operator.context.cookies());
  for (const [name, hash, title] of PAGES) {
    await visit(shown, hash, title);
    if (name === "overview") await shown.waitForSelector(".uplot canvas");
    if (name === "policies") await shown.getByText("What it would have done").waitFor();
    if (name === "token") {
      await shown.fill("textarea", bob.spent);
      await shown.getByRole("button", { name: "Inspect" }).click();
      await shown.getByText("Generation").first().waitFor();
    }
    if (withAxe) {
      await shown.evaluate(axe);
      const { violations } = await shown.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
      problems.push(...violations.map(({ id, impact, nodes }) => `${name} ${scheme} ${width}: ${impact} ${id}: ${nodes.map(({ target }) => target).slice(0, 3).join(" ")}`));
    }
    const overflow = await shown.evaluate(() => document.scrollingElement.scrollWidth - innerWidth);
    if (overflow > 0) problems.push(`${name} ${scheme} ${width}: ${overflow} px too wide`);
    await picture(shown, `${name}-${scheme}-${width === 320 ? "narrow" : "wide"}`);
  }
  assert.equal(await shown.evaluate(() => window.hit), undefined, "no value became markup");
  await context.close();
}
assert.deepEqual(problems, []);
done(`${PAGES.length} pages, wide and narrow, light and dark: axe finds nothing, nothing overflows`);

// By links alone: why was bob signed out, and which token was presented again?
await visit(page, "#/overview", "Overview");
await page.getByRole("link", { name: "Events", exact: true }).click();
await heading(page, "Events");
const alarm = page.locator("li.event.alarm", { hasText: bob.session.id }).filter({ hasText: "refresh.reused" });
await alarm.getByText("generation 1 was presented; the current one was 3 (2 behind)").waitFor();
await alarm.getByRole("link", { name: bob.session.id }).click();
await heading(page, "Session");
const reuse = page.locator(".reuse");
await reuse.waitFor();
const said = (await reuse.innerText()).replaceAll(/\s+/g, " ");
for (const part of [bob.session.id, "bob", "shop", "Family 1", "generation 1 was presented; the current one was 3"]) assert.ok(said.includes(part), `${part}: ${said}`);
await page.getByRole("link", { name: "bob" }).first().click();
await heading(page, "Subject bob");
assert.ok((await page.innerText(".notice")).includes("a spent refresh token was presented again"));
done("by links: why a subject was signed out; session, client, family and generation of a replayed token");

// The log is longer than what is read of it at once: the overview and the filters read on.
for (let count = 0; count < 230; count += 1) await open(`visitor${count % 50}`);
await visit(page, "#/overview", "Overview");
await page.locator("li.event.alarm", { hasText: bob.session.id }).waitFor();
await page.getByRole("link", { name: "Reuse alarms" }).click();
await heading(page, "Events");
await page.locator("li.event", { hasText: bob.session.id }).waitFor();
await visit(page, "#/events", "Events");
await page.getByLabel("Type").selectOption("refresh.reused");
await page.locator("li.event", { hasText: bob.session.id }).waitFor();
done("a long log: an alarm is found");

// Two endings of a day: the alarm is first, though the other one is later. The events of one subject, and one event.
const frank = { browser: await reused("frank", { label: "Frank's browser" }), desk: await open("frank", { label: "Frank's desk" }) };
await open("frankie", { label: "Sofa" });
await api(shop, "DELETE", `/v1/sessions/${frank.desk.session.id}`);
await visit(page, "#/subject/frank", "Subject frank");
const box = page.locator(".notice").first();
assert.match(await box.innerText(), /^2 sessions ended in the last day, one by a reuse alarm/);
assert.ok(await box.evaluate((element) => element.classList.contains("alarm")), "it looks like an alarm");
assert.match(await box.getByRole("listitem").first().innerText(), /Reuse alarm.*The session on Frank's browser at shop ended by/s);
await page.getByRole("link", { name: "Events of this subject" }).click();
await heading(page, "Events");
await page.locator("li.event", { hasText: "refresh.reused" }).waitFor();
const subjects = await page.locator("li.event").evaluateAll((items) => items.map((item) => item.querySelector("a[href^='#/subject/']").textContent));
assert.deepEqual(new Set(subjects), new Set(["frank"]), "the subject is matched exactly");
assert.ok((await page.locator("li.event", { hasText: "refresh.reused" }).innerText()).replaceAll(/\s+/g, " ").includes("Detected by keyfob"));
const position = await page.locator("li.event", { hasText: "refresh.reused" }).getAttribute("data-cursor");
await page.getByRole("link", { name: position, exact: true }).click();
await page.locator("li.event.linked").waitFor();
const linked = page.locator("li.event.linked");
assert.equal(await linked.getAttribute("data-cursor"), position);
await page.waitForFunction(() => document.activeElement.matches(".linked"));
assert.ok(await linked.evaluate((element) => { const { top, bottom } = element.getBoundingClientRect(); return top >= 0 && bottom <= innerHeight; }), "it is in view");
const chosen = await linked.locator("time").getAttribute("datetime");
const times = await page.locator("li.event .head time").evaluateAll((items) => items.map((item) => item.getAttribute("datetime")));
assert.ok(times.length > 1 && times.every((time) => time.slice(0, 19) <= chosen.slice(0, 19)), "nothing is later than the chosen time");
const addressBefore = page.url();
await page.getByRole("button", { name: "Go" }).click();
assert.equal(page.url(), addressBefore, "a time that was not touched stays");
await page.getByLabel("Until (UTC)").fill("2020-02-03T04:05:06");
await page.getByRole("button", { name: "Go" }).click();
await page.getByText("No event up to this time").waitFor();
assert.ok(page.url().includes("at=2020-02-03T04%3A05%3A06.000Z"), page.url());
done("the alarm among the endings of a day; the events of one subject, up to a time, and one by its position");

/** Answers the dialog of a change. */
async function confirm(button, { word, fill } = {}) {
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  const submit = dialog.getByRole("button", { name: button, exact: true });
  for (const [label, value] of Object.entries(fill ?? {})) await dialog.getByLabel(label, { exact: true }).fill(value);
  if (word) {
    assert.ok(await submit.isDisabled(), "the word comes first");
    await dialog.getByLabel(/^Type/).fill(word);
  }
  await submit.click();
}
const closed = () => page.getByRole("dialog").waitFor({ state: "detached" });
const active = async (subject) => (await api(admin, "GET", `/v1/sessions?state=active&subject=${subject}`)).body.items.map(({ id }) => id);

// The changes to sessions.
await visit(page, "#/subject/carol", "Subject carol");
await page.getByRole("button", { name: "End session…" }).first().click();
await page.keyboard.press("Escape");
await closed();
assert.equal((await active("carol")).length, 3, "Escape changes nothing");
await page.getByRole("button", { name: "End session…" }).first().click();
await confirm("End session");
await closed();
await page.getByText("2 active sessions").waitFor();
await page.getByRole("button", { name: "End all but one…" }).click();
const kept = await page.getByRole("dialog").getByLabel("Keep").inputValue();
await picture(page.getByRole("dialog"), "dialog");
await confirm("End the others", { fill: { "Reason (optional)": "a <b>reason</b>" } });
await closed();
await page.getByText("1 active session,").waitFor();
assert.deepEqual(await active("carol"), [kept]);
await page.getByRole("button", { name: "End all…" }).click();
await confirm("End all sessions");
await closed();
await page.getByText("0 active sessions").waitFor();
done("end one session, all but one, all");

// Clients.
await visit(page, "#/clients", "Clients");
await page.getByRole("button", { name: "Register a client…" }).click();
await page.getByRole("dialog").getByRole("checkbox", { name: /^introspect / }).check();
await confirm("Register", { fill: { "Client id": "api", Scopes: "read write", Serves: "https://api.example" } });
const secret = await page.locator("dialog .secret bdi").textContent();
assert.match(secret, /^kfc_.{43}$/);
assert.equal((await api(`api:${secret}`, "POST", "/oauth2/introspect", { token: alice.phone.access_token })).status, 200);
await page.getByRole("button", { name: "I have stored it" }).click();
await heading(page, "Client api");
await page.getByRole("button", { name: "Change…" }).click();
await confirm("Change", { fill: { Scopes: "read" } });
await closed();
await page.getByRole("button", { name: "Rotate secret…" }).click();
await confirm("Rotate");
const rotated = await page.locator("dialog .secret bdi").textContent();
assert.notEqual(rotated, secret);
await page.getByRole("button", { name: "I have stored it" }).click();
for (const [button, label] of [["Revoke its tokens…", "Revoke"], ["Disable…", "Disable"], ["Enable…", "Enable"]]) {
  await page.getByRole("button", { name: button }).click();
  await confirm(label);
  await closed();
}
const changed = (await api(admin, "GET", "/v1/clients/api")).body;
assert.deepEqual([changed.scopes, changed.permissions, changed.serves, changed.disabled], [["read"], ["introspect"], ["https://api.example"], false]);
await page.getByRole("button", { name: "Delete…" }).click();
await confirm("Delete", { word: "api" });
await heading(page, "Clients");
assert.equal((await api(admin, "GET", "/v1/clients/api")).status, 404);
done("register, change, rotate the secret, revoke tokens, disable, enable and delete a client");

// Keys.
await visit(page, "#/keys", "Keys");
operator.expected.push("409");
await page.getByRole("button", { name: "Rotate…" }).click();
await confirm("Rotate");
await page.getByText("This is in conflict with what is stored").waitFor();
await page.getByRole("dialog").getByRole("checkbox").check();
await confirm("Rotate");
await closed();
const keys = (await api(admin, "GET", "/v1/keys")).body.items;
assert.equal(keys.filter(({ status }) => status === "retired").length, 1);
await page.getByRole("row").filter({ hasText: "retired" }).getByRole("button", { name: "Revoke…" }).click();
await confirm("Revoke the key", { word: "revoke" });
await closed();
assert.equal((await api(admin, "GET", "/v1/keys")).body.items.filter(({ status }) => status === "retired").length, 0);
done("rotate and revoke a key");

// Tokens.
await visit(page, "#/token", "Token");
await page.fill("textarea", bob.spent);
await page.getByRole("button", { name: "Inspect" }).click();
await page.getByText("session_ended").first().waitFor();
assert.match((await page.innerText("main")).replaceAll(/\s+/g, " "), /Subject bob .*Events of this session .*Family 1 .*Generation 1 /);
assert.ok(!(await page.innerText("main")).includes("`"));
await page.fill("textarea", (await open("erin")).access_token);
await page.getByLabel("As seen by").selectOption("shop");
await page.getByRole("button", { name: "Inspect" }).click();
await page.getByText("It is an access token. It is active.").waitFor();
await page.fill("textarea", "kfc_secret");
await page.getByRole("button", { name: "Inspect" }).click();
await page.getByText("This is the secret of a client, not a token").waitFor();
assert.ok(!page.url().includes("kf"), "no token is in the address");
done("inspect tokens");

// Events, live.
await visit(page, "#/events?type=alarms", "Events");
await page.getByText("Live:").waitFor();
const dave = await reused("dave", {});
await page.locator("li.event.alarm", { hasText: dave.session.id }).first().waitFor();
await page.getByLabel("Type").selectOption("session.opened");
await page.getByLabel("Contains").fill("no such thing");
await page.getByText("No event matches").waitFor();
done("events appear while the page is open");

// Read only.
const reader = await person();
await signIn(reader, link("--read"));
await reader.page.getByText("read only").waitFor();
for (const [, hash, title] of PAGES.slice(0, 12)) {
  await visit(reader.page, hash, title);
  const buttons = await reader.page.locator("main button").allTextContents();
  assert.deepEqual(buttons.filter((text) => text.endsWith("…")), [], `${hash} offers no change`);
}
reader.expected.push("403");
const refused = await reader.page.evaluate((id) => fetch(`/v1/sessions/${id}`, { method: "DELETE" }).then(({ status }) => status), alice.laptop.session.id);
assert.equal(refused, 403);
done("a link that may only read offers no change, and the server refuses one");

// The keyboard: skip link, menu, theme.
await visit(page, "#/overview", "Overview");
await page.reload();
await heading(page, "Overview");
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement.id), "skip");
await page.keyboard.press("Enter");
assert.equal(await page.evaluate(() => document.activeElement.id), "main");
await page.getByLabel("Colours").selectOption("dark");
assert.equal(await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), "dark");
await page.getByRole("button", { name: "Last day" }).click();
await page.getByRole("button", { name: "Last day", pressed: true }).waitFor();
done("by keyboard to the content; dark by choice");

// A change with an old link: six minutes later by the clock of the server.
await page.goto("about:blank");
await stop();
await start("+6m");
operator.expected.push("403");
await visit(page, "#/subject/alice", "Subject alice");
await page.getByRole("button", { name: "End session…" }).first().click();
await confirm("End session");
await page.getByText("A change needs a new link").waitFor();
await picture(page.getByRole("dialog"), "step-up");
await page.getByRole("dialog").getByLabel("Link").fill(link());
await page.getByRole("button", { name: "Sign in again and go on" }).click();
await closed();
await page.getByText("1 active session,").waitFor();
done("a change that needs a younger link explains how to get one, and goes on with it");

// Sessions expire while the server is stopped. Their expiry is recorded when it starts, hours later.
const late = await open("grace", { label: "Grace's desk" });
await page.goto("about:blank");
await stop();
await start("+10h");
await signIn(operator);
await visit(page, `#/session/${late.session.id}`, "Session of grace");
const life = page.locator(".line li");
assert.deepEqual(await life.locator("strong").allInnerTexts(), ["Session opened", "Expired: it was not used (idle_timeout)", "Session expiry recorded"]);
const [expired, recorded] = await life.locator(".head time").evaluateAll((items) => items.slice(1).map((item) => Date.parse(item.getAttribute("datetime"))));
assert.ok(recorded - expired > 9 * 3_600_000, "it was recorded late");
await picture(page, "session-late-expiry");
done("the life of a session has an expiry that was recorded late");

// Everything ends.
await visit(page, "#/subjects", "Subjects and sessions");
operator.expected.push("401");
await page.getByRole("button", { name: "End every session…" }).click();
await confirm("End every session", { word: "everything" });
await heading(page, "Sign in to keyfob");
assert.deepEqual((await api(admin, "GET", "/v1/sessions?state=active")).body.items, []);
await signIn(operator);
await page.getByRole("button", { name: "Sign out" }).click();
await heading(page, "Sign in to keyfob");
done("end everything, which signs the operator out; sign in, and sign out");

assert.deepEqual(problems, []);
await Promise.race([browser.close(), pause(2000)]);
await stop();
process.exit(0);
