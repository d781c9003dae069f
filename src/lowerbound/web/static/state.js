// What the panels share: the model in words, the chosen row, and a selection of rows.

/** @type {Record<string, any>} */
export const state = { about: null, row: null, selection: [] };

/** @param {string} kind "row" or "selection" @param {() => void} listener */
export function on(kind, listener) {
  addEventListener(`state-${kind}`, listener);
}

/** @param {number | null} row */
export function chooseRow(row) {
  state.row = row;
  dispatchEvent(new Event("state-row"));
}

/** @param {number[]} rows */
export function select(rows) {
  state.selection = rows;
  dispatchEvent(new Event("state-selection"));
}
