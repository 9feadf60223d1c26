// Whether a statement is true: the verdict, and where its probability lies between rejecting and accepting.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { suggested } from "../examples.js";
import { empty, entity, figure, known, nameOf, percent, settle, spread, term, value } from "../parts.js";
import { go, to } from "../route.js";
import { asked, form, parameters, PARTS } from "../statement.js";

const SAID = { accept: "Likely true", reject: "Likely false", abstain: "Cannot tell" };
const WHY = {
  accept: "Above the upper bound, statements of this relation were true often enough to accept them.",
  reject: "Below the lower bound, statements of this relation were false often enough to reject them.",
  abstain: "Between the two bounds, neither answer was right often enough on validation data.",
};

/** Show the statement of the address and its verdict. */
export function show(stage, { route, signal, title }) {
  const fields = h("div");
  const verdict = h("section.answer", { "aria-live": "polite" });
  fill(stage, h("h1", {}, "Is it true?"), h("p.lead", {}, "A statement, with what holds beside it."), fields, verdict);
  let asking = null;

  function draw(route) {
    const statement = asked(route.query);
    const question = form(statement, { hole: false, onchange: (next) => go(to("classify", parameters(next))) });
    fill(fields, question);
    title("Is it true?");
    asking?.abort();
    if (PARTS.some((part) => !statement[part])) {
      fill(verdict, PARTS.some((part) => statement[part]) ? empty("Fill in all three parts.") : suggested(signal, "classify"));
      question.first();
      return;
    }
    asking = new AbortController();
    signal.addEventListener("abort", () => asking.abort());
    const body = { ...statement, qualifiers: statement.qualifiers.filter((pair) => pair.relation && pair.value), language: choices.language };
    settle(verdict, ask("POST /v1/classify", { body, signal: asking.signal }), (found) => shown(found, statement), 5);
  }
  draw(route);
  return (next) => {
    draw(next);
    return true;
  };
}

function shown(found, statement) {
  const decision = found.decision ?? "abstain";
  return h("div.verdict", { class: found.decision ?? "raw" },
    h("p.sentence", {}, entity(found.subject, { id: false }), " ", term(found.relation, { id: false }), " ", entity(found.object, { id: false }),
      found.qualifiers.map((pair) => [", ", h("span.of", {}, nameOf(pair.relation)), " ", value(pair.value, { id: false })])),
    h("p.big", {}, found.decision ? SAID[decision] : "A score, no probability", found.known && known()),
    found.probability === null ? h("p", {}, `Score ${figure(found.score)}: the model is not calibrated.`) : scale(found),
    found.decision && h("p.hint", {}, WHY[decision]),
    h("p.hint", {}, `${found.model} answers`, found.population ? `, calibrated among ${found.population}` : "", found.uncertainty === null ? "" : [" ", spread(found.uncertainty)]),
    h("nav.acts", { "aria-label": "About this statement" }, h("a.main", { href: to("why", parameters(statement)) }, "Why?"), h("a", { href: to("complete", { ...parameters({ ...statement, object: null }), known: "yes" }) }, "Other objects"),
      h("a", { href: to("complete", { ...parameters({ ...statement, subject: null }), known: "yes" }) }, "Other subjects")));
}

/** The probability on a line from false to true, with the bounds of this relation. */
function scale(found) {
  const [from, to, at] = [found.accept_from ?? 1, found.reject_to ?? 0, found.probability].map((one) => 10 + 580 * one);
  return h("svg.strip", { viewBox: "0 0 600 84", role: "img", "aria-label": `Probability ${percent(found.probability)}; rejected up to ${percent(found.reject_to ?? 0)}, accepted from ${percent(found.accept_from ?? 1)}` },
    h("rect.zone.reject", { x: 10, y: 38, rx: 3, width: Math.max(0, to - 11), height: 10 }),
    h("rect.zone.abstain", { x: to, y: 38, rx: 3, width: Math.max(0, from - to - 1), height: 10 }),
    h("rect.zone.accept", { x: from, y: 38, rx: 3, width: Math.max(0, 590 - from), height: 10 }),
    h("path.pointer", { d: `M${at} 36l-7-10h14z` }),
    h("text.told", { x: Math.min(560, Math.max(40, at)), y: 18, "text-anchor": "middle" }, percent(found.probability)),
    h("text", { x: 10, y: 70 }, "false"), h("text", { x: 590, y: 70, "text-anchor": "end" }, "true"));
}
