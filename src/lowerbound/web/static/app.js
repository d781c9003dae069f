// The page: its heading, the way between panels, the selection, and the banner when the server has gone.

import { announce, count, h } from "./dom.js";
import { captionOf, isSequences, sizeOf } from "./captions.js";
import { nameOfColumn } from "./rows.js";
import { ask, onGone, within } from "./api.js";
import { on, select, state } from "./state.js";
import * as map from "./map.js";
import * as sample from "./sample.js";
import * as reconstructions from "./reconstructions.js";
import * as traversals from "./traversals.js";
import * as dimensions from "./dimensions.js";
import * as outliers from "./outliers.js";
import * as gaps from "./gaps.js";
import * as training from "./training.js";
import * as continuations from "./continuations.js";
import * as sequencePairs from "./sequence_pairs.js";
import * as paths from "./text_paths.js";
import * as unusual from "./unusual.js";
import * as hidden from "./hidden_steps.js";

// A panel is a module: id, title, what it needs of the model and the data, and a function that makes its element;
// "show" of what it returns is called whenever the panel is opened.
const PANELS = [map, sample, reconstructions, traversals, dimensions, outliers, gaps, training];
const OF_SEQUENCES = [map, continuations, sequencePairs, paths, dimensions, unusual, hidden, training];
const REFRESH = 3000; // milliseconds between two looks if the model is there
/** @type {Map<string, {element: any, show?: () => void}>} */
const made = new Map();

function heading(about) {
  const parts = [about.model, about.latent_dim ? `${about.latent_dim} latent variable${about.latent_dim === 1 ? "" : "s"}` : "", about.likelihood];
  const rows = about.kind === "waiting" ? "no model yet" : about.n_rows ? `${sizeOf(about)} of ${about.source}` : "no data";
  return h("header", { class: "top" }, h("h1", {}, nameOfColumn(about.title)), h("p", { class: "muted" }, [...parts, rows].filter(Boolean).join(" · ")),
    about.chosen ? h("p", { class: "muted" }, `${about.chosen} are looked at`) : null);
}

function ways(panels) {
  return h("nav", { "aria-label": "panels" }, h("ul", {}, panels.map((panel) => h("li", {}, h("a", { href: `#${panel.id}`, "data-panel": panel.id }, panel.title)))));
}

function open(panels, stage) {
  const first = state.about.kind === "waiting" ? training : panels[0];
  const wanted = panels.find((panel) => `#${panel.id}` === location.hash) ?? first;
  const { about } = state;
  const shows = wanted.needs(about);
  if (!made.has(wanted.id)) made.set(wanted.id, shows ? wanted.make() : { element: h("p", { class: "note" }, lack(wanted)) });
  const entry = made.get(wanted.id);
  const caption = isSequences(about) ? captionOf(wanted.key ?? wanted.id, about) : wanted.caption(about);
  stage.setAttribute("aria-label", wanted.title);
  stage.replaceChildren(h("h2", {}, wanted.title), shows && caption ? h("p", { class: "caption" }, caption) : "", entry.element);
  for (const link of document.querySelectorAll("[data-panel]")) {
    if (/** @type {HTMLElement} */ (link).dataset.panel === wanted.id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  entry.show?.();
  document.title = `${wanted.title} – ${state.about.title}`;
}

/** The sentence why a panel shows nothing. */
function lack(panel) {
  return state.about.lacks?.[panel.key ?? panel.id] ?? "";
}

/** Look again and again until the model of a run that trains is there. */
function watch() {
  setTimeout(async () => {
    if (document.hidden) return watch();
    const about = await ask("overview").catch(() => null); // the reason is shown when the page begins again
    if (about?.kind === "waiting") watch();
    else location.reload();
  }, REFRESH);
}

/** The rows that were encircled, which other panels follow. */
function selectionBar() {
  const bar = h("div", { class: "selection", hidden: true });
  const save = () => within(bar, async () => {
    const { csv } = await ask("selection", { rows: state.selection });
    const link = h("a", { href: URL.createObjectURL(new Blob([csv], { type: "text/csv" })), download: "selection.csv" });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  on("selection", () => {
    bar.hidden = !state.selection.length;
    bar.replaceChildren(h("span", {}, `${count(state.selection.length)} rows selected; reconstructions show them`),
      h("button", { type: "button", onclick: save }, "save as CSV"), h("button", { type: "button", onclick: () => select([]) }, "clear"));
    if (state.selection.length) announce(`${state.selection.length} rows selected`);
  });
  return bar;
}

function banner() {
  const box = h("div", { class: "banner", role: "alert", hidden: true });
  onGone((gone) => {
    box.hidden = !gone;
    box.textContent = gone ? "The server doesn’t answer: it was stopped, or its machine sleeps. Trying again every two seconds; what you see stays." : "";
  });
  return box;
}

async function start() {
  const note = banner();
  document.body.prepend(note);
  try {
    state.about = await ask("overview");
  } catch (error) {
    document.body.replaceChildren(h("main", { class: "problem" }, h("h1", {}, "This model can’t be shown"), h("p", {}, /** @type {Error} */ (error).message)));
    return;
  }
  state.given = (state.about.given ?? []).map((field) => field.value);
  if (state.about.kind === "waiting") watch();
  const all = isSequences(state.about) ? OF_SEQUENCES : PANELS;
  const panels = all.filter((panel) => panel.needs(state.about) || lack(panel));
  if (!panels.length) {
    document.body.replaceChildren(h("main", { class: "problem" }, h("h1", {}, state.about.title), h("p", {}, "There is nothing to show of this model without data: lowerbound explore RUN DATA")));
    return;
  }
  const stage = h("section", { class: "stage" });
  const why = panels.length < all.length && !state.about.n_rows ? h("p", { class: "muted more" }, "With rows of data there is more: lowerbound explore RUN DATA") : null;
  const keys = h("p", { id: "map-keys", class: "unseen" }, "Arrow keys go from point to point; with shift they move a place whose picture the decoder makes. Enter chooses the row.");
  document.body.replaceChildren(note, h("div", { class: "frame" }, h("div", { class: "side" }, heading(state.about), ways(panels), why), h("main", {}, selectionBar(), stage, keys)));
  addEventListener("hashchange", () => open(panels, stage));
  open(panels, stage);
}

start();
