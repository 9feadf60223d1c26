// Search as one types: matches with what matched, counts by type and by any relation, pages behind the first.

import { ask, choices } from "../api.js";
import { add, fill, h } from "../dom.js";
import { count, empty, entity, many, nameOf, problem, tags, waiting } from "../parts.js";
import { picker, relations } from "../picker.js";
import { go, here, to } from "../route.js";

const KINDS = { exact: "exact", prefix: "begins so", fuzzy: "spelt alike", description: "by description" };

/** Show the results of the address; more of them come by `update` as it changes. */
export function show(stage, { route, signal, title }) {
  const finder = document.querySelector("#q");
  const results = h("ol.results", { "aria-label": "Matches" });
  const status = h("p.status", { role: "status" });
  const behind = h("div.behind");
  const facets = h("aside.facets", { "aria-label": "Narrow down" });
  fill(stage, h("h1.sr", {}, "Search"), facets, h("section.found", {}, status, results, behind));
  let asking = null;
  let at = 0;

  function choose(place) {
    const items = [...results.children];
    if (!items.length) return;
    at = Math.max(0, Math.min(items.length - 1, place));
    items.forEach((item, number) => item.classList.toggle("chosen", number === at));
    items[at].scrollIntoView({ block: "nearest" });
  }
  results.addEventListener("walk", ({ detail: key }) => {
    if (key === "Enter") results.children[at]?.querySelector("a")?.click();
    else choose(at + (key === "ArrowDown" ? 1 : -1));
  });
  results.addEventListener("keydown", (event) => {
    if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    choose(at + (event.key === "ArrowDown" ? 1 : -1));
    results.children[at].querySelector("a").focus();
  });
  results.addEventListener("focusin", (event) => choose([...results.children].indexOf(event.target.closest("li"))));

  async function load(route, cursor = null) {
    const q = route.query.get("q") ?? "";
    title(q);
    if (document.activeElement !== finder) finder.value = q;
    asking?.abort();
    asking = new AbortController();
    signal.addEventListener("abort", () => asking.abort());
    if (!q) return fill(results), fill(facets), fill(status, "Type what you look for: a name, a beginning, a description.");
    if (!results.children.length) fill(behind, waiting(6));
    const query = {
      q, k: 20, language: choices.language, highlight: true, cursor,
      type: route.query.getAll("type"), filter: route.query.getAll("filter"),
      ...(cursor ? {} : { facets: true, facet: route.query.getAll("facet") }),
    };
    try {
      const found = await ask("GET /v1/search", { query, signal: asking.signal });
      if (!cursor) {
        fill(results);
        fill(facets, counts(found, route));
      }
      fill(status, said(found, route));
      add(results, found.matches.map(match));
      fill(behind, found.next && found.matches.length
        ? h("button", { onclick: () => load(route, found.next) }, "More") : null);
      if (!cursor) choose(0);
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(results);
      fill(behind, problem(error));
    }
  }
  load(route);
  return (next) => {
    load(next);
    return true;
  };
}

function said(found, route) {
  if (found.nil) {
    const reason = found.reason ? `${found.reason[0].toUpperCase()}${found.reason.slice(1)}.` : "";
    return [h("strong", {}, found.matches.length ? "Nothing here is likely to be meant. " : "Nothing found. "), reason, narrowed(route) ? [" ", h("a", { href: to("search", { q: found.query }) }, "Search everything")] : ""];
  }
  const among = found.facets?.find((one) => one.relation === null)?.among;
  return [among ? many(among, "match", among >= 1000 ? "matches looked at" : "matches") : "", found.dense ? ", by names and by meaning" : ""];
}

function match(one) {
  const parts = one.highlights;
  return h("li", {},
    h("a.entity", { href: to("entity", { id: one.id }) },
      h("span.label", { dir: "auto" }, one.matched === one.label && parts?.matched ? marked(parts.matched) : nameOf(one)),
      one.label && h("span.id", {}, one.id)),
    one.matched && one.matched !== one.label && h("span.matched", {}, "also ", h("bdi", {}, parts?.matched ? marked(parts.matched) : one.matched)),
    h("span.kind", {}, KINDS[one.kind] ?? one.kind),
    one.description && h("p", { dir: "auto" }, parts?.description ? marked(parts.description) : one.description),
    tags(one.types));
}

const marked = (parts) => parts.map((one) => (one.marked ? h("mark", {}, one.text) : one.text));

const narrowed = (route) => route.query.has("type") || route.query.has("filter");

function counts(found, route) {
  const groups = found.facets ?? [];
  const asked = h("div.by", {}, picker({
    label: "Count by relation", placeholder: "Count by relation…", suggest: async (text, signal) => (await relations(text, signal)).filter((one) => one.links),
    onpick: (one) => one && go(changed(route, "facet", one.id, true)),
  }));
  return [groups.map((group) => facet(group, route)), asked];
}

function facet(group, route) {
  const name = group.relation ? "filter" : "type";
  const key = (one) => (group.relation ? `${group.relation.id}=${one.id}` : one.id);
  const chosen = route.query.getAll(name);
  const gone = chosen.filter((one) => !group.relation && !group.values.some((value) => key(value) === one));
  return h("section", {},
    h("h2", {}, group.relation ? nameOf(group.relation) : "Type",
      group.relation && h("a.drop", { href: changed(route, "facet", group.relation.id, false), "aria-label": `Do not count by ${nameOf(group.relation)}` }, "×")),
    h("ul", {},
      gone.map((id) => h("li", {}, h("a.on", { href: changed(route, name, id, false), "aria-current": "true" }, h("span.label", {}, id)))),
      group.values.slice(0, 12).map((one) => {
        const on = chosen.includes(key(one));
        return h("li", {}, h("a", { class: on ? "on" : null, href: changed(route, name, key(one), !on), "aria-current": on ? "true" : null, title: one.id },
          h("span.label", {}, nameOf(one)), h("span.figure", {}, count(one.count))));
      })),
    !group.values.length && !gone.length && empty("None"));
}

function changed(route, name, value, on) {
  const kept = new URLSearchParams(here().query);
  const values = kept.getAll(name).filter((one) => one !== value);
  kept.delete(name);
  for (const one of on ? [...values, value] : values) kept.append(name, one);
  return `#/search?${kept}`;
}
