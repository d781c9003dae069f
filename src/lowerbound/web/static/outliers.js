// Outliers: the most unusual rows, with reasons.

import { h } from "./dom.js";
import { outliersView } from "./views.js";
import { ask, within } from "./api.js";

export const id = "outliers";
export const title = "Outliers";
export const needs = (about) => about.has.outliers;
export const caption = (about) => (about.kind === "image" ? "The highest scores first. Beside each row: where it surprises, in darker tones." : "The highest scores first, each with the values that surprise given the rest of the row, and what is expected in their place.");

export function make() {
  const shown = h("div", {}, h("p", { class: "empty", role: "status" }, "scoring rows; this takes a while …"));
  within(shown, async () => shown.replaceChildren(outliersView(await ask("outliers"))));
  return { element: shown };
}
