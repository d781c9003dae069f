// Gaps: values of a row are wiped out by hand, and filled several times, live.

import { h } from "./dom.js";
import { cell, nameOfColumn, picture } from "./rows.js";
import { fillingsTable } from "./views.js";
import { ask, latest, reason, within } from "./api.js";
import { on, state } from "./state.js";

export const id = "gaps";
export const title = "Gaps";
export const needs = (about) => about.has.gaps;
export const caption = (about) => (about.kind === "image" ? "Paint over the picture (or move the cursor with the arrow keys and press space): what is painted over is hidden from the model, which fills it with draws from p(missing | seen)." : "Clear values of the row: the model fills them with draws from p(missing | known).");

export function make() {
  const { about } = state;
  const box = h("div", {});
  const results = h("div", { class: "fillings", "aria-live": "polite" });
  const hidden = new Set();
  let row = state.row ?? 0;
  const fill = latest("gaps", (found) => results.replaceChildren(fillingsOf(found)), (error) => results.replaceChildren(reason(error)));
  const update = () => (hidden.size ? fill({ rows: [row], hidden: [...hidden] }) : results.replaceChildren(h("p", { class: "muted" }, about.kind === "image" ? "nothing is hidden yet: paint over the picture" : "nothing is hidden yet: clear a value")));
  const load = () => within(box, async () => {
    hidden.clear();
    const asked = row;
    const found = await ask("row", { rows: [row] });
    if (row !== asked) return;
    box.replaceChildren(h("h3", {}, `${found.name}${found.label ? `, ${found.label}` : ""}`), about.kind === "image" ? easel(found.shown, about, hidden, update) : cells(found.shown, about, hidden, update));
    update();
  });
  const go = (step) => {
    row = (row + step + about.n_seen) % about.n_seen;
    load();
  };
  on("row", () => {
    if (state.row === null) return;
    row = state.row;
    load();
  });
  load();
  const buttons = h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => go(-1) }, "previous row"), h("button", { type: "button", onclick: () => go(1) }, "next row"), h("button", { type: "button", onclick: load }, "hide nothing"));
  return { element: h("div", { class: "two" }, h("div", {}, box, buttons), results) };
}

function fillingsOf(found) {
  const item = found.rows[0];
  if (found.columns) return fillingsTable(item.cells.map(({ column, mean, draws, true: was }) => ({ column, mean, draws, true: was })));
  const each = (uri, words) => h("figure", {}, picture(uri, words), h("figcaption", {}, words));
  return h("div", { class: "wall large" }, each(item.mean, "expectation"), item.draws.map((uri, k) => each(uri, `draw ${k + 1}`)));
}

/** A row whose values can be cleared. */
function cells(values, about, hidden, update) {
  const lines = values.map((value, j) => {
    const box = h("input", { type: "checkbox", "aria-label": `hide ${about.columns[j]}`, onchange: () => {
      if (box.checked) hidden.add(j);
      else hidden.delete(j);
      line.classList.toggle("cleared", box.checked);
      update();
    } });
    const line = h("tr", {}, h("td", {}, box), h("th", { scope: "row" }, nameOfColumn(about.columns[j])), h("td", {}, cell(value)));
    return line;
  });
  return h("table", { class: "record" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "hide"), h("th", { scope: "col" }, "column"), h("th", { scope: "col" }, "value"))), h("tbody", {}, lines));
}

/** An image to paint over, with the pointer or the keyboard. */
function easel(uri, about, hidden, update) {
  const [height, width, channels, at] = axesOf(about.row_shape);
  const canvas = h("canvas", { class: "easel", tabindex: "0", role: "img", "aria-label": "the picture; arrow keys move the cursor, space hides what is below it", width: 420, height: Math.round((420 * height) / width) });
  const image = new Image();
  const size = canvas.width / width;
  const brush = Math.max(1, Math.round(Math.min(height, width) / 10));
  const cursor = [Math.floor(width / 2), Math.floor(height / 2)];
  let keyed = false;
  const draw = () => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, 0, 0, canvas.width, canvas.height);
    pen.fillStyle = "#b9cbe6";
    for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) if (hidden.has(at(y, x, 0))) pen.fillRect(x * size, y * size, Math.ceil(size), Math.ceil(size));
    if (!keyed) return;
    pen.strokeStyle = "#e76300";
    pen.lineWidth = 3;
    pen.strokeRect((cursor[0] - brush / 2) * size, (cursor[1] - brush / 2) * size, brush * size, brush * size);
  };
  const paint = (px, py) => {
    for (let y = Math.floor(py - brush / 2); y < py + brush / 2; y += 1)
      for (let x = Math.floor(px - brush / 2); x < px + brush / 2; x += 1)
        if (x >= 0 && y >= 0 && x < width && y < height) for (let c = 0; c < channels; c += 1) hidden.add(at(y, x, c));
    draw();
    update();
  };
  const stroke = (event) => event.buttons && paint((event.offsetX / canvas.clientWidth) * width, (event.offsetY / canvas.clientHeight) * height);
  canvas.addEventListener("pointerdown", stroke);
  canvas.addEventListener("pointermove", stroke);
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) [0, 1].forEach((k) => (cursor[k] = Math.min(Math.max(0, cursor[k] + way[k]), [width, height][k] - 1)));
    else if (event.key === " ") paint(cursor[0], cursor[1]);
    else return;
    event.preventDefault();
    keyed = true;
    draw();
  });
  image.onload = draw;
  image.src = uri;
  return canvas;
}

/** Height, width and channels of a row of an image, and the place of a pixel in it. */
export function axesOf(shape) {
  if (shape.length === 2) return [shape[0], shape[1], 1, (y, x) => y * shape[1] + x];
  const last = shape[2] <= 4;
  const [height, width, channels] = last ? shape : [shape[1], shape[2], shape[0]];
  return [height, width, channels, (y, x, c) => (last ? (y * width + x) * channels + c : (c * height + y) * width + x)];
}
