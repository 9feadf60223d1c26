// What may fill the hole of a statement: candidates with their probabilities, or the estimate of a number.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { estimate } from "../estimate.js";
import { suggested } from "../examples.js";
import { isNarrowed, narrowedBy, narrowing } from "../narrowing.js";
import { empty, entity, known, nameOf, probability, score, settle, spread, term } from "../parts.js";
import { go, here, to } from "../route.js";
import { asked, form, parameters, PARTS } from "../statement.js";

/** Show the question of the address and its answer. */
export function show(stage, { route, signal, title }) {
  const answer = h("section.answer", { "aria-live": "polite" });
  const fields = h("div");
  const options = h("div.options-row");
  const narrow = h("div.options-row");
  fill(stage, h("h1", {}, "Complete a statement"), h("p.lead", {}, "Leave one part empty: that is what is asked for."), fields, options, narrow, answer);
  let asking = null;

  function draw(route) {
    const statement = asked(route.query);
    const keep = kept(route.query);
    const again = (changes) => go(to("complete", { ...parameters(statement), ...told(keep), ...changes }));
    const question = form(statement, { hole: true, onchange: (next) => go(to("complete", { ...parameters(next), ...told(keep) })) });
    fill(fields, question);
    fill(options, choicesOf(keep, again));
    // Entities alone have types and statements: a missing relation or a qualifier's value is not narrowed down.
    const narrowable = statement.relation && !(statement.subject && statement.object);
    fill(narrow, narrowable ? narrowing(keep, again) : null);
    title(["Complete", statement.subject, statement.relation, statement.object].filter(Boolean).join(" "));
    load(statement, keep, question);
  }

  async function load(statement, keep, question) {
    asking?.abort();
    const empties = PARTS.filter((part) => !statement[part]).length + statement.qualifiers.filter((pair) => !pair.value).length;
    if (empties !== 1) {
      fill(answer, empties > 1 ? hint(statement, signal) : empty("Nothing is left to ask for.", "Empty one part, or see whether the statement is ",
        h("a", { href: to("classify", parameters(statement)) }, "true"), "."));
      if (empties === 3) question.first();
      return;
    }
    asking = new AbortController();
    signal.addEventListener("abort", () => asking.abort());
    const body = {
      ...Object.fromEntries(PARTS.filter((part) => statement[part]).map((part) => [part, statement[part]])),
      qualifiers: statement.qualifiers.filter((pair) => pair.relation), types: keep.type, filters: keep.filter,
      k: Number(keep.k) || 20, exclude_known: keep.known !== "yes" || keep.fuse, language: choices.language,
      ...(keep.fuse ? { fuse: true } : keep.model ? { model: keep.model } : {}),
    };
    if (!body.relation) delete body.types, delete body.filters;
    await settle(answer, ask("POST /v1/complete", { body, signal: asking.signal }), (found) => shown(found, statement), 8);
  }
  draw(route);
  return (next) => {
    draw(next);
    return true;
  };
}

const kept = (query) => ({ known: query.get("known"), model: query.get("model"), fuse: query.get("fuse") === "yes", k: query.get("k"), ...narrowedBy(query) });
const told = (keep) => ({ ...keep, fuse: keep.fuse ? "yes" : null }); // as an address has it
const FUSED = "*"; // no model has this name

function choicesOf(keep, again) {
  const chosen = (value) => again(value === FUSED ? { fuse: "yes", model: null } : { fuse: null, model: value });
  const models = h("select", { "aria-label": "Who answers", onchange: (event) => chosen(event.target.value) }, h("option", { value: "" }, "best model"));
  ask("GET /v1/releases").then((found) => {
    const served = found.releases.find((one) => one.serving)?.models ?? [];
    for (const { name } of served) models.append(h("option", { value: name, selected: name === keep.model }, name));
    if (served.length > 1 || keep.fuse) models.append(h("option", { value: FUSED, selected: keep.fuse }, "all models together"));
  }, () => {});
  return [
    h("label.check", {}, h("input", { type: "checkbox", checked: keep.known === "yes" && !keep.fuse, disabled: keep.fuse, onchange: (event) => again({ known: event.target.checked ? "yes" : null }) }),
      "show what is known too"),
    models,
    keep.fuse && h("span.hint", {}, "Fused probabilities are of what is not known yet."),
  ];
}

function hint(statement, signal) {
  return PARTS.some((part) => statement[part]) ? empty("One more part, and it is a question.") : suggested(signal, "complete");
}

function shown(answer, statement) {
  const meta = h("p.status", {}, answer.model === "fused" ? "all calibrated models answer together" : `${answer.model} answers`, answer.exact ? "" : ", from an approximate index",
    answer.population ? [", probabilities calibrated ", h("span", { title: answer.population }, `among ${answer.population}`)] : answer.estimate ? "" : "; scores order the candidates, they are no probabilities");
  if (answer.estimate) return [meta, estimate(answer)];
  if (!answer.candidates.length) return [meta, empty("No candidate.", isNarrowed(narrowedBy(here().query)) ? "Nothing else is of what is wanted; drop a condition, or show what is known too." : "Everything that could be said is known.")];
  const scores = answer.candidates.map((one) => one.score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const list = h("ol.candidates", { onkeydown: walk }, answer.candidates.map((one) => candidate(one, answer, statement, low, high)));
  const more = Number(here().query.get("k")) || 20;
  const grow = answer.candidates.length === more && more < 1000;
  return [meta, list, grow && h("div.behind", {}, h("button", { onclick: () => go(to("complete", { ...parameters(statement), ...told(kept(here().query)), k: Math.min(1000, more * 3) }), { replace: true }) }, "More"))];
}

function walk(event) {
  if (!["ArrowDown", "ArrowUp"].includes(event.key)) return;
  const links = [...event.currentTarget.querySelectorAll("li > :is(a.entity, .term a)")];
  const next = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
  links[Math.max(0, Math.min(links.length - 1, next))]?.focus();
  event.preventDefault();
}

function candidate(one, answer, statement, low, high) {
  const whole = { ...statement };
  const part = PARTS.find((name) => !statement[name]);
  if (part) whole[part] = one.id;
  else whole.qualifiers = statement.qualifiers.map((pair) => (pair.value ? pair : { ...pair, value: one.id }));
  return h("li", { class: one.known ? "is-known" : null },
    h("span.rank", {}, one.rank),
    part === "relation" ? term(one) : entity(one),
    one.description ? h("span.said", { dir: "auto" }, one.description) : h("span.said"),
    one.known ? known() : one.probability === null ? score(one.score, low, high) : probability(one.probability, answer.population),
    spread(one.uncertainty) ?? h("span.spread"),
    h("a.why", { href: to("why", parameters(whole)), "aria-label": `Why ${nameOf(one)}?` }, "why?"));
}

