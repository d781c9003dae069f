// Dimensions: the KL of each latent variable, and what it changes.

import { h } from "./dom.js";
import { dimensionsView } from "./views.js";
import { ask, within } from "./api.js";

export const id = "dimensions";
export const title = "Dimensions";
export const needs = (about) => about.has.dimensions;
export const caption = () => "The KL of a variable is the information about a row that it carries, in nats. A variable whose posterior mean doesn’t vary has collapsed and says nothing.";

export function make() {
  const shown = h("div", {}, h("p", { class: "empty" }, "computing …"));
  within(shown, async () => {
    const found = await ask("dimensions");
    shown.replaceChildren(dimensionsView(found.dimensions, found.traversals));
  });
  return { element: shown };
}
