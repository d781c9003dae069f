// What the panels of sequences and texts show, in words.

const OF_TEXTS = {
  samples: "z from the prior p(z), then one token after another.",
  continuations: "Five different texts that may follow on a beginning, drawn until they differ, the most probable first; its p counts the end, too.",
  map: "Each point is a text at the mean of its posterior q(z|x). Texts that the model takes for alike lie close together.",
  pairs: "A text beside what is written from its code, the most probable token at each place. A decoder that reads what it has written needs z but for what the beginning doesn’t tell: few texts come back as they were.",
  traversals: "One latent variable runs through the prior, from −2.5 to 2.5 deviations, and the others stay; what is written is the most probable token at each place. Lines that repeat the one before are faint.",
  dimensions: "The KL of a variable is the information about a text that it carries, in nats. A variable whose posterior mean doesn’t vary has collapsed and says nothing.",
  outliers: "Ranked among texts of about the same length, as log p falls with it.",
  training: "In nats a text.",
};

const OF_SERIES = {
  samples: "Drawn step by step, each given those before it.",
  continuations: "Five different draws of what may follow on the steps on the tinted ground, the most probable first.",
  map: "Each point is a step at the mean of its posterior q(z|x), given the steps before it. The decoder of a step needs those too, so no empty place of the map is decoded.",
  pairs: "A sequence beside what the model makes of it: the expectation of every step given those before it and the step’s own code.",
  pairsExact: "A sequence beside what the model expects of every step given those before it; it has no latent variables.",
  traversals: "",
  dimensions: "The KL of a variable is the information about a step that it carries, in nats. A variable whose posterior mean doesn’t vary has collapsed and says nothing.",
  outliers: "Ranked at equal length, as log p falls with it. The least probable steps are marked, with what was expected of them.",
  gaps: "Steps are hidden from the model, which fills them given what comes before and after them.",
  training: "In nats a sequence, or a window of one.",
};

const OF_WHOLE_SERIES = {
  ...OF_SERIES,
  samples: "z from the prior N(0, I), then step by step, each given z and those before it.",
  map: "Each point is a sequence at the mean of its posterior q(z|x). Sequences that the model takes for alike lie close together.",
  pairs: "A sequence beside what the model makes of it: the expectation of every step given those before it and the sequence’s code.",
  dimensions: "The KL of a variable is the information about a sequence that it carries, in nats. A variable whose posterior mean doesn’t vary has collapsed and says nothing.",
  training: "In nats a sequence.",
};

/** The caption of a panel. @param {string} id @param {any} about */
export function captionOf(id, about) {
  if (about.kind === "text") return OF_TEXTS[id] ?? "";
  if (about.is_whole) return OF_WHOLE_SERIES[id] ?? "";
  return OF_SERIES[id === "pairs" && !about.latent_dim ? "pairsExact" : id] ?? "";
}

/** True for sequences and texts. @param {any} about */
export function isSequences(about) {
  return ["text", "roll", "series"].includes(about.kind);
}

/** The data in a few words. @param {any} about */
export function sizeOf(about) {
  const many = (n, one) => `${n.toLocaleString("en-US")} ${one}${n === 1 ? "" : "s"}`;
  if (about.kind === "text") return many(about.n_rows, "text");
  if (about.kind !== "roll" && about.kind !== "series") return many(about.n_rows, "row");
  return `${many(about.n_rows, "sequence")}${about.chosen ? "" : ` (${many(about.n_steps, "step")})`}`;
}
