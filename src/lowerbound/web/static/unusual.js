// Outliers among sequences and texts, ranked at equal lengths.

import { h } from "./dom.js";
import { unusualView } from "./sequence_views.js";
import { ask, within } from "./api.js";

export const id = "outliers";
export const title = "Outliers";
export const needs = (about) => about.has.outliers;
export const caption = () => "";

export function make() {
  const shown = h("div", {}, h("p", { class: "empty", role: "status" }, "scoring; this takes a while …"));
  within(shown, async () => shown.replaceChildren(unusualView(await ask("outliers"))));
  return { element: shown };
}
