// The console: its frame, the pages by their addresses, and who is signed in.

import { fill, foreign, h } from "./dom.js";
import { ApiError, identify, mayChange, onIdentity, signOut, who } from "./api.js";
import { countdown, instant } from "./time.js";
import { announce, problem } from "./ui.js";

/** The address of each page, its module, and its place in the menu. */
const PAGES = {
  overview: [() => import("./page-overview.js"), "Overview"],
  subjects: [() => import("./page-subjects.js"), "Subjects"],
  subject: [() => import("./page-subject.js"), null, "subjects"],
  session: [() => import("./page-session.js"), null, "subjects"],
  events: [() => import("./page-events.js"), "Events"],
  token: [() => import("./page-token.js"), "Token"],
  clients: [() => import("./page-clients.js"), "Clients"],
  client: [() => import("./page-client.js"), null, "clients"],
  keys: [() => import("./page-keys.js"), "Keys"],
  policies: [() => import("./page-policies.js"), "Policies"],
  configuration: [() => import("./page-configuration.js"), "Configuration"],
};

const main = document.getElementById("main");
const menu = document.getElementById("menu");
const toggle = document.getElementById("toggle");
let link = null;
let leaving = new AbortController();
let isFirst = true;

/** Takes the secret of a link out of the address, so that neither the history nor a screen keeps it. */
function takeLink() {
  if (!location.hash.startsWith("#kfl_")) return;
  link = location.hash.slice(1);
  history.replaceState(null, "", "/console");
}

function address() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...parts] = path.split("/").map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { name: name || "overview", parts, query: new URLSearchParams(search) };
}

async function route() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  document.body.classList.toggle("signed-in", who() !== null && link === null);
  closeMenu();
  if (link !== null || who() === null) {
    const page = await import("./page-sign-in.js").catch((error) => fill(main, problem(notLoaded(error), route)));
    if (!page) return;
    document.title = "Sign in – keyfob console";
    page.show(main, {
      link,
      done: () => {
        link = null;
        route();
      },
      // Who was signed in before still is.
      refused: async () => {
        link = null;
        await identify().catch(() => {});
        document.body.classList.toggle("signed-in", who() !== null);
      },
    });
    return;
  }
  const { name, parts, query } = address();
  const [load, , parent] = PAGES[name] ?? PAGES.overview;
  for (const item of menu.querySelectorAll("a")) {
    const isHere = item.dataset.page === name || item.dataset.page === parent;
    if (isHere) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  try {
    const page = await load().catch((error) => { throw notLoaded(error); });
    if (signal.aborted) return;
    // A page draws into an element of its own: what arrives after it was left changes nothing.
    const place = h("div", { class: "page" });
    const shown = page.show(place, { parts, query, signal, reload: route });
    document.title = `${[page.title, ...parts.slice(0, 1)].join(" ")} – keyfob console`;
    // What it drew before it waited for anything was drawn before the observer was made.
    const drawn = place.hasChildNodes() ? Promise.resolve() : new Promise((resolve) => { new MutationObserver((_, observer) => { observer.disconnect(); resolve(); }).observe(place, { childList: true }); });
    shown.catch(() => {});
    await Promise.race([drawn, shown]);
    if (signal.aborted) return;
    fill(main, place);
    if (isFirst) isFirst = false;
    else if (!main.contains(document.activeElement)) main.querySelector("h1")?.focus({ preventScroll: true });
    scrollTo(0, 0);
    await shown;
  } catch (error) {
    if (!signal.aborted && who() !== null) fill(main, h("h1", { tabindex: "-1" }, "This page cannot be shown"), problem(error, route));
  }
  main.removeAttribute("aria-busy");
}

/** On a phone the menu is opened by a button. */
function closeMenu() {
  menu.classList.remove("open");
  toggle.setAttribute("aria-expanded", "false");
}

/** The error of a module that cannot be loaded. */
const notLoaded = (error) => new ApiError(0, { detail: `A part of the page cannot be loaded: ${error.message}` });

function frame() {
  const identity = who();
  const role = { admin: "may change everything", "console:read": "may look, and change nothing" };
  fill(document.getElementById("who"), identity === null ? null : [
    h("span", { class: "issuer" }, foreign(identity.issuer)), h("span", { class: "quiet" }, ` ${identity.version}`),
    h("span", { class: `badge ${mayChange() ? "plain" : "expired"}`, title: role[identity.role] }, identity.role === "admin" ? "administrator" : "read only"),
    h("span", { class: "quiet" }, `signed out after ${unusedFor(identity)} without use, and `, countdown(identity.expires_at).firstChild, " at the latest"),
    h("button", { type: "button", onclick: leave }, "Sign out")]);
}

/** How long the session lasts without use. The server records uses to the minute, so the time is rounded. */
const unusedFor = ({ idle_expires_at: idle, now: read }) => `${Math.max(1, Math.round((instant(idle) - instant(read)) / 300_000) * 5)} min`;

async function leave() {
  try {
    await signOut();
    announce("you are signed out");
  } catch (error) {
    announce(error.detail ?? "the server cannot be reached", true);
  }
}

/** The scheme of colours: that of the system, or the one chosen here. */
const theme = document.getElementById("theme");
function paint(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  theme.value = choice;
  document.dispatchEvent(new Event("themechange"));
}
theme.addEventListener("change", () => {
  localStorage.setItem("keyfob-console-theme", theme.value);
  paint(theme.value);
});
paint(["light", "dark"].find((choice) => choice === localStorage.getItem("keyfob-console-theme")) ?? "system");

fill(menu, h("ul", {}, Object.entries(PAGES).filter(([, [, title]]) => title).map(([name, [, title]]) => h("li", {}, h("a", { href: `#/${name}`, "data-page": name }, title)))));
menu.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !menu.classList.contains("open")) return;
  closeMenu();
  toggle.focus();
});
toggle.addEventListener("click", () => toggle.setAttribute("aria-expanded", String(menu.classList.toggle("open"))));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  takeLink();
  route();
});
// Another tab can have signed in or out.
document.addEventListener("visibilitychange", () => { if (!document.hidden && who() !== null) identify().catch(() => {}); });

let role = null;
onIdentity(() => {
  const before = role;
  role = who()?.role ?? null;
  frame();
  if (before !== null && before !== role) route();
});

takeLink();
// The page loads while the server says who is signed in.
(PAGES[address().name] ?? PAGES.overview)[0]().catch(() => {});
try {
  if (link === null) await identify();
  route();
} catch (error) {
  fill(main, problem(error, () => location.reload()));
}
