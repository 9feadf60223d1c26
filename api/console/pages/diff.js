// What one release answers differently from another: the same questions, about held-out statements, asked of both.

import { ask, choices } from "../api.js";
import { fill, h } from "../dom.js";
import { count, empty, entity, figure, many, nameOf, percent, settle, term } from "../parts.js";
import { go, to } from "../route.js";

const COUNTS = [50, 200, 1000];

/** Compare the two of the address. */
export function show(stage, { route, signal, title }) {
  title("What has changed?");
  const asked = { before: route.query.get("before"), after: route.query.get("after"), questions: Number(route.query.get("questions")) || 200 };
  const choosing = h("form.options-row", { onsubmit: (event) => event.preventDefault() });
  const found = h("section", { "aria-live": "polite" });
  fill(stage, h("p", {}, h("a", { href: to("releases") }, "← all releases")), h("h1", {}, "What has changed?"),
    h("p.lead", {}, "Both releases are asked the same, about statements that the first one held out."), choosing, found);
  ask("GET /v1/releases", { signal }).then(({ releases }) => fill(choosing, choice("before", "Before", releases, asked), choice("after", "After", releases, asked),
    h("label.check", {}, "Questions ", h("select", { onchange: (event) => go(to("diff", { ...asked, questions: event.target.value })) },
      [...new Set([...COUNTS, asked.questions])].sort((a, b) => a - b).map((one) => h("option", { value: one, selected: one === asked.questions }, count(one)))))), () => {});
  if (!asked.before || !asked.after) return fill(found, empty("Choose two releases."));
  const { before, after, questions } = asked;
  settle(found, ask("GET /v1/releases/{before}/diff/{after}", { path: { before, after }, query: { questions, language: choices.language }, signal }), shown, 8);
}

function choice(name, label, releases, asked) {
  const known = releases.map((one) => [one.id, `${one.id}${one.serving ? " (serving)" : ""}`]);
  const given = asked[name];
  if (!known.some(([id]) => id === given)) known.unshift([given ?? "", given ?? "…"]);
  return h("label.check", {}, `${label} `, h("select", { onchange: (event) => go(to("diff", { ...asked, [name]: event.target.value })) },
    known.map(([id, text]) => h("option", { value: id, selected: id === (given ?? "") }, text))));
}

function shown(found) {
  const share = (value) => (found.asked ? percent(value / found.asked) : "–");
  const figures = [
    [count(found.asked), many(found.asked, "question").replace(/^\S+ /, "")],
    [share(found.changed), "have other answers, or another order"],
    [share(found.first_changed), "have another first answer"],
    [percent(found.overlap), `of the best ${found.k} are the same`],
    [found.probability_shift === null ? "–" : figure(found.probability_shift), "is how far probabilities move"],
  ];
  return [
    h("div.figures", {}, figures.map(([value, label]) => h("div", {}, h("b", {}, value), h("span", {}, label)))),
    found.unanswered ? h("p.hint", {}, `${many(found.unanswered, "more question")} name something that one of the two does not hold.`) : null,
    found.examples.length ? [h("h2", {}, "Changed the most"), found.examples.map(example)] : empty("Both answer the same, in the same order."),
  ];
}

const hole = () => h("span.hole", { title: "What is asked for" }, "?");

function example(one) {
  const question = Object.fromEntries(["subject", "relation", "object"].map((part) => [part, one[part]?.id]));
  return h("article.change", {},
    h("header", {}, h("h3", {}, one.subject ? entity(one.subject, { id: false }) : hole(), " ", one.relation ? term(one.relation, { id: false }) : hole(), " ", one.object ? entity(one.object, { id: false }) : hole()),
      h("span.hint", {}, `${percent(one.overlap)} the same`, one.models[0] === one.models[1] ? "" : `, ${one.models[0]} → ${one.models[1]}`),
      h("a.why", { href: to("complete", question), "aria-label": `Ask again: ${[one.subject, one.relation, one.object].map((part) => nameOf(part) || "?").join(" ")}` }, "ask again")),
    h("div.scroll", { tabindex: "0", role: "region", "aria-label": "Answers whose rank is another" }, h("table", {},
      h("thead", {}, h("tr", {}, ["answer", "rank before", "after", "probability before", "after"].map((name, place) => h(place ? "th.number" : "th", { scope: "col" }, name)))),
      h("tbody", {}, one.places.map(place)))));
}

function place({ answer, before, after, probability_before, probability_after }) {
  const moved = before === null ? "new" : after === null ? "gone" : after < before ? "up" : "down";
  const likely = (value) => h("td.number", {}, value === null ? "–" : percent(value));
  return h("tr", { class: moved }, h("th", { scope: "row" }, entity(answer, { id: false })),
    h("td.number", {}, before ?? "–"), h("td.number", {}, h("span.moved", { title: { new: "was not among them", gone: "is no longer among them", up: "rose", down: "fell" }[moved] }, { new: "+ ", gone: "", up: "↑ ", down: "↓ " }[moved]), after ?? "–"),
    likely(probability_before), likely(probability_after));
}
