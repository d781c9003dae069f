// The sections of a report on sequences or texts.

import { h } from "./dom.js";
import { captionOf } from "./captions.js";
import { continuationsView, newSequences, sequenceGapsView, sequencePairsView, textPathsView, unusualView } from "./sequence_views.js";
import { bitsView, dimensionsView, estimatesView, trainingView } from "./views.js";

const QUALITY = "Means, with one standard error. “≥” marks a lower bound, “≤” an upper bound: log p(x) of a model with latent variables is an integral that is bounded, not computed.";

/**
 * Id, title, caption and element of each section.
 * @param {any} facts @param {() => any} map
 * @returns {[string, string, string, () => any][]}
 */
export function sequenceSections(facts, map) {
  const about = facts.overview;
  const captionFor = (id) => captionOf(id, about);
  const prompted = about.kind === "text" ? facts.continuations && h("p", {}, `The beginning: “${facts.continuations.prompt.text}”`) : null;
  return [
    ["estimates", "How good is it?", QUALITY, () => estimatesView(facts.estimates)],
    ["samples", `New ${about.one}s`, captionFor("samples"), () => newSequences(facts.samples)],
    ["continuations", "What may follow", captionFor("continuations"), () => h("div", {}, prompted, continuationsView(facts.continuations))],
    ["map", "Map of the codes", captionFor("map"), map],
    ["pairs", "Reconstructions", captionFor("pairs"), () => sequencePairsView(facts.pairs)],
    ["traversals", "What each latent variable does", captionFor("traversals"), () => textPathsView(facts.traversals)],
    ["dimensions", "Latent variables", captionFor("dimensions"), () => dimensionsView(facts.dimensions, null)],
    ["outliers", `Most unusual ${about.one}s`, captionFor("outliers"), () => unusualView(facts.outliers)],
    ["gaps", "Missing values filled", captionFor("gaps"), () => sequenceGapsView(facts.gaps)],
    ["training", "Training", captionFor("training"), () => trainingView(facts.training)],
    ["bits", "The bound as a message", "It is sent as z and then x given z; the freedom in choosing z carries bits of another message, which are got back. What remains is −ELBO in bits.", () => bitsView(facts.bits)],
  ];
}
