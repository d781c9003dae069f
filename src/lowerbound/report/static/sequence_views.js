// Facts of sequences and of texts as elements: continuations, reconstructions, paths, unusual ones, gaps.

import { choice, count, h, number } from "./dom.js";
import { markedText, sequenceView, textView } from "./sequences.js";

/** New ones. @param {any} samples */
export function newSequences(samples) {
  const items = samples.sequences.map((item, k) => h("li", {}, item.context ? h("p", { class: "muted" }, item.context) : null, sequenceView(item.shown, `new sequence ${k + 1}`)));
  return h("ol", { class: samples.sequences[0]?.shown.kind === "text" ? "texts" : "rolls" }, items);
}

/** What may follow, the most probable first. @param {any} found */
export function continuationsView(found) {
  const fewer = found.each.length < found.asked ? h("p", { class: "muted" }, `Only ${found.each.length} of ${found.asked} that differ came up.`) : null;
  const what = found.is_density ? "log of the density" : "log p";
  if (found.overlay) {
    const lines = found.each.map((item, k) => h("tr", {}, h("th", { scope: "row" }, k + 1), h("td", {}, logP(item, found))));
    return h("div", {}, fewer, sequenceView(found.overlay, "five continuations"),
      h("table", { class: "record narrow" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "continuation"), h("th", { scope: "col" }, `${what}, given what was before`))), h("tbody", {}, lines)));
  }
  if (found.prompt === null) {
    return h("div", {}, fewer, h("ol", { class: "rolls" }, found.each.map((item, k) => h("li", {}, h("p", { class: "muted" }, `${what} ${logP(item, found)}`), sequenceView(item.shown, `continuation ${k + 1}`)))));
  }
  const lines = found.each.map((item) => h("tr", {}, h("td", { class: "p" }, `${found.sign} ${item.p}`), h("td", {}, textView(item.shown.text, tail(found.prompt.text))), h("td", { class: "muted p" }, logP(item, found))));
  const before = found.context ? h("div", { class: "before" }, h("p", { class: "muted" }, "what was said before"), textView(found.context)) : null;
  const heads = ["probability", "text", "log p"].map((name) => h("th", { scope: "col" }, name));
  return h("div", {}, before, fewer, h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "continuations" },
    h("table", { class: "continuations" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines))));
}

function logP(item, found) {
  return `${found.sign} ${number(item.log_p, 4)} nats`.trim();
}

function tail(text) {
  return text.length > 60 ? `… ${text.slice(-60)}` : text;
}

/** Sequences beside what the model makes of them. @param {any} pairs */
export function sequencePairsView(pairs) {
  const shown = h("div", {});
  const show = (which) => shown.replaceChildren(sequencePairs(pairs[which], pairs.unit));
  show("random");
  return h("div", {}, choice("show", [["random", "from all over"], ["worst", "rebuilt worst"], ["best", "rebuilt best"]], "random", show), shown);
}

/** One set of them. @param {any[]} items @param {string} unit */
export function sequencePairs(items, unit) {
  if (!items.length) return h("p", { class: "empty" }, "nothing to show");
  if (items[0].input?.kind === "text") return textPairs(items, unit);
  return h("div", { class: "sheets" }, items.map((item) => {
    const parts = item.overlay ? sequenceView(item.overlay, item.name) : [h("p", { class: "muted" }, "input"), sequenceView(item.input, `${item.name}, input`), h("p", { class: "muted" }, "output"), sequenceView(item.output, `${item.name}, output`)];
    return h("article", { class: "sheet" }, h("h3", {}, item.name), parts, h("p", { class: "muted" }, `reconstruction ${number(item.nats)} ${unit}`));
  }));
}

function textPairs(items, unit) {
  const heads = ["", "input", "output", unit].map((name) => name ? h("th", { scope: "col" }, name) : h("td", {}));
  const lines = items.map((item) => h("tr", {}, h("th", { scope: "row" }, item.name), h("td", {}, textView(item.input.text)), h("td", {}, textView(item.output.text), item.same ? h("span", { class: "muted" }, "the same") : null), h("td", { class: "muted p" }, item.nats === null ? "" : number(item.nats, 3))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "texts beside their reconstructions" }, h("table", { class: "texts" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines)));
}

/** The texts along the path of each latent variable. @param {any} paths */
export function textPathsView(paths) {
  const heads = paths.deviations.map((t) => `${number(t, 2)}`);
  return h("div", { class: "cards" }, paths.paths.map((path) => h("article", { class: "sheet" }, h("h3", {}, path.name),
    h("table", { class: "record path-texts" }, h("tbody", {}, path.texts.map((shown, k) => h("tr", { class: k && shown.text === path.texts[k - 1].text ? "same" : null }, h("th", { scope: "row" }, heads[k]), h("td", {}, textView(shown.text)))))))));
}

/** The most unusual sequences or texts. @param {any} outliers */
export function unusualView(outliers) {
  const said = `${count(outliers.n_ranked)} were ranked by p, ${outliers.meaning}.`;
  return h("div", {}, h("p", { class: "muted" }, said), h("ol", { class: "unusual" }, outliers.rows.map((item) => unusual(item, outliers.unit))));
}

function unusual(item, unit) {
  const perStep = `p = ${number(item.share, 3)}, ${number(item.log_p, 4)} nats, ${number(item.log_p / item.n, 3)} a ${unit}`;
  const reasons = item.reasons.map((reason) => h("li", {}, `step ${reason.step}: `, h("strong", {}, reason.feature), ` is ${reason.value ?? "missing"} where ${reason.expected ?? "nothing"}${reason.low === null ? "" : ` (${reason.low} to ${reason.high})`} is expected`));
  const first = item.shown.kind === "series" ? [...new Set(item.reasons.map((reason) => item.shown.columns.findIndex((column) => column.name === reason.feature)))].filter((j) => j >= 0).slice(0, 3) : [];
  return h("li", {}, h("strong", {}, item.name), " ", h("span", { class: "muted" }, perStep), item.context ? h("p", { class: "muted" }, item.context) : null,
    item.marks ? markedText(item.marks) : sequenceView(item.shown, item.name, first), reasons.length ? h("ul", {}, reasons) : null);
}

/** Sequences with hidden steps, and their fillings. @param {any} gaps */
export function sequenceGapsView(gaps) {
  return h("div", { class: "sheets" }, gaps.sequences.map((item) => h("article", { class: "sheet" }, h("h3", {}, item.name), filledView(item))));
}

/** The fillings of one. @param {any} item */
export function filledView(item) {
  const few = item.ess < item.n_particles / 8 ? h("p", { class: "note" }, `Only ${number(item.ess, 2)} of ${item.n_particles} particles count at the hardest step: the fillings may be too much alike.`) : null;
  if (item.overlay) return h("div", {}, few, sequenceView(item.overlay, `fillings of ${item.name}`, item.overlay.hidden[2].slice(0, 4)));
  const each = [["the whole", item.input], ["what was seen", item.seen], ...item.draws.map((draw, k) => [`filling ${k + 1}`, draw])];
  return h("div", {}, few, h("div", { class: "fills" }, each.map(([words, shown]) => h("div", {}, h("p", { class: "muted" }, words), sequenceView(shown, `${words} of ${item.name}`)))));
}
