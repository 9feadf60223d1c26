// The server's answers. Paths are written as openapi.json has them; a test compares.

const KEY = "kgservice.key"; // sessionStorage: gone with the tab
const LANGUAGE = "kgservice.language";

/** Why a request was not answered: RFC 9457, or the network's own reason in the same form. */
export class Problem extends Error {
  constructor(told) {
    super(told.detail || told.title);
    Object.assign(this, { status: 0, title: "Something went wrong", closest: [], errors: [] }, told);
    this.slug = String(told.type ?? "").split("/").pop();
  }
}

/** What people chose, kept by the browser. */
export const choices = {
  get key() {
    return sessionStorage.getItem(KEY) ?? "";
  },
  set key(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  },
  get language() {
    return localStorage.getItem(LANGUAGE) ?? (navigator.language || "en").split("-")[0];
  },
  set language(value) {
    localStorage.setItem(LANGUAGE, value);
  },
};

/**
 * Ask the server.
 * @param {string} operation method and path as in openapi.json: "GET /v1/entities/{id}".
 * @param {object} given `path` parts by name, `query` parameters (lists repeat), `body`, `signal`, `language` where a header tells it.
 * @returns the JSON, or null where there is none.
 * @throws {Problem} unless it was answered; an abort passes as it is.
 */
export async function ask(operation, given = {}) {
  const response = await fetchOf(operation, given);
  return response.status === 204 ? null : response.json();
}

/** The same for pages and files: a response whose status is fine. */
export async function fetchOf(operation, { path = {}, query = {}, body, signal, language } = {}) {
  const [method, template] = operation.split(" ");
  const headers = { Accept: "application/json" };
  if (language) headers["Accept-Language"] = language;
  if (choices.key) headers.Authorization = `Bearer ${choices.key}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(template, path, query), {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server cannot be reached", detail: "It may have stopped, or the network is down. Try again in a moment." });
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

/** The address of a path, relative to this page, so that it works behind a prefix too. */
export function address(template, path = {}, query = {}) {
  const filled = template.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(path[name]));
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") parameters.append(name, one);
  }
  const asked = parameters.size ? `?${parameters}` : "";
  return filled.slice(1) + asked;
}

async function problemOf(response) {
  try {
    return new Problem(await response.json());
  } catch {
    return new Problem({ status: response.status, title: "Something went wrong", detail: `The server answered ${response.status}.` });
  }
}
