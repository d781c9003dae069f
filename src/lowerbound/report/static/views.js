// Facts as elements: what the sections of a report and the panels of the page have in common.

import { choice, count, h, number, plusMinus } from "./dom.js";
import { bars, lineChart, spark } from "./charts.js";
import { comparedRows, nameOfColumn, nameOfRow, picture, record, rowsTable, rowView } from "./rows.js";

/** Measures with their standard errors. @param {any[]} estimates */
export function estimatesView(estimates) {
  const lines = estimates.map((each) =>
    h("tr", {}, h("th", { scope: "row" }, each.name), h("td", { class: "sign" }, each.sign), h("td", { class: "value" }, plusMinus(each.value, each.error)),
      h("td", {}, each.unit), h("td", { class: "muted" }, `${each.how} (${count(each.n)} ${each.one}${each.n === 1 ? "" : "s"})`)),
  );
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "estimates" }, h("table", { class: "estimates" },
    h("thead", { class: "unseen" }, h("tr", {}, ["quantity", "sign", "value", "unit", "how"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, lines)));
}

/** New rows. @param {any} samples */
export function samplesView(samples) {
  if (typeof samples.draws[0] !== "string") return rowsTable(samples.draws, samples.columns, "draws from the model");
  const wall = h("div", { class: "wall" });
  const show = (which) => wall.replaceChildren(...samples[which].map((uri, k) => picture(uri, `sample ${k + 1}`)));
  show("mean");
  const means = [["mean", "means E[x|z]"], ["draws", "draws of x"]];
  return h("div", {}, choice("show", /** @type {[string, string][]} */ (means), "mean", show), wall);
}

/** Rows beside their reconstructions. @param {any} pairs */
export function pairsView(pairs) {
  const shown = h("div", {});
  const show = (which) => shown.replaceChildren(pairsOf(pairs[which], pairs));
  show("random");
  return h("div", {}, choice("show", [["random", "rows from all over"], ["worst", "rebuilt worst"], ["best", "rebuilt best"]], "random", show), shown);
}

/** One set of pairs. @param {any[]} items @param {any} pairs */
export function pairsOf(items, pairs) {
  if (!items.length) return h("p", { class: "empty" }, "no rows");
  if (typeof items[0].input !== "string") {
    return h("div", { class: "cards" }, items.map((item) =>
      h("article", { class: "sheet" }, h("h3", {}, nameOfRow(item)), comparedRows(item, pairs.columns), h("p", { class: "muted" }, `reconstruction ${number(item.nats)} ${pairs.unit}`))));
  }
  const lines = ["input", "output", "difference"].map((part) =>
    h("tr", {}, h("th", { scope: "row" }, part), items.map((item) => h("td", {}, picture(item[part], `${part} of ${nameOfRow(item)}`)))),
  );
  const named = items.some((item) => item.label !== null);
  const heads = [h("tr", {}, h("th", { scope: "row" }, "row"), items.map((item) => h("th", { scope: "col" }, item.row))),
    named ? h("tr", {}, h("th", { scope: "row" }, "label"), items.map((item) => h("td", {}, item.label ?? ""))) : null];
  const nats = h("tr", { class: "muted" }, h("th", { scope: "row" }, pairs.unit), items.map((item) => h("td", {}, number(item.nats, 4))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "rows beside their reconstructions" }, h("table", { class: "strips" }, h("thead", {}, heads), h("tbody", {}, lines, nats)));
}

/** A path for each latent variable; one slider moves along all of them. @param {any} paths */
export function traversalsView(paths) {
  const steps = paths.deviations.length;
  const updates = paths.paths.map((path, k) => pathView(path, k, paths));
  const output = h("output", {}, "");
  const move = (at) => {
    output.textContent = `${number(paths.deviations[at], 3)} deviations`;
    slider.setAttribute("aria-valuetext", output.textContent);
    updates.forEach((each) => each.move(at));
  };
  const middle = (steps - 1) / 2;
  const slider = h("input", { type: "range", min: 0, max: steps - 1, step: 1, value: middle, oninput: () => move(Number(slider.value)) });
  move(middle);
  const bar = h("label", { class: "scrub" }, h("span", {}, "place on every path"), slider, output);
  return h("div", {}, bar, h("div", { class: typeof paths.paths[0]?.rows[0] === "string" ? "paths" : "paths of-table" }, updates.map((each) => each.element)));
}

function pathView(path, k, paths) {
  const head = h("h3", {}, path.name);
  if (typeof path.rows[0] === "string") {
    const large = picture(path.rows[0], "");
    large.classList.add("large");
    const strip = path.rows.map((uri, i) => picture(uri, `${path.name} at ${number(paths.deviations[i], 3)}`));
    const move = (at) => {
      large.src = path.rows[at];
      large.alt = `${path.name} at ${number(paths.deviations[at], 3)} deviations`;
      strip.forEach((each, i) => each.classList.toggle("here", i === at));
    };
    return { element: h("article", { class: "path" }, head, large, h("div", { class: "strip" }, strip)), move };
  }
  return tablePath(path, k, paths, head);
}

/** The columns that a latent variable changes most, along its path. */
function tablePath(path, k, paths, head) {
  const columns = path.influence.map((amount, j) => [amount, j]).sort((a, b) => b[0] - a[0]).slice(0, 6).map((pair) => pair[1]);
  const body = h("tbody", {});
  const move = (at) => {
    body.replaceChildren(...columns.map((j) => {
      const numbers = paths.numbers[k][j];
      const curve = numbers ? spark(numbers, at) : h("span", { class: "muted" }, steps(path.rows.map((row) => row[j])));
      return h("tr", {}, h("th", { scope: "row" }, nameOfColumn(paths.columns[j])), h("td", {}, path.rows[at][j] ?? "missing"), h("td", {}, curve));
    }));
  };
  return { element: h("article", { class: "sheet" }, head, h("table", { class: "record" }, body)), move };
}

/** The values on a path, each once in a row. @param {(string | null)[]} values */
function steps(values) {
  return values.filter((value, i) => i === 0 || value !== values[i - 1]).map((value) => value ?? "missing").join(" → ");
}

/** KL of each latent variable, and what it changes. @param {any} dimensions @param {any} traversals null, if no row shows it */
export function dimensionsView(dimensions, traversals) {
  const paths = traversals?.columns ? traversals.paths : [];
  const image = typeof paths[0]?.influence === "string";
  const changes = new Map(paths.map((path) => [path.dimension, path.influence]));
  const shown = dimensions.order.filter((d) => dimensions.active[d] || !dimensions.n_active);
  const folded = dimensions.order.filter((d) => !shown.includes(d));
  const unit = dimensions.is_kl ? "KL, in nats" : "variance of the posterior mean";
  const bar = (d) => ({
    name: dimensions.names[d], value: dimensions.amounts[d], faint: !dimensions.active[d],
    note: image && changes.has(d) ? picture(/** @type {string} */ (changes.get(d)), `what ${dimensions.names[d]} changes`) : undefined,
  });
  return h("div", {},
    dimensions.collapsed ? h("p", { class: "note", role: "note" }, dimensions.collapsed) : null,
    bars(shown.map(bar), `${unit}; ${dimensions.n_active} of ${dimensions.order.length} latent variables are active`),
    folded.length && dimensions.n_active ? h("details", {}, h("summary", {}, `${folded.length} collapsed`), bars(folded.map(bar), unit)) : null,
    image || !paths.length ? null : influenceTable(traversals),
  );
}

/** How much each latent variable changes each column. */
function influenceTable(traversals) {
  const heads = h("tr", {}, h("th", { scope: "col" }, "column"), traversals.paths.map((path) => h("th", { scope: "col" }, path.name.split(" ")[0])));
  const lines = traversals.columns.map((name, j) => h("tr", {}, h("th", { scope: "row" }, name), traversals.paths.map((path) => {
    const share = Math.min(1, path.influence[j]);
    return h("td", { class: share > 0.55 ? "heat strong" : "heat", style: { "--share": `${Math.round(100 * share)}%` } }, path.influence[j].toFixed(2));
  })));
  const table = h("table", { class: "influence" }, h("thead", {}, heads), h("tbody", {}, lines));
  const words = "How far each column moves along the path of each latent variable, in standard deviations of the data; of categories, the part of the path with another one.";
  return h("div", {}, h("p", { class: "caption" }, words), h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "influence of each latent variable on each column" }, table));
}

/** The most unusual rows, with reasons. @param {any} outliers */
export function outliersView(outliers) {
  const image = typeof outliers.rows[0]?.shown === "string";
  const said = `${count(outliers.n_beyond)} of the ${count(outliers.n_ranked)} rows that were ranked lie beyond the fence (score ${number(outliers.threshold)}); compared with ${outliers.compared}. The score: ${outliers.meaning}.`;
  return h("div", {}, h("p", { class: "muted" }, said),
    image ? h("div", { class: "outliers" }, outliers.rows.map(outlierImage)) : h("ol", { class: "reasons" }, outliers.rows.map((item) => outlierRow(item, outliers.columns))));
}

function outlierImage(item) {
  const heat = typeof item.reasons === "string" ? picture(item.reasons, `where ${nameOfRow(item)} surprises`) : null;
  return h("figure", {}, h("div", {}, picture(item.shown, nameOfRow(item)), heat), h("figcaption", {}, nameOfRow(item), h("br"), h("span", { class: "muted" }, scoreOf(item))));
}

function scoreOf(item) {
  return `score ${number(item.score)}${item.p_value === null ? "" : `, p = ${number(item.p_value, 3)}`}`;
}

function outlierRow(item, columns) {
  const reasons = (item.reasons ?? []).map(reasonOf);
  const marked = columns.map((name) => (item.reasons ?? []).some((reason) => reason.feature === name));
  return h("li", {}, h("strong", {}, nameOfRow(item)), " ", h("span", { class: "muted" }, scoreOf(item)),
    reasons.length ? h("ul", {}, reasons.map((words) => h("li", {}, words))) : h("p", { class: "muted" }, "no single value stands out"),
    h("details", {}, h("summary", {}, "the whole row"), record(item.shown, columns, "", marked)));
}

/** "income is 90 where 40 (20 to 60) is expected". @param {any} reason */
export function reasonOf(reason) {
  const range = reason.low === null ? "" : ` (${reason.low} to ${reason.high})`;
  return [h("strong", {}, reason.feature), ` is ${reason.value ?? "missing"} where ${reason.expected ?? "nothing"}${range} is expected`];
}

/** Rows with hidden values, and their fillings. @param {any} gaps */
export function gapsView(gaps) {
  if (gaps.columns) return h("div", { class: "cards" }, gaps.rows.map((item) => h("article", { class: "sheet" }, h("h3", {}, nameOfRow(item)), fillingsTable(item.cells, nameOfRow(item)))));
  const heads = ["", "row", "seen", "mean", ...gaps.rows[0].draws.map((_, k) => `draw ${k + 1}`)];
  const lines = gaps.rows.map((item) => h("tr", {}, h("th", { scope: "row" }, nameOfRow(item)),
    [["input", "the whole"], ["seen", "what was seen"], ["mean", "the expectation"]].map(([part, words]) => h("td", {}, picture(item[part], `${words} of ${nameOfRow(item)}`))),
    item.draws.map((uri, k) => h("td", {}, picture(uri, `filling ${k + 1} of ${nameOfRow(item)}`)))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "filled gaps" }, h("table", { class: "strips" }, h("thead", {}, h("tr", {}, heads.map((name) => name ? h("th", { scope: "col" }, name) : h("td", {})))), h("tbody", {}, lines)));
}

/** What is put in place of each hidden value. @param {any[]} cells @param {string} of */
export function fillingsTable(cells, of = "the row") {
  const n = cells[0]?.draws.length ?? 0;
  const truth = cells.some((item) => item.true !== undefined);
  const heads = ["column", ...(truth ? ["was"] : []), "expected", ...Array.from({ length: n }, (_, k) => `${k + 1}`)];
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `fillings of ${of}` }, h("table", { class: "fillings" }, h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, cells.map((item) => h("tr", {}, h("th", { scope: "row" }, item.column), truth ? h("td", { class: "truth" }, item.true ?? "missing") : null, h("td", {}, item.mean ?? ""), item.draws.map((value) => h("td", { class: truth && value === item.true ? "same" : null }, value ?? "")))))));
}

/** The curves of training. @param {any} training */
export function trainingView(training) {
  const of = (...keys) => training.curves.filter((curve) => keys.includes(curve.key)).map((curve) => ({ ...curve, dashed: curve.key === "validation_elbo" }));
  const chart = (yName, series) => (series.length ? lineChart({ x: training.epoch, series, xName: "epoch", yName }) : null);
  const skipped = training.n_skipped ? h("p", { class: "note" }, `${count(training.n_skipped)} steps had no finite loss or gradient and were skipped: if there are many, a smaller learning rate helps.`) : null;
  return h("div", {}, skipped, h("div", { class: "charts" }, chart(`the lower bound, in nats a ${training.one}`, of("elbo", "validation_elbo")), chart(`reconstruction, in nats a ${training.one}`, of("reconstruction")), chart(`KL, in nats a ${training.one}`, of("kl"))));
}

/** The bound as a message. @param {any} bits */
export function bitsView(bits) {
  const part = (name, words, value) => h("div", { class: `bit ${name}` }, h("strong", {}, `${number(value)} bits`), h("span", {}, words));
  return h("div", { class: "bits" }, part("z", "for z, on a grid of 1/256", bits.z), h("span", {}, "+"), part("x", "for x given z", bits.x), h("span", {}, "−"),
    part("back", "got back, which the choice of z carries", bits.back), h("span", {}, "="), part("total", `a ${bits.one}`, bits.total));
}

/** The row beside a point of a map. @param {any} shown @param {string[]} columns @param {string[]} lines */
export function cardOf(shown, columns, lines) {
  const first = shown === undefined || shown === null ? null : Array.isArray(shown) ? record(shown.slice(0, 14), columns) : rowView(shown, "");
  return h("div", {}, first, lines.map((line) => h("p", {}, line)));
}
