// A field that suggests while one types (the combobox pattern of ARIA): arrows walk, Enter takes, Escape closes.

import { ask, choices } from "./api.js";
import { debounced, fill, fresh, h } from "./dom.js";
import { nameOf } from "./parts.js";

/** Entities by name, beginning, misspelling or description. */
export async function entities(text, signal) {
  if (!text) return [];
  const query = { q: text, k: 8, language: choices.language };
  return (await ask("GET /v1/search", { query, signal })).matches;
}

/** Relations by the words of their labels; all of them, the most used first, for no text. */
export async function relations(text, signal) {
  const query = { q: text, k: 40, language: choices.language };
  return (await ask("GET /v1/relations", { query, signal })).relations;
}

/**
 * @param {object} given `label` read out, `placeholder`, `suggest(text, signal)`, `value` {id, label}, `free` whether any text is
 *   taken, `onpick(value)` when it changes, null when it is emptied.
 * @returns a node with `value` and `focus()`.
 */
export function picker({ label, placeholder, suggest, value = null, free = false, onpick = () => {} }) {
  const list = h("ul.options", { role: "listbox", id: fresh("options"), hidden: true, "aria-label": label });
  const input = h("input", {
    type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder, maxlength: 512, dir: "auto",
    "aria-label": label, "aria-expanded": "false", "aria-controls": list.id, "aria-autocomplete": "list",
  });
  const under = h("span.id");
  const node = h("div.picker", {}, input, under, list);
  let options = [];
  let at = -1;
  let asking = null;

  function show(chosen) {
    node.value = chosen;
    input.value = chosen ? nameOf(chosen) : "";
    fill(under, chosen?.label ? chosen.id : "");
    node.classList.toggle("filled", Boolean(chosen));
  }
  function take(chosen) {
    const changed = chosen?.id !== node.value?.id;
    show(chosen);
    close();
    if (changed) onpick(chosen);
  }
  function close() {
    asking?.abort();
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }
  function walk(step) {
    if (!options.length) return;
    at = (at + step + options.length) % options.length;
    [...list.children].forEach((item, place) => item.setAttribute("aria-selected", place === at ? "true" : "false"));
    const item = list.children[at];
    input.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  }
  async function open() {
    asking?.abort();
    asking = new AbortController();
    const text = input.value.trim();
    try {
      options = await suggest(text, asking.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      options = [];
    }
    if (document.activeElement !== input) return;
    at = -1;
    fill(list, options.map((one) => option(one, () => take(one))));
    list.hidden = !options.length;
    input.setAttribute("aria-expanded", String(options.length > 0));
    if (text && options.length && !free) walk(1);
  }
  const later = debounced(open, 120);

  input.addEventListener("input", () => {
    fill(under, "");
    if (!input.value) take(null);
    later();
  });
  input.addEventListener("focus", () => {
    input.select();
    if (!node.value) open();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open();
      else walk(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && !list.hidden && at >= 0) {
      event.preventDefault();
      take(options[at]);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      show(node.value); // as it was
      close();
    }
  });
  input.addEventListener("blur", () => {
    const text = input.value.trim();
    // What the suggestions have chosen; else an id, or a word that the server tells the closest names of.
    if (text && text !== nameOf(node.value)) take(list.hidden ? { id: text, label: null } : options[at] ?? { id: text, label: null });
    close();
  });
  node.focus = () => input.focus();
  node.rename = (named) => document.activeElement === input || show(named);
  show(value);
  return node;
}

function option(one, take) {
  return h("li", { role: "option", id: fresh("option"), "aria-selected": "false", onmousedown: (event) => { event.preventDefault(); take(); } },
    h("span.label", { dir: "auto" }, nameOf(one)), h("span.id", {}, one.id), one.description && h("span.said", { dir: "auto" }, one.description));
}
