// Reconstructions of sequences and texts: of all, of the selection, or of a text of one's own.

import { choice, h } from "./dom.js";
import { sequencePairs } from "./sequence_views.js";
import { ask } from "./api.js";
import { on, state, given } from "./state.js";

export const id = "reconstructions";
export const key = "pairs";
export const title = "Reconstructions";
export const needs = (about) => about.has.pairs;
export const caption = () => "";

export function make() {
  const { about } = state;
  const shown = h("div", { class: "shown" }, h("p", { class: "empty" }, "computing …"));
  let pairs = null;
  let which = "random";
  const show = () => pairs && shown.replaceChildren(sequencePairs(pairs[which], pairs.unit));
  const load = async () => {
    pairs = await ask("pairs");
    show();
  };
  on("selection", async () => {
    if (!state.selection.length) return load();
    const found = await ask("pairs", { rows: state.selection.slice(0, 200) });
    shown.replaceChildren(h("h3", {}, "the selected ones"), sequencePairs(found.selected, found.unit));
  });
  load();
  const choose = choice("show", [["random", "from all over"], ["worst", "rebuilt worst"], ["best", "rebuilt best"]], "random", (value) => {
    which = value;
    show();
  });
  return { element: h("div", {}, choose, shown, about.kind === "text" ? own() : null) };
}

/** A text that is typed. */
function own() {
  const made = h("div", { class: "own" });
  const input = h("input", { type: "text", class: "wide-input", autocomplete: "off" });
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    try {
      const found = await ask("reconstruct", { text: input.value, ...given() });
      if (found) made.replaceChildren(sequencePairs(found.yours, found.unit));
    } catch (error) {
      made.replaceChildren(h("p", { class: "note", role: "alert" }, /** @type {Error} */ (error).message));
    }
  } }, h("label", { class: "prompt" }, h("span", {}, "the text"), input), h("div", { class: "buttons" }, h("button", { type: "submit" }, "reconstruct")));
  return h("div", {}, h("h3", { class: "apart" }, "A text of your own"), form, made);
}
