// Traversals of texts: what is written along the path of each latent variable.

import { choice, h } from "./dom.js";
import { textPathsView } from "./sequence_views.js";
import { latest, reason } from "./api.js";
import { givenControls } from "./given.js";
import { given, on, state } from "./state.js";

export const id = "traversals";
export const title = "Traversals";
export const needs = (about) => about.has.traversals;
export const caption = () => "";

export function make() {
  const shown = h("div", {}, h("p", { class: "empty" }, "writing …"));
  let from = "prior";
  const ask = latest("traversals", (paths) => shown.replaceChildren(textPathsView(paths)), (error) => shown.replaceChildren(reason(error)));
  const load = () => ask({ ...(from === "row" && state.row !== null ? { rows: [state.row] } : {}), ...given() });
  const start = choice("from", [["prior", "the middle of the prior"], ["row", "the chosen text"]], "prior", (value) => {
    from = value;
    load();
  });
  on("row", load);
  on("given", load);
  load();
  return { element: h("div", {}, givenControls(), h("div", { class: "controls" }, start, state.about.has.map ? h("span", { class: "muted" }, "choose a text on the map to start from it") : null), shown) };
}
