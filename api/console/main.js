// The frame around pages: which one is shown, the field that finds, keys, and what people set.

import { ask } from "./api.js";
import { debounced, fill, h } from "./dom.js";
import { showKeys, showSettings } from "./dialogs.js";
import { problem } from "./parts.js";
import { go, here, to } from "./route.js";

const PAGES = {
  home: () => import("./pages/home.js"),
  search: () => import("./pages/search.js"),
  entity: () => import("./pages/entity.js"),
  complete: () => import("./pages/complete.js"),
  classify: () => import("./pages/classify.js"),
  why: () => import("./pages/why.js"),
  map: () => import("./pages/map.js"),
  jobs: () => import("./pages/jobs.js"),
  review: () => import("./pages/review.js"),
  releases: () => import("./pages/releases.js"),
  diff: () => import("./pages/diff.js"),
};
const LISTED = [["complete", "Complete"], ["classify", "Classify"], ["map", "Map"], ["jobs", "Jobs"], ["review", "Review"], ["releases", "Releases"]];

const main = document.querySelector("#main");
const finder = document.querySelector("#q");
let shown = null; // the page, its route, and how it is left

/** Show the page that the address names. */
async function show() {
  const route = here();
  if (!location.hash.startsWith("#/") && location.hash) return;
  mark(route.page);
  if (route.page !== "search" && document.activeElement !== finder) finder.value = "";
  if (shown?.page === route.page && shown.update?.(route)) return;
  shown?.leave.abort();
  const leave = new AbortController();
  const own = (shown = { page: route.page, leave });
  const opened = await (PAGES[route.page] ?? (() => import("./pages/missing.js")))();
  if (shown !== own) return;
  const stage = h("div.page", { class: `page-${route.page}` });
  fill(main, stage);
  scrollTo(0, 0);
  try {
    own.update = opened.show(stage, { route, signal: leave.signal, title });
  } catch (error) {
    fill(stage, problem(error));
    throw error;
  }
}

function title(text) {
  document.title = text ? `${text} · kgservice` : "kgservice";
}

function mark(page) {
  for (const link of document.querySelectorAll("#pages a")) {
    if (link.getAttribute("href") === to(page)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const find = debounced(() => {
  const route = here();
  const text = finder.value.trim();
  if (route.page !== "search" && !text) return;
  const asked = route.page === "search" ? route.query : new URLSearchParams(); // what narrows it down stays
  asked.set("q", text);
  // One step for Back per search, not one per letter.
  go(text ? `#/search?${asked}` : to("home"), { replace: route.page === "search" });
}, 110);

finder.addEventListener("input", find);
document.querySelector("#finder").addEventListener("submit", (event) => event.preventDefault());
finder.addEventListener("keydown", (event) => {
  if (event.key === "/" && !finder.value) return event.preventDefault(); // who presses it is here already
  if (here().page === "search" && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
    main.querySelector(".results")?.dispatchEvent(new CustomEvent("walk", { detail: event.key }));
    event.preventDefault();
  } else if (event.key === "Enter" && finder.value.trim()) go(to("search", { q: finder.value.trim() }));
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const jump = { c: "complete", l: "classify", m: "map", j: "jobs", v: "review", r: "releases", h: "home" }[event.key];
  if (event.key === "/") finder.select(), finder.focus();
  else if (event.key === "?") showKeys();
  else if (jump) go(to(jump));
  else return;
  event.preventDefault();
});

document.querySelector("#keys").addEventListener("click", showKeys);
document.querySelector("#settings").addEventListener("click", () => showSettings(() => { shown = null; show(); foot(); }));
document.querySelector("#skip").addEventListener("click", () => main.focus());

async function foot() {
  const node = document.querySelector("#foot");
  const links = [h("a", { href: "api" }, "API"), h("a", { href: to("releases") }, "Releases")];
  try {
    const { release } = await ask("GET /readyz");
    fill(node, h("span", {}, "Release ", h("code", {}, release)), links);
  } catch {
    fill(node, h("span", {}, "No release answers."), links);
  }
}

fill(document.querySelector("#pages"), LISTED.map(([page, label]) => h("a", { href: to(page) }, label)));
window.addEventListener("hashchange", show);
if (!location.hash) history.replaceState(null, "", to("home").replace("home", ""));
show();
foot();
