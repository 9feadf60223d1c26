// Whole graphs enriched as jobs: begun, watched, stopped, read, and queued for review.

import { ask } from "../api.js";
import { add, fill, h } from "../dom.js";
import { count, empty, entity, many, nameOf, percent, probability, problem, settle, term } from "../parts.js";
import { picker, relations } from "../picker.js";
import { go, to } from "../route.js";

const WATCHED_MS = 1500;

/** Show all jobs, or the one of the address. */
export function show(stage, { route, signal, title }) {
  title("Jobs");
  if (route.id) return one(stage, route.id, signal);
  const list = h("section");
  fill(stage, h("h1", {}, "Jobs"), h("p.lead", {}, "Ask the whole graph at once: which links it probably lacks, or which of its statements are probably wrong."), begin(), list);
  const load = () => watch(list, signal, () => ask("GET /v1/enrichments", { query: { limit: 50 }, signal }), (found) =>
    found.enrichments.length ? h("ol.jobs", {}, found.enrichments.map((job) => h("li", {}, h("a", { href: to("jobs", { id: job.id }) }, what(job)), state(job), h("time", {}, when(job.created))))) : empty("No job yet."),
  (found) => found.enrichments.some(goes));
  load();
}

function begin() {
  const told = h("div");
  const kind = h("select", { id: "kind" }, h("option", { value: "links" }, "links that are missing"), h("option", { value: "errors" }, "statements that are wrong"));
  const least = h("input", { id: "least", type: "number", min: 1, max: 99, value: 60, required: true });
  const total = h("input", { id: "total", type: "number", min: 1, max: 1000000, value: 1000, required: true });
  const relation = picker({ label: "Relation", placeholder: "all relations", suggest: async (text, signal) => (await relations(text, signal)).filter((one) => one.links) });
  const submit = async (event) => {
    event.preventDefault();
    const body = { kind: kind.value, threshold: Number(least.value) / 100, total: Number(total.value), relations: relation.value ? [relation.value.id] : [] };
    try {
      go(to("jobs", { id: (await ask("POST /v1/enrichments", { body })).id }));
    } catch (error) {
      fill(told, problem(error));
    }
  };
  return h("form.statement.begin", { onsubmit: submit },
    h("div.slot", {}, h("label.name", { for: "kind" }, "Find"), kind), h("div.slot", {}, h("span.name", { "aria-hidden": "true" }, "Of"), relation),
    h("div.slot", {}, h("label.name", { for: "least" }, "From a probability of, in %"), least), h("div.slot", {}, h("label.name", { for: "total" }, "At most"), total),
    h("button.main", { type: "submit" }, "Begin"), told);
}

function one(stage, id, signal) {
  const head = h("section");
  const found = h("section");
  fill(stage, h("p", {}, h("a", { href: to("jobs") }, "← all jobs")), head, found);
  let read = false;
  watch(head, signal, () => ask("GET /v1/enrichments/{id}", { path: { id }, signal }), (job) => {
    if (job.state === "done" && !read) {
      read = true;
      results(found, id, signal);
    }
    return heading(job, () => show(stage, { route: { id }, signal, title: () => {} }));
  }, goes);
}

function heading(job, again) {
  const act = (operation, label) => h("button", {
    onclick: async (event) => {
      event.target.disabled = true;
      try {
        await ask(operation, { path: { id: job.id } });
        again();
      } catch (error) {
        event.target.replaceWith(problem(error));
      }
    },
  }, label);
  const expected = job.report?.expected;
  return [
    h("h1", {}, what(job)), h("p.id", {}, job.id),
    h("p.job", {}, state(job), h("time", {}, when(job.created))),
    goes(job) ? h("p", {}, h("span.meter.long", { role: "progressbar", "aria-valuenow": job.done, "aria-valuemin": 0, "aria-valuemax": Math.max(1, job.total), "aria-label": job.stage || "waiting", vars: { "--v": job.total ? job.done / job.total : 0 } }),
      h("span.hint", {}, job.total ? ` ${job.stage}: ${count(job.done)} of ${count(job.total)}` : " waits for its turn")) : null,
    job.error && h("p.note", {}, job.error),
    goes(job) && act("POST /v1/enrichments/{id}/cancel", "Stop"),
    (job.state === "failed" || job.state === "cancelled") && act("POST /v1/enrichments/{id}/resume", "Go on"),
    typeof expected?.precision === "number" ? h("p.hint", {}, `Expected precision ${percent(expected.precision)}, between ${percent(expected.low)} and ${percent(expected.high)}, if the graph states ${percent(expected.completeness)} of what is true.`) : null,
  ];
}

async function results(node, id, signal) {
  const list = h("ol.candidates.proposals");
  const behind = h("div.behind");
  const told = h("p", { role: "status" });
  const queue = h("button.main", {
    onclick: async () => {
      try {
        const { queued } = await ask("POST /v1/reviews", { body: { enrichment: id, count: 100 } });
        fill(told, `${many(queued, "proposal")} queued. `, h("a", { href: to("review", { of: id }) }, "Review them"));
      } catch (error) {
        fill(told, problem(error));
      }
    },
  }, "Queue a hundred for review");
  const load = async (cursor) => {
    const page = await ask("GET /v1/enrichments/{id}/results", { path: { id }, query: { limit: 50, cursor }, signal });
    add(list, page.proposals.map((one) => proposal(one)));
    fill(behind, page.next ? h("button", { onclick: () => load(page.next) }, "More") : null);
    return page;
  };
  await settle(node, load(null), (page) => [
    h("h2", {}, page.kind === "errors" ? `${many(page.total, "statement")} probably wrong` : `${many(page.total, "link")} probably missing`),
    page.total ? h("p.acts", {}, queue, h("a", { href: to("review", { of: id }) }, "Review queue")) : null, told, page.total ? list : empty("Nothing reached the bar."), behind], 8);
}

function proposal(one) {
  return h("li", {}, h("span.triple", {}, entity(one.subject, { id: false }), " ", term(one.relation, { id: false }), " ", entity(one.object, { id: false })),
    probability(one.probability, null),
    h("a.why", { href: to("why", { subject: one.subject.id, relation: one.relation.id, object: one.object.id }), "aria-label": `Why: ${nameOf(one.subject)} ${nameOf(one.relation)} ${nameOf(one.object)}` }, "why?"));
}

const goes = (job) => job.state === "queued" || job.state === "running";
const what = ({ plan }) => `${plan.kind === "errors" ? "Wrong statements" : "Missing links"}${plan.relations?.length ? ` of ${plan.relations.join(", ")}` : ""}`;
const when = (seconds) => new Date(seconds * 1000).toISOString().replace("T", " ").slice(0, 16) + " UTC";
const MARKS = { done: "on", failed: "bad", running: "runs" };
const state = (job) => h("span.mark", { class: MARKS[job.state] ?? null }, job.state === "running" && job.total ? `${job.stage} ${percent(job.done / job.total)}` : job.state);

/** Show what is asked for, again and again while it goes on. */
async function watch(node, signal, load, draw, on) {
  await settle(node, load(), (found) => {
    const later = async (last) => {
      if (!on(last) || signal.aborted) return;
      await new Promise((wake) => setTimeout(wake, WATCHED_MS));
      if (signal.aborted) return;
      try {
        const next = await load();
        fill(node, draw(next));
        later(next);
      } catch (error) {
        if (error.name !== "AbortError") fill(node, problem(error));
      }
    };
    later(found);
    return draw(found);
  }, 3);
}

