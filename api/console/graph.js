// A picture of evidence that one can walk: the two ends of a statement, and between them in layers what links them.

import { h } from "./dom.js";
import { nameOf } from "./parts.js";
import { to } from "./route.js";

const WIDTH = 1040;
const ROW = 62;
const LETTER = 7.4; // pixels, as a mean
const MARGIN = 96;
const ALIKE = 4; // more of them would hide the paths
const PLACES = [0.5, 0.42, 0.58, 0.34, 0.66, 0.28, 0.72, 0.22, 0.78]; // of a label along its line

/**
 * The nodes and edges of an explanation.
 * @returns {nodes: [{named, layer, row, end}], edges: [{from, to, label, both, kind}]} `layer` in [0, 3], rows around 0.
 */
export function layered({ verdict, paths, alike }) {
  const nodes = new Map();
  const edges = new Map();
  const strands = [];
  const node = (named, layer, end = false) => {
    if (nodes.has(named.id)) return;
    nodes.set(named.id, { named, layer, end, row: 0 });
    if (!end) strands.at(-1).push(nodes.get(named.id));
  };
  const edge = (from, to, label, kind, forward = true) => {
    const key = [...[from, to].sort(), label, kind].join("\n");
    const held = edges.get(key);
    if (held) held.both ||= held.forward !== forward || held.from !== from;
    else edges.set(key, { from, to, label, kind, forward, both: false });
  };
  const { subject, relation, object } = verdict;
  node(subject, 0, true);
  node(object, 3, true);
  if (subject.id !== object.id) edge(subject.id, object.id, nameOf(relation), "asked");
  for (const { steps } of paths) {
    strands.push([]);
    steps.forEach(({ link, forward }, place) => {
      const next = forward ? link.object : link.subject;
      node(next, (3 * (place + 1)) / steps.length);
      edge(link.subject.id, link.object.id, nameOf(link.relation), "path");
    });
  }
  for (const { end, link } of alike.slice(0, ALIKE)) {
    strands.push([]);
    const one = end === "subject" ? link.subject : link.object;
    node(one, end === "subject" ? 0.85 : 2.15);
    edge(verdict[end].id, one.id, "like", "like");
    edge(link.subject.id, link.object.id, nameOf(link.relation), "path");
  }
  rows(strands);
  return { nodes: [...nodes.values()], edges: [...edges.values()] };
}

/** What a path adds lies in one row: in turns above and below the middle, which the asked statement takes, where there is room. */
function rows(strands) {
  const taken = [];
  for (const strand of strands.filter((one) => one.length)) {
    const fits = (row) => taken.every((other) => other.row !== row
      || strand.every((one) => Math.abs(x(other) - x(one)) > (breadth(one) + breadth(other)) / 2 + 110));
    let turn = 1;
    const row = () => (turn % 2 ? -1 : 1) * Math.ceil(turn / 2);
    while (!fits(row())) turn += 1;
    for (const one of strand) one.row = row();
    taken.push(...strand);
  }
}

const text = (node) => (nameOf(node.named).length > 26 ? `${nameOf(node.named).slice(0, 25)}…` : nameOf(node.named));
const breadth = (node) => Math.max(64, text(node).length * LETTER + 30);
const x = (node) => MARGIN + ((WIDTH - 2 * MARGIN) * node.layer) / 3;

/** The picture, as SVG; arrows walk from node to node, Enter opens one. */
export function draw(explanation) {
  const { nodes, edges } = layered(explanation);
  const at = new Map(nodes.map((node) => [node.named.id, node]));
  const top = Math.min(0, ...nodes.map((node) => node.row));
  const height = (Math.max(0, ...nodes.map((node) => node.row)) - top + 1) * ROW + 24;
  const y = (node) => 12 + (node.row - top + 0.5) * ROW;
  const between = new Map();
  const boxes = nodes.map((node) => [x(node) - breadth(node) / 2, y(node) - 17, x(node) + breadth(node) / 2, y(node) + 17]);
  const lines = edges.map((edge) => {
    const [from, to] = [at.get(edge.from), at.get(edge.to)];
    const pair = [edge.from, edge.to].sort().join("\n");
    const turn = between.get(pair) ?? 0;
    between.set(pair, turn + 1);
    // From an end of the statement a line first goes to the row of the other, then along it: under no name on the way.
    const bow = from.end !== to.end && Math.abs(from.row - to.row) > 1 ? (from.end ? 0.3 : 0.7) : null;
    return line(edge, [x(from), y(from)], [x(to), y(to)], { turn, bow }, [breadth(from), breadth(to)], boxes);
  });
  return h("svg.graph", { viewBox: `0 0 ${WIDTH} ${height}`, role: "group", "aria-label": `What links ${nameOf(explanation.verdict.subject)} and ${nameOf(explanation.verdict.object)}`, onkeydown: (event) => walk(event, nodes, y) },
    h("defs", {}, ["path", "asked"].map((kind) => h("marker", { id: `tip-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, h("path", { d: "M0 .6 7.4 4 0 7.4z", class: `tip ${kind}` })))),
    lines.map((one) => one.curve), lines.map((one) => one.label),
    nodes.map((node) => h("svg:a", { href: to("entity", { id: node.named.id }), class: node.end ? "node end" : "node", "data-id": node.named.id },
      h("svg:title", {}, [nameOf(node.named), node.named.id, node.named.description].filter(Boolean).join("\n")),
      h("rect", { x: x(node) - breadth(node) / 2, y: y(node) - 17, width: breadth(node), height: 34, rx: 17 }),
      h("text", { x: x(node), y: y(node) + 4.5, "text-anchor": "middle" }, text(node)))));
}

/** A curve from edge to edge of two names, and what it says where there is room along it. */
function line(edge, from, to, { turn, bow }, breadths, boxes) {
  const bend = turn ? (turn % 2 ? 1 : -1) * Math.ceil(turn / 2) * 34 : 0;
  const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2 + bend];
  const control = bow === null
    ? [2 * middle[0] - (from[0] + to[0]) / 2, 2 * middle[1] - (from[1] + to[1]) / 2]
    : [from[0] + (to[0] - from[0]) * bow, (bow < 0.5 ? to[1] : from[1]) + bend];
  const start = leave(from, control, breadths[0]);
  const end = leave(to, control, breadths[1]);
  const long = edge.label.length * 3.3 + 6;
  const spots = PLACES.map((at) => {
    const [px, py] = [0, 1].map((axis) => (1 - at) ** 2 * start[axis] + 2 * at * (1 - at) * control[axis] + at ** 2 * end[axis]);
    return [px - long, py - 8, px + long, py + 8];
  });
  const free = (spot) => boxes.every((one) => spot[2] < one[0] || one[2] < spot[0] || spot[3] < one[1] || one[3] < spot[1]);
  const spot = spots.find(free) ?? spots[0];
  boxes.push(spot);
  const tip = edge.kind === "like" ? {} : { "marker-end": `url(#tip-${edge.kind})`, "marker-start": edge.both ? `url(#tip-${edge.kind})` : null };
  return {
    curve: h("path", { d: `M${start}Q${control} ${end}`, class: `edge ${edge.kind}`, ...tip }),
    label: h("text", { x: (spot[0] + spot[2]) / 2, y: spot[1] + 12, "text-anchor": "middle", class: `told ${edge.kind}` }, edge.label),
  };
}

/** Where a line to a point leaves the box of a name. */
function leave(center, to, breadth) {
  const [dx, dy] = [to[0] - center[0], to[1] - center[1]];
  const [half, tall] = [breadth / 2 + 4, 21];
  const share = Math.min(1, half / (Math.abs(dx) || 1e-9), tall / (Math.abs(dy) || 1e-9));
  return [center[0] + dx * share, center[1] + dy * share];
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** To the nearest node in the direction of an arrow. */
function walk(event, nodes, y) {
  const step = STEPS[event.key];
  const here = nodes.find((node) => node.named.id === event.target.closest("[data-id]")?.dataset.id);
  if (!step || !here) return;
  event.preventDefault();
  const far = (node) => {
    const [dx, dy] = [x(node) - x(here), y(node) - y(here)];
    const along = dx * step[0] + dy * step[1];
    return along > 1 ? along + 2.5 * Math.abs(dx * step[1] + dy * step[0]) : Infinity;
  };
  const next = nodes.filter((node) => node !== here && far(node) < Infinity).sort((one, other) => far(one) - far(other))[0];
  if (next) [...event.currentTarget.querySelectorAll("[data-id]")].find((node) => node.dataset.id === next.named.id)?.focus();
}
