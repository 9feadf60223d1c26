// What pages are made of: entities with their ids, probabilities, marks, and how waiting, nothing and failure look.

import { fill, h } from "./dom.js";
import { here, to } from "./route.js";

const COUNT = new Intl.NumberFormat("en");
const SHARE = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });

/** 12,345. */
export const count = (value) => COUNT.format(value);

/** 12.3 %. */
export const percent = (value) => (value > 0 && value < 0.001 ? "< 0.1%" : value < 1 && value > 0.999 ? "> 99.9%" : SHARE.format(value));

/** A figure with three digits that count. */
export const figure = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3));

/** "1 entity", "2 entities". */
export const many = (value, one, more) => `${count(value)} ${value === 1 ? one : more ?? `${one}s`}`;

/** What people call something; its id where it has no label. */
export const nameOf = (named) => named?.label || named?.id || "";

/** A label with its id beside it, as a link to the entity. */
export function entity(named, { id = true, query = {} } = {}) {
  return h("a.entity", { href: to("entity", { id: named.id, ...query }), title: named.description || null },
    h("span.label", { dir: "auto" }, nameOf(named)), id && named.label && h("span.id", {}, named.id));
}

/** A relation or type: a label with its id beside it. */
export function term(named, { id = true } = {}) {
  return h("span.term", { title: named.description || null },
    h("span.label", { dir: "auto" }, nameOf(named)), id && named.label && h("span.id", {}, named.id));
}

/** Types as small tags. */
export function tags(types, most = 3) {
  if (!types?.length) return null;
  const more = types.length - most;
  return h("span.tags", {}, types.slice(0, most).map((one) => h("span.tag", { title: one.id }, nameOf(one))),
    more > 0 && h("span.tag.more", { title: types.slice(most).map(nameOf).join(", ") }, `+${more}`));
}

/** A calibrated probability as a bar and a figure, with what it speaks of. */
export function probability(value, population) {
  const told = population ? `Calibrated: of what gets this figure, that share is true (among ${population}).` : null;
  return h("span.probability", { title: told },
    h("span.meter", { vars: { "--v": value }, "aria-hidden": "true" }), h("span.figure", {}, percent(value)),
    told && h("span.sr", {}, told));
}

/** A score, which is no probability: a bar within its own answer. */
export function score(value, low, high) {
  const share = high > low ? (value - low) / (high - low) : 1;
  return h("span.probability.raw", { title: "A score: it orders the candidates of this answer. It is no probability." },
    h("span.meter", { vars: { "--v": 0.08 + 0.92 * share }, "aria-hidden": "true" }), h("span.figure", {}, figure(value)));
}

/** How wide the model's idea of an entity is, next to the median one's. */
export function spread(value) {
  if (value === null || value === undefined) return null;
  const told = `The model's idea of it is ${figure(value)} times as wide as of the median entity.`;
  return h("span.spread", { title: told }, h("span.dot", { vars: { "--r": Math.min(2.2, Math.max(0.5, value)) }, "aria-hidden": "true" }),
    `±${figure(value)}`, h("span.sr", {}, told));
}

/** That the graph states it. */
export const known = () => h("span.mark.known", { title: "The graph states this already." }, "known");

/** A picture that a literal names, where this server lets it be loaded; else a link to it. */
export function picture(value) {
  const link = h("a.picture-link", { href: value.image, rel: "noopener noreferrer", target: "_blank" }, value.label);
  const shown = h("img", { src: value.image, alt: value.label, loading: "lazy", referrerpolicy: "no-referrer", onerror: () => fill(link, value.label) });
  return fill(link, shown);
}

/** A literal, as people write it. */
export function literal(value) {
  if (value.image) return picture(value);
  const type = (value.datatype ?? "").split(/[#/]/).pop();
  let text = value.label ?? "";
  if (/^(integer|int|long|decimal|double|float|nonNegativeInteger)$/.test(type) && /^[+-]?\d{5,}(\.\d+)?$/.test(text)) text = Number(text).toLocaleString("en");
  return h("span.literal", { title: value.datatype ? `${type}: ${value.label}` : null, lang: value.language || null, dir: "auto" },
    text, value.language && h("span.id", {}, value.language));
}

/** An entity or a literal. */
export const value = (one, options) => (one.id ? entity(one, options) : literal(one));

/** Grey lines where an answer will stand. */
export function waiting(lines = 4) {
  return h("div.waiting", { role: "status", "aria-label": "Loading" }, Array.from({ length: lines }, () => h("i")));
}

/** Nothing there, and what to do about it. */
export const empty = (title, ...advice) => h("div.empty", {}, h("p.lead", {}, title), advice.length ? h("p", {}, advice) : null);

/** A problem, kindly: what, why, and the closest names as links. */
export function problem(error) {
  const unknown = /^'(.*?)' is not/.exec(error.message)?.[1];
  const closest = (error.closest ?? []).map((name) => h("a", { href: unknown ? instead(unknown, name) : to("search", { q: name }) }, name));
  const wrong = (error.errors ?? []).filter((one) => one.field).map((one) => h("li", {}, h("code", {}, one.field), ` ${one.message}`));
  return h("div.problem", { role: "alert" },
    h("p.lead", {}, error.title ?? "Something went wrong"),
    h("p", {}, closest.length ? error.message.replace(/ Closest: .*$/, "") : error.message),
    closest.length ? h("p.closest", {}, "Did you mean ", closest.map((link, place) => [place ? ", " : "", link]), "?") : null,
    wrong.length > 1 ? h("ul", {}, wrong) : null,
    unauthorised(error) && h("p", {}, "This server asks for a key. ", h("button", { onclick: () => document.querySelector("#settings").click() }, "Enter a key")),
    error.request_id && h("p.id", {}, `request ${error.request_id}`));
}

/** Fill a node with what a promise gives, grey lines before and a problem where it fails. */
export async function settle(node, promise, show, lines) {
  fill(node, waiting(lines));
  try {
    fill(node, show(await promise));
  } catch (error) {
    if (error.name !== "AbortError") fill(node, problem(error));
    if (!("closest" in error) && error.name !== "AbortError") throw error;
  }
}

/** The address of this page with another name in the place of the unknown one. */
function instead(unknown, name) {
  const { page, id, query } = here();
  const changed = new URLSearchParams();
  for (const [key, value] of query) changed.append(key, value === unknown ? name : value.replace(`=${unknown}`, `=${name}`));
  return to(page, id ? { id: id === unknown ? name : id } : {}) + (changed.size ? `?${changed}` : "");
}

const unauthorised = (error) => error.status === 401 || error.status === 403;
