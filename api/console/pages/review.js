// The review queue: one proposal at a time, answered by a key.

import { ask } from "../api.js";
import { fill, h } from "../dom.js";
import { count, empty, entity, many, percent, probability, problem, settle, term } from "../parts.js";
import { to } from "../route.js";

const REVIEWER = "kgservice.reviewer";
const VERDICTS = [["accept", "Right", "y"], ["reject", "Wrong", "n"], ["unsure", "Unsure", "u"]];

/** Show the head of the queue. */
export function show(stage, { route, signal, title }) {
  title("Review");
  const of = route.query.get("of");
  const card = h("section.review");
  const told = h("p.status", { role: "status" });
  const figures = h("section");
  const reviewer = h("input", { id: "reviewer", value: localStorage.getItem(REVIEWER) ?? "", maxlength: 200, placeholder: "your name", onchange: (event) => localStorage.setItem(REVIEWER, event.target.value.trim()) });
  fill(stage, h("h1", {}, "Review"), h("p.lead", {}, "What models propose, and people decide. What is accepted goes into the next ingest."),
    h("p.options-row", {}, h("label", { for: "reviewer" }, "Reviewer"), reviewer), card, told, figures);
  let items = [];
  let said = 0;

  async function next() {
    if (!items.length) items = (await ask("GET /v1/reviews", { query: { enrichment: of, limit: 20 }, signal })).reviews;
    return items[0] ?? null;
  }
  async function decide(verdict, reason) {
    const item = items.shift();
    for (const button of card.querySelectorAll("button")) button.disabled = true;
    try {
      await ask("POST /v1/reviews/{id}", { path: { id: item.id }, body: { verdict, reason, reviewer: reviewer.value.trim() }, signal });
      said += 1;
      fill(told, `${many(said, "proposal")} decided, the last one ${verdict === "unsure" ? "left open" : `${verdict}ed`}.`);
    } catch (error) {
      items.unshift(item);
      fill(told, problem(error));
    }
    draw();
    summarise(item.enrichment);
  }
  function draw() {
    settle(card, next(), (item) => (item ? proposal(item, decide) : empty("Nothing waits for review.", "Queue what a job found: ", h("a", { href: to("jobs") }, "to the jobs"))), 4).then(() => card.querySelector("button")?.focus({ preventScroll: true }));
  }
  async function summarise(enrichment) {
    const found = await ask("GET /v1/reviews/summary", { query: { enrichment }, signal }).catch(() => null);
    if (found) fill(figures, summary(found));
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    const chosen = VERDICTS.find(([, , key]) => key === event.key);
    if (!chosen || !items.length || card.querySelector("button:disabled")) return;
    event.preventDefault();
    card.querySelector(`[data-verdict=${chosen[0]}]`)?.click();
  }, { signal });
  draw();
  if (of) summarise(of);
}

function proposal(item, decide) {
  const { subject, relation, object, probability: likely } = item.proposal;
  const reason = h("input", { id: "reason", maxlength: 2000, placeholder: "why, if you like", "aria-label": "Reason" });
  return h("article.verdict", {},
    h("p.hint", {}, item.kind === "errors" ? "Is this statement of the graph wrong?" : "Is this true?", item.audit ? h("span.mark", { title: "Drawn at random: it tells how precise the whole is." }, "sample") : null),
    h("p.big", {}, entity(subject), term(relation, { id: false }), entity(object)),
    probability(likely, null),
    h("p.acts", {}, VERDICTS.map(([verdict, label, key]) => h("button", { "data-verdict": verdict, class: verdict, onclick: () => decide(verdict, reason.value.trim()), "aria-keyshortcuts": key }, label, h("kbd", { "aria-hidden": "true" }, key))), reason,
      h("a", { href: to("why", { subject: subject.id, relation: relation.id, object: object.id }) }, "Why?")));
}

function summary(found) {
  const share = found.precision;
  return [h("h2", {}, "So far"), h("p", {}, `${count(found.accepted)} accepted, ${count(found.rejected)} rejected, ${count(found.unsure)} unsure.`,
    share ? ` Precision of the whole ${percent(share.mean)}, between ${percent(share.low)} and ${percent(share.high)}` : " No sample was judged yet",
    found.expected === null ? "." : `; the job itself said ${percent(found.expected)}.`)];
}
