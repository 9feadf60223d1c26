// What is served and how good it is: releases, their models with measured figures, what each graph holds.

import { ask, fetchOf } from "../api.js";
import { fill, h } from "../dom.js";
import { count, empty, figure, problem, settle } from "../parts.js";
import { to } from "../route.js";

const FIGURES = ["mrr", "hits@1", "hits@3", "hits@10"];

/** Show them. */
export function show(stage, { signal, title }) {
  title("Releases");
  const list = h("section");
  const told = h("div");
  fill(stage, h("h1", {}, "Releases"), h("p.lead", {}, "Each is sealed by the hash of its files, and replayed before it serves."),
    h("p", {}, h("button", { onclick: () => report(told) }, "Open the report of what is served")), told, list);
  settle(list, ask("GET /v1/releases", { signal }), (found) => (found.releases.length ? found.releases.map(release) : empty("There is no release.")), 8);
}

/** The report is opened as a file of its own: it may need the key, which a link would not send. */
async function report(told) {
  try {
    const page = await (await fetchOf("GET /v1/report")).blob();
    const link = h("a", { href: URL.createObjectURL(page), target: "_blank", rel: "noopener" });
    link.click();
  } catch (error) {
    fill(told, problem(error));
  }
}

function release(one) {
  const names = FIGURES.filter((name) => one.models.some((model) => name in model.test));
  return h("article.release", {},
    h("header", {}, h("h2", {}, h("code", {}, one.id)), one.serving && h("span.mark.on", {}, "serving"), one.current && !one.serving && h("span.mark", {}, "current"),
      h("time", { datetime: one.created }, one.created.replace("T", " ").replace("Z", " UTC"))),
    one.title && h("p", {}, one.title),
    one.problem && h("p.note", {}, one.problem),
    one.models.length ? h("div.scroll", { tabindex: "0", role: "region", "aria-label": `Models of ${one.id}` }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "model"), h("th", { scope: "col" }, "scorer"), h("th", { scope: "col" }, "index"), names.map((name) => h("th.number", { scope: "col" }, name.toUpperCase().replace("HITS", "Hits"))))),
      h("tbody", {}, one.models.map((model) => h("tr", {},
        h("th", { scope: "row" }, h("a", { href: to("map", { model: model.name }), title: "Map of its entity space" }, model.name)), h("td", {}, model.scorer), h("td", {}, model.index),
        names.map((name) => h("td.number", { title: `validation: ${figure(model.validation[name])}` }, h("span.meter", { vars: { "--v": model.test[name] ?? 0 }, "aria-hidden": "true" }), figure(model.test[name])))))))) : null,
    h("p.hint", {}, "Filtered figures on the test split; their tooltips tell those on validation."),
    h("dl.counts", {}, Object.entries(one.counts).map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, count(value))))),
    h("p.id", {}, [one.kgservice && `kgservice ${one.kgservice}`, one.commit && `commit ${one.commit.slice(0, 12)}`].filter(Boolean).join(" · ")));
}
