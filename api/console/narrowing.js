// What candidates must be: of one of some types, and the subject of some statements. Shared by the pages that ask for entities.

import { ask, choices } from "./api.js";
import { fill, h } from "./dom.js";
import { nameOf } from "./parts.js";
import { entities, picker, relations } from "./picker.js";

/** Types by the words of their labels; all of them for no text. */
export async function types(text, signal) {
  const { result } = await ask("GET /reconcile/suggest/{kind}", { path: { kind: "type" }, query: { prefix: text || " ", limit: 40 }, signal, language: choices.language });
  return result.map(({ id, name }) => ({ id, label: name === id ? null : name }));
}

/** What a route says: ids of types, and "RELATION=OBJECT". */
export const narrowedBy = (query) => ({ type: query.getAll("type"), filter: query.getAll("filter") });

/** Whether it says anything. */
export const isNarrowed = ({ type, filter }) => type.length + filter.length > 0;

/**
 * Tags of what is asked for, each a button that drops it, and fields that add more.
 * @param {object} kept from `narrowedBy`.
 * @param {function} again called with `{type, filter}` as they shall be.
 */
export function narrowing({ type, filter }, again) {
  const drop = (list, one) => list.filter((other) => other !== one);
  const tag = (text, without) => h("button.tag", { onclick: () => again(without), "aria-label": `No longer only ${text}` }, `only ${text} `, h("span", { "aria-hidden": "true" }, "×"));
  const kind = picker({
    label: "Only of the type", placeholder: "Only of type…", suggest: async (text, signal) => (await types(text, signal)).filter((one) => !type.includes(one.id)),
    onpick: (one) => one && again({ type: [...type, one.id], filter }),
  });
  return h("div.narrowing", { role: "group", "aria-label": "Narrow down" },
    type.map((one) => tag(one, { type: drop(type, one), filter })), filter.map((one) => tag(one.replace("=", " "), { type, filter: drop(filter, one) })),
    kind, stated((one) => again({ type, filter: [...filter.filter((other) => other !== one), one] })));
}

/** Two fields, the second one once the first is filled: of which candidates a statement holds. */
function stated(add) {
  const held = h("span.held");
  const relation = picker({
    label: "Only those of which this is stated", placeholder: "Only with…", suggest: async (text, signal) => (await relations(text, signal)).filter((one) => one.links),
    onpick: (one) => {
      if (!one) return fill(held);
      const object = picker({ label: `${nameOf(one)} of those wanted`, placeholder: `${nameOf(one)}…`, suggest: entities, onpick: (value) => value && add(`${one.id}=${value.id}`) });
      fill(held, object);
      object.focus();
    },
  });
  return h("span.stated-of", {}, relation, held);
}
