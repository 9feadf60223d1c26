// What is served and how good it is: releases, their models with measured figures, what each graph holds; and what serves next.

import { ask, fetchOf } from "../api.js";
import { showConfirmation } from "../dialogs.js";
import { fill, h } from "../dom.js";
import { count, empty, figure, problem, settle } from "../parts.js";
import { to } from "../route.js";

const FIGURES = ["mrr", "hits@1", "hits@3", "hits@10"];

/** Show them. */
export function show(stage, { signal, title }) {
  title("Releases");
  const list = h("section");
  const told = h("div", { role: "status" });
  const load = () => settle(list, ask("GET /v1/releases", { signal }), (found) => (found.releases.length ? drawn(found, told, load) : empty("There is no release.")), 8);
  fill(stage, h("h1", {}, "Releases"), h("p.lead", {}, "Each is sealed by the hash of its files, and replayed before it serves."),
    h("p.acts", {}, h("button", { onclick: () => report(told) }, "Open the report of what is served"),
      h("button", { title: "The release that was current before", onclick: () => change(told, load, "POST /v1/releases/rollback", {}, "Roll back?", "The release that was current before this one is verified, opened and served again.", "Roll back") }, "Roll back")),
    told, list);
  load();
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

/** Have another release be current, once somebody has said yes; the server asks for a key of scope admin. */
async function change(told, load, operation, path, question, meaning, yes) {
  if (!(await showConfirmation(question, meaning, yes))) return;
  fill(told, h("p.hint", {}, "It is verified and opened…"));
  try {
    const { current, serving } = await ask(operation, { path });
    fill(told, current === serving ? h("p.note.good", {}, h("code", {}, serving), " serves.")
      : h("p.note", {}, h("code", {}, current), " is current, but could not be opened: the server's log says why. ", h("code", {}, serving ?? "Nothing"), " serves on."));
    load();
  } catch (error) {
    fill(told, problem(error));
  }
}

function drawn(found, told, load) {
  const serving = found.releases.find((one) => one.serving) ?? found.releases[0];
  return found.releases.map((one) => release(one, {
    activate: () => change(told, load, "POST /v1/releases/{id}/activate", { id: one.id }, `Serve ${one.id}?`, "It is verified and opened beside the one that serves, and takes its place; no request fails meanwhile.", "Serve it"),
    compare: one.id === serving.id ? null : to("diff", { before: serving.id, after: one.id }),
  }));
}

function release(one, { activate, compare }) {
  const names = FIGURES.filter((name) => one.models.some((model) => name in model.test));
  return h("article.release", { "aria-label": `Release ${one.id}` },
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
    h("p.acts", {}, compare && h("a", { href: compare, "aria-label": `What does ${one.id} answer differently?` }, "What does it answer differently?"),
      !one.current && h("button", { onclick: activate, "aria-label": `Serve ${one.id}` }, "Serve it")),
    h("p.id", {}, [one.kgservice && `kgservice ${one.kgservice}`, one.commit && `commit ${one.commit.slice(0, 12)}`].filter(Boolean).join(" · ")));
}
