// What the panels share: the model in words, the chosen row, and a selection of rows.

/** @type {Record<string, any>} */
export const state = { about: null, row: null, selection: [], given: [] };

/** @param {string} kind "row", "selection" or "given" @param {() => void} listener */
export function on(kind, listener) {
  addEventListener(`state-${kind}`, listener);
}

/** @param {number | null} row */
export function chooseRow(row) {
  state.row = row;
  dispatchEvent(new Event("state-row"));
}

/** Choose what the model is given. @param {any[]} values */
export function give(values) {
  state.given = values;
  dispatchEvent(new Event("state-given"));
}

/** What the model is given, for a question. */
export function given() {
  return state.given.length ? { given: state.given } : {};
}

/** @param {number[]} rows */
export function select(rows) {
  state.selection = rows;
  dispatchEvent(new Event("state-selection"));
}
