// Sequences as elements: texts, piano rolls as pictures, columns of numbers as lines.

import { h, number, svg } from "./dom.js";
import { classColor } from "./palette.js";
import { extent, ticks } from "./geometry.js";

const WIDTH = 480;
const LEFT = 54;
const HIGH = 62; // pixels of one column
const FIRST = 3; // columns that are shown before "more"

/**
 * A text, a piano roll, or lines.
 * @param {any} shown @param {string} words What it is, for those who can't see it.
 * @param {number[]} [first] The columns that come first.
 */
export function sequenceView(shown, words, first = []) {
  if (shown.kind === "text") return textView(shown.text);
  return shown.kind === "roll" ? rollView(shown, words) : seriesView(shown, words, first);
}

/** A text as it is written. @param {string} text @param {string} [before] What it follows on. */
export function textView(text, before = "") {
  if (!text && !before) return h("p", { class: "text muted" }, "the empty text");
  return h("p", { class: "text" }, before ? h("span", { class: "muted" }, before) : null, text);
}

/** A text whose tokens are the darker, the more they surprise. @param {[string, number][]} tokens */
export function markedText(tokens) {
  const most = Math.max(6, ...tokens.map((each) => each[1]));
  return h("p", { class: "text marks" }, tokens.map(([token, nats]) =>
    h("span", { style: { "--share": `${Math.round((100 * Math.max(0, nats)) / most)}%` }, title: `${number(nats, 3)} nats` }, token)));
}

/** Zeros and ones: steps to the right, columns upwards. @param {any} roll @param {string} words */
export function rollView(roll, words) {
  const picture = h("img", { src: roll.uri, alt: words, class: "picture roll", draggable: "false", width: roll.width, height: roll.height });
  const wide = Math.min(900, roll.width * 8);
  Object.assign(picture.style, { width: `${wide}px`, height: `${Math.min(220, Math.max(54, roll.height * 4))}px` });
  const steps = roll.width > 1 ? `steps ${roll.first} to ${roll.first + roll.width - 1}` : `step ${roll.first}`;
  return h("figure", { class: "rolled" }, picture, h("figcaption", {}, `${steps}, columns ${roll.keys[0]} to ${roll.keys[1]} upwards`));
}

/**
 * The columns of some steps as lines, each on its own scale below the one before.
 * @param {any} shown @param {string} words @param {number[]} [first]
 */
export function seriesView(shown, words, first = []) {
  const n = shown.columns.length;
  const order = [...new Set([...first, ...Array.from({ length: n }, (_, j) => j)])].filter((j) => j < n);
  const head = order.slice(0, Math.max(FIRST, first.length));
  const rest = order.slice(head.length);
  const charts = (columns) => columns.map((j, k) => columnChart(shown, j, words, k === columns.length - 1));
  const others = rest.length ? h("details", {}, h("summary", {}, `${rest.length} more columns`), charts(rest)) : null;
  const named = shown.paths.filter((path) => path.name);
  const legend = named.length > 1 ? h("div", { class: "legend" }, named.map((path, k) => h("span", { class: "entry" }, swatch(path, k), path.name))) : null;
  const more = shown.n_more ? h("p", { class: "muted" }, `${shown.n_more} more columns aren’t drawn`) : null;
  const when = shown.when ? h("p", { class: "muted" }, `${shown.when[0]} to ${shown.when[1]}`) : null;
  return h("div", { class: "series" }, legend, charts(head), others, when, more);
}

function swatch(path, k) {
  const line = h("span", { class: `dash ${path.role}` });
  if (path.role === "draw") line.style.borderColor = colorOf(path, k);
  return line;
}

/** The color of a draw, by its number. */
function colorOf(path, k) {
  const place = Number(path.name);
  return classColor(Number.isInteger(place) && place > 0 ? place - 1 : k);
}

function columnChart(shown, j, words, last) {
  const column = shown.columns[j];
  const length = Math.max(...shown.paths.map((path) => path.start + path.values[j].length));
  const values = shown.paths.flatMap((path) => path.values[j].filter((value) => value !== null));
  let [low, high] = column.classes ? [0, Math.max(1, column.classes.length - 1)] : extent(values);
  if (high === low) [low, high] = [low - 1, high + 1];
  const frame = { left: LEFT, right: WIDTH - 6, top: 6, bottom: HIGH - 6 };
  const across = (k) => frame.left + ((k + 0.5) / Math.max(1, length)) * (frame.right - frame.left);
  const up = (value) => frame.bottom - ((value - low) / (high - low)) * (frame.bottom - frame.top);
  const ground = (name, a, b) => svg("rect", { class: name, x: across(a - 0.5), y: 1, width: Math.max(2, across(b - 0.5) - across(a - 0.5)), height: HIGH - 2 });
  const hidden = shown.hidden && shown.hidden[2].includes(j) ? ground("hidden", shown.hidden[0], shown.hidden[1]) : null;
  const grounds = [shown.n_prompt ? ground("prompt", 0, shown.n_prompt) : null, hidden, shown.marks.map((k) => ground("marked", k, k + 1))];
  const grid = levels(column, low, high).map(([value, name]) => [
    svg("line", { class: "grid", x1: frame.left, x2: frame.right, y1: up(value), y2: up(value) }),
    svg("text", { class: "tick", x: frame.left - 6, y: up(value) + 4, "text-anchor": "end" }, name),
  ]);
  const named = shown.paths.filter((path) => path.name);
  const curves = shown.paths.map((path) => svg("path", {
    class: `line ${path.role}`, d: strokeOf(path.values[j], path.start, across, up, Boolean(column.classes)),
    stroke: path.role === "draw" ? colorOf(path, named.indexOf(path)) : null,
  }));
  const marks = last ? ticks(shown.first, shown.first + length - 1, 8).filter(Number.isInteger).map((t) =>
    svg("text", { class: "tick", x: across(t - shown.first), y: HIGH + 12, "text-anchor": "middle" }, number(t))) : null;
  const height = HIGH + (last ? 18 : 0);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${column.name} of ${words}: ${rangeOf(column, values)}` }, grounds, grid, curves, marks);
  return h("figure", { class: "column" }, h("figcaption", {}, column.name), picture);
}

/** The values with a line across: round numbers, or classes. */
function levels(column, low, high) {
  if (!column.classes) return ticks(low, high, 3).map((value) => [value, number(value)]);
  const step = Math.max(1, Math.ceil(column.classes.length / 4));
  return column.classes.map((name, k) => [k, name.length > 8 ? `${name.slice(0, 7)}…` : name]).filter((_, k) => k % step === 0);
}

function rangeOf(column, values) {
  if (!values.length) return "no values";
  if (column.classes) return `${new Set(values).size} of ${column.classes.length} classes`;
  const [low, high] = extent(values);
  return `from ${number(low)} to ${number(high)}`;
}

/** A line that breaks at gaps; values alone between gaps are short strokes, classes stairs. */
export function strokeOf(values, start, across, up, stairs) {
  let text = "";
  values.forEach((value, k) => {
    if (value === null) return;
    const [x, y] = [across(start + k), up(value).toFixed(1)];
    const follows = k > 0 && values[k - 1] !== null;
    const alone = !follows && (k + 1 >= values.length || values[k + 1] === null);
    if (!follows) text += `M${(alone ? x - 1.5 : x).toFixed(1)} ${y}`;
    if (stairs && follows) text += `H${x.toFixed(1)}V${y}`;
    else if (follows) text += `L${x.toFixed(1)} ${y}`;
    if (alone) text += `h3`;
  });
  return text;
}
