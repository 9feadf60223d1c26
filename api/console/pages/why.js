// Why a model holds a statement to be true: walks between its ends, rules, entities alike, and what each fact is worth.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { draw } from "../graph.js";
import { count, empty, entity, figure, known, nameOf, percent, probability, settle, term, value } from "../parts.js";
import { to } from "../route.js";
import { asked, parameters, PARTS } from "../statement.js";

/** Show the explanation of the statement of the address. */
export function show(stage, { route, signal, title }) {
  title("Why?");
  const statement = asked(route.query);
  if (PARTS.some((part) => !statement[part])) {
    fill(stage, h("h1", {}, "Why?"), empty("No whole statement is given.", "Candidates and verdicts have a link that leads here. ", h("a", { href: to("complete") }, "Complete a statement")));
    return;
  }
  const body = { ...statement, qualifiers: statement.qualifiers.filter((pair) => pair.relation && pair.value), k: 6, language: choices.language,
    ...(route.query.get("model") ? { model: route.query.get("model") } : {}) };
  const whole = h("div");
  fill(stage, whole);
  settle(whole, ask("POST /v1/explain", { body, signal }), (found) => {
    const { subject, relation, object } = found.verdict;
    title(`Why ${nameOf(subject)} ${nameOf(relation)} ${nameOf(object)}?`);
    return shown(found, statement);
  }, 10);
}

function shown(found, statement) {
  const { verdict } = found;
  const parts = [rules(found), alike(found), deletions(found), read(found)].filter(Boolean);
  return [
    h("header.head", {},
      h("p.hint", {}, "Why?"),
      h("h1", {}, entity(verdict.subject, { id: false }), " ", h("span.soft", {}, nameOf(verdict.relation)), " ", entity(verdict.object, { id: false })),
      verdict.qualifiers.length ? h("p.qualifiers", {}, verdict.qualifiers.map((pair) => h("span.pair", {}, h("span.of", {}, nameOf(pair.relation)), value(pair.value, { id: false })))) : null,
      h("p.sure", {}, verdict.probability === null ? `Score ${figure(verdict.score)}, no probability` : probability(verdict.probability, verdict.population),
        verdict.known && known(), h("span.hint", {}, `${verdict.model} answers`)),
      h("nav.acts", { "aria-label": "About this statement" }, h("a", { href: to("classify", parameters(statement)) }, "Is it true?"),
        h("a", { href: to("complete", { ...parameters({ ...statement, object: null }), known: "yes" }) }, "Other objects"),
        h("a", { href: to("complete", { ...parameters({ ...statement, subject: null }), known: "yes" }) }, "Other subjects"))),
    found.paths.length || found.alike.length
      ? h("figure.picture", {}, h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Picture of the evidence" }, draw(found)), h("figcaption.hint", {}, "Solid lines are stated, dashed ones mean alike, the blue one is what is asked. Arrow keys walk, Enter opens."))
      : empty("Nothing in the graph links the two in three steps.", "The model judges by what it learnt of each alone."),
    h("p.said-whole", {}, found.sentence),
    h("div.evidence", {}, parts),
  ];
}

function rules({ rules }) {
  if (!rules.length) return null;
  return h("section", {}, h("h2", {}, "Rules"), h("p.hint", {}, "Where other entities are linked in this way, how often does the relation hold too?"),
    h("ol.ranked.deep", {}, rules.map((rule) => h("li", { title: rule.text },
      h("span.walked", {}, rule.body.map((atom, place) => [place ? h("i", {}, "then") : null, h("span", { title: atom.relation.id }, atom.forward ? nameOf(atom.relation) : `← ${nameOf(atom.relation)}`)])),
      h("span.meter", { vars: { "--v": rule.confidence }, "aria-hidden": "true" }),
      h("span.figure", { title: `Among pairs whose first entity has the relation at all: ${percent(rule.pca_confidence)}` }, percent(rule.confidence)),
      h("span.hint", {}, `${count(rule.support)} of ${count(rule.pairs)} pairs${rule.whole ? "" : ", of a sample"}`)))));
}

function alike({ alike }) {
  if (!alike.length) return null;
  return h("section", {}, h("h2", {}, "Alike"), h("p.hint", {}, "Entities like one end, of which the same is stated, and how alike their vectors are."),
    h("ol.ranked.deep", {}, alike.map(({ end, similarity, link }) => h("li", {}, entity(link[end], { id: false }),
      h("span.meter", { vars: { "--v": Math.max(0, similarity) }, "aria-hidden": "true" }), h("span.figure", {}, similarity.toFixed(2)),
      h("span.hint", {}, `${nameOf(link.subject)} – ${nameOf(link.relation)} – ${nameOf(link.object)}`)))));
}

function deletions({ deletions, tested, test, verdict }) {
  if (!deletions.length) return null;
  const most = Math.max(...deletions.map((one) => Math.abs(one.fall)), 1e-9);
  return h("section", {}, h("h2", {}, "Without it"), h("p.hint", {}, test === "step" ? `Of ${count(tested)} facts: how far the score of ${figure(verdict.score)} falls where one step of learning on each is taken back. It orders the facts; the whole difference is larger.`
    : `Of ${count(tested)} facts taken away in turn: how far the score of ${figure(verdict.score)} falls.`),
    h("ol.ranked.deep", {}, deletions.map(({ fact, fall }) => h("li", {},
      h("span", {}, value(fact.subject, { id: false }), " ", term(fact.relation, { id: false }), " ", value(fact.object, { id: false })),
      h("span.meter", { class: fall < 0 ? "against" : null, vars: { "--v": Math.abs(fall) / most }, "aria-hidden": "true" }), h("span.figure", {}, signed(fall))))));
}

const SEGMENTS = {
  question: "The question", description: "Its description", hint: "Facts like the one asked for", visual: "What its picture shows",
  "neighbour-visual": "What pictures of its neighbours show", neighbours: "What is stated of it",
};

/** What a model that reads contexts has read, in its order, and how far the answer falls without each part. */
function read({ read }) {
  if (!read?.length) return null;
  const of = (part) => part.name_fall ?? part.fall;
  const falls = read.map(of).filter((value) => value !== null);
  const most = Math.max(...falls.map(Math.abs), 1e-9);
  const mattered = falls.length ? Math.max(...falls) : 0;
  const what = read.some((part) => part.name_fall !== null) ? "the logarithm of the probability that its name is written" : "its score";
  return h("section.read", {}, h("h2", {}, "What it read"), h("p.hint", {}, `Parts of the context, each left out in turn: how far ${what} falls without it.`),
    h("ol.ranked.deep", {}, read.map((part) => {
      const fall = of(part);
      return h("li", {},
        h("span", {}, SEGMENTS[part.segment] ?? part.segment, fall !== null && fall === mattered && mattered > 0 && h("span.mark.on", {}, "mattered most")),
        fall === null ? h("span") : h("span.meter", { class: fall < 0 ? "against" : null, vars: { "--v": Math.abs(fall) / most }, "aria-hidden": "true" }),
        h("span.figure", { title: part.fall === null ? "Always there" : `Score by vectors: ${signed(part.fall)}` }, fall === null ? "" : signed(fall)),
        h("blockquote", { dir: "auto", tabindex: part.text.length > 240 ? "0" : null }, part.text));
    })));
}

const signed = (fall) => `${fall < 0 ? "+" : "−"}${figure(Math.abs(fall))}`;
