// An address that is none.

import { fill, h } from "../dom.js";
import { empty } from "../parts.js";

/** Say so. */
export function show(stage, { title }) {
  title("Not found");
  fill(stage, empty("There is no such page.", h("a", { href: "#/" }, "To the beginning")));
}
