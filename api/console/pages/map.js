// The map of a model's entity space: near each other is alike. Drawn on a canvas; wheel or pinch zooms, dragging moves.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { count, empty, entity, many, nameOf, settle } from "../parts.js";
import { entities, picker } from "../picker.js";
import { go, to } from "../route.js";
import { Plane } from "../plane.js";

/** Show it. */
export function show(stage, { route, signal, title }) {
  title("Map");
  const picture = h("div.plane");
  const legend = h("ul.legend", { "aria-label": "Types" });
  const tools = h("div.options-row");
  fill(stage, h("h1", {}, "Map of the entity space"), h("p.lead", {}, "Entities that a model holds to be alike lie near each other."), tools, legend, picture);
  const [model, at] = [route.query.get("model"), route.query.get("at")];
  const query = { model, language: choices.language };
  settle(picture, ask("GET /v1/map", { query, signal }), (found) => drawn(found, { legend, tools, at, model, signal }), 12);
}

function drawn(found, { legend, tools, at, model, signal }) {
  const off = new Set();
  const told = h("p.told", { role: "status" });
  const canvas = h("canvas", { role: "img", tabindex: "0", "aria-label": `${many(found.points.length, "entity", "entities")} of ${found.model} as points; arrow keys move, plus and minus zoom` });
  const plane = new Plane(canvas, found, {
    signal,
    onopen: (point) => go(to("entity", { id: point.id })),
    onpoint: (point) => fill(told, point ? [nameOf(point), h("span.id", {}, point.id), h("span.said", {}, kindOf(found, point)), h("span.said", {}, many(point.links, "link"))] : ""),
    visible: (point) => !off.has(point.kind),
  });
  const kinds = [...found.kinds.map((one, place) => [place, nameOf(one)]), [-1, "other"]];
  fill(legend, kinds.filter(([kind]) => found.points.some((one) => one.kind === kind)).map(([kind, label]) => h("li", {}, h("button", {
    "aria-pressed": "true", class: `kind-${kind}`,
    onclick: (event) => {
      const button = event.currentTarget;
      if (off.has(kind)) off.delete(kind);
      else off.add(kind);
      button.setAttribute("aria-pressed", String(!off.has(kind)));
      plane.draw();
    },
  }, h("i", { "aria-hidden": "true" }), label, h("span.figure", {}, count(found.points.filter((one) => one.kind === kind).length))))));
  const models = h("select", { "aria-label": "Model", onchange: (event) => go(to("map", { model: event.target.value, at })) });
  ask("GET /v1/releases").then((all) => {
    for (const { name } of all.releases.find((one) => one.serving)?.models ?? []) models.append(h("option", { value: name, selected: name === (model ?? found.model) }, name));
  }, () => {});
  fill(tools, picker({ label: "Find on the map", placeholder: "Find on the map…", suggest: entities, onpick: (one) => one && go(to("map", { model, at: one.id })) }), models,
    h("button", { onclick: () => plane.whole() }, "Whole map"));
  const point = at && found.points.find((one) => one.id === at);
  queueMicrotask(() => (point ? plane.look(point) : plane.whole()));
  return [
    at && !point ? empty("It is not on the map.", `The map shows the ${count(found.points.length)} best-connected of ${many(found.among, "entity", "entities")}. `, entity({ id: at, label: null })) : null,
    h("div.canvas", {}, canvas, told),
    h("p.hint", {}, `The ${count(found.points.length)} best-connected of ${count(found.among)} entities, by ${found.model}. Principal components, then t-SNE: neighbours mean something, far distances and directions do not.`),
  ];
}

const kindOf = (found, point) => (point.kind < 0 ? "" : nameOf(found.kinds[point.kind]));
