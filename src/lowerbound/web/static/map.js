// Map: the codes of the rows; the decoder's picture of any place, live.

import { count, floats, h, number } from "./dom.js";
import { Scatter } from "./scatter.js";
import { isSequences, sizeOf } from "./captions.js";
import { cardOf } from "./views.js";
import { rowView } from "./rows.js";
import { ask, latest, reason, within } from "./api.js";
import { chooseRow, given, on, select, state } from "./state.js";

export const id = "map";
export const title = "Map";
export const needs = (about) => about.has.map;
export const caption = (about) => `Each point is a row at the mean of its posterior q(z|x). Click an empty place for ${about.kind === "image" ? "the decoder’s picture of it" : "what the decoder makes of it"}, draw around points to select them.`;

const PICTURES = 600; // rows that are shown as pictures

export function make() {
  const { about } = state;
  const n = about.n_points ?? about.n_seen;
  const decodes = about.has.place ?? about.has.decode;
  let map = null;
  let colors = [];
  const known = new Map(); // rows that were asked for
  const live = h("div", { class: "live", "aria-live": "off" }, h("p", { class: "muted" }, decodes ? "click a place of the map" : "click a point of the map"));

  const trying = (work) => within(live, work).finally(() => waiting.remove());
  const linesOf = (row) => colors.slice(0, 3).map((color) => `${color.name}: ${color.kind === "classes" ? color.classes[color.values[row]] : number(color.values[row])}`);
  const fetchRow = latest("rows", (answer, body) => {
    answer.shown.forEach((shown, k) => known.set(body.rows[k], { shown, name: answer.names[k] }));
    if (scatter.current === body.rows[0]) {
      scatter.card.hidden = false;
      scatter.card.replaceChildren(cardFor(body.rows[0]));
      scatter.placeCard();
    }
  });
  const cardFor = (row) => {
    const found = known.get(row);
    if (!found) fetchRow({ rows: [row], side: 96 });
    return cardOf(found?.shown, about.columns, [found ? found.name : "", ...linesOf(row)].filter(Boolean));
  };
  const decode = latest("decode", (answer, body) => {
    live.replaceChildren(rowView(answer.shown[0], "E[x|z] at this place", about.columns), h("p", { class: "muted" }, codeWords(body.z[0])));
  }, (error) => live.replaceChildren(reason(error)));
  const showRow = (row) => within(live, async () => {
    const found = await ask("row", { rows: [row] });
    if (row !== state.row) return;
    live.replaceChildren(rowView(found.shown, found.name, about.columns), h("p", {}, found.name, found.label ? `, ${about.label} ${found.label}` : ""),
      h("p", { class: "muted" }, "Sample, Traversals and Gaps start from it."));
  });
  const scatter = new Scatter({
    label: `map of ${count(n)} points by their codes`, card: cardFor, words: (row) => linesOf(row).join(", ") || `row ${row}`,
    onpick: (row) => {
      chooseRow(row);
      showRow(row);
    },
    onplace: decodes ? (x, y) => map && decode({ z: [codeAt(x, y)], ...given() }) : undefined,
    onlasso: select,
  });
  const codeAt = (x, y) => map.center.map((middle, d) => middle + x * map.basis[0][d] + (map.basis[1] ? y * map.basis[1][d] : 0));
  on("selection", () => scatter.select(state.selection));

  const coloring = h("select", { onchange: () => scatter.paint(colors[Number(coloring.value)]) });
  const axes = h("span", {});
  const waiting = h("p", { class: "empty", role: "status" }, `encoding ${sizeOf(about)} …`);
  const load = async (dimensions) => {
    const answer = await ask("map", dimensions === undefined ? {} : { dimensions });
    if (answer === null) return;
    map = { ...answer, x: floats(answer.x), y: floats(answer.y) };
    waiting.remove();
    scatter.show(map);
    axes.replaceChildren(...axesControls(map, about, (wanted) => trying(() => load(wanted))));
  };
  const paint = async (body) => {
    const before = colors[Number(coloring.value)]?.name;
    colors = (await ask("colors", body)).map((color) => ({ ...color, values: floats(color.values) }));
    coloring.replaceChildren(...colors.map((color, k) => h("option", { value: k, selected: color.name === before }, color.name)));
    if (colors.length && before === undefined) scatter.paint(colors[0]);
  };
  const tiles = h("input", { type: "checkbox", onchange: () => trying(async () => scatter.showPictures(tiles.checked ? await pictures(n) : null)) });
  const controls = h("div", { class: "controls" }, h("label", {}, "colored by ", coloring), axes, about.kind === "image" ? h("label", {}, tiles, " pictures") : null);
  const begin = async () => {
    await load();
    if (!isSequences(about)) await paint({ known: true }); // labels and columns, which need no model
    await paint({});
  };
  trying(begin);
  return { element: h("div", { class: "with-side" }, h("div", {}, controls, waiting, scatter.element), h("div", { class: "beside" }, live)), show: () => scatter.draw() };
}

/** Choices of the axes. */
function axesControls(map, about, load) {
  if (about.latent_dim < 3) return [];
  const pca = map.dimensions === "pca";
  const which = (k) => {
    const select = h("select", { "aria-label": k ? "vertical axis" : "horizontal axis", onchange: () => load(change(k, Number(select.value))) },
      about.order.map((d) => h("option", { value: d, selected: !pca && map.dimensions[k] === d }, about.dimension_names[d])));
    return select;
  };
  const change = (k, d) => {
    const both = pca ? [...map.choices[0].dimensions] : [...map.dimensions];
    both[k] = d;
    return both;
  };
  const components = h("input", { type: "checkbox", checked: pca, onchange: () => load(components.checked ? "pca" : map.choices[0].dimensions) });
  return [h("span", { class: "axes" }, h("label", {}, "axes ", which(0)), which(1)), h("label", {}, components, " principal components")];
}

/** Small pictures of rows from all over. */
async function pictures(n) {
  const step = Math.max(1, Math.floor(n / PICTURES));
  const rows = Array.from({ length: Math.min(n, PICTURES) }, (_, k) => k * step);
  const answer = await ask("rows", { rows, side: 28 });
  return new Map(rows.map((row, k) => [row, answer.shown[k]]));
}

function codeWords(z) {
  const shown = z.slice(0, 6).map((value) => number(value, 3)).join(", ");
  return `z = (${shown}${z.length > 6 ? ", …" : ""})`;
}
