// What `?` and the settings button open.

import { choices } from "./api.js";
import { h } from "./dom.js";

const KEYS = [
  ["/", "Search"],
  ["↑ ↓", "Walk results, suggestions and nodes"],
  ["Enter", "Open what is chosen"],
  ["Esc", "Leave a field, close what is open"],
  ["c", "Complete"],
  ["l", "Classify"],
  ["m", "Map"],
  ["j", "Jobs"],
  ["v", "Review: y right, n wrong, u unsure"],
  ["r", "Releases"],
  ["h", "Home"],
  ["?", "These keys"],
];
const LANGUAGES = ["en", "de", "fr", "es", "ru", "zh", "ar", "ja", "pt", "it", "nl", "pl"];

/** The keys that the console listens to. */
export function showKeys() {
  open("Keys", h("dl.keys", {}, KEYS.map(([key, does]) => [h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, does)])));
}

/** Language of labels, and the key of the API. */
export function showSettings(changed) {
  const language = h("input", { id: "language", list: "languages", value: choices.language, maxlength: 35, pattern: "[A-Za-z0-9\\-]+", required: true });
  const key = h("input", { id: "key", type: "password", autocomplete: "off", value: choices.key, placeholder: "none" });
  const form = h("form.settings", { method: "dialog" },
    h("label", { for: "language" }, "Language of labels"), language,
    h("datalist", { id: "languages" }, LANGUAGES.map((code) => h("option", { value: code }))),
    h("p.hint", {}, "Where a label lacks it, another language stands in."),
    h("label", { for: "key" }, "API key"), key,
    h("p.hint", {}, "Sent as a bearer token. Kept in this tab alone, and gone when it closes."),
    h("button.main", { type: "submit" }, "Save"));
  const dialog = open("Settings", form);
  form.addEventListener("submit", () => {
    choices.language = language.value.trim();
    choices.key = key.value.trim();
    dialog.close();
    changed();
  });
}

/** Ask before something changes for everyone; true where it is wanted. */
export function showConfirmation(question, meaning, yes) {
  return new Promise((answered) => {
    const sure = h("button.main", { onclick: () => (answered(true), dialog.close()) }, yes);
    const dialog = open(question, h("p", {}, meaning), h("p.acts", {}, sure, h("button", { onclick: () => dialog.close() }, "Leave it")));
    dialog.addEventListener("close", () => answered(false));
    sure.focus();
  });
}

function open(title, ...content) {
  const back = document.activeElement;
  const dialog = h("dialog", { "aria-label": title },
    h("header", {}, h("h2", {}, title), h("button.quiet", { "aria-label": "Close", onclick: () => dialog.close() }, "×")), content);
  dialog.addEventListener("close", () => {
    dialog.remove();
    back?.focus?.();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
