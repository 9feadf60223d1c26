// One entity: what is stated of it, by relation, with qualifiers; its texts; what a model holds of it.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { count, empty, entity, figure, literal, many, nameOf, percent, picture, settle, spread, tags, value } from "../parts.js";
import { to } from "../route.js";

const SHORT = 12; // values of one relation before "all"

/** Show it. */
export function show(stage, { route, signal, title }) {
  const path = { id: route.id };
  const language = choices.language;
  const head = h("header.head");
  const statements = h("section.statements");
  const side = { types: h("section"), like: h("section"), texts: h("section"), spread: h("section") };
  fill(stage, h("article", {}, head, h("div.columns.wide", {}, statements, h("aside", {}, Object.values(side)))));

  async function load(limit) {
    const page = await ask("GET /v1/entities/{id}", { path, query: { language, limit }, signal });
    title(nameOf(page));
    fill(head, heading(page));
    fill(side.texts, texts(page));
    fill(side.spread, uncertainty(page));
    return page;
  }
  const shown = (page) => [
    groups(page), page.statements.length < page.statement_count && h("button", {
      onclick: (event) => {
        event.target.disabled = true;
        settle(statements, load(1000), shown, 12);
      },
    }, `Show ${page.statement_count > 1000 ? "1,000" : "all"} of ${count(page.statement_count)} statements`),
  ];
  settle(statements, load(100), shown, 10).then(() => {
    if (!head.children.length) return; // there is no such entity
    settle(side.types, ask("GET /v1/entities/{id}/types", { path, query: { language, k: 6 }, signal }), types, 3);
    settle(side.like, ask("GET /v1/entities/{id}/similar", { path, query: { language, k: 8 }, signal }), alike, 5);
  });
}

function heading(page) {
  const links = [
    [to("complete", { subject: page.id }), "What is missing?"],
    [to("classify", { subject: page.id }), "Is it true?"],
    [to("map", { at: page.id }), "On the map"],
  ];
  return [
    tags(page.types, 6),
    h("h1", { dir: "auto" }, nameOf(page)),
    h("p.id", {}, page.id, h("button.copy", { title: page.iri, onclick: (event) => copy(event.target, page.iri) }, "copy IRI")),
    page.description && h("p.lead", { dir: "auto" }, page.description),
    h("nav.acts", { "aria-label": "About this entity" }, links.map(([href, label]) => h("a", { href }, label))),
  ];
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    fill(button, "copied");
  } catch {
    fill(button, text); // no clipboard here: to be selected by hand
  }
}

function groups(page) {
  const found = new Map();
  for (const one of page.statements) {
    const inward = one.subject.id !== page.id;
    const key = `${inward}${one.relation.id}`;
    if (!found.has(key)) found.set(key, { relation: one.relation, inward, rows: [] });
    found.get(key).rows.push({ what: inward ? one.subject : one.object, qualifiers: one.qualifiers });
  }
  if (!found.size) return empty("Nothing is stated of it.", h("a", { href: to("complete", { subject: page.id }) }, "Ask what may be"));
  const every = [...found.values()];
  const [out, inward] = [every.filter((one) => !one.inward), every.filter((one) => one.inward)];
  const [plain, linked] = [out.filter(isPlain), out.filter((one) => !isPlain(one))];
  const pictures = linked.filter(isPicture);
  return [
    pictures.length ? h("div.pictures", {}, pictures.flatMap(({ relation, rows }) => rows.slice(0, 4).map(({ what }) => h("figure", {}, picture(what), h("figcaption.hint", {}, nameOf(relation)))))) : null,
    plain.length ? [h("h2.sr", {}, "In figures"), h("dl.tiles", {}, plain.map((one) => tile(one)))] : null,
    linked.length > pictures.length ? [h("h2", {}, "Stated"), h("dl.facts", {}, linked.filter((one) => !isPicture(one)).map((one) => group(one, page)))] : null,
    inward.length ? [h("h2", {}, "Stated of others"), h("dl.facts", {}, inward.map((one) => group(one, page)))] : null,
  ];
}

const isPicture = ({ rows }) => rows.every((row) => row.what.image);

/** One short literal with nothing beside it. */
const isPlain = ({ rows }) => rows.length === 1 && !rows[0].what.id && !rows[0].what.image && !rows[0].qualifiers.length && (rows[0].what.label ?? "").length < 24;

function tile({ relation, rows }) {
  return h("div", {}, h("dt", { title: relation.description }, nameOf(relation), h("span.id", {}, relation.id)), h("dd", {}, literal(rows[0].what)));
}

function group({ relation, inward, rows }, page) {
  const plain = rows.every((row) => !row.qualifiers.length);
  const list = h("ul", { class: plain && rows.length > 1 ? "flow" : null });
  const draw = (most) => fill(list, rows.slice(0, most).map(statement), rows.length > most
    && h("li", {}, h("button.more", { onclick: () => draw(Infinity) }, `all ${count(rows.length)}`)));
  draw(rows.length > SHORT + 3 ? SHORT : Infinity);
  const question = inward ? { relation: relation.id, object: page.id } : { subject: page.id, relation: relation.id };
  return h("div", {},
    h("dt", {}, h("span.label", { title: relation.description }, inward ? `← ${nameOf(relation)}` : nameOf(relation)), h("span.id", {}, relation.id)),
    h("dd", {}, list),
    h("dd.ask", {}, h("a", { href: to("complete", question), title: "What else may stand here?", "aria-label": `What else? ${nameOf(relation)}` }, "what else?")));
}

function statement({ what, qualifiers }) {
  return h("li", {}, value(what), qualifiers.length ? h("span.qualifiers", {}, qualifiers.map((pair) => h("span.pair", {},
    h("span.of", { title: pair.relation.id }, nameOf(pair.relation)), value(pair.value, { id: false })))) : null);
}

function types(answer) {
  const shown = answer.candidates.filter((one) => one.known || one.probability >= 0.01);
  return [
    h("h2", {}, "Types"),
    shown.length ? h("ol.ranked", {}, shown.map((one) => h("li", { class: one.known ? "marked" : null },
      h("span.term", { title: `${one.id}: told by ${one.basis === "text" ? "its text" : "entities that have it"}` }, h("span.label", {}, nameOf(one))),
        one.known && h("span.mark.known", { title: "The graph states this." }, "known"),
      h("span.meter", { vars: { "--v": one.probability }, "aria-hidden": "true" }), h("span.figure", { title: `Calibrated among ${answer.population}` }, percent(one.probability))))) : empty("No type is likely."),
    by(answer),
  ];
}

function alike(answer) {
  return [
    h("h2", {}, "Like it"),
    h("ol.ranked", {}, answer.similar.map((one) => h("li", {}, entity(one, { id: false }),
      h("span.meter", { vars: { "--v": Math.max(0, one.similarity) }, "aria-hidden": "true" }),
      h("span.figure", { title: "Cosine of the two vectors: no probability" }, one.similarity.toFixed(2))))),
    by(answer),
  ];
}

const by = (answer) => h("p.hint", {}, `told by ${answer.model}`);

function texts(page) {
  const codes = [...new Set([page.labels, page.descriptions, page.aliases].flatMap((one) => Object.keys(one)))].sort();
  if (!codes.length) return null;
  return [
    h("h2", {}, "In words"),
    h("dl.texts", {}, codes.map((code) => h("div", {}, h("dt", {}, code || "–"), h("dd", { lang: code || null, dir: "auto" },
      page.labels[code] && h("span.label", {}, page.labels[code]),
      page.aliases[code] && h("span.said", {}, page.aliases[code].join(" · ")),
      page.descriptions[code] && page.descriptions[code] !== page.description && h("span.said", {}, page.descriptions[code]))))),
    h("p.hint", {}, many(codes.length, "language")),
  ];
}

function uncertainty(page) {
  const known = Object.entries(page.uncertainty);
  if (!known.length) return null;
  return [h("h2", {}, "How surely it is known"), h("dl.texts", {}, known.map(([model, one]) => h("div", {}, h("dt", {}, model), h("dd", {}, spread(one))))),
    h("p.hint", {}, `The spread of a model's idea of it; ${figure(1)} is the median entity's.`)];
}
