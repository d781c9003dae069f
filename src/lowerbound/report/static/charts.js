// Curves and bars.

import { h, nats, number, svg } from "./dom.js";
import { classColor } from "./palette.js";
import { extent, ticks } from "./geometry.js";

/**
 * Curves over a common axis, each with its name at its end.
 * @param {{x: number[], series: {name: string, values: (number | null)[], dashed?: boolean}[], xName: string, yName: string, width?: number, height?: number}} what
 */
export function lineChart({ x, series, xName, yName, width = 520, height = 250 }) {
  const frame = { left: 58, top: 14, right: width - 14, bottom: height - 36 };
  const finite = series.flatMap((each) => each.values.filter((value) => value !== null && Number.isFinite(value)));
  const settled = quantile(finite, 0.02); // the first epochs may lie far below all others
  const [lowest, highest] = extent(finite);
  const room = lowest === highest ? Math.max(Math.abs(highest) / 100, 1e-3) : 0; // around one value
  const high = highest + room;
  const low = Math.max(lowest - room, settled - 0.25 * Math.max(high - settled, 1e-9) - room);
  const [first, last] = extent(x);
  const across = (value) => frame.left + ((value - first) / Math.max(last - first, 1e-9)) * (frame.right - frame.left);
  const up = (value) => frame.bottom - ((Math.max(value, low) - low) / Math.max(high - low, 1e-9)) * (frame.bottom - frame.top);
  const grid = [
    ...ticks(low, high, 5).map((t) => [svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: up(t), y2: up(t) }),
      svg("text", { class: "tick", x: frame.left - 7, y: up(t) + 4, "text-anchor": "end" }, number(t))]),
    ...ticks(first, last, 8).filter((t) => xName !== "epoch" || Number.isInteger(t)).map((t) => svg("text", { class: "tick", x: across(t), y: frame.bottom + 16, "text-anchor": "middle" }, number(t))),
    svg("text", { class: "axis", x: frame.right, y: height - 4, "text-anchor": "end" }, xName),
  ];
  const lines = series.map((each, k) =>
    svg("path", { class: "curve", d: pathOf(x, each.values, across, up), stroke: classColor(k), "stroke-dasharray": each.dashed ? "6 4" : null }),
  );
  const dots = x.length > 1 ? [] : series.flatMap((each, k) => each.values.filter(Number.isFinite).map((value) => svg("circle", { cx: across(x[0]), cy: up(value), r: 4, fill: classColor(k) })));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${yName} by ${xName}: ${summary(series)}` }, grid, lines, dots);
  const names = series.map((each, k) =>
    h("span", { class: "entry" }, h("span", { class: each.dashed ? "dash dashed" : "dash", style: { borderColor: classColor(k) } }), `${each.name} `,
      h("span", { class: "muted" }, number(lastOf(each.values)))),
  );
  return h("figure", { class: "chart" }, h("figcaption", {}, yName), picture, h("div", { class: "legend" }, names));
}

function pathOf(x, values, across, up) {
  let drawing = false;
  return values
    .map((value, k) => {
      if (value === null || !Number.isFinite(value)) {
        drawing = false;
        return "";
      }
      const step = `${drawing ? "L" : "M"}${across(x[k]).toFixed(1)} ${up(value).toFixed(1)}`;
      drawing = true;
      return step;
    })
    .join("");
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(share * (sorted.length - 1))] : 0;
}

function lastOf(values) {
  return values.findLast((value) => value !== null && Number.isFinite(value)) ?? null;
}

function summary(series) {
  return series.map((each) => `${each.name} ends at ${number(lastOf(each.values))}`).join("; ");
}

/**
 * Bars from the left, one a line, the largest first.
 * @param {{name: string, value: number, faint?: boolean, note?: any}[]} items
 * @param {string} label
 */
export function bars(items, label) {
  const most = Math.max(...items.map((item) => item.value), 1e-9);
  const lines = items.map((item) =>
    h("tr", { class: item.faint ? "faint" : null }, h("th", { scope: "row" }, item.name),
      h("td", { class: "bar" }, h("span", { style: { width: `${(100 * Math.max(0, item.value)) / most}%` } })),
      h("td", { class: "value" }, nats(item.value)), item.note === undefined ? null : h("td", {}, item.note)),
  );
  return h("table", { class: "bars" }, h("caption", {}, label), h("tbody", {}, lines));
}

/** A small curve of one column. @param {(number | null)[]} values */
export function spark(values, at = -1, width = 120, height = 26) {
  const known = values.filter((value) => value !== null);
  const [low, high] = extent(/** @type {number[]} */ (known));
  const across = (k) => 3 + (k / Math.max(1, values.length - 1)) * (width - 6);
  const up = (value) => height - 4 - ((value - low) / Math.max(high - low, 1e-9)) * (height - 8);
  const line = svg("path", { class: "curve", d: pathOf(values.map((_, k) => k), values, across, up) });
  const here = at >= 0 && values[at] !== null ? svg("circle", { cx: across(at), cy: up(values[at]), r: 3.2 }) : null;
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, line, here);
}

/**
 * A density as a filled curve.
 * @param {number[]} x @param {number[]} y @param {number | null} at
 */
export function density(x, y, at = null, width = 150, height = 30) {
  const [first, last] = extent(x);
  const most = Math.max(...y, 1e-12);
  const across = (value) => 2 + ((value - first) / Math.max(last - first, 1e-12)) * (width - 4);
  const up = (value) => height - 2 - (value / most) * (height - 5);
  const outline = x.map((value, k) => `${k ? "L" : "M"}${across(value).toFixed(1)} ${up(y[k]).toFixed(1)}`).join("");
  const area = svg("path", { class: "area", d: `${outline}L${across(last).toFixed(1)} ${height - 2}L${across(first).toFixed(1)} ${height - 2}Z` });
  const mark = at === null ? null : svg("line", { class: "mark", x1: across(at), x2: across(at), y1: 1, y2: height - 1 });
  return svg("svg", { class: "density", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" }, area, mark);
}
