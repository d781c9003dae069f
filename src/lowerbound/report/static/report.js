// The report: sections made of the facts that stand in the page.

import { count, floats, h, number } from "./dom.js";
import { printLight } from "./palette.js";
import { Scatter } from "./scatter.js";
import { nameOfColumn } from "./rows.js";
import { isSequences, sizeOf } from "./captions.js";
import { sequenceSections } from "./report.sequences.js";
import { bitsView, cardOf, dimensionsView, estimatesView, gapsView, outliersView, pairsView, samplesView, trainingView, traversalsView } from "./views.js";

const facts = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("facts")).textContent ?? "{}");
const about = facts.overview;

/** @type {[string, string, string, () => any][]} */
const SECTIONS = [
  ["estimates", "How good is it?", "Means over rows, with one standard error. “≥” marks a lower bound, “≤” an upper bound: log p(x) of a model with latent variables is an integral that is bounded, not computed.", () => estimatesView(facts.estimates)],
  ["samples", "New rows", "Drawn from the model: z from the prior p(z), then x given z. Nothing of the data enters but what the weights have learned.", () => samplesView(facts.samples)],
  ["map", "Map of the codes", "Each point is a row at the mean of its posterior q(z|x). Rows that the model takes for alike lie close together. Point at one to see it; arrow keys go from point to point.", mapSection],
  ["pairs", "Reconstructions", "A row, what is left of it after it went through its code, and the difference: orange where the output is more, blue where it is less.", () => pairsView(facts.pairs)],
  ["traversals", "What each latent variable does", "One variable runs through the prior, from −2.5 to 2.5 deviations, and the others stay in the middle. The slider moves along all paths at once.", () => traversalsView(facts.traversals)],
  ["dimensions", "Latent variables", "The KL of a variable is the information about a row that it carries, in nats. A variable whose posterior mean doesn’t vary has collapsed and says nothing.", () => dimensionsView(facts.dimensions, facts.traversals)],
  ["outliers", "Most unusual rows", about.kind === "image" ? "The highest scores first. Beside each row: where it surprises, in darker tones." : "The highest scores first, each with the values that surprise given the rest of the row, and what is expected in their place.", () => outliersView(facts.outliers)],
  ["gaps", "Missing values filled", about.kind === "image" ? "The lower half is hidden from the model, which fills it several times: draws from p(missing | seen)." : "Some values of a row are hidden from the model, which fills them several times: draws from p(missing | known). What was there is in the column “was”.", () => gapsView(facts.gaps)],
  ["training", "Training", "In nats a row. The held-out rows were not learned from; a bound that falls there while it rises on the training rows is overfitting.", () => trainingView(facts.training)],
  ["bits", "The bound as a message", "A row is sent as z and then x given z; the freedom in choosing z carries bits of another message, which are got back. What remains is −ELBO in bits.", () => bitsView(facts.bits)],
];

function mapSection() {
  const map = facts.map;
  const points = { ...map, x: floats(map.x), y: floats(map.y) };
  const colors = map.colors.map((color) => ({ ...color, values: floats(color.values) }));
  const shown = new Map((map.thumbnails?.rows ?? []).map((row, k) => [row, map.thumbnails.shown[k]]));
  const linesOf = (row) => [
    map.names ? map.names[row] : map.places ? `row ${count(map.places[row])}` : "", ...colors.slice(0, 3).map((color) =>
      `${color.name}: ${color.kind === "classes" ? color.classes[color.values[row]] : number(color.values[row])}`),
  ].filter(Boolean);
  const scatter = new Scatter({ label: `map of ${count(points.x.length)} points by their codes`, card: (row) => cardOf(shown.get(row), map.thumbnails?.columns ?? [], linesOf(row)), words: (row) => linesOf(row).join(", ") });
  scatter.show(points);
  if (colors.length) scatter.paint(colors[0]);
  const select = h("select", { onchange: () => scatter.paint(colors[Number(select.value)]) }, colors.map((color, k) => h("option", { value: k }, color.name)));
  const image = typeof map.thumbnails?.shown[0] === "string";
  const tiles = h("input", { type: "checkbox", onchange: () => scatter.showPictures(tiles.checked ? /** @type {any} */ (shown) : null) });
  const controls = h("div", { class: "controls" }, colors.length > 1 ? h("label", {}, "colored by ", select) : null, image ? h("label", {}, tiles, " pictures") : null);
  return h("div", {}, controls, scatter.element);
}

function header() {
  const parts = [about.model, about.latent_dim ? `${about.latent_dim} latent variable${about.latent_dim === 1 ? "" : "s"}` : "", about.likelihood, `${count(about.n_weights)} weights`];
  const shape = about.kind === "text" ? "" : about.kind === "image" ? `, images of ${about.row_shape.join(" × ")}` : `, ${about.columns.length} columns`;
  const rows = about.n_rows ? `${sizeOf(about)} of ${about.source}${shape}${about.chosen ? `; shown are ${about.chosen}` : ""}` : `no data${shape}`;
  const embeds = facts.with_rows ? "This file contains rows of the data." : "This file contains no rows of the data.";
  return h("header", {}, h("p", { class: "kicker" }, "lowerbound report"), h("h1", {}, nameOfColumn(about.title)), h("p", { class: "lead" }, parts.filter(Boolean).join(" · ")), h("p", { class: "muted" }, `${rows}. ${embeds}`));
}

function contents(sections) {
  return h("nav", { "aria-label": "sections" }, h("ul", {}, sections.map(([id, title]) => h("li", {}, h("a", { href: `#${id}` }, title)))));
}

function configuration() {
  const versions = Object.entries(about.versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return h("section", { id: "configuration" }, h("h2", {}, "Configuration"),
    about.command ? [h("p", { class: "caption" }, "The command that trained it"), h("pre", { tabindex: "0" }, about.command)] : null,
    about.configuration ? [h("p", { class: "caption" }, "Its parameters"), h("pre", { tabindex: "0", class: "long" }, about.configuration)] : null,
    versions ? h("p", { class: "muted" }, versions) : null);
}

function render() {
  const all = isSequences(about) ? sequenceSections(facts, mapSection) : SECTIONS;
  const why = facts.with_rows ? (about.lacks ?? {}) : {};
  const sections = all.filter(([id]) => facts[id] || why[id]);
  const main = h("main", {}, header(), contents(sections));
  document.body.replaceChildren(main);
  for (const [id, title, caption, make] of sections) {
    main.append(h("section", { id }, h("h2", {}, title), facts[id] ? [h("p", { class: "caption" }, caption), make()] : h("p", { class: "caption" }, why[id])));
  }
  main.append(configuration());
  if (document.getElementById("map")) main.append(h("p", { id: "map-keys", class: "unseen" }, "Arrow keys go from point to point."));
}

printLight();
render();
