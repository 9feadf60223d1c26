// Elements from plain values. Text only ever becomes a text node: nothing that is stored can turn into markup.

// The namespace of SVG is an address; it is read off a picture of the page, so that no script here names any.
const SVG = document.querySelector("#settings svg").namespaceURI;
const DRAWN = new Set(["svg", "g", "path", "line", "rect", "circle", "text", "defs", "marker", "polyline", "tspan"]);

/**
 * An element.
 * @param {string} tag its name, with classes behind dots: "a.entity.known"; "svg:title" where HTML has the name too.
 * @param {object} given attributes; `on…` are listeners, `vars` CSS variables; null, undefined and false leave out.
 * @param {...any} children nodes, texts, lists of them; null, undefined and false leave out.
 */
export function h(tag, given = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const drawn = name.startsWith("svg:") || DRAWN.has(name);
  const node = drawn ? document.createElementNS(SVG, name.replace("svg:", "")) : document.createElement(name);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(given ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "vars") for (const [name, set] of Object.entries(value)) node.style.setProperty(name, set);
    else if (key === "value") node.value = value;
    else if (key === "class") node.setAttribute("class", [...classes, value].join(" "));
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  return add(node, children);
}

/** Put children, lists and texts into a node. */
export function add(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** Have a node hold these children alone. */
export function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

let made = 0;

/** An id that no other element has. */
export function fresh(prefix) {
  made += 1;
  return `${prefix}-${made}`;
}

/** A function that calls once it has been quiet for a while. */
export function debounced(call, quiet_ms) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), quiet_ms);
  };
}
