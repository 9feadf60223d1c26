// Addresses of pages: "#/entity/world%3AFrance", "#/search?q=paris&type=world%3ACity". Any of them can be shared.

/** The page and its parts that the address bar names. */
export function here() {
  return read(location.hash);
}

/** A route from a hash. */
export function read(hash) {
  const [path, asked = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", ...rest] = path.split("/");
  return { page: page || "home", id: decoded(rest.join("/")), query: new URLSearchParams(asked) };
}

/** The address of a page. */
export function to(page, { id, ...query } = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value].flat()) if (one !== null && one !== undefined && one !== "") asked.append(name, one);
  }
  return `#/${page}${id === undefined ? "" : `/${encodeURIComponent(id)}`}${asked.size ? `?${asked}` : ""}`;
}

/** Go to an address; `replace` leaves no step for Back. */
export function go(hash, { replace = false } = {}) {
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    window.dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = hash;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
