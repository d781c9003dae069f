// Gaps in sequences: steps are hidden, in one column or in all, and filled several times.

import { h } from "./dom.js";
import { filledView } from "./sequence_views.js";
import { ask, latest, reason, within } from "./api.js";
import { sequenceChoice, slider } from "./continuations.js";
import { on, state } from "./state.js";

export const id = "gaps";
export const title = "Gaps";
export const needs = (about) => about.has.gaps;
export const caption = () => "";

const LONGEST = 60; // steps that can be hidden

export function make() {
  const { about } = state;
  const shown = h("div", { class: "drawn", "aria-live": "polite" }, h("p", { class: "empty" }, "filling …"));
  const fill = latest("gaps", (found) => shown.replaceChildren(h("h3", {}, found.name), filledView(found)), (error) => shown.replaceChildren(reason(error)));
  let sequence = 0;
  let column = -1;
  const length = () => about.lengths[sequence];
  const update = () => {
    many.limit(Math.min(LONGEST, length() - first.value()));
    fill({ sequence, first: first.value(), end: Math.min(length(), first.value() + Math.max(1, many.value())), column });
  };
  const first = slider("first hidden step", 0, length() - 1, 1, Math.floor((3 * length()) / 8), () => update());
  const many = slider("hidden steps", 1, Math.min(LONGEST, length()), 1, Math.min(12, Math.max(1, Math.floor(length() / 4))), () => update());
  const to = (value) => {
    sequence = value;
    first.limit(length() - 1);
  };
  const which = sequenceChoice(about, (value) => {
    to(value);
    update();
  });
  const columns = h("select", { onchange: () => {
    column = Number(columns.value);
    update();
  } }, h("option", { value: -1 }, "all columns"), about.columns.map((name, j) => h("option", { value: j }, name)));
  on("row", () => within(shown, async () => {
    if (state.row === null) return;
    const found = await ask("row", { rows: [state.row] });
    to(found.sequence);
    which.set(found.sequence);
    first.set(Math.min(found.step, length() - 1));
    update();
  }));
  update();
  const controls = h("div", { class: "sliders" }, which.element, first.element, many.element, h("label", { class: "slider" }, h("span", {}, "in"), columns, h("span", {})));
  return { element: h("div", {}, controls, shown) };
}
