// The form of a statement with its qualifiers, shared by the pages that ask about one.

import { fill, h } from "./dom.js";
import { ask, choices } from "./api.js";
import { nameOf } from "./parts.js";
import { entities, picker, relations } from "./picker.js";

export const PARTS = ["subject", "relation", "object"];

/** What a route says of a statement: ids by part, and pairs from `with=RELATION=VALUE`. */
export function asked(query) {
  const parts = Object.fromEntries(PARTS.map((part) => [part, query.get(part) || null]));
  const qualifiers = query.getAll("with").map((pair) => {
    const cut = pair.indexOf("=");
    return cut < 0 ? { relation: pair, value: null } : { relation: pair.slice(0, cut), value: pair.slice(cut + 1) || null };
  });
  return { ...parts, qualifiers };
}

/** The same as parameters of a route. */
export function parameters({ qualifiers, ...parts }) {
  return { ...parts, with: qualifiers.filter((pair) => pair.relation).map((pair) => (pair.value ? `${pair.relation}=${pair.value}` : pair.relation)) };
}

/**
 * The form.
 * @param {object} statement from `asked`.
 * @param {object} given `hole`: whether a part may be left out; `onchange(statement)`.
 */
export function form(statement, { hole, onchange }) {
  const current = structuredClone(statement);
  const changed = () => onchange(structuredClone(current));
  const label = { subject: "Subject", relation: "Relation", object: "Object" };
  const slots = PARTS.map((part) => {
    const field = picker({
      label: label[part], placeholder: hole ? "?" : label[part].toLowerCase(), suggest: part === "relation" ? relations : entities, free: false,
      value: current[part] ? { id: current[part], label: null } : null,
      onpick: (one) => {
        current[part] = one?.id ?? null;
        changed();
      },
    });
    named(field, part, current[part]);
    return h("div.slot", {}, h("span.name", { "aria-hidden": "true" }, label[part]), field);
  });
  const pairs = h("ul.pairs");
  function draw() {
    fill(pairs, current.qualifiers.map((pair, place) => row(pair, place)));
  }
  function row(pair, place) {
    const relation = picker({
      label: "Qualifier", placeholder: "qualifier", value: pair.relation ? { id: pair.relation, label: null } : null,
      suggest: async (text, signal) => (await relations(text, signal)).filter((one) => one.qualifying).sort((a, b) => b.qualifying - a.qualifying),
      onpick: (one) => {
        pair.relation = one?.id ?? null;
        if (pair.value || !one) changed();
      },
    });
    named(relation, "relation", pair.relation);
    const held = picker({
      label: "Value of the qualifier", placeholder: hole ? "value, or empty to ask for it" : "value, such as 1960", free: true,
      value: pair.value ? { id: pair.value, label: null } : null,
      suggest: async (text, signal) => (/^[-\d.]*$/.test(text) ? [] : entities(text, signal)),
      onpick: (one) => {
        pair.value = one?.id ?? null;
        if (pair.relation) changed();
      },
    });
    if (pair.value && !/^[-\d.]+$/.test(pair.value)) named(held, "object", pair.value);
    return h("li", {}, relation, h("span.is", { "aria-hidden": "true" }, "="), held, h("button.quiet", {
      "aria-label": "Remove this qualifier", onclick: () => {
        current.qualifiers.splice(place, 1);
        draw();
        changed();
      },
    }, "×"));
  }
  draw();
  const node = h("div.statement", {}, h("div.slots", {}, slots), pairs, h("button.add", {
    onclick: () => {
      current.qualifiers.push({ relation: null, value: null });
      draw();
      pairs.lastElementChild.querySelector("input").focus();
    },
  }, "+ qualifier"));
  node.first = () => slots.map((slot) => slot.querySelector("input")).find((input) => !input.value)?.focus();
  return node;
}

/** Put the label beside an id that an address gave. */
async function named(field, part, id) {
  if (!id) return;
  const query = { language: choices.language };
  try {
    const found = part === "relation"
      ? (await ask("GET /v1/relations", { query: { ...query, q: id, k: 10 } })).relations.find((one) => one.id === id)
      : await ask("GET /v1/entities/{id}", { path: { id }, query: { ...query, limit: 0 } });
    if (found && field.value?.id === id) field.rename({ id, label: found.label ? nameOf(found) : null });
  } catch {
    // The answer tells what is wrong with the name.
  }
}
