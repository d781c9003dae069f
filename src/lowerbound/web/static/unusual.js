// Outliers among sequences and texts, ranked at equal lengths.

import { h } from "./dom.js";
import { unusualView } from "./sequence_views.js";
import { ask } from "./api.js";

export const id = "outliers";
export const title = "Outliers";
export const needs = (about) => about.has.outliers;
export const caption = () => "";

export function make() {
  const shown = h("div", {}, h("p", { class: "empty", role: "status" }, "scoring; this takes a while …"));
  ask("outliers").then((found) => shown.replaceChildren(unusualView(found)), (error) => shown.replaceChildren(h("p", { class: "note" }, error.message)));
  return { element: shown };
}
