// Questions to begin with. They speak of the sample graph, and are shown where its relations are served.

import { ask } from "./api.js";
import { fill, h } from "./dom.js";
import { to } from "./route.js";

const OF_WORLD = [
  ["complete", "Who may be a member of the European Union?", { relation: "world:memberOf", object: "world:European_Union" }],
  ["complete", "With which currency did France pay from 1960 on?", { subject: "world:France", relation: "world:currency", with: "world:startTime=1960", known: "yes" }],
  ["complete", "How many people lived in Czechoslovakia?", { subject: "world:Czechoslovakia", relation: "world:population" }],
  ["complete", "How are France and Spain linked?", { subject: "world:France", object: "world:Spain", known: "yes" }],
  ["classify", "Does one pay with yen in Japan?", { subject: "world:Japan", relation: "world:currency", object: "world:Japanese_Yen" }],
];

/** A list of them, which stays empty where there are none. */
export function suggested(signal, page = null, title = h("p.hint", {}, "Such as")) {
  const node = h("div.examples");
  examples(signal, page).then((found) => found.length && fill(node, title, h("ul", {}, found.map(({ says, href }) => h("li", {}, h("a", { href }, says))))), () => {});
  return node;
}

/** Those whose relation the graph has; for one page, or for all. */
async function examples(signal, page = null) {
  const { relations } = await ask("GET /v1/relations", { query: { k: 1000 }, signal });
  const held = new Set(relations.map((one) => one.id));
  return OF_WORLD.filter(([kind, , { relation = "world:borders" }]) => (!page || kind === page) && held.has(relation))
    .map(([kind, says, query]) => ({ says, href: to(kind, query) }));
}
