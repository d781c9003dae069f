// Reconstructions: input, output, difference; of the selection, or of a file of one's own.

import { choice, h } from "./dom.js";
import { pairsOf } from "./views.js";
import { ask, within } from "./api.js";
import { on, state } from "./state.js";

export const id = "reconstructions";
export const key = "pairs";
export const title = "Reconstructions";
export const needs = (about) => about.has.pairs;
export const caption = (about) => (about.kind === "image" ? "A row, what is left of it after it went through its code, and the difference: orange where the output is more, blue where it is less." : "A row beside what is left of it after it went through its code; values of categories that changed are marked.");

const MOST = 40; // of a selection that are shown

export function make() {
  const { about } = state;
  const own = h("div", { class: "own" });
  const words = about.kind === "image" ? "A picture of your own" : "A row of your own";
  return { element: h("div", {}, sets(pairsOf, "rows from all over", "the selected rows"), h("h3", { class: "apart" }, words), about.kind === "image" ? dropped(own) : typed(own), own) };
}

/**
 * Pairs from all over, the worst and the best, of which one set is shown; or those of the selection.
 * @param {(items: any[], found: any) => any} view @param {string} all @param {string} selected
 */
export function sets(view, all, selected) {
  const shown = h("div", { class: "shown" }, h("p", { class: "empty" }, "computing …"));
  let pairs = null;
  let which = "random";
  const show = () => pairs && shown.replaceChildren(view(pairs[which], pairs));
  const load = async () => {
    pairs ??= await ask("pairs");
    show();
  };
  const chosen = async () => {
    if (!state.selection.length) return load();
    const found = await ask("pairs", { rows: state.selection.slice(0, MOST) });
    if (state.selection.length) shown.replaceChildren(h("h3", {}, selected), view(found.selected, found));
  };
  on("selection", () => within(shown, chosen));
  within(shown, chosen);
  const choose = choice("show", [["random", all], ["worst", "rebuilt worst"], ["best", "rebuilt best"]], "random", (value) => {
    which = value;
    within(shown, load);
  });
  return h("div", {}, choose, shown);
}

/** A file that is chosen or dropped, brought to the size of the model's images. */
function dropped(own) {
  const take = async (file) => {
    if (!file) return;
    const bytes = new Uint8Array(await file.arrayBuffer());
    let text = "";
    for (let k = 0; k < bytes.length; k += 8192) text += String.fromCharCode(...bytes.subarray(k, k + 8192));
    send(own, { image: btoa(text) });
  };
  const input = h("input", { type: "file", accept: "image/*", onchange: () => take(input.files[0]) });
  const zone = h("label", { class: "drop" }, "Drop an image here, or choose a file: ", input);
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  return zone;
}

/** A field for each column; what is left empty is missing. */
function typed(own) {
  const fields = state.about.columns.slice(0, 60).map((name) => h("label", {}, h("span", {}, name), h("input", { type: "text", name })));
  const form = h("form", { class: "fields", onsubmit: (event) => {
    event.preventDefault();
    send(own, { values: Object.fromEntries(new FormData(form)) });
  } }, fields, h("button", { type: "submit" }, "reconstruct"));
  return h("details", {}, h("summary", {}, "type its values"), form);
}

async function send(own, body) {
  await within(own, async () => {
    const found = await ask("reconstruct", body);
    if (found) own.replaceChildren(pairsOf(found.yours, found));
  });
}
