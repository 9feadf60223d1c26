// The beginning: what this graph is, what it says, and where to go from here.

import { ask, choices } from "../api.js";
import { add, fill, h } from "../dom.js";
import { count, empty, figure, nameOf, settle } from "../parts.js";
import { suggested } from "../examples.js";
import { Plane } from "../plane.js";
import { to } from "../route.js";

/** Show it. */
export function show(stage, { signal, title }) {
  title("");
  const figures = h("div.figures");
  const relations = h("div");
  const models = h("div");
  const tried = suggested(signal, null, h("h2", {}, "Questions to begin with"));
  const view = h("a.view", { href: to("map"), "aria-label": "Map of the entity space" });
  fill(stage,
    h("section.hero", {}, h("div", {},
      h("h1", {}, "Ask the graph"),
      h("p.lead", {}, "Find an entity, see what is stated of it, and what may be missing."),
      figures), view),
    h("div.columns", {},
      h("section", {}, h("h2", {}, "What it tells"), h("p.hint", {}, "Relations by how many statements have them. Pick one to ask what is missing."), relations),
      h("div.stack", {}, tried, h("section", {}, h("h2", {}, "Who answers"), h("p.hint", {}, "Models of the release with the mean reciprocal rank on held-out statements."), models))));
  settle(relations, ask("GET /v1/relations", { query: { k: 18, language: choices.language }, signal }), listed, 8);
  settle(models, ask("GET /v1/releases", { signal }), (found) => {
    const serving = found.releases.find((one) => one.serving);
    if (!serving) return empty("No release is served.");
    fill(figures, counted(serving.counts));
    return h("ol.models", {}, serving.models.map((model) => h("li", {},
      h("a", { href: to("map", { model: model.name }), title: "Map of its entity space" }, model.name), h("span.id", {}, model.scorer),
      h("span.meter", { vars: { "--v": model.test.mrr ?? 0 }, "aria-hidden": "true" }), h("span.figure", {}, figure(model.test.mrr)))));
  }, 3);
  // The picture is nice to have: where there is no map, nothing stands in its place.
  ask("GET /v1/map", { query: { language: choices.language }, signal }).then((found) => {
    const canvas = h("canvas", { "aria-hidden": "true" });
    fill(view, canvas);
    new Plane(canvas, found, { signal, still: true }).whole();
  }, () => {});
  document.querySelector("#q").focus({ preventScroll: true });
}

function counted(counts) {
  const shown = [["entities", "entities"], ["statements", "statements"], ["relations", "relations"], ["qualifiers", "qualifiers"], ["types", "types"]];
  return shown.filter(([name]) => counts[name]).map(([name, label]) => h("div", {}, h("b", {}, count(counts[name])), h("span", {}, label)));
}

function listed({ relations }) {
  const most = Math.max(...relations.map((one) => one.statements), 1);
  return add(h("ul.relations"), relations.filter((one) => one.statements).map((one) => h("li", {},
    h("a", { href: to("complete", { relation: one.id }), title: one.description }, h("span.label", {}, nameOf(one))),
    h("span.meter", { vars: { "--v": one.statements / most }, "aria-hidden": "true" }), h("span.figure", {}, count(one.statements)))));
}
