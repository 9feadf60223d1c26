// The estimate of a number as a picture: its interval, what is stated, and the entities most alike.

import { h } from "./dom.js";
import { entity, nameOf, percent } from "./parts.js";

/** The estimate of an answer. */
export function estimate({ estimate: found, relation }) {
  const years = found.kind === "year";
  const written = (value) => (years ? value.toFixed(value % 1 ? 1 : 0) : Number(value.toPrecision(3)).toLocaleString("en"));
  const stated = found.stated.map((one) => Number.parseFloat(one.label)).filter(Number.isFinite);
  // Numbers that span orders of magnitude are told apart by their logarithms.
  const values = [found.low, found.high, found.value, ...stated, ...found.evidence.map((one) => one.value)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const logs = !years && low > 0 && high / low > 50;
  const scale = logs ? Math.log : (value) => value;
  const place = (value) => 30 + (540 * (scale(value) - scale(low))) / (scale(high) - scale(low) || 1);
  const near = found.evidence.map((one) => h("circle.near", { cx: place(one.value), cy: 46, r: 4 }, tip(`${nameOf(one.entity)}: ${written(one.value)}`)));
  const known = stated.map((one) => h("path.stated", { d: `M${place(one)} 30v32`, "stroke-width": 2.5 }, tip(`stated: ${written(one)}`)));
  return h("div.estimate", {},
    h("p.big", {}, written(found.value), h("span.range", {}, `${written(found.low)} – ${written(found.high)}`)),
    h("p.hint", {}, `${percent(found.coverage)} of such intervals hold the true ${nameOf(relation)}; `,
      found.basis === "model" ? "told by the model's vectors. " : "the median of what is known: the model does no better. ",
      stated.length ? `The graph states ${stated.map(written).join(", ")}, which was not used.` : "The graph states none."),
    h("svg.strip", { viewBox: "0 0 600 84", role: "img", "aria-label": `Between ${written(found.low)} and ${written(found.high)}, most likely ${written(found.value)}` },
      h("rect.interval", { x: place(found.low), y: 38, width: place(found.high) - place(found.low), height: 16, rx: 8 }),
      h("path.axis", { d: "M20 70h560" }), near, known,
      h("circle.value", { cx: place(found.value), cy: 46, r: 7 }),
      h("text", { x: 30, y: 82, "text-anchor": "start" }, written(low)), h("text", { x: 570, y: 82, "text-anchor": "end" }, `${written(high)}${logs ? " (logarithmic)" : ""}`)),
    found.evidence.length ? [h("h2", {}, "Most alike, and known"), h("ol.ranked", {}, found.evidence.map((one) => h("li", {}, entity(one.entity),
      h("span.meter", { vars: { "--v": one.similarity }, "aria-hidden": "true" }), h("span.figure", {}, written(one.value)))))] : null);
}

const tip = (text) => h("svg:title", {}, text);
