// Rows of data: images as pictures, rows of a table as lines of names and values.

import { h } from "./dom.js";
import { sequenceView } from "./sequences.js";

/** One row, or a sequence. @param {any} shown @param {string} words @param {string[]} columns */
export function rowView(shown, words, columns = []) {
  if (!Array.isArray(shown) && typeof shown === "object") return sequenceView(shown, words);
  return typeof shown === "string" ? picture(shown, words) : record(shown, columns, words);
}

/** An image. @param {string} uri @param {string} words */
export function picture(uri, words) {
  return h("img", { src: uri, alt: words, class: "picture", draggable: "false" });
}

/** An image that changes as one looks: shown in the frame after it came. @param {string} words */
export function livePicture(words) {
  const element = h("canvas", { role: "img", "aria-label": words, class: "picture" });
  /** @param {string} uri of a PNG in base 64 */
  const show = async (uri) => {
    const bytes = Uint8Array.from(atob(uri.slice(uri.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    Object.assign(element, { width: bitmap.width, height: bitmap.height });
    element.getContext("2d").drawImage(bitmap, 0, 0);
    element.dataset.uri = uri;
  };
  return { element, show };
}

/** A row as a list of names and values. @param {(string | null)[]} values @param {string[]} columns */
export function record(values, columns, words = "", marked = null) {
  const lines = values.map((value, j) =>
    h("tr", { class: marked?.[j] ? "marked" : null }, h("th", { scope: "row" }, nameOfColumn(columns[j])), h("td", {}, cell(value))),
  );
  return h("table", { class: "record" }, words ? h("caption", {}, words) : null, h("tbody", {}, lines));
}

/** The name of a column, or a path, which may be broken after a mark. @param {string} name */
export function nameOfColumn(name) {
  return name.split(/(?<=[_./])/).flatMap((part, k) => (k ? [h("wbr"), part] : [part]));
}

/** A value; what is missing is said to be. @param {string | null} value */
export function cell(value) {
  return value === null ? h("span", { class: "missing" }, "missing") : value;
}

/** Rows of a table, one below the other. @param {(string | null)[][]} rows @param {string[]} columns @param {string} caption */
export function rowsTable(rows, columns, caption) {
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "rows" }, h("caption", {}, caption),
      h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value) => h("td", {}, cell(value))))))),
  );
}

/** "row 17, label 4". @param {{row: number, label?: string | null}} item */
export function nameOfRow(item) {
  return `row ${item.row}${item.label === null || item.label === undefined ? "" : `, ${item.label}`}`;
}

/** Columns of a table that differ most, with both values. @param {any} pair @param {string[]} columns */
export function comparedRows(pair, columns) {
  const lines = columns.map((name, j) => {
    const other = pair.difference[j] === "≠";
    return h("tr", { class: other ? "marked" : null }, h("th", { scope: "row" }, nameOfColumn(name)), h("td", {}, cell(pair.input[j])), h("td", {}, cell(pair.output[j])));
  });
  return h("table", { class: "record" }, h("thead", {}, h("tr", {}, h("td", {}), h("th", { scope: "col" }, "input"), h("th", { scope: "col" }, "output"))), h("tbody", {}, lines));
}
