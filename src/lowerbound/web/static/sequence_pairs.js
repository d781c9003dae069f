// Reconstructions of sequences and texts: of all, of the selection, or of a text of one's own.

import { h } from "./dom.js";
import { sequencePairs } from "./sequence_views.js";
import { ask, within } from "./api.js";
import { sets } from "./reconstructions.js";
import { given, state } from "./state.js";

export const id = "reconstructions";
export const key = "pairs";
export const title = "Reconstructions";
export const needs = (about) => about.has.pairs;
export const caption = () => "";

export function make() {
  const view = (items, found) => sequencePairs(items, found.unit);
  return { element: h("div", {}, sets(view, "from all over", "the selected ones"), state.about.kind === "text" ? own() : null) };
}

/** A text that is typed. */
function own() {
  const made = h("div", { class: "own" });
  const input = h("input", { type: "text", class: "wide-input", autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    await within(made, async () => {
      const found = await ask("reconstruct", { text: input.value, ...given() });
      if (found) made.replaceChildren(sequencePairs(found.yours, found.unit));
    });
  } }, h("label", { class: "prompt" }, h("span", {}, "the text"), input), h("div", { class: "buttons" }, h("button", { type: "submit" }, "reconstruct")));
  return h("div", {}, h("h3", { class: "apart" }, "A text of your own"), form, made);
}
