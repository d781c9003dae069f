// Training: the curves, live while it trains; log p(x) with its standard error; the bound as a message.

import { h } from "./dom.js";
import { bitsView, estimatesView, trainingView } from "./views.js";
import { ask, latest, reason, within } from "./api.js";
import { state } from "./state.js";

export const id = "training";
export const title = "Training";
export const needs = (about) => about.has.training || about.has.estimates;
export const caption = () => "“≥” marks a lower bound: log p(x) of a model with latent variables is bounded, not computed.";

const REFRESH = 3000; // milliseconds

export function make() {
  const curves = h("div", {}, state.about.kind === "waiting" ? h("p", { class: "muted", role: "status" }, "The first epoch hasn’t ended yet.") : state.about.has.training ? null : h("p", { class: "muted" }, "There is no history of this model: a run of lowerbound train has one."));
  const measures = h("div", { class: "apart" });
  let seen = 0;
  const look = latest("training", ({ training }) => {
    if (!training || training.epoch.length === seen) return;
    seen = training.epoch.length;
    curves.replaceChildren(trainingView(training));
  }, (error) => {
    seen = 0;
    curves.replaceChildren(reason(error));
  });
  if (state.about.has.training) {
    look({});
    setInterval(() => curves.isConnected && !document.hidden && look({}), REFRESH);
  }
  if (state.about.has.estimates) {
    measures.append(h("p", { class: "empty", role: "status" }, "estimating log p(x) …"));
    within(measures, async () => {
      const { estimates, bits } = await ask("estimates");
      measures.replaceChildren(h("h3", {}, "log p(x) and the bound"), estimatesView(estimates), bits ? h("h3", { class: "apart" }, "The bound as a message") : "", bits ? bitsView(bits) : "");
    });
  }
  return { element: h("div", {}, curves, measures) };
}
