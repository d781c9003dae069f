// Traversals: a path for each active latent variable.

import { choice, h } from "./dom.js";
import { traversalsView } from "./views.js";
import { latest, reason } from "./api.js";
import { givenControls } from "./given.js";
import { given, on, state } from "./state.js";

export const id = "traversals";
export const title = "Traversals";
export const needs = (about) => about.has.decode;
export const caption = () => "One latent variable runs through the prior, from −2.5 to 2.5 deviations, and the others stay. The slider moves along all paths at once.";

export function make() {
  const shown = h("div", {}, h("p", { class: "empty" }, "computing …"));
  const note = h("span", { class: "muted" }, "choose a row on the map to start from it");
  let from = "prior";
  const ask = latest("traversals", (paths) => shown.replaceChildren(traversalsView(paths)), (error) => shown.replaceChildren(reason(error)));
  const load = () => ask({ ...(from === "row" && state.row !== null ? { rows: [state.row] } : {}), ...given() });
  const start = choice("from", [["prior", "the middle of the prior"], ["row", "the chosen row"]], "prior", (value) => {
    from = value;
    load();
  });
  on("row", () => {
    note.textContent = `row ${state.row} is chosen`;
    if (from === "row") load();
  });
  on("given", load);
  load();
  return { element: h("div", {}, givenControls(), h("div", { class: "controls" }, start, state.about.has.map ? note : null), shown) };
}
